"""The smallest client of the Kubernetes API, so that the harness depends on no client that it helps to test."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE

MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused. `status` is the HTTP status, `reason` the word for machines (`Conflict`)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Api:
    """One identity's view of one API server. Answers are plain JSON values; connections are not kept."""

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
        request = urllib.request.Request(self.server + path, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content_type)
        try:
            with self._opener().open(request, timeout=PATIENCE) as answer:
                text: str = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise _api_error(error.code, error.read().decode()) from None
        except http.client.HTTPException as error:  # cut off in the middle of an answer
            raise ConnectionError(str(error)) from error
        return json.loads(text) if text.startswith(("{", "[")) else text

    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context(cafile=str(self.authority))
        without_proxy = urllib.request.ProxyHandler({})
        return urllib.request.build_opener(without_proxy, urllib.request.HTTPSHandler(context=context))


def _api_error(status: int, text: str) -> ApiError:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    return ApiError(status, answer.get("reason", ""), answer.get("message", text))
