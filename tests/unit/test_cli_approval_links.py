"""`heed approvals link`: which gateway is asked, as whom, and what is said where there is no link."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from heed.core.ledger.ledger import dump_ledger
from tests.builders.agents import AGENT, NAMESPACE, UID
from tests.builders.approvals import awaiting, buyer
from tests.builders.decisions import only_task
from tests.unit.cli import heed

LEDGER = awaiting(buyer())
TASK = only_task(LEDGER)
LINK = f"/v1/approvals/{NAMESPACE}/{AGENT}/{TASK}/links"
AGENTS = f"/apis/heed.dev/v1alpha1/namespaces/{NAMESPACE}/agents"
MADE = {
    "url": "https://heed.example/v1/approvals/a", "expiresAt": "2026-11-30T18:00:00Z", "task": TASK, "title": "Buy it?",
}  # fmt: skip


class Played:
    """An API server and a gateway in one. `asked` is what was sent: method, path, token and body."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, Any]] = []
        self.address: dict[str, str] | None = None
        self.link: tuple[int, bytes] = 201, json.dumps(MADE).encode()
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200, played.read(self.path.partition("?")[0]))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                path = self.path.partition("?")[0]
                played.asked.append(("POST", path, token, body))
                if path.endswith("/token"):
                    self.reply(201, {"status": {"token": "made-for-it"}})
                else:
                    self.reply(*played.link)

            def reply(self, status: int, body: Any) -> None:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def read(self, path: str) -> dict[str, Any]:
        """An Agent, or all."""
        status = dump_ledger(LEDGER) | ({"address": self.address} if self.address else {})
        agent = {"metadata": {"name": AGENT, "namespace": NAMESPACE, "uid": UID}, "status": status}
        return {"items": [agent], "metadata": {}} if path == AGENTS else agent

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """Both, and a kubeconfig of the first."""
    made = Played()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me", "namespace": NAMESPACE}}],
        "clusters": [{"name": "it", "cluster": {"server": made.url}}],
        "users": [{"name": "me", "user": {"token": "mine"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    for name in ("HEED_GATEWAY_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def link(*words: str | Path) -> Result:
    """The command, as somebody types it in the folder of the kubeconfig."""
    return heed("approvals", "link", *words, "--kubeconfig", "kubeconfig")


def test_it_asks_as_an_account_with_a_token_for_the_gateways_audience(played: Played) -> None:
    played.address = {"url": f"{played.url}/v1/agents/{NAMESPACE}/{AGENT}", "audience": "mine"}

    printed = link("buy", "--for", "kim@example.com", "--valid", "2h", "--service-account", "notifier")

    assert (printed.exit_code, printed.stdout) == (0, f"{MADE['url']}\n"), printed.output
    assert printed.stderr == f"{TASK} (Buy it?): for kim@example.com, good once, until 2026-11-30T18:00:00Z\n"
    (_, path, token, request), (_, asked, shown, body) = played.asked
    assert (path, token) == (f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/notifier/token", "mine")
    assert request["spec"] == {"audiences": ["mine"], "expirationSeconds": 600}
    assert (asked, shown, body) == (LINK, "made-for-it", {"for": "kim@example.com", "valid": "2h"})


def test_it_shows_a_token_that_is_there_to_the_gateway_that_is_named(played: Played, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("there\n")

    printed = link(TASK, "--token-file", tmp_path / "token", "--gateway", f"{played.url}/", "-o", "json")

    assert (printed.exit_code, json.loads(printed.stdout)) == (0, MADE), printed.output
    assert [item[1:3] for item in played.asked] == [(LINK, "there")]


def test_the_callers_own_token_goes_to_no_gateway(played: Played) -> None:
    link("buy", "--service-account", "notifier", "--gateway", played.url)

    assert [token for _, path, token, _ in played.asked if path == LINK] == ["made-for-it"]


@pytest.mark.parametrize("words", [(), ("--service-account", "a", "--token-file", "token")])
def test_it_has_to_know_as_whom(played: Played, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "token").write_text("there")

    printed = link("buy", *words)

    assert (printed.exit_code, "as whom? Say --service-account NAME" in printed.stderr) == (2, True)
    assert played.asked == []


@pytest.mark.parametrize("url", [None, "https://heed.example/v1/agents/other/agent"])
def test_an_agent_without_an_address_names_no_gateway(played: Played, url: str | None) -> None:
    played.address = {"url": url} if url else None

    printed = link("buy", "--service-account", "notifier")

    assert (printed.exit_code, "names no gateway; say --gateway URL" in printed.stderr) == (1, True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (404, b'{"detail": "this gateway makes no approval links"}'),
            "no link: this gateway makes no approval links",
        ),
        ((409, b'{"detail": "buy ended"}'), "no link: buy ended"),
        ((502, b"<html>"), "no link: the gateway answered 502"),
        ((302, b"[]"), "no link: the gateway answered 302"),
    ],
)
def test_what_the_gateway_says_is_said(played: Played, answer: tuple[int, bytes], said: str) -> None:
    played.link = answer

    printed = link("buy", "--service-account", "notifier", "--gateway", played.url)

    assert (printed.exit_code, said in printed.stderr) == (1, True), printed.output


def test_a_gateway_that_is_not_there_is_named(played: Played) -> None:
    printed = link("buy", "--service-account", "notifier", "--gateway", "http://127.0.0.1:9")

    assert printed.exit_code == 1
    assert "no gateway answers at http://127.0.0.1:9" in printed.stderr
    assert "say --gateway URL where it is reached from here" in printed.stderr


def test_an_approval_that_does_not_wait_is_named(played: Played) -> None:
    printed = link("sell", "--service-account", "notifier", "--gateway", played.url)

    assert (printed.exit_code, "no approval sell waits here" in printed.stderr) == (1, True)
    assert played.asked == []


def test_what_waits_is_shown_by_the_command_without_words(played: Played) -> None:
    printed = heed("approvals", "-o", "json", "--kubeconfig", "kubeconfig")

    assert [item["task"] for item in json.loads(printed.stdout)] == [TASK]
