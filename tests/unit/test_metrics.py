"""The page /metrics: what is on it, that it cannot grow without bounds, and that docs/metrics.md says the same."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import fields

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from heed.api.status import DeadLetterCause, Session, Totals
from heed.bus.client.stream_rules import StreamFlaw
from heed.core.decision.model import Decision
from heed.core.effects import AgentRef, CancelTask, TaskEnd
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger
from heed.engine.lag import Lag
from heed.engine.ports import StoredLedger
from heed.errors import BusUnavailable
from heed.kube.metrics.collector import AgentSnapshot, OperatorMetrics
from heed.kube.metrics.exporter import MetricsPage
from heed.kube.metrics.instruments import MAX_LABEL_SETS, OTHER_LABEL, Histogram, LabelledCounter
from tests.markdown import ROOT, blocks
from tests.unit.replicas import Led

PAGE = (ROOT / "docs/metrics.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
AGENT = AgentRef("demo", "researcher", "uid-1")
SESSION = Session("2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z", "c-1")


class Place(Led):
    """A replica's place in the election, and the Agents it runs."""

    def __init__(self, *, leads: bool) -> None:
        super().__init__(active=leads)
        self.seen: list[AgentSnapshot] = []

    def snapshots(self) -> Iterable[AgentSnapshot]:
        return self.seen


class Replica:
    """Metrics and their page."""

    def __init__(self, *, leads: bool = True) -> None:
        self.place = Place(leads=leads)
        self.metrics = OperatorMetrics()
        self.exposition = MetricsPage(self.metrics, self.place)
        self.exposition.agents = self.place if leads else None

    def samples(self, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        page, _ = asyncio.run(self.exposition.page(accept))
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, frozenset(labels.items())))


def sight(**totals: int) -> AgentSnapshot:
    """An Agent with one session that has two events before it."""
    ledger = Ledger(totals=Totals(**totals), sessions={"s": SESSION})
    stored, lag = StoredLedger(ledger, "1", 4096), Lag(2, "2026-11-01T12:00:00Z")
    return AgentSnapshot(AGENT, ("True", "Subscribed"), stored, lag, stuck=3)


# --- figures ----------------------------------------------------------------------------------------------------


def test_a_distribution_counts_each_value_up_to_every_bound_that_holds_it() -> None:
    distribution = Histogram((0.1, 1.0))

    distribution.add([0.1, 0.5, 0.5])
    distribution.add([3.0])

    assert distribution.buckets() == [("0.1", 1), ("1.0", 3), ("+Inf", 4)]
    assert distribution.total == pytest.approx(4.1)


def test_labels_cannot_become_many() -> None:
    tally = LabelledCounter("reason")

    for number in range(MAX_LABEL_SETS + 50):
        tally.add(f"made-up-{number}")
    tally.add("made-up-0")

    assert len(tally.counts) == MAX_LABEL_SETS + 1
    assert tally.counts[(OTHER_LABEL,)] == 50
    assert tally.counts[("made-up-0",)] == 2


# --- the page ---------------------------------------------------------------------------------------------------


def test_the_page_shows_an_agents_ledger() -> None:
    replica = Replica()
    replica.place.seen = [sight(handled=7, dead_lettered=1, tasks_failed=2)]
    agent = {"namespace": "demo", "agent": "researcher"}

    assert replica.value("heed_events_total", outcome="handled", **agent) == 7
    assert replica.value("heed_events_total", outcome="dead_lettered", **agent) == 1
    assert replica.value("heed_task_results_total", outcome="failed", **agent) == 2
    assert replica.value("heed_sessions", **agent) == 1
    assert replica.value("heed_status_bytes", **agent) == 4096
    assert replica.value("heed_cursor_lag_events", **agent) == 2
    assert replica.value("heed_stuck_tasks", **agent) == 3
    assert (replica.value("heed_cursor_lag_seconds", **agent) or 0) > 1000
    assert replica.value("heed_agents", ready="True", reason="Subscribed") == 1


def test_the_page_counts_statuses_that_the_api_server_refuses() -> None:
    replica = Replica()
    replica.place.seen = [sight(), AgentSnapshot(AGENT, ("True", "Subscribed"), None, None, refused=True)]

    assert replica.value("heed_refused_statuses") == 1
    replica.place.seen = []
    assert replica.value("heed_refused_statuses") == 0


def test_the_series_of_an_agent_go_with_it() -> None:
    replica = Replica()
    replica.place.seen = [sight(handled=7)]
    before = {name for name, labels in replica.samples() if ("agent", "researcher") in labels}

    replica.place.seen = []

    assert "heed_events_total" in before
    assert [name for name, labels in replica.samples() if dict(labels).get("agent")] == []


def test_an_agent_that_does_not_run_is_not_ready_and_has_no_figures() -> None:
    replica = Replica()
    replica.place.seen = [AgentSnapshot(AGENT, ("False", "Invalid"), None, None)]

    of_agent = {name for name, labels in replica.samples() if ("agent", "researcher") in labels}

    assert of_agent == {"heed_agent_ready", "heed_agent_suspended"}
    assert replica.value("heed_agents", ready="False", reason="Invalid") == 1


@pytest.mark.parametrize("suspended", [True, False])
def test_a_suspended_agent_says_so_and_has_no_lag(suspended: bool) -> None:
    replica = Replica()
    stored = StoredLedger(Ledger(), "1", 4096)
    replica.place.seen = [AgentSnapshot(AGENT, ("True", "Suspended"), stored, None, suspended=suspended)]
    agent = {"namespace": "demo", "agent": "researcher"}

    assert replica.value("heed_agent_suspended", **agent) == float(suspended)
    assert replica.value("heed_agent_ready", **agent) == 1
    assert replica.value("heed_cursor_lag_seconds", **agent) is None


@pytest.mark.parametrize("limited", [True, False])
def test_an_agent_whose_limit_holds_events_back_says_so(limited: bool) -> None:
    replica = Replica()
    stored = StoredLedger(Ledger(), "1", 4096)
    replica.place.seen = [AgentSnapshot(AGENT, ("True", "Subscribed"), stored, None, limited=limited)]

    assert replica.value("heed_agent_rate_limited", namespace="demo", agent="researcher") == float(limited)


def test_a_standby_says_so_and_knows_no_agents() -> None:
    replica = Replica(leads=False)

    assert replica.value("heed_leader") == 0
    assert replica.value("heed_nats_connected") == 0


def test_flaws_of_the_streams_are_series_for_as_long_as_they_are_there() -> None:
    replica = Replica()
    replica.exposition.flaws = (
        StreamFlaw("HEED", "discard", "it is full"),
        StreamFlaw("HEED_DEAD", "sealed", "it is"),
    )

    assert replica.value("heed_stream_flaws", stream="HEED", field="discard") == 1
    assert replica.value("heed_stream_flaws", stream="HEED_DEAD", field="sealed") == 1
    replica.exposition.flaws = ()
    assert replica.value("heed_stream_flaws", stream="HEED", field="discard") is None
    assert [name for name, labels in replica.samples() if dict(labels).get("agent")] == []


def test_what_happens_is_counted_where_it_belongs() -> None:
    replica = Replica()
    received = Received(3, "2026-11-01T12:00:00Z", "heed.events.demo.a", Event("1", "/s", "a"))
    letter = DeadLetterCause("BadExpression", "no")
    metrics = replica.metrics

    metrics.committed(AGENT, [Decision(received, Ledger(), "dead_lettered", letter=letter)], Ledger())
    metrics.measured(AGENT, [0.0001, 0.002], 0.02, 1000)
    metrics.performed(AGENT, CancelTask("t", None))
    metrics.reported(AGENT, TaskEnd("t", "e", "2026-11-01T12:00:00Z", False, reason="Cancelled"))
    metrics.reported(AGENT, TaskEnd("u", "f", "2026-11-01T12:00:00Z", True))
    metrics.troubled(AGENT, "StartTask", BusUnavailable("gone"), 1.0)
    metrics.troubled(AGENT, "start over", BusUnavailable("gone"), 1.0)
    metrics.answered("PATCH", 409, 0.004)
    metrics.answered("PATCH", 0, 15.0)

    assert replica.value("heed_dead_letters_total", code="BadExpression") == 1
    assert replica.value("heed_decide_duration_seconds_count") == 2
    assert replica.value("heed_commit_duration_seconds_bucket", le="0.025") == 1
    assert replica.value("heed_status_written_bytes_total") == 1000
    assert replica.value("heed_effects_total", effect="cancel") == 1
    assert replica.value("heed_effects_total", effect="start") == 0
    assert replica.value("heed_tasks_ended_total", reason="Cancelled") == 1
    assert replica.value("heed_tasks_ended_total", reason="Completed") == 1
    assert replica.value("heed_troubles_total", what="start_task", error="BusUnavailable") == 1
    assert replica.value("heed_troubles_total", what="start_over", error="BusUnavailable") == 1
    assert replica.value("heed_api_requests_total", method="PATCH", code="409") == 1
    assert replica.value("heed_api_requests_total", method="PATCH", code="none") == 1
    assert replica.value("heed_api_request_duration_seconds_count", method="PATCH") == 2


async def test_the_format_is_the_one_that_is_asked_for() -> None:
    replica = Replica()

    plain, plain_type = await replica.exposition.page("")
    modern, modern_type = await replica.exposition.page("application/openmetrics-text; version=1.0.0")

    assert plain_type.startswith("text/plain")
    assert modern_type.startswith("application/openmetrics-text")
    assert modern.endswith(b"# EOF\n")
    assert not plain.endswith(b"# EOF\n")


def test_two_replicas_share_nothing() -> None:
    one, other = Replica(), Replica()

    one.metrics.performed(AGENT, CancelTask("t", None))

    assert other.value("heed_effects_total", effect="cancel") == 0


# --- the documentation ------------------------------------------------------------------------------------------


def exposed(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def test_the_documentation_lists_what_is_registered() -> None:
    families = list(Replica().exposition.registry.collect())

    documented = {name: kind for name, kind, _ in ROW.findall(PAGE)}
    own = {exposed(item.name, item.type): item.type for item in families if item.name.startswith("heed_")}
    others = {exposed(item.name, item.type) for item in families if not item.name.startswith("heed_")}

    assert documented == own
    assert {name for name in others if f"`{name}`" not in PAGE} == set()


def test_the_documentation_lists_every_label() -> None:
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in ROW.findall(PAGE)}

    registered = {
        exposed(item.name, item.type): set(getattr(item, "_labelnames", ()))
        for item in Replica().exposition.registry.collect()
        if item.name.startswith("heed_")
    }

    assert documented == registered


def test_the_number_of_series_of_an_agent_is_the_documented_one() -> None:
    replica = Replica()
    replica.place.seen = [sight()]

    found = [labels for _, labels in replica.samples() if ("agent", "researcher") in labels]

    assert f"That is {len(found)} series for an Agent" in PAGE


def test_every_total_of_a_ledger_has_a_metric() -> None:
    replica = Replica()
    totals = {name: number for number, name in enumerate((item.name for item in fields(Totals)), 1000)}
    replica.place.seen = [sight(**totals)]

    shown = set(replica.samples().values())

    assert {name for name, number in totals.items() if number not in shown} == set()


def test_alerts_speak_of_metrics_that_exist() -> None:
    (document,) = [item for text in blocks(PAGE, "yaml") for item in yaml.safe_load_all(text)]
    rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
    names = {name for name, _, _ in ROW.findall(PAGE)}

    used = {name for rule in rules for name in re.findall(r"\bheed_\w+", rule["expr"])}

    assert len(rules) > 5
    assert {re.sub(r"_bucket$", "", name) for name in used} <= names
