"""What the gateway knows of a cluster: Agents, asked for when needed; policies, watched; and tokens, reviewed."""

import asyncio
import base64
import json
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from heed import names
from heed.core.policy.gateway_rules import NO_RULES
from heed.core.policy.publishers import Publisher
from heed.gateway import policies as policies_module
from heed.gateway.inbound import agents, authentication, token_review
from heed.gateway.inbound.agents import ClusterAgents
from heed.gateway.inbound.authentication import BearerAuthenticator, bearer_token
from heed.gateway.inbound.senders import ClusterSender, EventAddress
from heed.gateway.inbound.token_review import TokenReviewer
from heed.gateway.objects import open_source
from heed.gateway.part import GatewayContext
from heed.gateway.policies import GatewayPolicies
from heed.gateway.refusals import RequestRefused
from heed.kube.client.client import OBJECT_METADATA_ONLY, ApiError, ApiResponse, KubeApi
from tests.builders.manifests import policy_manifest
from tests.unit.apiserver import ApiServer
from tests.unit.fleets import path

# --- Agents ---------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At some time."""
    return Clock()


@pytest.fixture
def known(server: ApiServer, clock: Clock) -> ClusterAgents:
    """The Agents of a cluster with one."""
    server.add(path("clerk"), metadata={"labels": {"app": "till"}}, spec={})
    return ClusterAgents(server.connect(KubeApi), clock)


async def test_an_agents_labels_are_asked_for_without_its_status_and_remembered(
    server: ApiServer, known: ClusterAgents, clock: Clock
) -> None:
    assert await known.labels("demo", "clerk") == {"app": "till"}
    assert server.media[0][0] == OBJECT_METADATA_ONLY
    clock.now += 9.9
    assert await known.labels("demo", "clerk") == {"app": "till"}
    assert server.count("GET") == 1
    clock.now += 0.1
    server.edit(path("clerk"), metadata={"labels": None})
    assert await known.labels("demo", "clerk") == {}
    assert server.count("GET") == 2


async def test_that_there_is_none_is_remembered_for_a_moment(
    server: ApiServer, known: ClusterAgents, clock: Clock
) -> None:
    assert await known.labels("demo", "nobody") is None
    server.add(path("nobody"), spec={})
    clock.now += 1.9
    assert await known.labels("demo", "nobody") is None
    clock.now += 0.1
    assert await known.labels("demo", "nobody") == {}


@pytest.mark.parametrize(("status", "stays"), [(500, True), (503, True), (403, False)])
async def test_in_an_outage_what_was_known_last_counts(
    server: ApiServer, known: ClusterAgents, clock: Clock, status: int, stays: bool
) -> None:
    await known.labels("demo", "clerk")
    clock.now += 3600
    server.refuse = lambda method, path: status

    if stays:
        assert await known.labels("demo", "clerk") == {"app": "till"}
    else:
        with pytest.raises(RequestRefused):
            await known.labels("demo", "clerk")
    with pytest.raises(RequestRefused) as refused:
        await known.labels("demo", "unknown")
    assert (refused.value.status, refused.value.code) == (503, "AgentsUnavailable")


class HangingApi:
    """An API server that answers once it is let, and counts what it was asked."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked = 0

    async def get(self, path: str, accept: str) -> ApiResponse:
        self.asked += 1
        await self.answers.wait()
        return ApiResponse({"metadata": {"labels": {"app": "till"}}}, 0)


async def test_one_that_does_not_answer_soon_keeps_no_sender_waiting_for_what_is_known(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "ASK_PATIENCE_S", 0.01)
    api = HangingApi()
    known = ClusterAgents(cast(KubeApi, api), clock)

    # Given an API server that hangs: of what was never known, senders are told to come again
    refused = await asyncio.gather(*(known.labels("demo", "clerk") for _ in range(3)), return_exceptions=True)
    assert [item.status for item in refused if isinstance(item, RequestRefused)] == [503] * 3
    assert api.asked == 1

    # When it answers, that counts for those who come again
    api.answers.set()
    await asyncio.sleep(0.01)
    assert await known.labels("demo", "clerk") == {"app": "till"}
    assert api.asked == 1

    # And when it hangs again, what is known does, and is asked for only now and then
    api.answers.clear()
    clock.now += 3600
    for _ in range(5):
        assert await known.labels("demo", "clerk") == {"app": "till"}
    assert api.asked == 2
    api.answers.set()


async def test_few_agents_are_remembered(
    server: ApiServer, known: ClusterAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "MAX_REMEMBERED", 1)
    await known.labels("demo", "clerk")
    await known.labels("demo", "nobody")
    await known.labels("demo", "clerk")
    assert server.count("GET") == 3


# --- policies -------------------------------------------------------------------------------------------------------


def policy_object(name: str, namespace: str = "demo", **spec: Any) -> dict[str, Any]:
    """A policy as a list shows it: without its kind."""
    manifest = policy_manifest(name, namespace=namespace, **spec)
    return {
        "metadata": {**manifest["metadata"], "uid": name, "resourceVersion": "1"},
        "spec": manifest["spec"],
    }


def watched_policies(namespace: str | None = None) -> GatewayPolicies:
    """Those of a cluster, or of one namespace."""
    settings = SimpleNamespace(namespace=namespace)
    context = cast(GatewayContext, SimpleNamespace(api=object(), settings=settings))
    return GatewayPolicies(partial(open_source, context, names.AGENT_POLICY))


@pytest.fixture
def policies() -> GatewayPolicies:
    """Known, and none yet."""
    made = watched_policies()
    made._source.synced.set()
    return made


def test_policies_are_known_by_namespace(policies: GatewayPolicies) -> None:
    policies._observe(policy_object("a", publishers=[{"user": "jane"}]), False)
    policies._observe(policy_object("b", "other"), False)

    assert [item.metadata.name for item in policies.of("demo")] == ["a"]
    assert [item.metadata.name for item in policies.of("other")] == ["b"]
    assert list(policies.of("elsewhere")) == []
    assert "elsewhere" not in policies._policies  # a question about a namespace leaves nothing behind
    policies._observe(policy_object("a"), True)
    assert list(policies.of("demo")) == []
    policies._observe(policy_object("a"), True)  # which was not known
    assert list(policies.of("demo")) == []


def test_a_change_of_rules_is_told_and_nothing_else(policies: GatewayPolicies) -> None:
    told = list[str]()
    policies.tell_changes(told.append)

    policies._observe(policy_object("a", publishers=[]), False)
    assert told == [] and policies.rules("demo") == NO_RULES
    policies._observe(policy_object("b", eventSources=[]), False)
    assert told == ["demo"] and policies.rules("demo").publishing_problem("a.b") is not None
    policies._observe(policy_object("b", eventSources=[], publishers=[]), False)
    policies._observe(policy_object("c", "other"), False)
    assert told == ["demo"]
    policies._observe(policy_object("b", eventSources=[]), True)
    assert told == ["demo", "demo"] and policies.rules("demo") == NO_RULES
    assert policies._rules == {}


def test_a_policy_that_cannot_be_read_lets_nobody_publish(
    policies: GatewayPolicies, caplog: pytest.LogCaptureFixture
) -> None:
    jane = ClusterSender(Publisher("jane"), policies.of)
    policies._observe(policy_object("a", publishers=[{"user": "jane"}]), False)
    assert jane.refusal(EventAddress("demo")) is None

    policies._observe(policy_object("a", publishers=[{"user": "jane"}], mistake=1), False)

    assert jane.refusal(EventAddress("demo")) is not None
    assert "cannot read an AgentPolicy" in caplog.text


def test_a_policy_that_breaks_the_reader_lets_nobody_publish(
    policies: GatewayPolicies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(document: Any) -> None:
        raise RecursionError

    monkeypatch.setattr(policies_module, "parse_policy", broken)
    policies._observe(policy_object("a", publishers=[{"user": "jane"}]), False)

    sender = ClusterSender(Publisher("jane", frozenset()), policies.of)
    assert sender.refusal(EventAddress("demo")) is not None


def test_as_long_as_policies_are_not_known_nobody_may_publish() -> None:
    unknown = watched_policies()
    own = Publisher("system:serviceaccount:demo:till", frozenset({"system:serviceaccounts:demo"}))

    with pytest.raises(RequestRefused) as refused:
        ClusterSender(own, unknown.of).refusal(EventAddress("demo"))
    assert (refused.value.status, refused.value.code) == (503, "PoliciesUnknown")


# --- tokens ---------------------------------------------------------------------------------------------------------


class PlayedReviews:
    """An API server that reviews."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | ApiError = {"authenticated": False}
        self.asked = 0

    async def create(self, path: str, body: dict[str, Any]) -> Any:
        self.asked += 1
        if isinstance(self.status, ApiError):
            raise self.status
        return type("Answer", (), {"body": {"status": self.status}})


def jwt(number: int = 0) -> str:
    """A token that is worth asking about."""
    claims = json.dumps({"aud": ["heed"], "exp": 4_000_000_000, "jti": number}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


async def authenticated(api: PlayedReviews, *tokens: str) -> list[str]:
    """What becomes of requests with these tokens, one after the other, from one address."""
    reviewer = TokenReviewer(cast(KubeApi, api), "heed")
    bearers = BearerAuthenticator(None, reviewer, lambda _: ())
    found, said = list[str](), list[str]()
    for token in tokens:
        request = make_mocked_request("POST", "/", CIMultiDict({"Authorization": f"Bearer {token}"}))
        try:
            found.append((await bearers.authenticate(request)).name)
        except RequestRefused as error:
            found.append(f"{error.status} {error.code}")
            said.append(str(error))
    assert not [token for token in tokens for text in said if token in text]
    return found


async def test_the_api_server_says_whose_a_token_is() -> None:
    api = PlayedReviews()
    assert await authenticated(api, jwt(), jwt(), "opaque") == ["401 Unauthorized"] * 3
    assert api.asked == 1
    api.status = {"authenticated": True, "audiences": ["heed"], "user": {"username": "jane"}}
    assert await authenticated(api, jwt()) == ["jane"]


async def test_an_api_server_that_cannot_be_asked_is_no_fault_of_the_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api, token = PlayedReviews(), jwt()
    api.status = ApiError(0, "no answer")

    assert await authenticated(api, token) == ["503 AuthenticationUnavailable"]
    assert token not in caplog.text


async def test_one_address_cannot_have_many_tokens_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MAX_REVIEWS_BURST", 3)
    monkeypatch.setattr(authentication, "MAX_REVIEWS_PER_S", 1)
    api = PlayedReviews()

    found = await authenticated(api, *map(jwt, (1, 2, 3, 4)), jwt(1))

    assert found[:4] == ["401 Unauthorized"] * 3 + ["429 TooManyRequests"]
    assert api.asked == 3


async def test_a_token_that_was_good_is_asked_about_whatever_else_comes_from_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authentication, "MAX_REVIEWS_BURST", 3)
    monkeypatch.setattr(authentication, "MAX_REVIEWS_PER_S", 1)
    monkeypatch.setattr(token_review, "REMEMBERED_S", 0.0)
    api = PlayedReviews()
    api.status = {"authenticated": True, "audiences": ["heed"], "user": {"username": "jane"}}

    found = await authenticated(api, *map(jwt, (1, 2, 3, 4)), jwt(1))

    assert found == ["jane", "jane", "jane", "429 TooManyRequests", "jane"]
    assert api.asked == 4


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        (["Bearer a"], "", "a"),
        (["bearer  a "], "", "a"),
        ([], "?access_token=a", "a"),
        (["Bearer a", "Bearer b"], "", "400 SeveralTokens"),
        (["Bearer a", "Bearer a"], "", "400 SeveralTokens"),
        (["Bearer a"], "?access_token=b", "400 SeveralTokens"),
        ([], "?access_token=a&access_token=b", "400 SeveralTokens"),
        ([], "", "401 Unauthorized"),
        (["Basic a"], "", "401 Unauthorized"),
        (["Bearer "], "", "401 Unauthorized"),
    ],
)
def test_a_request_shows_one_token(headers: list[str], query: str, expected: str) -> None:
    shown = CIMultiDict([("Authorization", value) for value in headers])
    request = make_mocked_request("POST", f"/{query}", shown)
    try:
        found = bearer_token(request)
    except RequestRefused as refused:
        found = f"{refused.status} {refused.code}"

    assert found == expected


def test_the_policies_of_one_namespace_are_watched_there() -> None:
    missing = str(watched_policies("team").missing())

    assert names.AGENT_POLICIES in missing and "/namespaces/team/" in missing
