"""Service account tokens, asked of the API server (TokenReview) and remembered for a while.

Only tokens that say that they are for our audience are asked about, and not expired: what they say is believed for
nothing else. A token that was taken is remembered for REMEMBERED_S, so that is how long one may be good after its
service account or its pod is gone; one that was refused for REFUSAL_REMEMBERED_S.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from heed.core.policy.publishers import Publisher
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.metrics.instruments import LabelledCounter
from heed.util.clock import unix_time

TOKEN_REVIEWS_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
REMEMBERED_S: Final = 60.0
REFUSAL_REMEMBERED_S: Final = 10.0
MAX_REMEMBERED: Final = 10_000  # tokens
MAX_CONCURRENT_REVIEWS: Final = 8
MAX_WAITING_REVIEWS: Final = 256  # those included that are under way
REVIEW_PATIENCE_S: Final = 5.0  # for the API server, and for a turn
MAX_TOKEN_CHARS: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class ReviewedToken:
    """What the API server said, and until when that counts, by the monotonic clock."""

    publisher: Publisher | None
    until: float


class TokenReviewer:
    """Asks who has a token. `reviews` counts what was asked, by outcome."""

    def __init__(
        self,
        api: KubeApi,
        audience: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = unix_time,
    ) -> None:
        self.reviews = LabelledCounter("outcome")
        self._api, self._audience, self._clock, self._wall = api, audience, clock, wall
        self._known: OrderedDict[bytes, ReviewedToken] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[ReviewedToken]] = {}
        self._turns = asyncio.Semaphore(MAX_CONCURRENT_REVIEWS)

    def is_candidate(self, token: str) -> bool:
        """Whether a token is worth asking about: it says that it is for our audience, and has not expired."""
        claims = _claims(token)
        audiences = claims.get("aud")
        named = audiences if isinstance(audiences, list) else [audiences]
        return self._audience in named and _expiry(claims) > self._wall()

    def remembered(self, token: str) -> ReviewedToken | None:
        """What is known of a token without asking, or None."""
        found = self._known.get(_digest(token))
        return found if found is not None and found.until > self._clock() else None

    def was_good(self, token: str) -> bool:
        """Whether a token was taken when it was last asked about, however long ago that is."""
        found = self._known.get(_digest(token))
        return found is not None and found.publisher is not None

    async def review(self, token: str) -> Publisher | None:
        """Who has this token; None where it is not good. Raises ApiError."""
        if not self.is_candidate(token):
            return None
        if (known := self.remembered(token)) is not None:
            return known.publisher
        key = _digest(token)
        if (asking := self._asked.get(key)) is None:
            if len(self._asked) >= MAX_WAITING_REVIEWS:
                raise ApiError(0, f"{MAX_WAITING_REVIEWS} tokens wait for a review already")
            asking = self._asked[key] = asyncio.create_task(self._ask(token))
            asking.add_done_callback(partial(self._note_end, key))
        try:
            async with asyncio.timeout(REVIEW_PATIENCE_S):
                # Several may wait for one answer, and one of them may go away.
                return (await asyncio.shield(asking)).publisher
        except TimeoutError:
            raise ApiError(0, f"no answer within {REVIEW_PATIENCE_S:g} s") from None

    def _note_end(self, key: bytes, asking: "asyncio.Task[ReviewedToken]") -> None:
        del self._asked[key]
        if not asking.cancelled():
            asking.exception()  # looked at: those who waited for it may be gone

    async def _ask(self, token: str) -> ReviewedToken:
        async with self._turns:
            body = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token, "audiences": [self._audience]},
            }
            try:
                status = (await self._api.create(TOKEN_REVIEWS_PATH, body)).body.get("status") or {}
            except ApiError:
                self.reviews.add("failed")
                raise
        publisher = self._publisher(status)
        self.reviews.add("accepted" if publisher else "refused")
        lasts = (
            min(REMEMBERED_S, _expiry(_claims(token)) - self._wall()) if publisher else REFUSAL_REMEMBERED_S
        )
        found = ReviewedToken(publisher, self._clock() + lasts)
        self._known[_digest(token)] = found
        self._known.move_to_end(_digest(token))
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _publisher(self, status: Mapping[str, Any]) -> Publisher | None:
        """Who it is, where the API server says so, for our audience: one that knows no audiences names none."""
        user = status.get("user") or {}
        if status.get("authenticated") is not True or self._audience not in (status.get("audiences") or ()):
            return None
        name = user.get("username")
        return (
            Publisher(name, frozenset(user.get("groups") or ())) if isinstance(name, str) and name else None
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _claims(token: str) -> Mapping[str, Any]:
    """What a JWT says, unverified; nothing where it is none."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN_CHARS or not token.isascii():
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _expiry(claims: Mapping[str, Any]) -> float:
    """When a token expires, in Unix seconds; 0 where it does not say."""
    expiry = claims.get("exp")
    return float(expiry) if isinstance(expiry, int | float) and abs(expiry) < 2**53 else 0.0
