"""What goes wrong with the scribe's workers in a storm, and when, from a seed: a plan apart from the others'."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.doomed_operator import ACK_WAIT_S
from tests.faults.doomed_worker import WORKER_POINTS
from tests.faults.plan import NETWORK, RANDOM, Death, Trouble

ROLLS = ("rolled new-first", "rolled old-first", "rolled killed")
ROLL_EVERY = 4  # rounds
LAST_S = 20.0  # in which an operator that nobody harms has workers that are harmed


def crew_plan(seed: int, rounds: int) -> list[tuple[Trouble, ...]]:
    """The troubles of workers in each round. The same for the same seed."""
    dice = random.Random(f"crew {seed}")
    rolls = list(ROLLS)
    dice.shuffle(rolls)
    found = []
    for number in range(rounds):
        troubles = list(_troubles(dice))
        if number % ROLL_EVERY == 1:
            roll = rolls[number // ROLL_EVERY % len(rolls)]
            troubles.append(Trouble(f"worker {roll}", dice.uniform(0, 4), dice.uniform(0.1, 1.5)))
        found.append(tuple(troubles))
    return found


def last_troubles(seed: int) -> tuple[Trouble, ...]:
    """What workers suffer once all else is well, and their Agent catches up."""
    dice = random.Random(f"crew at last {seed}")
    kills = [Trouble("worker killed", dice.uniform(0, LAST_S)) for _ in range(12)]
    frozen = [
        Trouble("worker frozen", dice.uniform(0, LAST_S - ACK_WAIT_S), dice.uniform(0.5, ACK_WAIT_S))
        for _ in range(2)
    ]
    roll = Trouble(f"worker {dice.choice(ROLLS)}", dice.uniform(0, LAST_S / 2), dice.uniform(0.1, 1.5))
    return (*kills, *frozen, roll)


def _troubles(dice: random.Random) -> Iterator[Trouble]:
    for likely in (0.8, 0.5):
        if dice.random() < likely:
            yield Trouble("worker killed", dice.uniform(0, 6))
    if (
        dice.random() < 0.4
    ):  # mostly longer than an answer may take, and at times longer than work waits for a sign
        yield Trouble("worker frozen", dice.uniform(0, 5), dice.uniform(0.5, 2 * ACK_WAIT_S))
    if dice.random() < 0.5:
        kind = dice.choice(NETWORK)
        lasts = 0.0 if kind in ("cut", "reset") else dice.uniform(0.5, 2 * ACK_WAIT_S)
        yield Trouble(f"workers {kind}", dice.uniform(0, 5), lasts)


def worker_deaths(seed: int) -> Iterator[Death]:
    """What the workers die of that are started one after the other: a quarter of nothing of their own."""
    dice = random.Random(f"worker deaths {seed}")
    while True:
        if dice.random() < 0.25:
            yield Death(RANDOM)
        else:
            yield Death(dice.choice(WORKER_POINTS), dice.randint(1, 4), dice.uniform(0, 3))
