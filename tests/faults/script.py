"""What is published in a storm, all of it from a seed: stories of orders, told out of order, twice, and with mistakes.

A story belongs to one session. Its events are thrown among those of all other stories; some come before what they
follow, some long after the end, some once more with or without the id that lets the broker know them again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from heed import names
from heed.bus.codec.cloudevents import encode
from heed.bus.jetstream import message_id
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event
from tests.faults import bureau, gate, workshop
from tests.faults.agents import ATTEMPTS, NAMESPACES
from tests.faults.spec_parts import DOMAIN

MESSAGE_ID = "Nats-Msg-Id"
SHOPS = 7
STEP = 60  # places between two events of a story, about
PACE = 0.3  # share of stories in which something is packed
CLUMP_EVERY = 800  # places
PERMITS = 0.2  # share of stories in which people are asked
WIDGETS = 0.3  # share of stories in which a Widget is wanted
PLAYS = {
    "succeed": 10,
    "text": 2,
    "fail": 3,
    "brief": 4,
    "hang": 1,
    "refused": 1,
    "frail": 3,
    "nap": 4,
    "doze": 1,
}
TASKS_OF_PLAYS = ("brief", "hang", "refused", "frail", "nap", "doze")  # plays that a task of that name is for


@dataclass(frozen=True, slots=True)
class Sending:
    """A message as a publisher sends it."""

    subject: str
    headers: dict[str, str]
    payload: bytes


def script(seed: int, count: int) -> list[Sending]:
    """So many messages, in the order in which publishers set about sending them. The same for the same seed."""
    dice = random.Random(f"script {seed}")
    placed = [*_placed(dice, count), *_clumps(count)]
    placed += [
        (place + delay, again) for place, sending in placed for delay, again in _again(dice, sending, count)
    ]
    placed.sort(key=lambda item: item[0])
    return [sending for _, sending in placed][:count]


def _placed(dice: random.Random, count: int) -> Iterator[tuple[float, Sending]]:
    """More than enough first sendings, each with its place."""
    made, story = 0, 0
    while made < count:
        story += 1
        namespace, begin = dice.choice(NAMESPACES), dice.uniform(-STEP, count)
        for number, (type_, data) in enumerate(_story(dice)):
            made += 1
            place = begin + number * dice.uniform(0.5, 1.5) * STEP
            if dice.random() < 0.1:  # before what it follows, or long after what follows it
                place += dice.choice((-1, 1)) * dice.uniform(1, 4) * STEP
            yield place, _sending(dice, namespace, story, number, type_, data)
        if dice.random() < 0.12:
            made += 1
            yield dice.uniform(0, count), _nonsense(dice, namespace, story)


def _story(dice: random.Random) -> list[tuple[str, Any]]:
    story: list[tuple[str, Any]] = [("order.placed", {"item": dice.choice(("tea", "ink", "rope"))})]
    if dice.random() < 0.2:  # early
        story.insert(0, ("order.settled", {}))
    story += [("order.amended", {"amount": dice.randint(1, 9)}) for _ in range(dice.randint(0, 4))]
    if dice.random() < PACE:
        story.append(("order.work", _work(dice)))
        if dice.random() < 0.15:
            story.append(("order.stopped", {}))
    others: tuple[tuple[str, dict[str, Any]], ...] = (
        ("order.chat", {"left": dice.randint(0, 3)}),
        ("order.broken", {}),
        ("order.broken-late", {}),
        ("order.unheard", {"of": "by any clerk"}),
        ("order.settled", {}),
        ("order.audited", {}),
    )
    story += [other for other in others if dice.random() < 0.12]
    if dice.random() < PERMITS:
        story.append(("permit.asked", _permit(dice)))
    if dice.random() < WIDGETS:
        story.append(("widget.wanted", _widget(dice)))
        if dice.random() < 0.15:
            story.append(("widget.stopped", {}))
    if dice.random() < 0.7:
        story.append(("order.closed", {}))
    return story


def _work(dice: random.Random) -> dict[str, Any]:
    """What `order.work` asks for: which task, and how its pod is to be played."""
    (play,) = dice.choices(list(PLAYS), list(PLAYS.values()))
    task = play if play in TASKS_OF_PLAYS else "pack"
    input = {"play": play, "value": dice.randint(1, 10**6)}
    if play == "refused":
        input["parallelism"] = -1
    if play == "frail":
        input["until"] = dice.randint(1, ATTEMPTS + 1)  # the attempt that succeeds; there may not be so many
    if play == "nap":
        input["seconds"] = dice.randint(0, 12)
    return {"task": task, "input": input}


def _permit(dice: random.Random) -> dict[str, Any]:
    """What `permit.asked` asks for: which approval, and what people are to do about it."""
    task = dice.choice(list(bureau.PLAYS_OF_TASKS))
    play = dice.choice(bureau.PLAYS_OF_TASKS[task])
    return {"task": task, "input": {"play": play, "value": dice.randint(1, 10**6)}}


def _widget(dice: random.Random) -> dict[str, Any]:
    """What `widget.wanted` asks for: which task, and what is to become of its Widget."""
    task = dice.choice(list(workshop.PLAYS_OF_TASKS))
    play = dice.choice(workshop.PLAYS_OF_TASKS[task])
    input: dict[str, Any] = {"play": play, "value": -1 if play == "refused" else dice.randint(1, 10**6)}
    if play == "mend":
        input["until"] = dice.randint(1, workshop.ATTEMPTS + 1)
    return {"task": task, "input": input}


def _clumps(count: int) -> Iterator[tuple[float, Sending]]:
    """Events for the gate, so many at once that it has to keep some of them back."""
    subject = names.event_subject(gate.NAMESPACE, gate.PASSED)
    for place in range(CLUMP_EVERY // 3, count, CLUMP_EVERY):
        for number in range(gate.CLUMP):
            headers, payload = encode(Event(f"g-{place}-{number}", "/road", gate.PASSED, {}))
            yield place, Sending(subject, headers, payload)


def _sending(dice: random.Random, namespace: str, story: int, number: int, type_: str, data: Any) -> Sending:
    event = Event(
        f"{story // SHOPS}-{number}",  # only together with its source it is unlike any other
        f"/shop/{story % SHOPS}",
        DOMAIN + type_,
        data,
        datacontenttype="application/json",
        extensions={"correlationid": f"o-{story}"},
    )
    subject = names.event_subject(namespace, event.type)
    if dice.random() < 0.05:  # said to the clerk alone
        subject = names.inbox_subject(namespace, "clerk", event.type)
    headers, payload = encode(event)
    if dice.random() < 0.1:
        headers, payload = (
            {"Content-Type": "application/cloudevents+json"},
            json.dumps(event_to_json(event)).encode(),
        )
    if dice.random() < 0.6:
        headers[MESSAGE_ID] = message_id(subject, event)
    return Sending(subject, headers, payload)


def _again(dice: random.Random, sending: Sending, count: int) -> Iterator[tuple[float, Sending]]:
    """The same message once more: soon, or so late that nobody remembers it."""
    without = replace(sending, headers={k: v for k, v in sending.headers.items() if k != MESSAGE_ID})
    if dice.random() < 0.08:
        yield dice.uniform(0, STEP), dice.choice((sending, without))
    if dice.random() < 0.03:
        yield dice.uniform(STEP, count), dice.choice((sending, without))


def _nonsense(dice: random.Random, namespace: str, story: int) -> Sending:
    """What no Agent can take, or does not wait for."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"n-{story}",
        "ce-source": "/nonsense",
        "ce-type": DOMAIN + "order.placed",
    }
    subject = names.event_subject(namespace, DOMAIN + "order.placed")
    match dice.randrange(6):
        case 0:
            return Sending(subject, {}, b"not an event")
        case 1:
            return Sending(
                subject, {name: value for name, value in headers.items() if name != "ce-id"}, b"{}"
            )
        case 2:
            return Sending(subject, headers | {"ce-type": DOMAIN + "order.closed"}, b"{}")
        case 3:
            return Sending(subject, headers | {"ce-specversion": "0.3"}, b"{}")
        case 4:
            return Sending(subject, headers | {"ce-datacontenttype": "application/json"}, b'{"cut": ')
        case _:  # the end of a task that nobody started
            type_ = names.TASK_COMPLETED
            forged = headers | {"ce-type": type_, "ce-subject": f"pack-{story:016x}"}
            return Sending(names.inbox_subject(namespace, "clerk", type_), forged, b"{}")
