"""Dead letters that are redriven by the command: decided again, once, by the handlers of now; on the real adapters."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.bus.dead_letters import DeadLetterEntry, DeadLetterFilter, DeadLetterStore
from heed.core.compiler.program import compile_agent
from heed.core.ledger.ledger import Ledger
from tests.integration.cemetery import Run
from tests.integration.engine.oracle import opened
from tests.integration.engine.world import AGENT, HANDLERS, IN, OUT, World, emit, handler, worker_manifest
from tests.integration.waiting import SOON, until

BROKEN = handler("break", when="event.data.missing > 3", state={"never": True})
MENDED = handler("break", state={"mended": "${event.id}"}, emit=emit("mended", "${event.id}"))
BROKEN_END = handler(names.TASK_COMPLETED, state={"done": "${event.data.result.missing}"})


def change(world: World, *handlers: dict[str, Any], where: str | None = None) -> None:
    """Edit the Agent: these handlers take the place of those of their names. It holds for the next life."""
    new = {item["name"]: item for item in handlers}
    document = worker_manifest(world.namespace, world.program.agent.uid)
    document["spec"]["handlers"] = [new.get(item["name"], item) for item in HANDLERS]
    document["spec"]["subscribe"][0] |= {"where": where} if where else {}
    document["metadata"]["generation"] = world.program.generation + 1
    world.program = compile_agent(parse_agent(document))


async def letters(world: World, count: int) -> list[DeadLetterEntry]:
    """The Agent's letters, once there are so many."""
    found: list[DeadLetterEntry] = []

    async def are_there() -> bool:
        batches = DeadLetterStore(world.connection).find(
            DeadLetterFilter(world.namespace, AGENT), payloads=True
        )
        found[:] = [item async for batch in batches for item in batch]
        return len(found) >= count

    await until(are_there)
    assert len(found) == count
    return found


async def count_emitted(world: World, type_: str) -> int:
    """How many events of a type the Agent emitted."""
    async with opened(
        world.connection, names.STREAM, [names.event_subject(world.namespace, OUT + type_)]
    ) as pull:
        return pull.pending


async def redriven_once(world: World, heed_dead: Run, *options: object) -> Ledger:
    """Redrive by the command, and wait until everything is decided."""
    result = await heed_dead("redrive", "-n", world.namespace, *(options or ["--all"]))
    assert result.exit_code == 0, result.output
    return await world.quiet()


async def test_a_letter_of_a_broken_handler_is_handled_once_when_the_handler_is_mended(
    world: World, heed_dead: Run
) -> None:
    # Given an event that a handler broke on
    life = await world.live()
    await world.send("break", "s", {}, id="e-1")
    await letters(world, 1)
    await life.end()

    # When the handler is mended, and the letter redriven
    change(world, MENDED)
    await world.live()
    ledger = await redriven_once(world, heed_dead)

    # Then
    assert (ledger.totals.handled, ledger.totals.dead_lettered) == (1, 1)
    assert ledger.sessions["s"].state == {"mended": "e-1"}
    assert await count_emitted(world, "mended") == 1
    [found] = await letters(world, 1)
    assert found.mark is not None and found.mark.sequence == ledger.cursor.sequence


async def test_a_letter_of_a_broken_subscription_meets_the_mended_one(world: World, heed_dead: Run) -> None:
    # Given two events that a subscription's condition broke on
    change(world, MENDED, where="event.data.missing > 5")
    life = await world.live()
    for id_, data in (("e-1", {"n": "text"}), ("e-2", {"n": 7})):
        await world.send("break", "s", data, id=id_)
    await letters(world, 2)
    await life.end()

    # When the condition is mended, the letters are redriven, and one of the events published afresh
    change(world, MENDED, where="type(event.data.n) == int && event.data.n > 5")
    await world.live()
    await redriven_once(world, heed_dead)
    await world.send("break", "s", {"n": "text"}, id="e-3")
    ledger = await world.quiet()

    # Then only the one that the condition takes is handled
    assert (ledger.totals.handled, ledger.totals.ignored, ledger.totals.dead_lettered) == (1, 2, 2)
    assert ledger.sessions["s"].state == {"mended": "e-2"}
    assert await count_emitted(world, "mended") == 1


async def test_a_redrive_that_comes_twice_is_decided_once(world: World, heed_dead: Run) -> None:
    # Given a letter that was redriven and decided
    life = await world.live()
    await world.send("break", "s", {})
    await letters(world, 1)
    await life.end()
    change(world, MENDED)
    life = await world.live()
    await redriven_once(world, heed_dead)

    # When the same message comes again, as after a crash longer ago than the broker knows duplicates
    subject = names.redrive_subject(world.namespace, AGENT, IN + "break")
    async with opened(world.connection, names.STREAM, [subject]) as pull:
        [item] = await pull.take(1, SOON)
    headers = {
        name: value for name, value in (item.message.headers or {}).items() if name != HEADER_MESSAGE_ID
    }
    await world.bus.store(subject, headers, item.message.data)
    ledger = await world.quiet()

    # Then
    assert (ledger.totals.handled, ledger.totals.duplicates) == (1, 1)
    assert await count_emitted(world, "mended") == 1


async def test_what_fails_again_is_a_new_letter_of_the_next_attempt(world: World, heed_dead: Run) -> None:
    await world.live()
    await world.send("break", "s", {}, id="e-1")
    [first] = await letters(world, 1)

    await redriven_once(world, heed_dead)
    await letters(world, 2)
    ledger = await redriven_once(world, heed_dead)

    found = await letters(world, 3)
    assert [item.letter.attempt for item in found] == [1, 2, 3]
    assert [item.mark is not None for item in found] == [True, True, False]
    assert {item.letter.headers["ce-id"] for item in found} == {"e-1"}
    assert {item.letter.cause("Subject") for item in found} == {first.letter.cause("Subject")}
    assert ledger.totals.dead_lettered == 3


async def test_the_end_of_a_task_is_decided_with_the_record_of_its_task(world: World, heed_dead: Run) -> None:
    # Given a task whose end a handler broke on, so that the task is out of the ledger
    change(world, BROKEN_END)
    life = await world.live()
    await world.send("ask", "s", {"finish": {"answer": 42}})
    [dead] = await letters(world, 1)
    assert dead.letter.type == names.TASK_COMPLETED, dead.letter.headers
    assert (await world.quiet()).pending_tasks == {}
    await life.end()

    # When the handler is mended, and the letter redriven
    change(world)
    await world.live()
    ledger = await redriven_once(world, heed_dead)

    # Then the handler saw the task
    [task_id] = world.jobs.made
    assert ledger.sessions["s"].state["done"] == task_id == dead.letter.headers["ce-subject"]
    assert (ledger.totals.stale, ledger.totals.handled) == (0, 2)
    assert await count_emitted(world, "done") == 1


async def test_no_other_agent_of_the_namespace_hears_of_it(world: World, heed_dead: Run) -> None:
    # Given another Agent with the same subscriptions, that could handle the event
    other = replace(world.program, agent=replace(world.program.agent, name="writer", uid="other"))
    heard = await world.bus.open(other.subjects, 0, "1970-01-01T00:00:00Z")
    try:
        await world.live()
        await world.send("break", "s", {})
        await letters(world, 1)
        assert [item.subject for item in await heard.read(10, SOON)] == [
            names.event_subject(world.namespace, IN + "break")
        ]

        # When the letter is redriven
        await redriven_once(world, heed_dead)
        marker = await world.send("note", "marker")

        # Then what the other one reads next came after it
        assert [item.sequence for item in await heard.read(10, SOON)] == [marker]
    finally:
        await heard.close()


@pytest.mark.slow
async def test_thousands_of_letters_are_each_decided_once(world: World, heed_dead: Run) -> None:
    count = 5000
    life = await world.live()
    for number in range(count):
        await world.send("break", f"s{number % 50}", {}, id=f"e-{number}")
    await world.quiet()
    await letters(world, count)
    await life.end()

    change(world, MENDED)
    await world.live()
    result = await heed_dead("redrive", "--all", "-n", world.namespace)
    assert (result.exit_code, result.stdout) == (0, f"{count} redriven\n"), result.output
    ledger = await world.quiet()

    assert (ledger.totals.handled, ledger.totals.dead_lettered, ledger.totals.duplicates) == (count, count, 0)
    assert await count_emitted(world, "mended") == count
    assert {key: value.state["mended"] for key, value in ledger.sessions.items()} == {
        f"s{number % 50}": f"e-{number}" for number in range(count - 50, count)
    }
