"""What is told of an Agent whose status is refused; what choosing a generation leaves in the log; probes."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest
from aiohttp import ClientSession

from heed.core.effects import AgentRef, TaskEnd
from heed.errors import POLICY_VIOLATION, InvalidManifest, PolicyViolation, Problem
from heed.kube import watch
from heed.kube.client.client import KubeApi
from heed.kube.controller.generation import choose_generation
from heed.kube.controller.last_valid_spec import dump_last_valid
from heed.kube.probes import ProbeState, serve_probes
from heed.kube.status.event_recorder import EventRecorder
from heed.settings import Settings
from tests.builders.agents import manifest, program
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer
from tests.unit.replicas import Led

AGENT = AgentRef("demo", "researcher", "uid-1")
END = TaskEnd("t", "e", "2026-11-01T12:00:00Z", True)
TROUBLE = ValueError("x")


async def test_a_refused_status_is_a_warning_about_the_agent(server: ApiServer) -> None:
    telling = EventRecorder(server.connect(KubeApi))

    telling.record_refusal(AGENT, "StatusRefused", "no room")
    await until(lambda: bool(server.of("events")))
    await telling.close()

    (event,) = server.of("events")
    assert (event["type"], event["reason"], event["action"], event["message"]) == (
        "Warning",
        "StatusRefused",
        "Reconcile",
        "no room",
    )
    assert event["involvedObject"] == {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "Agent",
        "namespace": "demo",
        "name": "researcher",
        "uid": "uid-1",
    }
    assert event["reportingComponent"] == event["source"]["component"] == "heed.dev/operator"
    assert event["reportingInstance"] == socket.gethostname()[:128]
    assert event["firstTimestamp"] == event["lastTimestamp"] == event["eventTime"][:19] + "Z"
    assert event["count"] == 1


# --- generations ------------------------------------------------------------------------------------------------


BODY = manifest({"name": "h"})
WRONG, STRICT = (
    Problem("spec", "is wrong", "mend it"),
    Problem("spec", "is not allowed", "ask", POLICY_VIOLATION),
)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, Any, Any, Any]]:
    return [
        (r.levelname, r.getMessage(), r.agent, r.generation, getattr(r, "problems", None))  # type: ignore[attr-defined]
        for r in caplog.records
    ]


def test_what_runs_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    choose_generation(BODY, None, lambda body: program({"name": "h"})).log()

    assert logged(caplog) == [("INFO", "agent subscribed", "demo/researcher", 3, None)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidManifest([WRONG]), "agent invalid"),
        (PolicyViolation([STRICT]), "agent not allowed"),
    ],
)
def test_what_does_not_run_is_said_with_all_its_problems(
    caplog: pytest.LogCaptureFixture, error: InvalidManifest, message: str
) -> None:
    def compiled(body: Any) -> Any:
        raise error

    choose_generation(BODY, None, compiled).log()
    (problem,) = error.problems
    assert logged(caplog) == [("WARNING", message, "demo/researcher", 3, [str(problem)])]

    caplog.clear()
    choice = choose_generation(
        BODY, dump_last_valid({**BODY, "metadata": {**BODY["metadata"], "generation": 2}}), compiled
    )
    choice.log()
    assert logged(caplog) == [
        ("WARNING", message, "demo/researcher", 3, [str(problem)]),
        ("WARNING", "last valid spec may not run", "demo/researcher", 3, [str(problem)]),
    ]
    assert ("the last valid generation, 2, may not run either" in choice.word.message) == (
        isinstance(error, PolicyViolation)
    )


# --- probes and the log -----------------------------------------------------------------------------------------


async def test_the_probes_say_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Led(active=False, wrong="the lease has not been read yet")
    health = ProbeState(leader, watch.ClusterWatch(Settings()))
    health.connection = type("Connected", (), {"is_connected": True})  # type: ignore[assignment]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def said(what: str) -> tuple[int, str]:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/{what}") as answer:
            return answer.status, await answer.text()

    async with serve_probes(port, health):
        assert await said("healthz") == (200, "ok\n")
        assert await said("readyz") == (503, "the lease has not been read yet\n")
        leader.wrong, health.concern, health.detail = None, "a stream", lambda: "an agent"
        assert await said("readyz") == (200, "standby; a stream; an agent\n")
        monkeypatch.setattr(health, "stuck", lambda: "it hangs")
        assert await said("healthz") == (503, "it hangs\n")
        assert await said("readyz") == (503, "it hangs\n")


@pytest.mark.parametrize(
    ("message", "news"),
    [
        ("OS signals are ignored: running not in the main thread.", False),
        ("Request attempt #1/9 failed; will retry: GET /apis", False),
        ("Stopping the watch-stream", True),
        ("it says: OS signals are ignored", True),
    ],
)
def test_of_what_kopf_says_only_news_are_logged(message: str, news: bool) -> None:
    watch.ClusterWatch(Settings())
    logger = logging.getLogger(watch.NOISY_LOGGERS[0])

    assert bool(logger.filter(logging.makeLogRecord({"msg": message}))) is news
