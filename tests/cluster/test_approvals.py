"""Approvals on a real API server: it says who answers, and the operator believes nobody else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.core.events import Event
from heed.kube.approvals.identity_policy import SETTLING
from tests.builders.agents import asking
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.run import ControlPlane, KubectlError
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.helm import require_helm
from tests.cluster.operating import HEED, SYSTEM, Operator, Stage
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
POLICY, APPROVER = f"{SYSTEM}-heed-answers", f"{SYSTEM}-heed-approver"
BUYER = "buyer"


@pytest.fixture(scope="module")
def answer_policy(control_plane: ControlPlane, operator_kubeconfig: Path) -> str:
    """See `install_answer_policy`."""
    return install_answer_policy(control_plane)


def install_answer_policy(control_plane: ControlPlane) -> str:
    """The name of the chart's admission policy, in force for so long that answers are believed."""
    command = [str(require_helm()), "template", "heed", str(ROOT / "charts" / "heed"), "--namespace", SYSTEM]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = [item for item in yaml.safe_load_all(rendered) if item and item["metadata"]["name"] == POLICY]
    assert {item["kind"] for item in parts} == {
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(parts))
    made = control_plane.admin.get(
        f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{POLICY}"
    )["metadata"]["creationTimestamp"]
    since = datetime.fromisoformat(made)
    eventually(lambda: datetime.now(UTC) > since + SETTLING, PATIENCE, what="a policy of some age")
    return POLICY


@pytest.fixture
def operator(
    operator_kubeconfig: Path, broker: Any, tmp_path: Path, answer_policy: str
) -> Iterator[Operator]:
    """`heed operator` that believes the policy, ready."""
    with believing_operator(operator_kubeconfig, broker.url, tmp_path, answer_policy) as made:
        yield made


@contextmanager
def believing_operator(kubeconfig: Path, url: str, folder: Path, policy: str) -> Iterator[Operator]:
    """`heed operator` that believes answers for which a policy vouches, ready."""
    made = Operator(kubeconfig, url, folder, free_port())
    made.environment["HEED_ANSWER_POLICY"] = policy
    try:
        yield made.start()
    finally:
        made.kill()


class People:
    """Who may answer in the stage's namespace: service accounts, with kubeconfigs of their own."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self._files = stage, dict[str, Path]()
        stage.plane.kubectl(
            "create", "rolebinding", "approvers", f"--clusterrole={APPROVER}", "-n", stage.namespace,
            f"--group=system:serviceaccounts:{stage.namespace}",
        )  # fmt: skip

    def user(self, name: str) -> str:
        return f"system:serviceaccount:{self.stage.namespace}:{name}"

    def kubeconfig(self, name: str) -> Path:
        if name not in self._files:
            self.stage.plane.kubectl("create", "serviceaccount", name, "-n", self.stage.namespace)
            self._files[name] = self.stage.plane.kubeconfig_for_service_account(self.stage.namespace, name)
        return self._files[name]

    def heed(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`heed`, as one of them types it."""
        command = [str(HEED), *words, "-n", self.stage.namespace, "--kubeconfig", str(self.kubeconfig(name))]
        environment = {**os.environ, "NO_COLOR": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def people(stage: Stage) -> People:
    return People(stage)


def ask(stage: Stage, correlation: str = "c-1", timeout: str | None = None, **approval: Any) -> str:
    """Have the buyer ask, and return the id of its approval."""
    handlers = [
        {"name": "ask", "type": "com.example.asked", "start": [{"task": "buy", "input": "${event.data}"}]},
        {
            "name": "done",
            "type": names.TASK_COMPLETED,
            "emit": [{"type": "com.example.done", "data": "${event.data.result}"}],
        },
        {
            "name": "failed",
            "type": names.TASK_FAILED,
            "emit": [{"type": "com.example.failed", "data": "${event.data.reason}"}],
        },
    ]
    stage.apply(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": BUYER},
            "spec": {
                "subscribe": [{"type": "com.example.asked"}],
                "tasks": {"buy": asking(timeout=timeout, **approval)},
                "handlers": handlers,
            },
        }
    )
    eventually(lambda: _is_ready(stage), PATIENCE, what="a ready Agent")
    event = Event(
        correlation, "/test", "com.example.asked", {"most": 10}, extensions={"correlationid": correlation}
    )
    stage.broker.publish(names.event_subject(stage.namespace, event.type), event)

    def pending() -> str | None:
        tasks = stage.status(BUYER).get("pendingTasks") or {}
        return next((key for key, item in tasks.items() if item["session"] == correlation), None)

    return eventually(pending, PATIENCE, what="an approval that waits")


def _is_ready(stage: Stage) -> bool:
    conditions = stage.status(BUYER).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def collection(stage: Stage) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{stage.namespace}/{names.APPROVAL_ANSWERS}"


def give(stage: Stage, who: People, name: str, task: str, choice: str = "approve", **more: Any) -> str:
    """An answer made by hand, as that user; returns its name."""
    whoami = stage.plane.kubectl("auth", "whoami", "-o", "json", "--kubeconfig", str(who.kubeconfig(name)))
    user = json.loads(whoami)["status"]["userInfo"]
    spec = {
        "agent": BUYER,
        "task": task,
        "choice": choice,
        "user": user["username"],
        "groups": user["groups"],
        **more,
    }
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.APPROVAL_ANSWER,
        "metadata": {"generateName": "by-hand-"},
        "spec": spec,
    }
    made = stage.plane.kubectl(
        "create", "-n", stage.namespace, "-f", "-", "-o", "name", "--kubeconfig", str(who.kubeconfig(name)),
        stdin=yaml.safe_dump(body),
    )  # fmt: skip
    return made.strip().rpartition("/")[2]


def verdict(stage: Stage, name: str) -> tuple[str, str, str]:
    """Status, reason and message of an answer's condition, once it has one."""

    def look() -> tuple[str, str, str] | None:
        found = stage.plane.admin.get(f"{collection(stage)}/{name}")
        for item in (found.get("status") or {}).get("conditions") or []:
            return item["status"], item["reason"], item["message"]
        return None

    return eventually(look, PATIENCE, what=f"a verdict on {name}; log: {stage.operator.log}")


def said(stage: Stage) -> list[Any]:
    """What the buyer emitted."""
    return [
        event.data
        for type_ in ("com.example.done", "com.example.failed")
        for event in stage.broker.events(names.event_subject(stage.namespace, type_))
    ]


def test_a_person_answers_with_heed_and_the_next_one_is_told_who_was_first(
    stage: Stage, people: People
) -> None:
    group = f"system:serviceaccounts:{stage.namespace}"
    task = ask(
        stage,
        approvers={"groups": [group], "where": "answer.fields.amount <= input.most"},
        fields={"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
    )

    listed = people.heed("kim", "approvals", "-o", "json")
    assert [item["task"] for item in json.loads(listed.stdout)] == [task], listed.stderr
    lacking = people.heed("kim", "approve", "buy")
    assert (lacking.returncode, 'lacks "amount"' in lacking.stderr) == (1, True), lacking.stderr
    done = people.heed("kim", "approve", "buy", "--field", "amount=7", "--comment", "fine")
    assert done.returncode == 0, done.stderr

    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], BUYER)
    (result,) = said(stage)
    assert result["answeredBy"] == people.user("kim")
    assert (result["choice"], result["fields"], result["comment"]) == ("approve", {"amount": 7}, "fine")
    (first,) = stage.plane.admin.get(collection(stage))["items"]
    assert first["metadata"]["ownerReferences"][0]["uid"] == stage.agent(BUYER)["metadata"]["uid"]
    assert verdict(stage, first["metadata"]["name"])[:2] == ("True", "Accepted")
    assert result["answeredAt"] == first["metadata"]["creationTimestamp"]

    second = people.heed("lee", "reject", task)
    assert (second.returncode, f"{people.user('kim')} answered approve" in second.stderr) == (1, True)
    late = give(stage, people, "lee", task, "reject")
    status, reason, message = verdict(stage, late)
    assert (status, reason) == ("False", "AlreadyAnswered")
    assert message.startswith(f"{people.user('kim')} answered approve at ")


def test_the_api_server_lets_nobody_answer_as_another(stage: Stage, people: People) -> None:
    task = ask(stage)
    groups = json.loads(
        stage.plane.kubectl("auth", "whoami", "-o", "json", "--kubeconfig", str(people.kubeconfig("eve")))
    )["status"]["userInfo"]["groups"]

    for forged, words in (
        ({"user": people.user("kim")}, "spec.user has to be who you are"),
        ({"groups": [*groups, "system:masters"]}, "a group that you are not in"),
        ({"groups": groups[1:]}, "lacks a group that you are in"),
    ):
        with pytest.raises(KubectlError, match=words):
            give(stage, people, "eve", task, **forged)

    mine = give(stage, people, "eve", task, "perhaps")
    for change in ({"choice": "approve"}, {"fields": {"amount": 1}}):
        with pytest.raises(ApiError, match="cannot be changed"):
            stage.plane.admin.patch(f"{collection(stage)}/{mine}", {"spec": change})
    assert verdict(stage, mine)[1] == "UnknownChoice"
    assert said(stage) == []


CHANGES: dict[str, dict[str, Any]] = {
    "a plain member": {"choice": "reject"},
    "a comment": {"comment": "changed"},
    "who answers": {"user": "system:admin"},
    "a nested value": {"fields": {"order": {"items": [{"sku": "rug", "count": 2}]}}},
    "a nested member more": {"fields": {"order": {"note": "quick"}}},
    "a nested member less": {"fields": {"order": {"total": None}}},
    "all fields less": {"fields": None},
}


def test_an_answer_cannot_be_changed_however_deep_the_change_is(stage: Stage, people: People) -> None:
    # Given an answer with nested fields, while no operator looks at it
    task = ask(stage, fields={"type": "object"})
    stage.operator.stop()
    fields = {"order": {"items": [{"sku": "rug", "count": 1}], "total": 7}}
    name = give(stage, people, "kim", task, fields=fields)
    path = f"{collection(stage)}/{name}"

    # Then no change of its spec is taken, not even an administrator's, in whichever way it is made
    for change in CHANGES.values():
        with pytest.raises(ApiError, match=r"cannot be changed"):
            stage.plane.admin.patch(path, {"spec": change})
    whole = stage.plane.admin.get(path)
    whole["spec"]["fields"]["order"]["items"][0]["count"] = 2
    for words in (["replace"], ["apply", "--server-side", "--force-conflicts"]):
        whole["metadata"].pop("managedFields", None)
        with pytest.raises(KubectlError, match=r"cannot be changed"):
            stage.plane.kubectl(*words, "-n", stage.namespace, "-f", "-", stdin=yaml.safe_dump(whole))
    found = stage.plane.admin.patch(f"{path}/status", {"spec": {"fields": {}}, "status": {}})
    assert (found["spec"]["fields"], found["metadata"]["generation"]) == (fields, 1)

    # But its labels may be changed, and it counts as it was given
    stage.plane.admin.patch(path, {"metadata": {"labels": {"seen": "yes"}}})
    stage.operator.start()
    assert verdict(stage, name)[:2] == ("True", "Accepted")
    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], BUYER)
    assert said(stage)[0]["fields"] == fields


def test_somebody_who_may_not_is_refused_and_the_approval_waits_on(stage: Stage, people: People) -> None:
    task = ask(stage, approvers={"users": [people.user("kim")]})

    refused = give(stage, people, "lee", task)
    assert verdict(stage, refused)[:2] == ("False", "NotAnApprover")
    assert verdict(stage, give(stage, people, "kim", "buy-0000000000000000"))[1] == "UnknownTask"
    assert list(stage.status(BUYER)["pendingTasks"]) == [task]

    assert verdict(stage, give(stage, people, "kim", task, "reject"))[:2] == ("True", "Accepted")


def test_what_happens_while_the_operator_is_down_counts_by_when_it_happened(
    stage: Stage, people: People
) -> None:
    people.kubeconfig("kim")
    task = ask(stage, timeout="10s")
    stage.operator.stop()
    early = give(stage, people, "kim", task)
    deadline = datetime.fromisoformat(stage.status(BUYER)["pendingTasks"][task]["deadline"])
    eventually(lambda: datetime.now(UTC) > deadline.replace(microsecond=0), PATIENCE, what="the deadline")
    eventually(lambda: (datetime.now(UTC) - deadline).total_seconds() > 1, PATIENCE, what="a second more")
    late = give(stage, people, "kim", task, "reject")

    recorded = people.heed("kim", "approve", task, "--wait", "0")
    assert (recorded.returncode, "will when it is back" in recorded.stderr) == (3, True), recorded.stderr
    stage.operator.start()

    assert verdict(stage, early)[:2] == ("True", "Accepted")
    assert verdict(stage, late)[1] in ("Expired", "AlreadyAnswered")
    stage.until(lambda s: not s["outbox"], BUYER)
    (result,) = said(stage)
    assert (result["choice"], result["timedOut"]) == ("approve", False)


def test_of_two_at_once_one_is_first(stage: Stage, people: People) -> None:
    task = ask(stage)
    stage.operator.stop()
    one, other = give(stage, people, "kim", task, "approve"), give(stage, people, "lee", task, "reject")
    stage.operator.start()

    verdicts = {name: verdict(stage, name) for name in (one, other)}

    assert sorted(reason for _, reason, _ in verdicts.values()) == ["Accepted", "AlreadyAnswered"]
    stage.until(lambda s: not s["outbox"], BUYER)
    (result,) = said(stage)
    winner = one if verdicts[one][1] == "Accepted" else other
    assert result["choice"] == ("approve" if winner == one else "reject")


def test_after_the_timeout_the_choice_of_the_manifest_stands(stage: Stage, people: People) -> None:
    people.kubeconfig("kim")
    task = ask(stage, timeout="1s", onTimeout="reject")
    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], BUYER)

    status, reason, message = verdict(stage, give(stage, people, "kim", task))

    assert (status, reason) == ("False", "Expired")
    assert "onTimeout chose" in message
    (result,) = said(stage)
    assert (result["choice"], result["timedOut"]) == ("reject", True)


@pytest.mark.parametrize("name", [None, "no-such-policy"])
def test_without_the_policy_no_answer_is_believed_not_even_later(
    stage: Stage, people: People, answer_policy: str, name: str | None
) -> None:
    task = ask(stage)
    stage.operator.stop()
    stage.operator.environment.pop("HEED_ANSWER_POLICY")
    if name is not None:
        stage.operator.environment["HEED_ANSWER_POLICY"] = name
    stage.operator.start()

    answer = give(stage, people, "kim", task)
    assert verdict(stage, answer)[:2] == ("False", "IdentityUnproven")

    stage.operator.stop()
    stage.operator.environment["HEED_ANSWER_POLICY"] = answer_policy
    stage.operator.start()
    assert verdict(stage, answer)[:2] == ("False", "IdentityUnproven")
    assert list(stage.status(BUYER)["pendingTasks"]) == [task]
    assert verdict(stage, give(stage, people, "kim", task))[:2] == ("True", "Accepted")


def test_the_example_from_kubectl_apply_to_the_decision(stage: Stage, people: People) -> None:
    manifest = yaml.safe_load((ROOT / "examples" / "purchase-approval" / "agent.yaml").read_text())
    approval = manifest["spec"]["tasks"]["decide"]["approval"]
    approval["approvers"]["groups"] = [f"system:serviceaccounts:{stage.namespace}"]  # groups that there are
    stage.apply(manifest)
    request = {"item": "a desk", "price": 420, "requestedBy": people.user("lee"), "reason": "it wobbles"}
    event = Event("r-1", "/test", "com.example.purchase.requested", request)
    stage.broker.publish(names.event_subject(stage.namespace, event.type), event)
    stage.until(lambda s: len(s["pendingTasks"]) == 2, "purchases")

    own = people.heed("lee", "approve", "decide")
    assert (own.returncode, "NotAnApprover" in own.stderr) == (1, True), own.stderr
    done = people.heed("kim", "approve", "decide", "--field", "budget=2026-03")
    assert done.returncode == 0, done.stderr

    stage.until(lambda s: not s["pendingTasks"] and not s["outbox"], "purchases")
    (decided,) = stage.broker.events(names.event_subject(stage.namespace, "com.example.purchase.decided"))
    assert decided.data == {
        "item": "a desk",
        "choice": "approve",
        "by": people.user("kim"),
        "budget": "2026-03",
    }
