"""What a seed says is always the same, and there is something of everything in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.doomed_operator import POINTS, RECOVERING
from tests.faults.gate import CLUMP
from tests.faults.plan import LEAVES_DEBTS, RANDOM, Size, plan
from tests.faults.report import Kill, recoveries, recovery_rows
from tests.faults.script import MESSAGE_ID, script

FULL = Size(events=20_000, kills=50, restarts=10)
PLAY = re.compile(rb'"play": ?"([a-z]+)"')
SHORT = Size(events=1_500, kills=8, restarts=2)


def test_a_seed_is_a_plan_and_a_script() -> None:
    assert plan(3, FULL) == plan(3, FULL) != plan(4, FULL)
    assert script(3, 1_500) == script(3, 1_500) != script(4, 1_500)
    assert len(script(3, 1_500)) == 1_500


@pytest.mark.parametrize("seed", range(5))
def test_the_full_plan_kills_at_every_point_and_restarts_every_server(seed: int) -> None:
    rounds = plan(seed, FULL)
    points = Counter(round_.death.point for round_ in rounds)
    kinds = Counter(trouble.kind for round_ in rounds for trouble in round_.troubles)
    assert len(rounds) == 50 and set(points) == {*POINTS, RANDOM}
    for server in ("broker", "apiserver"):
        assert kinds[f"{server} killed"] + kinds[f"{server} stopped"] == 10
    assert kinds["agent recreated"] == 2 and kinds["agent edited"] == 5


@pytest.mark.parametrize("size", [FULL, SHORT])
def test_a_death_while_recovering_follows_one_that_left_debts(size: Size) -> None:
    points = [round_.death.point for round_ in plan(5, size)]
    for place, point in enumerate(points):
        if point == RECOVERING:
            assert points[place - 1] in (LEAVES_DEBTS, RECOVERING)
    assert RECOVERING in points


def test_a_script_holds_what_goes_wrong_with_events() -> None:
    sendings = script(1, FULL.events)
    identities = [
        (sending.subject, sending.payload, sending.headers.get("ce-id"), sending.headers.get("ce-source"))
        for sending in sendings
    ]
    first = {identity: place for place, identity in reversed(list(enumerate(identities)))}
    again = [place - first[identity] for place, identity in enumerate(identities)]
    assert sum(sending.payload == b"not an event" for sending in sendings) > 50
    assert sum(distance > 5_000 for distance in again) > 100, "the same, long after"
    assert sum(0 < distance < 100 for distance in again) > 500, "the same, soon"
    assert {MESSAGE_ID in sending.headers for sending in sendings} == {True, False}
    work = sum(sending.subject.endswith("order.work") for sending in sendings)
    assert 1_000 < work < 2_500


def test_even_a_short_script_asks_for_everything_that_its_agents_do() -> None:
    sendings = script(1, SHORT.events)
    types = Counter(sending.subject.rpartition("com.example.")[2] for sending in sendings)
    for type_ in (
        "order.settled",
        "order.audited",
        "order.chat",
        "permit.asked",
        "widget.wanted",
        "widget.stopped",
    ):
        assert types[type_] > 3, type_
    assert types["gate.passed"] >= 2 * CLUMP
    plays = Counter(match[1] for sending in sendings if (match := PLAY.search(sending.payload)))
    assert {*plays} >= {
        b"race",
        b"late",
        b"silent",
        b"wrong",
        b"forged",
        b"mend",
        b"hang",
        b"deleted",
        b"refused",
    }


def test_a_recovery_ends_with_the_first_commit_and_is_cut_short_by_the_next_death() -> None:
    passed = (
        "10.0 after commit\n12.5 after commit\n12.6 after commit\n20.0 died before load\n30.0 after commit\n"
    )
    deaths = [("random moment", 11.0), ("before load", 20.0), ("random moment", 15.0)]
    assert recoveries(deaths, passed, [(29.0, 31.0)]) == [
        Kill("random moment", 11.0, 1.5, False),
        Kill("random moment", 15.0, None, False),
        Kill("before load", 20.0, 10.0, True),
    ]
    rows = recovery_rows(recoveries(deaths, passed, [(29.0, 31.0)]))
    assert rows[0] == ("all", 3, 5.75, 10.0, 1.5)
    assert rows[-1] == ("random moment", 2, 1.5, 1.5, 1.5)


def test_a_door_kills_at_the_passing_that_it_was_told_of(tmp_path: Path) -> None:
    passes = """
from tests.faults.doomed_operator import Doors
doors = Doors.from_environment()
for point in ("after commit", "before load", "after commit", "after commit"):
    print(point, flush=True)
    doors.at(point)
"""
    noted = tmp_path / "passed"
    environment = os.environ | {
        "HEED_DIE": "after commit:2:0",
        "HEED_PASSED": str(noted),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", passes], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split("\n")[:-1]) == (
        -9,
        ["after commit", "before load", "after commit"],
    )
    what = [line.partition(" ")[2] for line in noted.read_text().splitlines()]
    assert what == ["after commit", "after commit", "died after commit"]
