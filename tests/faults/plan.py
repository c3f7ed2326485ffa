"""What goes wrong in a storm, and when, all of it from a seed: rounds, each the life of one operator and its troubles.

An operator dies at a named point (see doomed_operator.POINTS) or at a moment of no meaning. A named point may not be
come to, as with an API server that is away; such an operator is killed in the end, and its point is tried again later.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.doomed_operator import POINTS, RECOVERING, STARTING

RANDOM = "random moment"
LEAVES_DEBTS = "after commit"  # whoever dies there leaves effects undone
START_UP = (*STARTING, RECOVERING)  # what is passed when a life begins, and later hardly ever
BEGINNING = ("load", "open", "resume")  # then, and again whenever the loop of an Agent starts over
MANY = 5  # the most passings before a death
SECONDS = 8.0  # of life, before a death in the middle of it
SETTLED = 2.0  # seconds of life, after which an operator is at work
NETWORK = ("cut", "reset", "refuse", "swallow", "delay")


@dataclass(frozen=True, slots=True)
class Death:
    """At the n-th passing of a point from `after` seconds of life on; or at a RANDOM moment, `after` seconds."""

    point: str
    times: int = 1
    after: float = 0.0

    def __str__(self) -> str:
        return f"{self.point}:{self.times}:{self.after:.1f}"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something else that goes wrong: `after` seconds into the round, where it can last for `lasts` seconds."""

    kind: str
    after: float
    lasts: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} at {self.after:.1f} s" + (f" for {self.lasts:.1f} s" if self.lasts else "")


@dataclass(frozen=True, slots=True)
class Round:
    """One life."""

    death: Death
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a storm is. `restarts` are of each server; `errors` is a share of all API requests."""

    events: int
    kills: int
    restarts: int
    errors: float = 0.05


def plan(seed: int, size: Size) -> list[Round]:
    """The rounds of a storm. The same for the same seed."""
    dice = random.Random(f"plan {seed}")
    deaths = _deaths(dice, size.kills)
    troubles: list[list[Trouble]] = [[] for _ in deaths]
    for server in ("broker", "apiserver"):
        for number, place in enumerate(_places(dice, len(deaths), size.restarts)):
            how = ("killed", "stopped")[number % 2]
            troubles[place].append(Trouble(f"{server} {how}", dice.uniform(0, 6), dice.uniform(0.1, 2)))
    for place, items in enumerate(troubles):
        items += _small_troubles(dice)
        if place == len(deaths) // 2 or (place == len(deaths) * 4 // 5 and len(deaths) > 20):
            items.append(Trouble("agent recreated", dice.uniform(0, 3), dice.uniform(0, 2)))
        if place % max(1, len(deaths) // 5) == 1:
            items.append(Trouble("agent edited", dice.uniform(0, 4)))
        if place % 3 == 2:
            items.append(Trouble("agent suspended", dice.uniform(0, 4), dice.uniform(0.5, 4)))
    return [
        Round(_timed(dice, death, items), tuple(items)) for death, items in zip(deaths, troubles, strict=True)
    ]


def _timed(dice: random.Random, death: Death, troubles: Sequence[Trouble]) -> Death:
    """Many deaths at random strike in the middle of a trouble: what waits for its end is then not done yet."""
    lasting = [trouble for trouble in troubles if trouble.lasts and trouble.after > SETTLED]
    if death.point != RANDOM or not lasting or dice.random() < 0.3:
        return death
    trouble = dice.choice(lasting)
    return Death(RANDOM, after=trouble.after + dice.uniform(0.2, 1) * trouble.lasts)


def _deaths(dice: random.Random, count: int) -> list[Death]:
    """Two of three at named points; every one of them has its turn before any has its second."""
    named = list(_named(dice, count * 2 // 3))
    deaths = [_death(dice, point) for point in named]
    deaths += [Death(RANDOM, after=dice.uniform(0.3, SECONDS)) for _ in range(count - len(deaths))]
    dice.shuffle(deaths)
    recoveries = [death for death in deaths if death.point == RECOVERING]
    deaths = [death for death in deaths if death.point != RECOVERING]
    for recovery in recoveries:  # each right after a death that left something to recover from
        debts = [place for place, death in enumerate(deaths) if death.point == LEAVES_DEBTS]
        deaths.insert(dice.choice(debts) + 1, recovery)
    return deaths


def _named(dice: random.Random, count: int) -> Iterator[str]:
    first = [LEAVES_DEBTS, RECOVERING]  # also in the shortest storm
    others = [point for point in POINTS if point not in first]
    dice.shuffle(others)
    deck = [*first, *others]
    for number in range(count):
        yield deck[number % len(deck)]


def _death(dice: random.Random, point: str) -> Death:
    if point in START_UP:
        return Death(point, dice.randint(1, MANY) if point == "agent seen" else 1)
    if point.split()[-1] in BEGINNING and dice.random() < 0.5:
        return Death(point, dice.randint(1, MANY))
    return Death(point, dice.randint(1, MANY), dice.uniform(0, SECONDS))


def _places(dice: random.Random, rounds: int, count: int) -> Sequence[int]:
    """In different rounds as long as there are enough of them."""
    places: list[int] = []
    while len(places) < count:
        places += dice.sample(range(rounds), min(rounds, count - len(places)))
    return places


def _small_troubles(dice: random.Random) -> Iterator[Trouble]:
    """What happens all the time."""
    for whose in ("nats", "api"):
        if dice.random() < 0.4:
            kind = dice.choice(NETWORK)
            lasts = 0.0 if kind in ("cut", "reset") else dice.uniform(0.3, 3)
            yield Trouble(f"{whose} {kind}", dice.uniform(0, 6), lasts)
    if dice.random() < 0.6:
        yield Trouble("watches cut", dice.uniform(1, 6))
    for kind in ("job deleted", "job deleted", "pod deleted"):
        if dice.random() < 0.6:
            yield Trouble(kind, dice.uniform(0, 6))
