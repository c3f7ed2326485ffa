"""Approval links from end to end: the chart's rights, a real API server that says who answers, and the operator."""

from __future__ import annotations

import email
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from heed import names
from heed.core.events import Event
from tests.chart.rendering import NAMESPACE as RELEASED_IN
from tests.chart.rendering import render
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import HEED, Broker, Operator, Stage
from tests.cluster.test_approvals import (
    BUYER,
    ask,
    believing_operator,
    collection,
    install_answer_policy,
    said,
    verdict,
)
from tests.cluster.test_gateway import GATEWAY, Gateway, account, token
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster
LINKED = (
    "gateway.enabled=true",
    "gateway.approvalLinks.enabled=true",
    "gateway.subscriptions.enabled=true",
    "crds.install=false",
)
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "approval-links"
GATEWAY_USER = f"system:serviceaccount:{RELEASED_IN}:{GATEWAY}"
LINKER = f"{RELEASED_IN}-heed-gateway-linker"
_PROOF = re.compile(r'name="proof" value="([^"]+)"')
Answer = tuple[int, str]  # status, and page


@pytest.fixture(scope="module")
def linked_kubeconfig(control_plane: ControlPlane) -> Path:
    """The chart's service account of the gateway, with its roles, and the empty Secret for the key of links."""
    kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Secret")
    objects = [
        item
        for item in render(*LINKED)
        if item["kind"] in kinds
        and item["metadata"]["labels"]["app.kubernetes.io/component"] in ("gateway", "linker")
    ]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASED_IN}}
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([namespace, *objects]))
    return control_plane.kubeconfig_for_service_account(RELEASED_IN, GATEWAY)


@pytest.fixture(scope="module")
def answer_policy(control_plane: ControlPlane, operator_kubeconfig: Path) -> str:
    """The chart's admission policy."""
    return install_answer_policy(control_plane)


@pytest.fixture
def operator(
    operator_kubeconfig: Path, broker: Broker, tmp_path: Path, answer_policy: str
) -> Iterator[Operator]:
    """`heed operator` that believes the policy, ready."""
    with believing_operator(operator_kubeconfig, broker.url, tmp_path, answer_policy) as made:
        yield made


class Gateways:
    """Gateways that share a key, and people with browsers."""

    def __init__(self, stage: Stage, kubeconfig: Path, folder: Path) -> None:
        self.stage, self._kubeconfig, self._folder = stage, kubeconfig, folder
        self._running: list[Gateway] = []
        self._http = urllib3.PoolManager(retries=False)
        self.notifier = account(stage.plane, stage.namespace, "notifier")
        stage.plane.kubectl(
            "create", "rolebinding", "notifier", f"--clusterrole={LINKER}", "-n", stage.namespace,
            f"--serviceaccount={stage.namespace}:notifier",
        )  # fmt: skip

    def start(self) -> Gateway:
        """One more, ready."""
        folder = self._folder / f"gateway-{len(self._running)}"
        folder.mkdir()
        settings = {
            "HEED_GATEWAY_LINK_SECRET": "heed-gateway-links",
            "HEED_LEASE_NAMESPACE": RELEASED_IN,
            "HEED_GATEWAY_SINK_NETWORKS": "127.0.0.0/8",
        }
        made = Gateway(self._kubeconfig, self.stage.broker, folder, **settings)
        self._running.append(made)
        made.until_ready()
        return made

    def stop(self) -> None:
        """End all."""
        for item in self._running:
            item.kill()

    def mint(self, gateway: Gateway, task: str, who: str = "", **body: Any) -> tuple[int, dict[str, Any]]:
        """Ask for a link, as the notifier or another account."""
        url = f"{gateway.origin}/v1/approvals/{self.stage.namespace}/{BUYER}/{task}/links"
        shown = token(self.stage.plane, who or self.notifier)
        headers = {"Authorization": f"Bearer {shown}"}
        answer = self._http.request("POST", url, body=json.dumps(body), headers=headers)
        return answer.status, json.loads(answer.data)

    def link(self, gateway: Gateway, task: str, **body: Any) -> str:
        """A new link; its path."""
        status, made = self.mint(gateway, task, **body)
        assert status == 201, made
        return str(urllib3.util.parse_url(made["url"]).path)

    def open(self, gateway: Gateway, path: str) -> Answer:
        """Look at a page."""
        answer = self._http.request("GET", gateway.origin + path)
        return answer.status, answer.data.decode()

    def answer(self, gateway: Gateway, path: str, choice: str, proof: str = "", **more: str) -> Answer:
        """Send the page's form, and see what it leads to."""
        fields = {"proof": proof or self.proof(gateway, path), "choice": choice, **more}
        sent = self._http.request(
            "POST", gateway.origin + path, fields=fields, encode_multipart=False, redirect=False
        )
        return self.open(gateway, path) if sent.status == 303 else (sent.status, sent.data.decode())

    def proof(self, gateway: Gateway, path: str) -> str:
        """What the page's form proves its origin with."""
        found = _PROOF.search(self.open(gateway, path)[1])
        assert found is not None
        return found[1]


@pytest.fixture
def gateways(stage: Stage, linked_kubeconfig: Path, tmp_path: Path) -> Iterator[Gateways]:
    """None runs yet."""
    made = Gateways(stage, linked_kubeconfig, tmp_path)
    try:
        yield made
    finally:
        made.stop()


def answers(stage: Stage) -> list[dict[str, Any]]:
    """The ApprovalAnswers there are."""
    items: list[dict[str, Any]] = stage.plane.admin.get(collection(stage))["items"]
    return items


def test_from_the_link_to_the_event(stage: Stage, gateways: Gateways) -> None:
    gateway = gateways.start()
    task = ask(
        stage,
        details="**Why**",
        approvers={"users": [GATEWAY_USER], "where": "answer.fields.amount <= input.most"},
        fields={"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
    )
    path = gateways.link(gateway, "buy", session="c-1", **{"for": "kim@example.com"})

    assert "<strong>Why</strong>" in gateways.open(gateway, path)[1]
    assert answers(stage) == []
    status, page = gateways.answer(gateway, path, "approve", **{"field-0": "11"})
    assert (status, "This answer would not count" in page) == (422, True)
    status, page = gateways.answer(gateway, path, "approve", comment="fine", **{"field-0": "7"})
    assert (status, "<h1>Answered</h1>" in page) == (200, True), page

    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], BUYER)
    (result,) = said(stage)
    assert (result["choice"], result["fields"], result["answeredBy"]) == (
        "approve",
        {"amount": 7},
        GATEWAY_USER,
    )
    assert result["comment"] == "[link for kim@example.com] fine"
    (answer,) = answers(stage)
    assert answer["metadata"]["name"].startswith(f"{task}-link-")
    assert verdict(stage, answer["metadata"]["name"])[:2] == ("True", "Accepted")
    stage.plane.admin.delete(f"{collection(stage)}/{answer['metadata']['name']}")
    assert "<h1>Answered</h1>" in gateways.open(gateway, path)[1]  # known from the ledger, too


def test_who_makes_links_needs_the_right_and_the_gateway_has_to_be_an_approver(
    stage: Stage, gateways: Gateways
) -> None:
    gateway = gateways.start()
    task = ask(stage, approvers={"groups": ["purchasing"]})
    stage.plane.kubectl(
        "create", "rolebinding", "approvers", "--clusterrole=heed-system-heed-approver", "-n", stage.namespace,
        f"--serviceaccount={stage.namespace}:lee",
    )  # fmt: skip

    assert gateways.mint(gateway, task)[1]["code"] == "NotAnApprover"
    lee = account(stage.plane, stage.namespace, "lee")
    assert gateways.mint(gateway, task, lee)[1]["code"] == "NotAllowed"  # who may answer may not hand that on
    assert gateways.mint(gateway, "sell")[1]["code"] == "NoSuchApproval"


def test_a_gateway_that_dies_after_it_has_recorded_an_answer_doubles_nothing(
    stage: Stage, gateways: Gateways
) -> None:
    # Given an operator that is away, so that the gateway waits for what becomes of the answer
    first = gateways.start()
    path = gateways.link(first, ask(stage))
    proof = gateways.proof(first, path)
    stage.operator.stop()

    # When the gateway dies in that while
    def send() -> None:
        with suppress(urllib3.exceptions.HTTPError):
            gateways.answer(first, path, "approve", proof)

    sending = threading.Thread(target=send)
    sending.start()
    eventually(lambda: answers(stage), PATIENCE, what="an answer that is recorded")
    first.kill()
    sending.join(PATIENCE)

    # Then another gateway knows the answer, takes no second one, and the operator takes the first
    second = gateways.start()
    status, page = gateways.answer(second, path, "reject", proof)
    assert (status, "The answer is recorded" in page, "Approve" in page) == (409, True, True)
    stage.operator.start()
    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], BUYER)
    assert [item["choice"] for item in said(stage)] == ["approve"]
    assert len(answers(stage)) == 1


def test_of_two_gateways_at_once_one_takes_the_answer(stage: Stage, gateways: Gateways) -> None:
    replicas = [gateways.start(), gateways.start()]
    path = gateways.link(replicas[0], ask(stage))
    proof = gateways.proof(replicas[1], path)
    pages: list[Answer] = []

    def send(gateway: Gateway, choice: str) -> None:
        pages.append(gateways.answer(gateway, path, choice, proof))

    sending = [
        threading.Thread(target=send, args=item) for item in zip(replicas, ("approve", "reject"), strict=True)
    ]
    for item in sending:
        item.start()
    for item in sending:
        item.join(PATIENCE)

    assert sorted(status for status, _ in pages) == [200, 409]
    assert len(answers(stage)) == 1
    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], BUYER)
    assert len(said(stage)) == 1


def test_a_link_is_told_of_who_was_first(stage: Stage, gateways: Gateways) -> None:
    gateway = gateways.start()
    task = ask(stage)
    path, other = gateways.link(gateway, task), gateways.link(gateway, task, valid="2h")
    assert gateways.answer(gateway, other, "reject")[0] == 200
    stage.until(lambda s: not s["pendingTasks"], BUYER)

    status, page = gateways.open(gateway, path)

    assert (status, "Somebody else has answered already" in page) == (200, True)
    assert "another link" in page and "Reject" in page


def test_the_command_prints_a_link(stage: Stage, gateways: Gateways) -> None:
    gateway = gateways.start()
    task = ask(stage)

    def heed(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(HEED), "approvals", "link", *words, "-n", stage.namespace]
        command += ["--kubeconfig", str(stage.plane.kubeconfig), "--gateway", gateway.origin]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False
        )

    printed = heed("buy", "--for", "kim", "--service-account", "notifier", "-o", "json")
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout)["task"] == task
    line = heed("buy", "--service-account", "notifier")
    assert "good once, until" in line.stderr
    assert gateways.open(gateway, str(urllib3.util.parse_url(line.stdout.strip()).path))[0] == 200
    refused = heed("buy", "--service-account", "default")
    assert (refused.returncode, "may not create approvalanswers/links" in refused.stderr) == (1, True)
    assert heed("buy").returncode == 2


class Mailbox:
    """A mail server that keeps what it is sent."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        mailbox = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline().strip().upper():
                    if line == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines = list(takewhile(lambda line: line not in (b".\r\n", b""), self.rfile))
                        mailbox.mails.append(b"".join(lines).decode())
                    self.wfile.write(b"221 bye\r\n" if line == b"QUIT" else b"250 fine\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True  # a client that is killed may leave its session open
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """An empty one."""
    made = Mailbox()
    yield made
    made.stop()


def test_the_example_mails_a_link_and_the_answer_is_decided(
    stage: Stage, gateways: Gateways, mailbox: Mailbox, tmp_path: Path
) -> None:
    # Given the example's notifier, which has a token of its account
    gateway, port = gateways.start(), free_port()
    (tmp_path / "token").write_text(token(stage.plane, gateways.notifier))
    settings = {
        "GATEWAY": gateway.origin, "TOKEN_FILE": str(tmp_path / "token"), "APPROVER": "cfo@example.com",
        "SENDER": "heed@example.com", "MAIL_HOST": "127.0.0.1", "MAIL_PORT": str(mailbox.port), "PORT": str(port),
    }  # fmt: skip
    notifier = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "notifier.py")], env={**os.environ, **settings}
    )
    try:
        # When its Agent asks
        manifests = (EXAMPLE / "purchases.yaml").read_text()
        manifests = manifests.replace("system:serviceaccount:heed-system:heed-gateway", GATEWAY_USER)
        manifests = manifests.replace("http://notifier.demo.svc", f"http://127.0.0.1:{port}")
        stage.plane.kubectl("apply", "-n", stage.namespace, "-f", "-", stdin=manifests)
        eventually(lambda: _is_ready(stage, "agents/purchases"), PATIENCE, what="a ready Agent")
        eventually(lambda: _is_ready(stage, "subscriptions/asked"), PATIENCE, what="a ready Subscription")
        data = {"item": "a desk", "price": 420, "requestedBy": "lee", "reason": "it wobbles"}
        event = Event("r-1", "/test", "com.example.purchase.requested", data)
        stage.broker.publish(names.event_subject(stage.namespace, event.type), event)

        # Then there is a mail, whose link answers
        (mail,) = eventually(lambda: mailbox.mails, PATIENCE, what="a mail")
        assert "To: cfo@example.com" in mail and "Subject: Buy a desk for 420 euros?" in mail
        text = email.message_from_string(mail).get_payload(decode=True)
        assert isinstance(text, bytes)
        found = re.search(rf"{gateway.origin}(/v1/approvals/\S+)", text.decode())
        assert found is not None, text
        status, page = gateways.answer(gateway, found[1], "approve", **{"field-0": "2026-11"})
        assert (status, "<h1>Answered</h1>" in page) == (200, True), page
        stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], "purchases")
    finally:
        notifier.terminate()
        notifier.wait(PATIENCE)
    (decided,) = stage.broker.events(names.event_subject(stage.namespace, "com.example.purchase.decided"))
    assert decided.data == {"choice": "approve", "by": GATEWAY_USER, "comment": "[link for cfo@example.com]"}


def _is_ready(stage: Stage, path: str) -> bool:
    body = stage.plane.admin.get(f"/apis/{names.API_VERSION}/namespaces/{stage.namespace}/{path}")
    conditions = (body.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def test_the_api_server_takes_all_of_the_example(control_plane: ControlPlane, namespace: str) -> None:
    rendered = control_plane.kubectl("kustomize", str(EXAMPLE))
    rendered = rendered.replace("namespace: demo", f"namespace: {namespace}")

    made = control_plane.kubectl("apply", "-f", "-", "-o", "name", stdin=rendered)

    kinds = sorted(line.partition("/")[0].partition(".")[0] for line in made.split())
    assert kinds == [
        "agent",
        "configmap",
        "deployment",
        "rolebinding",
        "service",
        "serviceaccount",
        "subscription",
    ]
