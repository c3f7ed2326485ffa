"""How a loop does: when trouble is more than a hiccup, and when it is over. In virtual time."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from heed.bus.client.stream_rules import StreamFlaw
from heed.core.effects import AgentRef, CancelTask
from heed.core.ledger.ledger import Ledger
from heed.errors import (
    INVALID,
    BusUnavailable,
    HeedError,
    LedgerConflict,
    LedgerUnavailable,
    ReaderLost,
    StreamMissing,
    StreamReplaced,
    TaskUnavailable,
)
from heed.kube.client.client import ApiError
from heed.kube.status.loop_health import UNDECIDED, HealthThresholds, LoopHealth, LoopHealthMonitor, Undecided
from heed.kube.status.reasons import (
    START_OVER,
    Trouble,
    explain_effect_error,
    explain_loop_error,
    explain_stream_flaws,
)
from tests.patience import PATIENCE

AGENT = AgentRef("demo", "researcher", "uid-1")
AWAY = BusUnavailable("no connection to nats://127.0.0.1:4222; is the broker running?")
QUOTA = 'jobs.batch "researcher-1" is forbidden: exceeded quota: small, used: count/jobs.batch=1'


def caused(error: HeedError, status: int, message: str) -> HeedError:
    """As the adapters raise it: with the API server's answer as its cause."""
    cause = ApiError(status, message)
    raised = type(error)(str(cause))
    raised.__cause__ = cause
    return raised


def refused(status: int, message: str = "no") -> HeedError:
    return caused(LedgerUnavailable(), status, message)


def full() -> HeedError:
    return caused(TaskUnavailable(), 403, QUOTA)


def reason(health: LoopHealth, now: float) -> str | None:
    verdict = health.verdict(now)
    return verdict.reason if isinstance(verdict, Trouble) else ("?" if verdict is UNDECIDED else None)


@pytest.fixture
def health() -> LoopHealth:
    return LoopHealth(HealthThresholds())


# --- the loop --------------------------------------------------------------------------------------------------


def test_a_hiccup_is_not_said(health: LoopHealth) -> None:
    health.troubled(START_OVER, AWAY, 100)
    assert reason(health, 109.9) == "?"

    health.resumed((), 109.9)
    health.committed()

    assert reason(health, 200) is None
    assert health.is_well


def test_trouble_that_lasts_is_said_with_the_latest_cause(health: LoopHealth) -> None:
    health.troubled(START_OVER, ReaderLost("the connection was lost"), 100)
    health.troubled(START_OVER, AWAY, 101)
    health.troubled(START_OVER, StreamMissing("there is no stream HEED"), 109)

    assert health.next_look(109) == 110
    assert reason(health, 109.9) == "?"
    assert reason(health, 110) == "StreamMissing"


def test_a_quiet_agent_is_well_again_when_its_loop_has_gone_on_for_a_while(health: LoopHealth) -> None:
    health.troubled(START_OVER, AWAY, 100)
    assert reason(health, 130) == "BrokerUnavailable"

    health.resumed((), 130)

    assert reason(health, 130.1) == "?"
    assert health.next_look(130.1) == 140
    assert reason(health, 140) is None
    assert health.is_well


def test_a_commit_is_the_proof_at_once(health: LoopHealth) -> None:
    health.troubled(START_OVER, AWAY, 100)
    health.resumed((), 130)

    health.committed()

    assert reason(health, 130.1) is None


def test_a_loop_that_starts_and_breaks_over_and_over_is_in_trouble(health: LoopHealth) -> None:
    # Given one whose every commit is refused, a moment after it resumed
    for second in range(100, 140, 5):
        health.troubled(START_OVER, refused(500, "etcdserver: request is too large"), second)
        health.resumed((), second + 1)

    assert reason(health, 136.5) == "?"
    health.troubled(START_OVER, refused(500, "etcdserver: request is too large"), 137)
    assert reason(health, 137) == "LedgerTooLarge"


def test_of_a_loop_that_just_began_nothing_is_known(health: LoopHealth) -> None:
    health.began(100)
    assert reason(health, 1000) == "?"

    health.resumed((), 1000)
    assert reason(health, 1009) == "?"
    assert reason(health, 1010) is None


def test_a_new_loop_inherits_the_trouble_of_the_one_before(health: LoopHealth) -> None:
    health.troubled(START_OVER, AWAY, 100)
    health.began(105)
    health.troubled(START_OVER, AWAY, 106)

    assert reason(health, 110) == "BrokerUnavailable"


# --- effects ---------------------------------------------------------------------------------------------------


def test_effects_are_stuck_when_none_of_their_kind_was_made_for_a_while(health: LoopHealth) -> None:
    health.troubled("StartTask", full(), 100)
    health.troubled("StartTask", full(), 125)
    health.made("Publish")

    assert reason(health, 129) is None
    assert health.next_look(129) == 130
    assert reason(health, 130) == "EffectsStuck"

    # And that ends as soon as one of them is made
    health.made("StartTask")
    assert health.is_well


def test_a_reload_of_the_ledger_does_not_make_stuck_effects_young_again(health: LoopHealth) -> None:
    health.troubled("StartTask", full(), 100)
    health.troubled("Publish", AWAY, 100)
    health.troubled(START_OVER, LedgerConflict("409"), 120)
    health.resumed({"StartTask"}, 120)
    health.committed()

    assert reason(health, 130) == "EffectsStuck"
    health.made("StartTask")
    assert health.is_well, "what is not owed any more is forgotten"


def test_an_end_that_was_told_ends_the_trouble_with_ends(health: LoopHealth) -> None:
    health.troubled("publish the end of a task", AWAY, 100)
    health.troubled("StartTask", full(), 120)
    assert reason(health, 130) == "EffectsStuck"

    health.told_end()

    assert reason(health, 130) is None
    assert reason(health, 150) == "EffectsStuck"


def test_effects_that_are_owed_no_more_are_not_stuck_though_none_was_made(health: LoopHealth) -> None:
    health.troubled("StartTask", full(), 100)
    health.troubled("publish the end of a task", AWAY, 120)
    assert reason(health, 130) == "EffectsStuck"

    health.owes({"Publish"})

    assert reason(health, 130) is None
    assert reason(health, 150) == "EffectsStuck", "ends are told of no ledger's accord"


def test_trouble_of_the_loop_comes_before_that_of_effects(health: LoopHealth) -> None:
    health.troubled("Publish", AWAY, 100)
    health.troubled(START_OVER, AWAY, 100)

    assert reason(health, 105) == "?"
    assert reason(health, 140) == "BrokerUnavailable"
    health.committed()
    assert reason(health, 140) == "EffectsStuck"


# --- the words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (AWAY, "BrokerUnavailable", "is the broker running?"),
        (ReaderLost("a gap"), "BrokerUnavailable", "a gap"),
        (StreamMissing("there is no stream HEED"), "StreamMissing", "there is no stream HEED"),
        (StreamReplaced("created again"), "StreamReplaced", "created again"),
        (LedgerConflict("the object has been modified"), "LedgerContended", "a second operator"),
        (refused(0, "the API server does not answer"), "LedgerUnavailable", "does not answer"),
        (refused(429), "LedgerUnavailable", "429"),
        (refused(503), "LedgerUnavailable", "503"),
        (refused(403, 'cannot patch "agents/status"'), "LedgerRefused", "rights"),
        (refused(401), "LedgerRefused", "token"),
        (refused(422, "status.cursor: Invalid value"), "LedgerRefused", "custom resource definitions"),
        (refused(413), "LedgerTooLarge", "idleTimeout"),
        (refused(500, "etcdserver: request is too large"), "LedgerTooLarge", "idleTimeout"),
        (
            refused(500, "trying to send message larger than max (2100000 vs. 2097152)"),
            "LedgerTooLarge",
            "end",
        ),
        (refused(500, "etcdserver: mvcc: database space exceeded"), "LedgerUnavailable", "space exceeded"),
        (LedgerUnavailable("no cause"), "LedgerUnavailable", "no cause"),
        (caused(TaskUnavailable(), 403, "cannot list jobs"), "JobsUnavailable", "rights"),
        (HeedError("other"), "LoopFailed", "other"),
        (KeyError("x"), "LoopFailed", "a mistake in Heed"),
    ],
)
def test_every_error_has_a_reason_and_a_remedy(error: BaseException, reason: str, says: str) -> None:
    trouble = explain_loop_error(error)

    assert trouble.reason == reason
    assert says in trouble.message


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("StartTask", full(), ("tasks cannot be started", QUOTA, "raise the quota")),
        ("StartTask", caused(TaskUnavailable(), 403, "cannot create jobs"), ("rights",)),
        ("CancelTask", caused(TaskUnavailable(), 500, "etcd"), ("tasks cannot be cancelled: 500: etcd",)),
        ("Publish", AWAY, ("events cannot be published", "is the broker running?")),
        ("publish the end of a task", AWAY, ("task ends cannot be published",)),
        ("end a task at its deadline", TimeoutError(), ("task ends cannot be published: TimeoutError()",)),
    ],
)
def test_a_stuck_effect_says_why(what: str, error: BaseException, says: Sequence[str]) -> None:
    trouble = explain_effect_error(what, error)

    assert trouble.reason == "EffectsStuck"
    assert all(part in trouble.message for part in says)


def test_every_reason_is_explained() -> None:
    root = Path(__file__).parents[2]
    sources = [root / "operator/heed" / name for name in ("kube/status/reasons.py", "api/conditions.py")]
    text = "".join(source.read_text() for source in sources)
    reasons = {"Subscribed", INVALID, *re.findall(r'(?:Trouble\(|reason=)"(\w+)"', text)}
    explained = (root / "docs/operations.md").read_text()

    assert reasons >= {"BrokerUnavailable", "EffectsStuck", "WaitingForRoom", "DroppedByStream"}
    assert {reason for reason in reasons if f"`{reason}`" not in explained} == set()


# --- the observer ------------------------------------------------------------------------------------------------


class Watched:
    """LoopHealthMonitor whose verdicts a test reads as they change."""

    def __init__(self, patience: HealthThresholds) -> None:
        self.verdicts, self.news = list[Any](), asyncio.Event()
        self.monitor = LoopHealthMonitor(self.changed, patience)

    def changed(self, agent: AgentRef) -> None:
        self.verdicts.append(self.monitor.verdict(agent))
        self.news.set()


async def test_an_agent_that_is_well_leaves_nothing_behind() -> None:
    watched = Watched(HealthThresholds())
    monitor = watched.monitor

    monitor.began(AGENT)
    monitor.resumed(AGENT, Ledger(), ())
    monitor.committed(AGENT, (), Ledger())
    monitor.troubled(AGENT, START_OVER, AWAY, 0.1)
    monitor.committed(AGENT, (), Ledger())

    assert watched.verdicts == [None, None]
    assert (monitor._loops, monitor._timers) == ({}, {})


async def test_a_start_given_up_is_in_nobodys_way() -> None:
    monitor = LoopHealthMonitor(lambda agent: None)
    monitor.troubled(AGENT, "StartTask", full(), 0.1)

    monitor.committed(AGENT, (), Ledger())

    assert monitor._loops == {} and monitor._timers == {}


async def test_an_effect_that_is_made_is_stuck_no_more() -> None:
    # Given an Agent whose tasks cannot be cancelled
    monitor = LoopHealthMonitor(lambda agent: None, HealthThresholds(effects=0))
    monitor.troubled(AGENT, "CancelTask", full(), 0.1)
    assert isinstance(monitor.verdict(AGENT), Trouble)

    # When one is
    monitor.performed(AGENT, CancelTask("t", None))

    # Then all is well
    assert monitor.verdict(AGENT) is None


async def test_trouble_is_heard_of_by_the_clock_alone() -> None:
    # Given an Agent of which nothing more is heard after its first trouble
    watched = Watched(HealthThresholds(loop=0.02))
    watched.monitor.troubled(AGENT, START_OVER, AWAY, 5.0)
    assert isinstance(watched.monitor.verdict(AGENT), Undecided)

    async with asyncio.timeout(PATIENCE):
        await watched.news.wait()

    (verdict,) = watched.verdicts
    assert verdict.reason == "BrokerUnavailable"

    # When it resumes and stays quiet
    watched.news.clear()
    watched.monitor.resumed(AGENT, Ledger(), ())
    async with asyncio.timeout(PATIENCE):
        await watched.news.wait()

    assert watched.verdicts[-1] is None
    assert (watched.monitor._loops, watched.monitor._timers) == ({}, {})


async def test_what_troubles_all_is_said_of_those_that_do_well() -> None:
    watched = Watched(HealthThresholds(loop=0.0))
    flaw = StreamFlaw("HEED", "max_msgs_per_subject", "max_msgs_per_subject is 1, wanted -1; edit the stream")
    common = explain_stream_flaws([flaw])
    assert common is not None
    assert str(flaw) in common.message

    # An Agent that nothing is known of, one that just began, and one with a trouble of its own
    assert watched.monitor.set_shared_trouble(common)
    assert not watched.monitor.set_shared_trouble(explain_stream_flaws([flaw])), "that is no news"
    assert watched.monitor.verdict(AGENT) == common
    watched.monitor.began(AGENT)
    assert watched.monitor.verdict(AGENT) == common
    watched.monitor.troubled(AGENT, START_OVER, AWAY, 5.0)
    verdict = watched.monitor.verdict(AGENT)
    assert isinstance(verdict, Trouble)
    assert verdict.reason == "BrokerUnavailable"

    watched.monitor.forget(AGENT)
    assert watched.monitor.set_shared_trouble(explain_stream_flaws([]))
    assert watched.monitor.verdict(AGENT) is None


async def test_an_agent_that_is_gone_is_forgotten() -> None:
    watched = Watched(HealthThresholds())
    watched.monitor.troubled(AGENT, START_OVER, AWAY, 5.0)

    watched.monitor.forget(AGENT)

    assert watched.monitor.verdict(AGENT) is None
    assert (watched.monitor._loops, watched.monitor._timers) == ({}, {})
