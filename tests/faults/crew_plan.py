"""What goes wrong with the scribe's workers in a storm, and when, from a seed: a plan apart from the others'."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.doomed_operator import ACK_WAIT_S
from tests.faults.doomed_worker import WORKER_POINTS
from tests.faults.plan import NETWORK, RANDOM, Death, Trouble

ROLLS = ("rolled new-first", "rolled old-first", "rolled killed")
ROLL_EVERY = 4  # rounds


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


def _troubles(dice: random.Random) -> Iterator[Trouble]:
    if dice.random() < 0.6:
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
    """What the workers die of that are started one after the other: half of them of nothing of their own."""
    dice = random.Random(f"worker deaths {seed}")
    while True:
        if dice.random() < 0.5:
            yield Death(RANDOM)
        else:
            yield Death(dice.choice(WORKER_POINTS), dice.randint(1, 8), dice.uniform(0, 4))
