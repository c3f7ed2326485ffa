"""What is known of policies, grants and types from lists and sights, in whatever order they come; and what is said."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from heed import names
from heed.api.conditions import find_condition
from heed.core.policy.permissions import UNRESTRICTED
from heed.errors import NOT_GRANTED, PolicyViolation
from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.controller import policy_cache
from heed.kube.controller.generation import choose_generation
from heed.kube.controller.last_valid_spec import dump_last_valid
from heed.kube.controller.policy_cache import RULE_PLURALS, PolicyCache
from heed.kube.status import condition_writer
from heed.util.backoff import Backoff
from tests.builders.manifests import document
from tests.integration.waiting import until

Object = dict[str, Any]
PLACED = "com.example.order.placed"
_uids = itertools.count(1)


class Objects(KubeApi):
    """Rules in memory with their versions: lists, and patches of the status with a precondition. Nothing else."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.version = 0
        self.writes: list[str] = []
        self.refusals: list[ApiError] = []
        self.during_list: Callable[[str], None] = lambda path: None

    def add(self, kind: str, name: str, namespace: str = "demo", **spec: Any) -> Object:
        return self.put({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})

    def put(self, body: Object) -> Object:
        """An object, or another generation of it."""
        key = (RULE_PLURALS[body["kind"]], body["metadata"]["namespace"], body["metadata"]["name"])
        old = self.objects.get(key)
        metadata = {
            "uid": f"uid-{next(_uids)}",
            "generation": 1,
            "creationTimestamp": f"2026-01-31T12:00:{self.version % 60:02}Z",
            **(old["metadata"] if old else {}),
            **{name: body["metadata"][name] for name in ("name", "namespace")},
        }
        if old and old["spec"] != body["spec"]:
            metadata["generation"] += 1
        new = {"apiVersion": names.API_VERSION, "status": {}, **(old or {}), **body, "metadata": metadata}
        self.objects[key] = new
        return self._touch(new)

    def remove(self, body: Object) -> Object:
        key = (RULE_PLURALS[body["kind"]], body["metadata"]["namespace"], body["metadata"]["name"])
        return copy.deepcopy(self.objects.pop(key))

    def accepted(self, body: Object) -> tuple[str, str, str] | None:
        key = (RULE_PLURALS[body["kind"]], body["metadata"]["namespace"], body["metadata"]["name"])
        found = find_condition(self.objects[key]["status"].get("conditions") or [], "Accepted")
        return (found["status"], found["reason"], found["message"]) if found else None

    async def pages(
        self, path: str, query: Any = None, *, accept: str = ""
    ) -> AsyncIterator[Sequence[Object]]:
        plural = path.rsplit("/", 1)[1]
        items = [copy.deepcopy(item) for key, item in self.objects.items() if key[0] == plural]
        for item in items:
            del item["kind"], item["apiVersion"]  # as some lists have them
        self.during_list(plural)
        await asyncio.sleep(0)
        yield items

    async def merge(self, path: str, patch: Mapping[str, Any]) -> ApiResponse:
        *_, namespace, plural, name, status = path.split("/")
        assert status == "status"
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.pop(0)
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise ApiError(404, "not found")
        if any(found["metadata"][key] != value for key, value in patch["metadata"].items()):
            raise ApiError(409, "the object has been modified")
        self.writes.append(name)
        found["status"] = {**found["status"], **patch["status"]}
        return ApiResponse(self._touch(found), 0)

    def _touch(self, found: Object) -> Object:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(found)


def seen_agent(namespace: str = "demo", name: str = "it", generation: int = 1, **spec: Any) -> Object:
    """An Agent, as it is seen, that emits an order for each question."""
    asks = {"name": "ask", "type": "com.example.question", "emit": [{"type": PLACED}]}
    given = {"subscribe": [{"type": "com.example.question"}], "handlers": [asks], **spec}
    metadata: dict[str, Any] = {"uid": "uid-of-it", "generation": generation, "labels": {}}
    return document(names.KIND, given, name, namespace, **metadata)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Objects:
    monkeypatch.setattr(condition_writer, "WRITE_BACKOFF", Backoff(0.001, 0.001))
    return Objects()


@pytest.fixture
async def rules(api: Objects) -> AsyncIterator[PolicyCache]:
    rules = PolicyCache(api)
    yield rules
    await rules.close()


ALL: Object = {"agentSelector": {}}
FROM_OTHER: Object = {"from": [{"namespace": "other"}], "types": [">"]}
BROKEN: Object = {"agentSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}, "emissions": "all"}


# --- what is known -------------------------------------------------------------------------------------------------


async def test_without_rules_everything_is_open_in_the_own_namespace(rules: PolicyCache) -> None:
    basis = rules.compile_inputs(seen_agent())

    basis.compiled(seen_agent())
    assert basis.permissions.emissions is UNRESTRICTED.emissions
    with pytest.raises(PolicyViolation) as refused:
        basis.compiled(seen_agent(subscribe=[{"type": ">", "namespace": "shop"}]))
    assert refused.value.reason == NOT_GRANTED


async def test_a_policy_concerns_the_agents_of_its_namespace_and_only_news_concern_anybody(
    rules: PolicyCache, api: Objects
) -> None:
    # Given
    policy = api.add("AgentPolicy", "strict", **ALL, emissions=[])

    # When it is seen, again, and late
    assert rules.observe(policy)
    assert rules.take_changes().concerned == {"demo"}
    assert not rules.observe(policy)
    assert not rules.take_changes()
    edited = api.put({**policy, "spec": {**ALL, "emissions": [{"type": ">"}]}})
    assert rules.observe(edited)
    assert not rules.observe(policy)

    # Then the last word counts
    assert rules.take_changes().concerned == {"demo"}
    rules.compile_inputs(seen_agent()).compiled(seen_agent())
    assert rules.observe(api.remove(edited), deleted=True)
    assert rules.take_changes().concerned == {"demo"}
    assert rules.compile_inputs(seen_agent()).permissions.emissions is None


async def test_a_policy_that_cannot_be_read_allows_nothing(rules: PolicyCache, api: Objects) -> None:
    rules.observe(api.add("AgentPolicy", "broken", **BROKEN))

    with pytest.raises(PolicyViolation, match="demo/broken"):
        rules.compile_inputs(seen_agent()).compiled(seen_agent())


async def test_a_grant_concerns_those_it_is_for_before_and_after(rules: PolicyCache, api: Objects) -> None:
    # Given
    listens = seen_agent(subscribe=[{"type": "com.example.order.placed", "namespace": "shop"}])
    spec = {"from": [{"namespace": "demo"}, {"namespace": "other"}], "types": ["com.example.order.*"]}
    grant = api.add("EventGrant", "orders", "shop", **spec)

    # When
    rules.observe(grant)
    assert rules.take_changes().concerned == {"demo", "other"}
    rules.compile_inputs(listens).compiled(listens)

    # And it is taken from some
    rules.observe(api.put({**grant, "spec": {**spec, "from": [{"namespace": "third"}]}}))

    # Then
    assert rules.take_changes().concerned == {"demo", "other", "third"}
    with pytest.raises(PolicyViolation, match="no EventGrant of namespace shop"):
        rules.compile_inputs(listens).compiled(listens)


async def test_a_type_concerns_all_who_may_hear_events_of_its_namespace(
    rules: PolicyCache, api: Objects
) -> None:
    # Given
    rules.observe(
        api.add("EventGrant", "orders", "shop", **{"from": [{"namespace": "demo"}], "types": [">"]})
    )
    rules.take_changes()
    listening = {
        "demo": seen_agent(subscribe=[{"type": PLACED, "namespace": "shop"}]),
        "shop": seen_agent("shop"),
        "other": seen_agent("other"),
    }
    before = {name: rules.compile_inputs(body) for name, body in listening.items()}

    # When
    placed = api.add("EventType", "placed", "shop", type=PLACED, schema={"type": "object"})
    rules.observe(placed)

    # Then
    assert rules.take_changes().concerned == {"demo", "shop"}
    after = {name: rules.compile_inputs(body) for name, body in listening.items()}
    assert {name for name, basis in before.items() if after[name] != basis} == {"demo", "shop"}
    rules.observe(api.remove(placed), deleted=True)
    assert rules.take_changes().concerned == {"demo", "shop"}


# --- lists -------------------------------------------------------------------------------------------------------


async def test_what_is_granted_to_an_agent_that_does_not_hear_it_is_nothing_to_it(
    rules: PolicyCache, api: Objects
) -> None:
    # Given one that hears the shop, and, as it was last valid, the bank
    hears = seen_agent(subscribe=[{"type": PLACED, "namespace": "shop"}])
    kept = dump_last_valid(seen_agent(subscribe=[{"type": PLACED, "namespace": "bank"}]))
    rules.observe(api.add("EventGrant", "it", "shop", **{"from": [{"namespace": "demo"}], "types": [">"]}))
    before = rules.compile_inputs(hears, kept)
    rules.take_changes()

    # When somebody else grants it something, and describes events
    rules.observe(api.add("EventGrant", "it", "else", **{"from": [{"namespace": "demo"}], "types": [">"]}))
    rules.observe(api.add("EventType", "it", "else", type=PLACED, schema={"type": "string"}))

    # Then it is compiled with the same as before,
    assert rules.take_changes().concerned == {"demo", "else"}
    assert rules.compile_inputs(hears, kept) == before

    # and with what those say whom it hears, or may hear again
    for namespace in ("shop", "bank"):
        rules.observe(
            api.add("EventGrant", "more", namespace, **{"from": [{"namespace": "demo"}], "types": ["a.>"]})
        )
        rules.observe(api.add("EventType", "it", namespace, type=PLACED, schema={"type": "string"}))
        now = rules.compile_inputs(hears, kept)
        assert now.permissions != before.permissions and now.schemas != before.schemas
        before = now


@pytest.mark.parametrize(
    "kept", ["", "[]", '{"spec": 1}', '{"generation": 1, "spec": 7}', "[" * 100_000, '{"generation": "x"}']
)
async def test_a_last_valid_spec_that_somebody_else_wrote_is_none_to_go_back_to(
    rules: PolicyCache, kept: str
) -> None:
    wrong = seen_agent(handlers=[{"name": "ask", "type": "a..b"}])

    choice = choose_generation(wrong, kept, rules.compile_inputs(wrong, kept).compiled)

    assert choice.program is None
    assert choice.word.reason == "Invalid" and "spec.handlers[0].type" in choice.word.message


async def test_nothing_is_kept_of_namespaces_that_were_named_once(rules: PolicyCache, api: Objects) -> None:
    grant = api.add("EventGrant", "it", "shop", **{"from": [{"namespace": "demo"}], "types": [">"]})
    others = [
        api.add("AgentPolicy", "it", "bank", **ALL),
        api.add("EventType", "it", "bank", type=PLACED, schema={}),
    ]
    for body in (grant, *others):
        rules.observe(body)
    for number in range(3):
        grant = api.put({**grant, "spec": {"from": [{"namespace": f"n-{number}"}], "types": [">"]}})
        rules.observe(grant)
    assert list(rules._grants) == ["n-2"]

    for body in (grant, *others):
        rules.observe(api.remove(body), deleted=True)

    assert not (rules._grants or rules._policies or rules._types._types or rules._known)


async def test_a_list_finds_what_nobody_showed(rules: PolicyCache, api: Objects) -> None:
    # Given one that is known and gone, and one that is not known
    gone = api.add("AgentPolicy", "gone", **ALL, emissions=[])
    rules.observe(gone)
    api.remove(gone)
    api.add("AgentPolicy", "new", "other", **ALL, emissions=[])

    await rules.relist()

    assert rules.take_changes().concerned == {"demo", "other"}
    rules.compile_inputs(seen_agent()).compiled(seen_agent())
    with pytest.raises(PolicyViolation, match="other/new"):
        rules.compile_inputs(seen_agent("other")).compiled(seen_agent("other"))


async def test_what_happens_while_a_list_is_made_is_not_undone_by_it(
    rules: PolicyCache, api: Objects
) -> None:
    # Given
    leaving = api.add("AgentPolicy", "leaving", **ALL, emissions=[])
    edited = api.add("AgentPolicy", "edited", "other", **ALL, emissions=[])
    for body in (leaving, edited):
        rules.observe(body)

    # When the list is older than what the watch shows meanwhile
    def meanwhile(plural: str) -> None:
        if plural == names.AGENT_POLICIES:
            rules.observe(api.remove(leaving), deleted=True)
            rules.observe(api.put({**edited, "spec": {**ALL, "emissions": [{"type": ">"}]}}))
            rules.observe(api.add("AgentPolicy", "coming", "third", **ALL, emissions=[]))

    api.during_list = meanwhile
    await rules.relist()

    # Then
    rules.compile_inputs(seen_agent()).compiled(seen_agent())
    rules.compile_inputs(seen_agent("other")).compiled(seen_agent("other"))
    with pytest.raises(PolicyViolation, match="third/coming"):
        rules.compile_inputs(seen_agent("third")).compiled(seen_agent("third"))


async def test_another_one_of_the_same_name_is_another_one(rules: PolicyCache, api: Objects) -> None:
    # Given one that was replaced while nobody looked
    first = api.add("AgentPolicy", "strict", **ALL, emissions=[])
    rules.observe(first)
    api.remove(first)
    api.add("AgentPolicy", "strict", **ALL, emissions=[{"type": ">"}])

    # When it is listed, and the end of the first one is shown late
    await rules.relist()
    rules.observe(first, deleted=True)

    # Then
    permissions = rules.compile_inputs(seen_agent()).permissions
    assert permissions.emissions is not None
    assert permissions.emissions.allowed == (">",)


# --- which generation runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emits", "runs", "reason"),
    [
        ((PLACED, PLACED), 2, "Subscribed"),
        ((PLACED, "com.example.x"), 1, "PolicyViolation"),
        (("com.example.x", PLACED), 2, "Subscribed"),
        (("com.example.x", "com.example.y"), None, "PolicyViolation"),
        ((PLACED, "not a type"), 1, "Invalid"),
        (("com.example.x", "not a type"), None, "Invalid"),
    ],
)
async def test_the_newest_generation_that_is_valid_and_allowed_runs(
    rules: PolicyCache, api: Objects, emits: tuple[str, str], runs: int | None, reason: str
) -> None:
    rules.observe(api.add("AgentPolicy", "orders", **ALL, emissions=[{"type": "com.example.order.*"}]))
    first, second = (
        seen_agent(
            generation=number,
            handlers=[{"name": "ask", "type": "com.example.question", "emit": [{"type": type_}]}],
        )
        for number, type_ in enumerate(emits, 1)
    )

    choice = choose_generation(second, dump_last_valid(first), rules.compile_inputs(second).compiled)

    assert (choice.program and choice.program.generation) == runs
    assert (choice.word.generation, choice.word.reason) == (2, reason)
    assert ("is stopped" in choice.word.message) == (runs is None)
    assert (choice.word.last_valid_spec is None) == (runs == 2)


async def test_one_that_was_never_allowed_has_nothing_to_go_back_to(rules: PolicyCache, api: Objects) -> None:
    rules.observe(api.add("AgentPolicy", "none", **ALL, emissions=[]))

    choice = choose_generation(seen_agent(), None, rules.compile_inputs(seen_agent()).compiled)

    assert choice.program is None
    assert (choice.word.status, choice.word.reason, choice.word.last_valid_spec) == (
        "False",
        "PolicyViolation",
        None,
    )


# --- what is said of them ------------------------------------------------------------------------------------------


async def test_each_is_said_to_be_accepted_once(rules: PolicyCache, api: Objects) -> None:
    # Given
    bodies = [
        api.add("AgentPolicy", "strict", **ALL),
        api.add("EventGrant", "orders", **FROM_OTHER),
        api.add("EventType", "placed", type=PLACED, schema={"type": "object"}),
    ]

    # When they are listed, and what is written is shown
    await rules.relist()
    rules.write_accepted(rules.take_changes().unsaid)
    await until(lambda: len(api.writes) == 3)
    await rules.relist()
    await quiet(rules)

    # Then
    assert [api.accepted(body) for body in bodies] == [("True", "Accepted", "it is in force")] * 3
    assert len(api.writes) == 3


async def test_one_that_cannot_be_read_is_said_to_be_invalid_with_every_mistake_and_its_effect(
    rules: PolicyCache, api: Objects
) -> None:
    bodies = [api.add("AgentPolicy", "broken", **BROKEN), api.add("EventGrant", "broken", types=["a..b"])]

    await rules.relist()
    rules.write_accepted(rules.take_changes().unsaid)
    await until(lambda: len(api.writes) == 2)

    (status, reason, message), (_, _, other) = (api.accepted(body) or ("", "", "") for body in bodies)
    assert (status, reason) == ("False", "Invalid")
    assert "spec.agentSelector.matchExpressions[0].operator" in message
    assert "spec.emissions" in message
    assert message.endswith("it selects Agents all the same, and allows them nothing")
    assert "spec.from" in other
    assert other.endswith("it has no effect")


async def test_what_cannot_be_written_is_tried_again_and_what_others_wrote_is_kept(
    rules: PolicyCache, api: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an API server that does not answer, and one who writes another condition between our sight and our write
    body = api.add("AgentPolicy", "strict", **ALL)
    api.refusals = [ApiError(0, "the API server does not answer"), ApiError(409, "modified")]
    rules.observe(body)
    rules.write_accepted(rules.take_changes().unsaid)
    theirs = {"type": "Audited", "status": "True", "reason": "ByThem"}
    shown = api.put({**body, "status": {"conditions": [theirs]}})
    await until(lambda: not api.refusals)
    assert api.writes == []

    # When that is shown
    rules.observe(shown)
    await until(lambda: bool(api.writes))

    # Then
    (found,) = api.objects.values()
    assert [item["reason"] for item in found["status"]["conditions"]] == ["ByThem", "Accepted"]
    assert caplog.text.count("cannot write the condition Accepted") == 1
    await quiet(rules)


async def test_what_is_said_of_a_type_waits_for_a_comparison_with_the_others(
    rules: PolicyCache, api: Objects
) -> None:
    # Given
    first = api.add("EventType", "first", type=PLACED, schema={})
    second = api.add("EventType", "second", type=PLACED, schema={})
    wrong = api.add("EventType", "wrong", type="com.example.wrong", schema={"type": "text"})
    for body in (second, wrong, first):
        rules.observe(body)

    # When
    rules.write_accepted(rules.take_changes().unsaid)
    await until(lambda: len(api.writes) == 3)

    # Then each was written once
    said = [(api.accepted(body) or ("", ""))[:2] for body in (first, second, wrong)]
    assert said == [("True", "Accepted"), ("False", "Conflict"), ("False", "Invalid")]
    assert sorted(api.writes) == ["first", "second", "wrong"]

    # And when the older one goes, the other one is in force
    rules.observe(api.remove(first), deleted=True)
    rules.write_accepted(rules.take_changes().unsaid)
    await until(lambda: len(api.writes) == 4)
    await quiet(rules)
    assert (api.accepted(second) or ("",))[0] == "True"


@pytest.mark.parametrize("levels", [100, 300, 480])
async def test_a_type_that_nests_too_deep_is_nothing_to_the_others(
    rules: PolicyCache, api: Objects, levels: int
) -> None:
    # Given one that Python can just read, and not write
    deep = api.add("EventType", "deep", type=PLACED, schema={})
    schema: Object = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    rules.observe({**deep, "spec": {"type": PLACED, "schema": schema, "examples": [schema]}})

    # When there is another one, and a policy elsewhere
    other = api.add("EventType", "other", type="com.example.other", schema={"type": "object"})
    rules.observe(other)
    rules.observe(api.add("AgentPolicy", "strict", "shop", **ALL, emissions=[]))
    changes = rules.take_changes()
    rules.write_accepted(changes.unsaid)
    await until(lambda: len(api.writes) == 3)

    # Then
    assert changes.concerned == {"demo", "shop"}
    assert (api.accepted(deep) or ("", ""))[:2] == ("False", "Invalid")
    assert (api.accepted(other) or ("", ""))[:2] == ("True", "Accepted")
    rules.compile_inputs(seen_agent()).compiled(seen_agent())


@pytest.mark.parametrize("kind", ["AgentPolicy", "EventGrant"])
async def test_a_mistake_of_ours_in_reading_closes(
    rules: PolicyCache, api: Objects, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: Any) -> Any:
        raise RuntimeError("a mistake")

    monkeypatch.setitem(policy_cache._PARSERS, kind, breaks)
    body = api.add(
        kind, "it", **(ALL if kind == "AgentPolicy" else {"from": [{"namespace": "demo"}], "types": [">"]})
    )

    assert rules.observe(body)

    permissions = rules.compile_inputs(seen_agent()).permissions
    assert permissions.grants == ()
    assert (permissions.emissions is not None) == (kind == "AgentPolicy")


async def test_what_changed_again_is_not_said_to_be_in_force(rules: PolicyCache, api: Objects) -> None:
    body = api.add("AgentPolicy", "strict", **ALL)
    rules.observe(body)
    changes = rules.take_changes()
    rules.observe(api.put({**body, "spec": {**ALL, "emissions": []}}))

    rules.write_accepted(changes.unsaid)
    await quiet(rules)
    assert api.writes == []
    changes = rules.take_changes()
    rules.observe(api.put({**body, "spec": {**ALL, "emissions": []}}))  # nothing new
    await quiet(rules)
    assert api.writes == []

    rules.write_accepted(changes.unsaid)
    await until(lambda: bool(api.writes))


async def test_one_that_is_gone_is_not_written_of(rules: PolicyCache, api: Objects) -> None:
    first, second = (api.add("AgentPolicy", name, **ALL) for name in ("first", "second"))
    rules.observe(first)
    api.remove(first)
    api.refusals = [ApiError(0, "no answer")]
    rules.observe(second)
    rules.write_accepted(rules.take_changes().unsaid)
    api.remove(second)
    rules.observe(second, deleted=True)

    await quiet(rules)

    assert api.writes == []


async def quiet(rules: PolicyCache) -> None:
    """Until nothing more is to be written."""
    await until(lambda: not rules._accepted._writers)
