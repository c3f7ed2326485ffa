"""The smallest client of the Kubernetes API, so that the harness depends on no client that it helps to test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3

from tests.patience import PATIENCE

MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused.

    `status` is the HTTP status, `reason` the word for machines (`Conflict`), `answer` all that it said, empty where
    that is no JSON.
    """

    def __init__(self, status: int, reason: str, message: str, answer: dict[str, Any]) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.answer = answer


@dataclass(frozen=True)
class Api:
    """One identity's view of one API server. Answers are plain JSON values.

    Connections are kept: whoever waits for something asks every few milliseconds, and a handshake costs more than an
    answer.
    """

    server: str
    authority: Path
    token: str

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self.request("POST", path, body)

    def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH) -> Any:
        return self.request("PATCH", path, body, content_type)

    def delete(self, path: str, propagation: str = "Background", grace: int | None = None) -> Any:
        options: dict[str, Any] = {"propagationPolicy": propagation}
        return self.request(
            "DELETE", path, options if grace is None else {**options, "gracePeriodSeconds": grace}
        )

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """The decoded answer. Raises ApiError when the server refuses, OSError when it does not answer."""
        text = self.send(method, path, None if body is None else json.dumps(body).encode(), content_type)
        return json.loads(text) if text.startswith(("{", "[")) else text

    def send(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> str:
        """As `request`, for texts that `json` can neither write nor read."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            answer = self._pool.request(method, self.server + path, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from error
        text = answer.data.decode()
        if answer.status >= 400:
            raise _api_error(answer.status, text)
        return text

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        again = urllib3.Retry(read=1, connect=0, status=0, redirect=0, other=0, allowed_methods=("GET",))
        return urllib3.PoolManager(
            ca_certs=str(self.authority), timeout=PATIENCE, retries=again, maxsize=8, block=False
        )


def _api_error(status: int, text: str) -> ApiError:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    return ApiError(status, answer.get("reason", ""), answer.get("message", text), answer)
