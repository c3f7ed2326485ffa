"""Abuse protection of web hooks (HTTP 1.1 Web Hooks for Event Delivery, section 4): whose deliveries are expected.

It protects senders from being made to send to whom does not expect it, and is no authentication. Permission is given
in the response only: a callback URL is never called, since anybody may name any.
"""

import re
from collections.abc import Mapping
from typing import Final

from heed.gateway.refusals import RequestRefused

ORIGIN: Final = "WebHook-Request-Origin"
RATE: Final = "WebHook-Request-Rate"
ALLOWED_ORIGIN: Final = "WebHook-Allowed-Origin"
ALLOWED_RATE: Final = "WebHook-Allowed-Rate"
ANY: Final = "*"
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.IGNORECASE)
_RATE: Final = re.compile(r"[1-9][0-9]{0,8}")


class AbuseProtection:
    """Answers handshakes. `origins` are host names by commas, or *; `rate` is in events per second, 0 for no limit."""

    def __init__(self, origins: str | None, rate: int) -> None:
        named = (item.strip().lower() for item in (origins or "").split(","))
        self._origins = frozenset(filter(None, named))
        self._rate = rate

    def permission(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of permission for a validation request. Raises RequestRefused: 400, 403, without any."""
        origin = headers.get(ORIGIN)
        if origin is None:
            raise RequestRefused(400, "NoOrigin", f"{ORIGIN} is missing; name the sending system in it")
        if not self.allows(origin):
            raise RequestRefused(403, "OriginNotAllowed", _REMEDY)
        asked = headers.get(RATE)
        if asked is not None and not _RATE.fullmatch(asked):
            raise RequestRefused(
                400, "BadRate", f"{RATE} is no whole number of requests per minute; send one"
            )
        return {ALLOWED_ORIGIN: origin, ALLOWED_RATE: self._allowed_rate(asked)}

    def check_delivery(self, headers: Mapping[str, str]) -> None:
        """Raise RequestRefused, 403, for a delivery of a system that is not allowed; others name none."""
        origin = headers.get(ORIGIN)
        if self._origins and origin is not None and not self.allows(origin):
            raise RequestRefused(403, "OriginNotAllowed", _REMEDY)

    def allows(self, origin: str) -> bool:
        """Whether deliveries of this system are expected."""
        return _HOST.fullmatch(origin) is not None and (
            ANY in self._origins or origin.lower() in self._origins
        )

    def _allowed_rate(self, asked: str | None) -> str:
        """Requests per minute: what was asked for, as far as the limit of a sender lets them."""
        if not self._rate:
            return asked or ANY
        most = self._rate * 60
        return str(most if asked is None else min(most, int(asked)))


_REMEDY: Final = (
    "deliveries of this system are not expected here; it has to be among HEED_GATEWAY_ALLOWED_ORIGINS"
)
