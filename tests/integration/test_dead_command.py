"""`heed dead` against a real broker: letters are found, and sent again once, in their order."""

import asyncio
import json

import pytest
import yaml

from heed import names
from heed.api.status import DeadLetterCause
from heed.bus.client.connection import Connection
from heed.bus.dead_letters import DeadLetterFilter, DeadLetterStore
from heed.core.events import Event, MalformedMessage
from tests.integration.cemetery import (
    AGENT,
    CAUSE,
    TASK,
    TYPE,
    Cemetery,
    Run,
    bury_quickly,
    events,
    places,
)

# --- looking ------------------------------------------------------------------------------------------------


async def test_letters_are_listed_with_what_somebody_looks_for(heed_dead: Run, cemetery: Cemetery) -> None:
    first, second = await cemetery.bury("1"), await cemetery.bury("2", TASK, agent="writer")

    result = await heed_dead("list", "-n", cemetery.namespace)

    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["ID", "AGE", "AGENT", "TYPE", "CODE", "HANDLER", "ATTEMPT", "REDRIVEN"]
    agents = [f"{cemetery.namespace}/{agent}" for agent in (AGENT, "writer")]
    assert [row[0] for row in rows[1:]] == [str(first), str(second)]
    assert rows[1][2:] == [agents[0], TYPE, "TemplateFailed", "begin", "1", "-"]
    assert rows[2][2:] == [agents[1], TYPE, "ExpressionFailed", "conclude", "1", "-"]
    assert "2 dead letters" in result.stderr and "heed dead show ID" in result.stderr


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_programs_get_the_letters_as_data(heed_dead: Run, cemetery: Cemetery, form: str) -> None:
    letter = await cemetery.bury("1")

    result = await heed_dead("list", "-n", cemetery.namespace, "-o", form)

    [document] = json.loads(result.stdout) if form == "json" else yaml.safe_load(result.stdout)
    assert (document["id"], document["message"]) == (letter, CAUSE.message)
    assert document["redriven"] is None and document["refusal"] is None


async def test_letters_can_be_chosen_and_the_newest_come_last(heed_dead: Run, cemetery: Cemetery) -> None:
    one = await cemetery.bury("1")
    two = await cemetery.bury("2", TASK, agent="writer")
    three = await cemetery.bury("3", TASK)
    await heed_dead("redrive", "--id", one)

    async def ids(*options: object) -> list[int]:
        result = await heed_dead("list", "-n", cemetery.namespace, *options, "-o", "json")
        return [item["id"] for item in json.loads(result.stdout)]

    assert await ids() == [one, two, three]
    assert await ids("--agent", "writer") == [two]
    assert await ids("--code", "ExpressionFailed") == [two, three]
    assert await ids("--code", "ExpressionFailed", "--code", "TemplateFailed") == [one, two, three]
    assert await ids("--pending") == [two, three]
    assert await ids("--redriven") == [one]
    assert await ids("--limit", 2) == [two, three]
    limited = await heed_dead("list", "-n", cemetery.namespace, "--limit", 2)
    assert "3 dead letters; 1 older ones are not shown" in limited.stderr


async def test_no_letters_are_no_error(heed_dead: Run, namespace: str, connection: Connection) -> None:
    result = await heed_dead("list", "-n", namespace)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 dead letters\n")


async def test_a_letter_is_shown_in_full(heed_dead: Run, cemetery: Cemetery) -> None:
    letter = await cemetery.bury("1", TASK, data={"topic": "tides\x1b[2J"})

    text, document = await heed_dead("show", letter), await heed_dead("show", letter, "-o", "json")

    assert text.exit_code == 0, text.output
    assert '"topic": "tides\\u001b[2J"' in text.stdout
    assert f"heed dead redrive --id {letter}" in text.stdout
    assert "\x1b" not in text.stdout
    shown = json.loads(document.stdout)
    assert shown["event"]["data"] == {"topic": "tides\x1b[2J"}
    assert shown["task"] == {"id": "t-1", "name": "t", "input": {"é": 1}}


async def test_what_is_no_letter_cannot_be_shown(heed_dead: Run, cemetery: Cemetery) -> None:
    letter = await cemetery.bury("1")
    await heed_dead("redrive", "--id", letter)
    [mark] = await places(cemetery.connection, names.redriven_subject(cemetery.namespace, AGENT))

    for number in (mark, 10**9):
        result = await heed_dead("show", number)
        assert result.exit_code == 1
        assert f"letter {number}: is not among the letters" in result.stderr


# --- sending again ------------------------------------------------------------------------------------------


async def test_a_letter_is_sent_to_its_agent_again_and_marked(heed_dead: Run, cemetery: Cemetery) -> None:
    letter = await cemetery.bury("1", TASK, data={"topic": "tides"})

    result = await heed_dead("redrive", "--id", letter)

    assert result.exit_code == 0, result.output
    [received] = await cemetery.redriven()
    assert isinstance(received.event, Event)
    assert (received.event.id, received.event.data) == ("1", {"topic": "tides"})
    assert received.redrive is not None
    assert (received.redrive.attempt, received.redrive.task) == (2, TASK.task)
    assert (
        f"letter {letter} of {cemetery.namespace}/{AGENT}: redriven as HEED {received.sequence}"
        in result.stdout
    )
    shown = json.loads((await heed_dead("show", letter, "-o", "json")).stdout)
    assert shown["redriven"]["sequence"] == received.sequence


async def test_a_letter_is_sent_once_however_often_it_is_redriven(heed_dead: Run, cemetery: Cemetery) -> None:
    letter = await cemetery.bury("1")
    await heed_dead("redrive", "--id", letter)

    again, everything = (
        await heed_dead("redrive", "--id", letter),
        await heed_dead("redrive", "--all", "-n", cemetery.namespace),
    )

    assert (again.exit_code, everything.exit_code) == (0, 0)
    assert "was redriven before, as HEED" in again.stdout
    assert "nothing to redrive" in everything.stderr
    assert (len(await cemetery.redriven()), await cemetery.marks()) == (1, 1)


async def test_a_letter_of_a_redriven_event_is_its_next_attempt(heed_dead: Run, cemetery: Cemetery) -> None:
    # Given an event that failed again
    await heed_dead("redrive", "--id", await cemetery.bury("1"))
    [received] = await cemetery.redriven()
    second = await cemetery.write(received.sequence, DeadLetterCause("TemplateFailed", "still", attempt=2))

    # When that letter is redriven too
    assert await cemetery.pending() == [second]
    result = await heed_dead("redrive", "--all", "-n", cemetery.namespace)

    # Then it is the same event, for the third time
    assert result.exit_code == 0, result.output
    _, third = await cemetery.redriven()
    assert isinstance(third.event, Event) and third.event.id == "1"
    assert third.redrive is not None and third.redrive.attempt == 3
    assert len({item.redrive.letter for item in (received, third) if item.redrive}) == 2


async def test_a_dry_run_tells_and_sends_nothing(heed_dead: Run, cemetery: Cemetery) -> None:
    letter = await cemetery.bury("1")

    result = await heed_dead("redrive", "--all", "-n", cemetery.namespace, "--dry-run")

    assert result.exit_code == 0
    assert (
        f"letter {letter} of {cemetery.namespace}/{AGENT}: would be redriven, as an event of type {TYPE}"
        in (result.stdout)
    )
    assert (await cemetery.redriven(), await cemetery.marks()) == ([], 0)
    assert await cemetery.pending() == [letter]


async def test_what_cannot_be_redriven_is_told_and_the_others_go_on(
    heed_dead: Run, cemetery: Cemetery
) -> None:
    sound = await cemetery.bury("1")
    lost = await cemetery.bury("2", data="x" * 1_048_200)
    untold = await cemetery.bury("3", DeadLetterCause("Broken", "m" * 5000, task='"' + "é" * 50_000 + '"'))

    plan, done = [
        await heed_dead("redrive", "--all", "-n", cemetery.namespace, *options)
        for options in (["--dry-run"], [])
    ]

    for result in (plan, done):
        assert result.exit_code == 1
        assert f"letter {lost} of" in result.stderr and "not all of the event fitted" in result.stderr
        assert f"letter {untold} of" in result.stderr and "the record of the task" in result.stderr
    assert events(await cemetery.redriven()) == ["1"]
    assert await cemetery.pending() == [lost, untold]
    assert f"letter {sound} of" in done.stdout


async def test_letters_that_are_not_there_are_told_and_the_others_go_on(
    heed_dead: Run, cemetery: Cemetery
) -> None:
    letter, foreign = await cemetery.bury("1"), await cemetery.bury("2", agent="writer")

    result = await heed_dead(
        "redrive", "--id", letter, "--id", foreign, "--id", 10**9, "--agent", AGENT, "-o", "json"
    )

    assert result.exit_code == 1
    outcomes = {item["id"]: item["outcome"] for item in json.loads(result.stdout)}
    assert outcomes == {letter: "redriven", foreign: "missing", 10**9: "missing"}
    assert await cemetery.pending() == [foreign]


async def test_only_what_the_options_leave_is_redriven(heed_dead: Run, cemetery: Cemetery) -> None:
    kept = [await cemetery.bury("1", TASK), await cemetery.bury("2", agent="writer")]
    await cemetery.bury("3")

    await heed_dead(
        "redrive", "--all", "-n", cemetery.namespace, "--agent", AGENT, "--code", "TemplateFailed"
    )

    assert events(await cemetery.redriven()) == ["3"]
    assert await cemetery.pending() == kept


async def test_what_was_malformed_is_sent_as_it_came(heed_dead: Run, cemetery: Cemetery) -> None:
    subject = names.event_subject(cemetery.namespace, TYPE)
    stored = await cemetery.bus.store(subject, {"X-Own": "kept"}, b"no event\xff")
    letter = await cemetery.write(stored.sequence, DeadLetterCause("NotAnEvent", "it is none"))

    result = await heed_dead("redrive", "--id", letter)

    assert result.exit_code == 0, result.output
    [received] = await cemetery.redriven()
    assert isinstance(received.event, MalformedMessage) and received.event.code == "NotAnEvent"
    assert received.subject == names.redrive_subject(cemetery.namespace, AGENT, TYPE)
    assert received.redrive is not None and received.redrive.attempt == 2


async def test_an_end_of_a_task_that_nobody_may_send_is_not_sent_for_them(
    heed_dead: Run, cemetery: Cemetery
) -> None:
    letter = await cemetery.bury(
        "1", DeadLetterCause("ReservedType", "not yours"), type_=names.TASK_COMPLETED
    )

    result = await heed_dead("redrive", "--id", letter)

    assert result.exit_code == 1
    assert "only Heed itself says" in result.stderr
    assert await cemetery.redriven() == []


async def test_thousands_of_letters_are_sent_exactly_once_and_in_their_order(
    heed_dead: Run, cemetery: Cemetery
) -> None:
    # Given 5000 letters
    subject, dead = (
        names.event_subject(cemetery.namespace, TYPE),
        names.dead_subject(cemetery.namespace, AGENT),
    )
    for start in range(0, 5000, 500):
        await asyncio.gather(
            *(bury_quickly(cemetery, subject, dead, number) for number in range(start, start + 500))
        )
    order = [
        found.letter.headers["ce-id"]
        async for batch in DeadLetterStore(cemetery.connection).find(DeadLetterFilter(cemetery.namespace))
        for found in batch
    ]
    assert len(set(order)) == 5000

    # When all are redriven
    result = await heed_dead("redrive", "--all", "-n", cemetery.namespace)

    # Then
    assert (result.exit_code, result.stdout) == (0, "5000 redriven\n"), result.output
    received = await cemetery.redriven()
    assert events(received) == order
    assert len({item.redrive for item in received}) == 5000
    assert await cemetery.marks() == 5000
    assert await cemetery.pending() == []
    assert "nothing to redrive" in (await heed_dead("redrive", "--all", "-n", cemetery.namespace)).stderr
