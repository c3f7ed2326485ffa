"""What `heed validate` tells of timers, at a time that is given."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.cli import validate
from tests.builders.agents import manifest
from tests.unit.cli import heed

NOW = datetime(2025, 3, 28, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "now", lambda: NOW)


def told(folder: Path, *options: str, **timers: dict[str, Any]) -> list[str]:
    """What is said of an Agent with these timers."""
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(manifest({"type": names.TIMER_FIRED}, timers=timers), sort_keys=False))
    return heed("validate", file, *options).output.replace(f"{folder}/", "").splitlines()


def test_the_next_five_ticks_are_shown_in_the_time_zone_and_in_utc(tmp_path: Path) -> None:
    assert told(tmp_path, nightly={"cron": "30 2 * * *", "timeZone": "Europe/Berlin"}) == [
        "agent.yaml:1: Agent demo/researcher is valid (1 handler, 0 tasks, 1 timer)",
        "  timer nightly: ticks next",
        "    Sat 2025-03-29 02:30:00 CET  2025-03-29T01:30:00Z",
        "    Sun 2025-03-30 03:00:00 CEST  2025-03-30T01:00:00Z",
        "    Mon 2025-03-31 02:30:00 CEST  2025-03-31T00:30:00Z",
        "    Tue 2025-04-01 02:30:00 CEST  2025-04-01T00:30:00Z",
        "    Wed 2025-04-02 02:30:00 CEST  2025-04-02T00:30:00Z",
    ]


def test_timers_without_a_time_zone_are_shown_in_utc(tmp_path: Path) -> None:
    shown = told(
        tmp_path,
        often={"every": "15m"},
        once={"at": "2025-12-24T18:00:00+01:00"},
        off={"every": "1h", "suspend": True},
    )

    assert shown[1:] == [
        "  timer often: ticks next",
        *(f"    2025-03-28T{time}:00Z" for time in ("12:15", "12:30", "12:45", "13:00", "13:15")),
        "  timer once: ticks next",
        "    2025-12-24T17:00:00Z",
        "  timer off: is suspended; it would tick",
        *(f"    2025-03-28T{hour}:00:00Z" for hour in range(13, 18)),
    ]


def test_what_is_over_is_doubted(tmp_path: Path) -> None:
    shown = told(
        tmp_path,
        "--strict",
        once={"at": "2025-03-28T12:00:00Z"},
        off={"at": "2025-03-28T11:00:00Z", "suspend": True},
    )

    assert [line.partition(" ")[2] for line in shown[:2]] == [
        f"warning: spec.timers.{name}.at: is over, so it never ticks; name a time to come"
        for name in ("once", "off")
    ]
    assert "  timer once: is over: it never ticks again" in shown
    assert "  timer off: is suspended, and over" in shown


def test_data_hold_findings_alone(tmp_path: Path) -> None:
    assert json.loads("\n".join(told(tmp_path, "-o", "json", often={"every": "15m"}))) == []


def test_an_unquoted_time_is_read_as_the_api_server_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    document = yaml.safe_dump(manifest({"type": names.TIMER_FIRED}, timers={"once": {"at": "X"}}))
    file.write_text(document.replace("at: X", "at: 2026-12-24T18:00:00+01:00"))

    assert "    2026-12-24T17:00:00Z" in heed("validate", file).output
