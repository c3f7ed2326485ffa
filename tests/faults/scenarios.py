"""Single misfortunes under load, one by one: `python -m tests.faults.scenarios`, as `make scenarios` starts it.

Five Agents count the events that are published all the while, and tell each other of every count. Then something
happens, and in the end every Agent has to have counted every event once and told of it, with nobody lifting a hand.

    clock          the operator's clock jumps two hours ahead, and back
    disk           the broker's disk is full for a while, and then has room again
    frozen         the broker hangs for a minute with all its connections open
    another        the operator of a second release, of another lease, works on the same Agents
    edits          50 edits of every Agent's manifest
    three-nodes    of three servers of a broker dies the leader of the stream, the consumer's, and the operator's own
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from heed import names
from tests.faults.misfortunes import MISFORTUNES, Unmet, ask
from tests.faults.outage import AGENTS, COUNTED, RATE, Load, Scene, explained, until

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be seen in the end."""

    events: int
    same_process: bool
    seconds: float


async def befall(scene: Scene, happens: Callable[[Scene, Say], Awaitable[None]], say: Say) -> Outcome:
    """Let it happen under load. Raises AssertionError where an event is not counted by all, once."""
    pid, began = scene.operator.pid, time.monotonic()
    load = Load(scene.url)
    try:
        await until(lambda: load.published > 2 * RATE, "some load")
        await happens(scene, say)
        last = load.published
        await until(lambda: load.published > last + 2 * RATE, "new load")
    finally:
        scene.events += await load.stop()
    say(f"{load.published} events published; waiting until all are counted")
    await until(lambda: scene.is_done(scene.events), f"{scene.events} events counted by all")
    assert await told(scene) == {f"reader-{agent}": scene.events for agent in range(AGENTS)}
    return Outcome(load.published, scene.operator.pid == pid, time.monotonic() - began)


async def told(scene: Scene) -> dict[str, int]:
    """How many counts the stream holds for each reader."""
    subjects = names.inbox_subject("default", "*", COUNTED)
    answer = await ask(scene, f"STREAM.INFO.{names.STREAM}", {"subjects_filter": subjects})
    counts: dict[str, int] = answer["state"]["subjects"]
    return {subject.split(".")[3]: count for subject, count in counts.items()}


def run(name: str, say: Say, *, short: bool = False) -> Outcome:
    """One scenario from nothing to its outcome. Raises Unmet where this machine lacks what it takes."""
    misfortune = MISFORTUNES[name]
    with (
        tempfile.TemporaryDirectory(prefix="heed-scenario-") as made,
        misfortune.prepared(Path(made)) as scene,
        explained(scene, say),
    ):
        return asyncio.run(befall(scene, misfortune.short if short else misfortune.long, say))


def main() -> int:
    """All scenarios, or those that are named; 0 where all end as they have to."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.scenarios", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(MISFORTUNES)}; all if not given"
    )
    names, failed = parser.parse_args().names or list(MISFORTUNES), 0
    for name in names:
        began = time.monotonic()

        def say(line: str, began: float = began, name: str = name) -> None:
            print(f"{time.monotonic() - began:6.1f} s  {name}: {line}", file=sys.stderr, flush=True)

        try:
            say(f"{run(name, say)}")
        except Unmet as unmet:
            say(f"left out: {unmet}")
        except AssertionError as error:
            say(f"failed: {error}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
