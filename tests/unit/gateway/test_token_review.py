"""Reviews of service account tokens: which are asked about, for how long answers count, and what is believed."""

import asyncio
import base64
import json
from typing import Any, cast

import pytest

from heed.core.policy.publishers import Publisher
from heed.gateway.inbound import token_review
from heed.gateway.inbound.token_review import TOKEN_REVIEWS_PATH, TokenReviewer
from heed.kube.client.client import ApiError, ApiResponse, KubeApi

NOW = 1_800_000_000.0
USER = "system:serviceaccount:shop:till"
GOOD = {"authenticated": True, "audiences": ["heed"], "user": {"username": USER, "groups": ["g"]}}


def jwt(**claims: Any) -> str:
    """A token that says this."""
    text = json.dumps({"aud": ["heed"], "exp": NOW + 3600, **claims}).encode()
    return f"h.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.s"


class PlayedApi:
    """Answers reviews."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | ApiError = GOOD
        self.asked: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def create(self, path: str, body: dict[str, Any]) -> ApiResponse:
        assert path == TOKEN_REVIEWS_PATH
        self.asked.append(body["spec"])
        await self.open.wait()
        if isinstance(self.status, ApiError):
            raise self.status
        return ApiResponse({"status": self.status}, 0)


class Rig:
    """A reviewer with its API server and its clocks."""

    def __init__(self) -> None:
        self.api, self.monotonic, self.wall = PlayedApi(), 50.0, NOW
        self.reviewer = TokenReviewer(
            cast(KubeApi, self.api), "heed", clock=lambda: self.monotonic, wall=lambda: self.wall
        )

    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


@pytest.fixture
def rig() -> Rig:
    """One where every token is good."""
    return Rig()


async def test_the_api_server_says_who_it_is(rig: Rig) -> None:
    token = jwt()

    assert await rig.reviewer.review(token) == Publisher(USER, frozenset({"g"}))
    assert rig.api.asked == [{"token": token, "audiences": ["heed"]}]
    assert rig.reviewer.reviews.counts == {("accepted",): 1}


async def test_an_answer_counts_for_a_minute(rig: Rig) -> None:
    token = jwt()
    await rig.reviewer.review(token)
    rig.pass_time(59.9)
    await rig.reviewer.review(token)
    assert len(rig.api.asked) == 1
    rig.pass_time(0.1)
    await rig.reviewer.review(token)
    assert len(rig.api.asked) == 2


async def test_a_refusal_counts_for_ten_seconds(rig: Rig) -> None:
    token, rig.api.status = jwt(), {"authenticated": False, "error": "gone"}
    assert await rig.reviewer.review(token) is None
    rig.pass_time(9.9)
    assert await rig.reviewer.review(token) is None
    assert len(rig.api.asked) == 1
    rig.pass_time(0.1)
    rig.api.status = GOOD
    assert await rig.reviewer.review(token) is not None


async def test_a_token_does_not_outlive_its_expiry(rig: Rig) -> None:
    token = jwt(exp=NOW + 20)
    assert await rig.reviewer.review(token) is not None
    rig.monotonic += 20  # also where the wall clock stands still
    await rig.reviewer.review(token)
    assert len(rig.api.asked) == 2
    rig.wall += 20
    assert await rig.reviewer.review(token) is None
    assert len(rig.api.asked) == 2


@pytest.mark.parametrize(
    "status",
    [
        {},
        {**GOOD, "authenticated": False},
        {**GOOD, "authenticated": "true"},
        {**GOOD, "audiences": ["https://kubernetes.default.svc"]},
        {**GOOD, "audiences": None},
        {**GOOD, "user": {}},
    ],
)
async def test_nothing_less_is_believed(rig: Rig, status: dict[str, Any]) -> None:
    rig.api.status = status

    assert await rig.reviewer.review(jwt()) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b",
        "a.%%%.c",
        f"h.{base64.urlsafe_b64encode(b'[]').decode()}.s",
        f"h.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.s",
        jwt(aud="kubernetes"),
        jwt(aud=["https://kubernetes.default.svc"]),
        jwt(aud=None),
        jwt(exp=NOW),
        jwt(exp=None),
        jwt(exp="later"),
        jwt(exp=10**400),
        jwt(padding="x" * 17_000),
        jwt() + "é",
    ],
)
async def test_what_cannot_be_good_is_not_asked_about(rig: Rig, token: str) -> None:
    assert await rig.reviewer.review(token) is None
    assert rig.api.asked == []


async def test_an_audience_may_be_a_text(rig: Rig) -> None:
    assert await rig.reviewer.review(jwt(aud="heed")) is not None


async def test_an_api_server_that_does_not_answer_is_asked_again(rig: Rig) -> None:
    token, rig.api.status = jwt(), ApiError(0, "no answer")
    with pytest.raises(ApiError):
        await rig.reviewer.review(token)
    rig.api.status = GOOD
    assert await rig.reviewer.review(token) is not None


async def test_several_requests_share_a_review_and_one_may_go_away(rig: Rig) -> None:
    rig.api.open.clear()
    token = jwt()
    waiting = [asyncio.create_task(rig.reviewer.review(token)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    rig.api.open.set()

    assert [item is not None for item in await asyncio.gather(*waiting[1:])] == [True, True]
    assert len(rig.api.asked) == 1


async def test_few_reviews_are_under_way_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.api.open.clear()
    waiting = [asyncio.create_task(rig.reviewer.review(jwt(jti=number))) for number in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(rig.api.asked) == token_review.MAX_CONCURRENT_REVIEWS
    rig.api.open.set()
    await asyncio.gather(*waiting)
    assert len(rig.api.asked) == 20


async def test_an_api_server_that_hangs_keeps_nobody_waiting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_review, "REVIEW_PATIENCE_S", 0.01)
    rig.api.open.clear()
    with pytest.raises(ApiError, match=r"no answer within 0\.01 s"):
        await rig.reviewer.review(jwt())

    rig.api.open.set()
    await asyncio.sleep(0.01)
    assert await rig.reviewer.review(jwt()) is not None  # the answer that came late counts
    assert len(rig.api.asked) == 1


async def test_few_tokens_wait_for_a_review(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_review, "MAX_WAITING_REVIEWS", 10)
    rig.api.open.clear()
    waiting = [asyncio.create_task(rig.reviewer.review(jwt(jti=number))) for number in range(10)]
    await asyncio.sleep(0)

    with pytest.raises(ApiError, match="10 tokens wait"):
        await rig.reviewer.review(jwt(jti=10))
    again = asyncio.create_task(rig.reviewer.review(jwt(jti=0)))  # which waits already
    await asyncio.sleep(0)
    rig.api.open.set()

    assert None not in await asyncio.gather(*waiting, again)
    assert await rig.reviewer.review(jwt(jti=10)) is not None


async def test_few_tokens_are_remembered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_review, "MAX_REMEMBERED", 2)
    for number in (1, 2, 3):
        await rig.reviewer.review(jwt(jti=number))
    assert rig.reviewer.remembered(jwt(jti=1)) is None
    assert rig.reviewer.remembered(jwt(jti=2)) is not None
