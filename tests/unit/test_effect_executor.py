"""Making effects: in which order, how often, and when a start is given up."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from heed.core.effects import CancelTask, Effect
from heed.engine.effect_executor import RETRY_BACKOFF, is_over
from heed.errors import BusUnavailable, TaskUnavailable
from tests.integration.waiting import until
from tests.patience import PATIENCE
from tests.unit.inmemory import AGENT, Bench, owed_message, start, turns


def test_a_deadline_is_over_once_it_has_passed() -> None:
    moment = datetime.now(UTC)

    assert is_over((moment - timedelta(seconds=1)).isoformat())
    assert not is_over((moment + timedelta(hours=1)).isoformat())
    assert is_over((moment - timedelta(seconds=1)).astimezone(None).isoformat())


# ── effects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_made_is_told_and_handed_back_once(bench: Bench) -> None:
    executor = bench.executor()
    effects: list[Effect] = [owed := owed_message(0), start(), CancelTask("t-2", None)]

    executor.perform(effects)
    await turns()

    assert bench.bus.owed == [("m-0", owed.owed, False)]
    assert [(work.id, work.task, look) for work, look in bench.runner.started] == [("t-1", "work", False)]
    assert bench.runner.happened == [("start", "t-1"), ("cancel", "t-2")]
    assert bench.watcher.effects == [(AGENT, effect) for effect in effects]
    assert executor.settled.is_set()
    assert executor.take_settled() == effects
    assert not executor.settled.is_set()
    assert executor.take_settled() == []
    assert bench.bus.published == []


async def test_after_a_restart_each_is_looked_for_before(bench: Bench) -> None:
    bench.executor().perform([owed_message(0), start()], again=True)
    await turns()

    assert [look for *_, look in bench.bus.owed] == [True]
    assert [look for _, look in bench.runner.started] == [True]


async def test_what_fails_is_tried_again_later_and_looked_for(bench: Bench) -> None:
    bench.bus.trouble.append(BusUnavailable("away"))
    bench.runner.trouble.extend([TaskUnavailable("no"), TaskUnavailable("not yet")])
    executor = bench.executor()

    executor.perform([owed_message(0), start()])
    await until(lambda: len(bench.watcher.effects) == 2)

    assert sorted(bench.watcher.troubles) == [
        (AGENT, "Publish", "away", RETRY_BACKOFF.first_s),
        (AGENT, "StartTask", "no", RETRY_BACKOFF.first_s),
        (AGENT, "StartTask", "not yet", 2 * RETRY_BACKOFF.first_s),
    ]
    assert [look for *_, look in bench.bus.owed] == [True]
    assert [look for _, look in bench.runner.started] == [True]
    assert executor.settled.is_set()


async def test_the_pauses_double_up_to_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(delay: float, over: asyncio.Event | None) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("heed.engine.effect_executor._pause", at_once)
    bench.bus.trouble.extend(BusUnavailable("away") for _ in range(8))

    bench.executor().perform([owed_message(0)])
    await turns(50)

    delays = [delay for *_, delay in bench.watcher.troubles]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, RETRY_BACKOFF.last_s, RETRY_BACKOFF.last_s]


async def test_a_mistake_of_ours_is_logged_and_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.bus.trouble.append(ValueError("broken"))

    bench.executor().perform([owed_message(0)])
    await until(lambda: bool(bench.bus.owed))

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "effect failed")
    assert (record.agent, record.effect) == ("demo/researcher", "Publish")  # type: ignore[attr-defined]
    assert record.exc_info


async def test_what_is_expected_to_fail_is_no_error_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.bus.trouble.append(BusUnavailable("away"))

    bench.executor().perform([owed_message(0)])
    await until(lambda: bool(bench.bus.owed))

    assert caplog.records == []


@pytest.mark.parametrize(
    ("subject", "taken"),
    [
        ("heed.events.demo.com.example.out", True),
        ("heed-dead.demo.researcher", True),
        ("heed.events.other.com.example.out", False),
        ("heed-dead.demo.other", False),
    ],
)
async def test_only_what_the_agent_may_say_itself_is_published(
    bench: Bench, subject: str, taken: bool
) -> None:
    bench.executor().perform([owed_message(0, subject)])
    await turns()

    trouble = (
        f"status.outbox has a message for {subject}, not demo/researcher's; "
        "somebody wrote the status; take it out of there"
    )
    assert len(bench.bus.owed) == taken
    assert bench.watcher.troubles == ([] if taken else [(AGENT, "Publish", trouble, RETRY_BACKOFF.first_s)])


async def test_closed_it_makes_nothing_more(bench: Bench) -> None:
    bench.bus.open_to_all.clear()
    executor = bench.executor()
    executor.perform([owed_message(0)])
    await turns()

    await executor.close()
    bench.bus.open_to_all.set()
    await turns()

    assert bench.bus.owed == []
    assert executor.has_room(1)


# ── room ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_messages_under_way_count_and_starts_do_not(bench: Bench) -> None:
    bench.bus.open_to_all.clear()
    bench.runner.open.clear()
    executor = bench.executor()

    executor.perform([owed_message(0), owed_message(1), start("t-1"), start("t-2")])
    await turns()

    assert not executor.has_room(2)
    assert executor.has_room(3)
    bench.runner.open.set()
    await turns()
    assert not executor.has_room(2)
    assert executor.has_room(3)


async def test_room_is_there_at_once_or_waited_for(bench: Bench) -> None:
    bench.bus.open_to_all.clear()
    executor = bench.executor()
    executor.perform([owed_message(0)])
    assert await executor.wait_for_room(2, 0.0)

    waiting = asyncio.create_task(executor.wait_for_room(1, PATIENCE))
    await turns()
    assert not waiting.done()
    bench.bus.open_to_all.set()

    assert await asyncio.wait_for(waiting, PATIENCE)


async def test_while_something_made_is_to_be_struck_off_the_wait_is_short(bench: Bench) -> None:
    executor = bench.executor()
    executor.perform([owed_message(0)])
    await turns()
    bench.bus.open_to_all.clear()
    executor.perform([owed_message(1)])

    assert not await executor.wait_for_room(1, 0.001)
    assert executor.take_settled() == [owed_message(0)]


async def test_what_is_made_while_waiting_makes_the_rest_of_the_wait_short(bench: Bench) -> None:
    executor = bench.executor()
    bench.bus.open_to_all.clear()
    bench.runner.open.clear()
    executor.perform([owed_message(0), start()])
    waiting = asyncio.create_task(executor.wait_for_room(1, 0.001))
    await turns()

    bench.runner.open.set()

    assert not await asyncio.wait_for(waiting, PATIENCE)
