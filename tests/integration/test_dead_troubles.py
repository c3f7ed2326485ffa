"""`heed dead` where something is wrong, where letters are dropped, and in a shell."""

import asyncio
import json
import os
import pty
import subprocess
from collections.abc import AsyncIterator

import pytest

from heed import names
from heed.api.status import DeadLetterCause
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.dead_letters import DeadLetterStore
from heed.cli.dead.options import COMPLETION_TIMEOUT_VARIABLE
from heed.core.events import Event
from heed.settings import Settings, StreamSettings
from tests.integration.cemetery import (
    AGENT,
    PATHS,
    PROGRAM,
    Cemetery,
    Run,
    events,
    places,
    running,
)
from tests.integration.waiting import until
from tests.nats_server import NatsServer
from tests.patience import PATIENCE

# --- when something is wrong --------------------------------------------------------------------------------


@pytest.fixture
async def alone(own_server: NatsServer, namespace: str) -> AsyncIterator[Cemetery]:
    """On a server of the test's own, that remembers message ids for a second only."""
    connection = await connect(Settings(nats_url=own_server.url), "test", attempts=3)
    await ensure_streams(connection, StreamSettings(duplicate_window=1))
    yield Cemetery(connection, namespace)
    await connection.close()


async def test_a_redrive_that_was_broken_off_before_its_mark_is_found_long_after(
    own_server: NatsServer, alone: Cemetery
) -> None:
    # Given a letter that was sent and not marked, longer ago than the broker knows duplicates
    heed_dead, letter = running(own_server), await alone.bury("1")
    await heed_dead("redrive", "--id", letter)
    [mark] = await places(alone.connection, names.redriven_subject(alone.namespace, AGENT))
    await DeadLetterStore(alone.connection).drop([mark])
    assert await alone.pending() == [letter]
    probe = names.event_subject(alone.namespace, "probe")

    async def forgotten() -> bool:
        event = Event("probe", "/test", "probe")
        return not (await alone.bus.send(probe, event)).duplicate

    await alone.bus.send(probe, Event("probe", "/test", "probe"))
    await until(forgotten)

    # When it is redriven
    result = await heed_dead("redrive", "--all")

    # Then it was not sent again, and is marked
    [received] = await alone.redriven()
    assert f"redriven as HEED {received.sequence}" in result.stdout
    assert await alone.pending() == []


async def test_a_broker_that_takes_no_more_is_told_and_the_rest_can_be_made_up_for(
    own_server: NatsServer, alone: Cemetery
) -> None:
    # Given a stream that has room for two more messages
    heed_dead, letters = running(own_server), [await alone.bury(str(number)) for number in range(5)]
    info = await alone.connection.api(f"STREAM.INFO.{names.STREAM}")
    full = {"max_msgs": info["state"]["messages"] + 2, "discard": "new"}
    await alone.connection.api(f"STREAM.UPDATE.{names.STREAM}", {**info["config"], **full})

    # When
    result = await heed_dead("redrive", "--all")

    # Then
    assert result.exit_code == 1
    assert "maximum messages exceeded" in result.stderr
    assert "The rest was not tried. Run the command again" in result.stderr
    assert await alone.pending() == letters[2:]
    await alone.connection.api(f"STREAM.UPDATE.{names.STREAM}", info["config"])
    assert (await heed_dead("redrive", "--all")).exit_code == 0
    assert events(await alone.redriven()) == ["0", "1", "2", "3", "4"]


async def test_a_broker_that_fails_is_not_asked_for_the_rest(
    own_server: NatsServer, alone: Cemetery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heed.cli.dead.redrive.REDRIVE_BATCH", 2)
    letters = [await alone.bury(str(number)) for number in range(5)]
    info = await alone.connection.api(f"STREAM.INFO.{names.STREAM}")
    full = {"max_msgs": info["state"]["messages"], "discard": "new"}
    await alone.connection.api(f"STREAM.UPDATE.{names.STREAM}", {**info["config"], **full})

    options = [word for letter in letters for word in ("--id", letter)]
    result = await running(own_server)("redrive", *options, "-o", "json")

    assert result.exit_code == 1
    told = [(item["id"], item["outcome"]) for item in json.loads(result.stdout)]
    assert told == [(letter, "failed") for letter in letters[:2]]


async def test_streams_that_do_not_take_a_redrive_are_told_before_anything_is_sent(
    own_server: NatsServer, alone: Cemetery
) -> None:
    heed_dead, letter = running(own_server), await alone.bury("1")
    for stream, subjects, words in (
        (names.DEAD_STREAM, ["heed-dead.*.*"], "add heed-dead.> to the stream's subjects"),
        (names.STREAM, ["heed.events.>", "heed.inbox.>"], "add heed.> to the stream's subjects"),
    ):
        config = (await alone.connection.api(f"STREAM.INFO.{stream}"))["config"]
        await alone.connection.api(f"STREAM.UPDATE.{stream}", {**config, "subjects": subjects})

        result = await heed_dead("redrive", "--id", letter)

        assert result.exit_code == 1
        assert f"stream {stream} takes the subjects {', '.join(subjects)}" in result.stderr
        assert words in result.stderr
        await alone.connection.api(f"STREAM.UPDATE.{stream}", config)
    assert await alone.pending() == [letter]


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", 1], ["redrive", "--all"], ["redrive", "--id", 1], ["drop", "--all", "--yes"]],
)
async def test_a_broker_without_streams_is_told_with_a_remedy(
    own_server: NatsServer, arguments: list[object]
) -> None:
    result = await running(own_server)(*arguments)

    assert result.exit_code == 1
    assert f"{own_server.url} has no stream HEED" in result.stderr
    assert "the operator or `heed dev` makes it" in result.stderr


# --- dropping -----------------------------------------------------------------------------------------------


async def test_letters_are_dropped_with_their_marks(heed_dead: Run, cemetery: Cemetery) -> None:
    redriven, pending = await cemetery.bury("1"), await cemetery.bury("2")
    await heed_dead("redrive", "--id", redriven)

    result = await heed_dead("drop", "--all", "-n", cemetery.namespace, "--redriven", "--yes")

    assert (result.exit_code, result.stdout) == (0, "dropped 1 dead letter\n"), result.output
    assert await cemetery.pending() == [pending]
    assert await cemetery.marks() == 0
    assert (await heed_dead("show", redriven)).exit_code == 1


async def test_letters_are_dropped_by_id_and_what_is_not_there_is_told(
    heed_dead: Run, cemetery: Cemetery
) -> None:
    letter, other = await cemetery.bury("1"), await cemetery.bury("2")

    result = await heed_dead("drop", "--id", letter, "--id", 10**9, "--yes", "-o", "json")

    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"id": letter, "outcome": "dropped"},
        {"id": 10**9, "outcome": "missing"},
    ]
    assert await cemetery.pending() == [other]


async def test_nothing_is_dropped_that_nobody_agreed_to(heed_dead: Run, cemetery: Cemetery) -> None:
    letter = await cemetery.bury("1")

    silent = await heed_dead("drop", "--id", letter)
    rehearsed = await heed_dead("drop", "--all", "-n", cemetery.namespace, "--dry-run")

    assert silent.exit_code == 2
    assert "delete 1 dead letter for good: say --yes" in silent.stderr
    assert (rehearsed.exit_code, rehearsed.stdout) == (0, "would drop 1 dead letter\n")
    assert await cemetery.pending() == [letter]


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)])
async def test_somebody_at_a_terminal_is_asked(
    nats_server: NatsServer, cemetery: Cemetery, answer: bytes, code: int, left: int
) -> None:
    letter = await cemetery.bury("1")
    ours, theirs = pty.openpty()
    os.write(ours, answer)

    def drop() -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "dead", "drop", "--id", str(letter), "--nats", nats_server.url]
        return subprocess.run(
            command, env=os.environ | PATHS, stdin=theirs, capture_output=True, text=True, check=False
        )

    done = await asyncio.to_thread(drop)
    os.close(ours)
    os.close(theirs)

    assert done.returncode == code, done.stderr
    assert "Delete 1 dead letter for good? [y/N]" in done.stderr
    assert len(await cemetery.pending()) == left


# --- in the shell -------------------------------------------------------------------------------------------


async def test_a_shell_can_complete_letters_and_their_causes(
    nats_server: NatsServer, cemetery: Cemetery
) -> None:
    letter = await cemetery.bury("1", DeadLetterCause("OnlyHere" + cemetery.namespace[-6:], "m"))

    def complete(*words: str) -> str:
        variables = {"COMP_WORDS": " ".join(["heed", "dead", *words]), "COMP_CWORD": str(len(words) + 1)}
        environment = os.environ | PATHS | variables | {"_HEED_COMPLETE": "bash_complete"}
        environment |= {"HEED_NATS_URL": nats_server.url, COMPLETION_TIMEOUT_VARIABLE: str(PATIENCE)}
        done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout

    assert f"plain,{letter}\n" in await asyncio.to_thread(complete, "show", str(letter))
    assert f"OnlyHere{cemetery.namespace[-6:]}" in await asyncio.to_thread(complete, "list", "--code", "Only")
    assert "plain,redrive\n" in await asyncio.to_thread(complete, "re")
