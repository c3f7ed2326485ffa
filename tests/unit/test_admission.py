"""What is let in: only what is new is judged, and as the operator will judge it."""

from __future__ import annotations

from typing import Any

from heed.core.compiler.admission import (
    ADMITTED,
    AdmissionRequest,
    AdmissionVerdict,
    ClusterContext,
    is_unchanged,
    judge,
)

Document = dict[str, Any]


def document(kind: str, spec: Any, name: str = "it", namespace: str = "demo", **metadata: Any) -> Document:
    return {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def agent(
    when: str = "true", emits: str = "x.done", *, hears: str | None = None, **metadata: Any
) -> Document:
    subscription = {"type": "x.asked"} | ({"namespace": hears} if hears else {})
    handler = {"name": "h", "type": "x.asked", "when": when, "emit": [{"type": emits}]}
    return document("Agent", {"subscribe": [subscription], "handlers": [handler]}, **metadata)


def policy(*emissions: str, name: str = "strict", **spec: Any) -> Document:
    allowed = [{"type": item} for item in emissions]
    return document("AgentPolicy", {"agentSelector": {}, "emissions": allowed, **spec}, name)


def grant(*types: str, namespace: str = "shop") -> Document:
    return document("EventGrant", {"from": [{"namespace": "demo"}], "types": list(types)}, "g", namespace)


def event_type(schema: Any, *examples: Any, name: str = "asked", **metadata: Any) -> Document:
    spec = {"type": "x.asked", "schema": schema, "examples": list(examples)}
    return document("EventType", spec, name, **metadata)


def judged(new: Document, old: Document | None = None, **around: Any) -> AdmissionVerdict:
    return judge(AdmissionRequest(new["kind"], new, old), ClusterContext(**around))


def paths(verdict: AdmissionVerdict) -> list[str]:
    return [item.path for item in verdict.problems]


# --- what is new --------------------------------------------------------------------------------------------


def test_what_stays_as_it_is_passes_however_wrong_it_is() -> None:
    wrong = agent("nothing")

    assert paths(judged(wrong)) == ["spec.handlers[0].when"]
    assert judged(agent("nothing", annotations={"a": "b"}, finalizers=["x"]), wrong) == ADMITTED
    assert is_unchanged(AdmissionRequest("Agent", {**wrong, "status": {"totals": {}}}, wrong))


def test_what_is_on_its_way_out_passes() -> None:
    leaving = agent("nothing", deletionTimestamp="2026-11-01T00:00:00Z")

    assert judged(leaving, agent()) == ADMITTED


def test_a_new_spec_is_judged_also_where_the_old_one_was_wrong() -> None:
    assert paths(judged(agent("neither"), agent("nothing"))) == ["spec.handlers[0].when"]
    assert judged(agent(), agent("nothing")).problems == ()


def test_other_labels_are_never_refused() -> None:
    selects = policy(agentSelector={"matchLabels": {"team": "a"}})

    verdict = judged(agent(labels={"team": "a"}), agent(), policies=[selects])

    assert verdict.problems == ()
    assert "AgentPolicy demo/strict allows no emission of x.done" in verdict.warnings[0]


# --- by what it is judged -----------------------------------------------------------------------------------


def test_policies_of_other_namespaces_and_for_other_agents_are_nothing_to_it() -> None:
    others = [
        {**policy(), "metadata": {"name": "strict", "namespace": "other"}},
        policy(agentSelector={"matchLabels": {"team": "a"}}),
    ]

    assert judged(agent(), policies=others) == ADMITTED
    assert paths(judged(agent(), policies=[policy("x.other")])) == ["spec.handlers[0].emit[0].type"]


def test_a_policy_that_cannot_be_read_allows_nothing_here_either() -> None:
    broken = document("AgentPolicy", {"agentSelector": {}, "emissions": "all"})

    assert paths(judged(agent(), policies=[broken])) == [
        "spec.subscribe[0].type",
        "spec.handlers[0].emit[0].type",
    ]


def test_a_missing_grant_is_a_warning_and_a_policy_is_not() -> None:
    waiting = judged(agent(hears="shop"))
    assert waiting.problems == ()
    assert "waits until it is granted: spec.subscribe[0].namespace" in waiting.warnings[0]

    assert judged(agent(hears="shop"), grants=[grant("x.>")]) == ADMITTED

    both = judged(agent(hears="shop"), policies=[policy("x.done", subscriptions=[])])
    assert paths(both) == ["spec.subscribe[0].type"]
    assert "waits until it is granted" in both.warnings[0]


def test_a_policy_names_only_agents_that_it_newly_stops() -> None:
    agents = [agent(name="a"), agent(name="b", emits="x.other"), agent("nothing", name="invalid")]

    verdict = judged(policy("x.done"), agents=agents)
    assert [item.partition(":")[0] for item in verdict.warnings] == ["stops Agent demo/b"]

    # one that was stopped already is no news, and neither is one that another policy lets run
    assert judged(policy("x.done"), policy("x.none"), agents=agents, policies=[policy("x.none")]) == ADMITTED
    generous = policy("x.>", name="generous")
    assert judged(policy("x.done"), agents=agents, policies=[generous]) == ADMITTED


def test_a_narrower_grant_names_the_agents_that_it_stops() -> None:
    agents = [agent(hears="shop")]

    verdict = judged(grant("x.sold"), grant("x.>"), grants=[grant("x.>")], agents=agents)

    assert "stops Agent demo/it: spec.subscribe[0].namespace" in verdict.warnings[0]
    assert judged(grant("x.asked"), grant("x.>"), grants=[grant("x.>")], agents=agents) == ADMITTED


def test_many_are_counted_and_a_look_that_was_cut_short_says_so() -> None:
    agents = [agent(name=f"a{number}") for number in range(9)]
    request = AdmissionRequest("AgentPolicy", policy())

    assert judge(request, ClusterContext(agents=agents)).warnings[-1] == "stops 4 more Agents"

    steps = iter([True, True, False])
    cut = judge(request, ClusterContext(agents=agents), lambda: next(steps)).warnings
    assert [item.partition(":")[0] for item in cut[:2]] == ["stops Agent demo/a0", "stops Agent demo/a1"]
    assert "more Agents than were looked at" in cut[2]
    assert "more Agents than were looked at" in judge(request, ClusterContext(complete=False)).warnings[0]


# --- types --------------------------------------------------------------------------------------------------


def test_a_schema_and_its_examples_are_judged() -> None:
    schema = {"type": "object", "properties": {"topic": {"type": "string"}}}

    assert judged(event_type(schema, {"topic": "tides"}, {})) == ADMITTED
    assert paths(judged(event_type(schema, {}, {"topic": 7}, []))) == ["spec.examples[1]", "spec.examples[2]"]
    assert paths(judged(event_type({"type": "objekt"}, {"topic": 7})))[0].startswith("spec.schema")


def test_the_older_of_two_types_counts() -> None:
    older = event_type({}, name="z", creationTimestamp="2026-01-01T00:00:00Z")
    younger = event_type({}, name="a", creationTimestamp="2026-02-01T00:00:00Z")
    both = [older, younger]

    def edited(item: Document) -> Document:
        return {**item, "spec": {**item["spec"], "schema": {"type": "object"}}}

    assert judged(event_type({}), types=[older]).warnings == (
        "has no effect: EventType demo/z, which is older, describes x.asked already",
    )
    assert judged(edited(younger), younger, types=both).warnings[0].startswith("has no effect")
    assert judged(edited(older), older, types=both).warnings == (
        "takes effect instead of EventType demo/a, which is younger",
    )


def test_what_is_not_ours_is_fine() -> None:
    assert judged(document("Other", {})) == ADMITTED
