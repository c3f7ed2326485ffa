"""The nightly report in `heed dev`, whose clock is set by hand: nights pass at once."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

import pytest

from heed import names
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.local import dev_server
from tests.integration.local.examples import Life, life
from tests.integration.manual_timers import ManualTimers
from tests.integration.waiting import until
from tests.markdown import ROOT
from tests.nats_server import require_nats_server

REPORT = ROOT / "examples" / "nightly-report" / "agent.yaml"


def ledger_of(one: Life) -> Ledger:
    (loop,) = one.bench.loops.values()
    return loop.ledger or Ledger()


async def sell(one: Life, id: str, amount: int) -> None:
    """A sale is made."""
    event = Event(
        id, "/shop", "com.example.sale.made", {"amount": amount}, datacontenttype="application/json"
    )
    await one.bench.bus.publish(names.event_subject("default", event.type), event)


async def pass_night(one: Life, timers: ManualTimers) -> datetime:
    """The clock goes to the next tick, and the report of that night is written."""
    before = ledger_of(one)
    due = datetime.fromisoformat(before.timers["nightly"].next_at or "")
    timers.go_to(due)
    await until(lambda: ledger_of(one).totals.tasks_completed > before.totals.tasks_completed)
    return due


async def test_a_report_is_written_every_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_nats_server()
    timers = ManualTimers(monkeypatch)
    monkeypatch.setattr(dev_server, "TimerHeap", lambda: timers)
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    manifest = tmp_path / "agent.yaml"
    # The broker's clock does not go with ours: on it, a Job of tonight began long ago.
    manifest.write_text(REPORT.read_text().replace("timeout: 10m", "timeout: 30d"))
    async with life(manifest, folder=tmp_path / "state") as one:
        await until(lambda: bool(one.bench.loops) and bool(ledger_of(one).timers))
        await sell(one, "s-1", 30)
        await sell(one, "s-2", 12)
        await until(lambda: ledger_of(one).totals.handled == 2)

        first = await pass_night(one, timers)
        await until(lambda: len(written(one)) == 1)
        second = await pass_night(one, timers)
        await until(lambda: len(written(one)) == 2)

        totals, state = ledger_of(one).totals, ledger_of(one).sessions["sales"].state

    assert written(one) == ["2 sales, 42 in all", "0 sales, 0 in all"]
    assert (totals.ticks_fired, totals.ticks_missed, totals.dead_lettered) == (2, 0, 0)
    assert state == {"count": 0, "total": 0}
    assert 23 <= (second - first).total_seconds() / 3600 <= 25


def written(one: Life) -> list[str]:
    """The reports that were emitted."""
    effects = [effect for record in one.told("decided") for effect in record["effects"]]
    events = [effect["emit"] for effect in effects if effect.get("emit")]
    return [event["data"]["text"] for event in events if event["type"] == "com.example.report.written"]
