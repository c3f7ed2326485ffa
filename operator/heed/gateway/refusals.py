"""Requests that are refused: one exception for all of them, answered with a problem document (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from heed.errors import HeedError

SENDER: Final = web.RequestKey("sender", str)  # of a request, once it is known: its name, for the log
PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2  # for whatever passes by itself, if nothing better is known


class RequestRefused(HeedError):
    """A request that is refused: HTTP's `status`, a CamelCase `code` for machines, and `detail`, which says what to do.

    `members` go into the problem document beside these: `attribute`, `index` and the like. `headers` are the
    response's own.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.members, self.headers = dict(members or {}), dict(headers or {})

    def response(self) -> web.Response:
        """The response with its problem document."""
        document = {
            "type": f"urn:heed:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        body = json.dumps(document, ensure_ascii=False).encode(errors="replace")
        return web.Response(
            status=self.status, body=body, headers={**self.headers, "Content-Type": PROBLEM_TYPE}
        )


def busy(status: int, code: str, detail: str, retry_after_s: float = RETRY_AFTER_S) -> RequestRefused:
    """A refusal of what may be sent again later, with Retry-After: 429 or 503."""
    seconds = max(1, -int(-retry_after_s // 1))
    return RequestRefused(status, code, detail, headers={"Retry-After": str(seconds)})
