"""Declarations of handlers: what they react to, what they are given, what they may do, and what is wrong with them."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from heed.sdk import (
    Agent,
    AgentInfo,
    AnyEvent,
    Completed,
    DeclarationError,
    Event,
    Failed,
    Progress,
    Reaction,
    Resource,
    Session,
    State,
    Tick,
    emit,
)
from heed.sdk.handlers import Handler


class Asked(Event, type="com.example.asked"):
    """A question."""

    topic: str = ""


class Answered(Event, type="com.example.answered"):
    """An answer."""


class Untyped(Event):
    """An event whose class has no type."""


class Known(State):
    """What is known."""

    topic: str | None = None

    def tell(self) -> Reaction:
        """An answer."""
        return emit(Answered())


class Other(State):
    """Another state."""


def make() -> str:
    """A resource."""
    return "made"


Made = Annotated[str, Resource(make)]


def agent_with(state: type[State] = Known) -> Agent:
    """An Agent with a task."""
    agent = Agent("a", state=state)

    @agent.task(name="work")
    def work(n: int) -> str:
        return str(n)

    return agent


def only(agent: Agent) -> Handler:
    """The only handler of an Agent."""
    (handler,) = agent.handlers.values()
    return handler


def test_the_annotation_is_the_subscription() -> None:
    agent = agent_with()

    @agent.on
    def begin(event: Asked) -> Reaction: ...

    assert (only(agent).trigger, only(agent).pattern, only(agent).name) == (
        Asked,
        "com.example.asked",
        "begin",
    )


def test_the_decorator_leaves_the_function_as_it_is() -> None:
    agent = agent_with()

    @agent.on(Asked)
    def begin(event: Asked, state: Known) -> Reaction:
        return state.set(topic=event.topic)

    assert begin(Asked(topic="x"), Known()) == Known(topic="x")


def test_a_pattern_gives_any_event() -> None:
    agent = agent_with()

    @agent.on("com.example.*")
    def begin(event: AnyEvent) -> Reaction: ...

    assert only(agent).pattern == "com.example.*"


def test_parameters_are_what_their_annotations_want() -> None:
    agent = agent_with()

    @agent.on(Asked)
    def begin(event: Asked, who: Session, state: Known, made: Made, info: AgentInfo) -> Reaction: ...

    assert only(agent).parameters == {"who": Session, "state": Known, "made": Made, "info": AgentInfo}


def test_a_function_may_react_to_more_than_one_type() -> None:
    agent = agent_with()
    work = agent.tasks["work"]

    @agent.on(Asked)  # type: ignore[arg-type]
    @agent.on(work.failed)  # type: ignore[arg-type]
    @agent.on(work.completed)
    def begin(event: Any) -> Reaction:
        return None

    assert {name: (item.name, item.pattern) for name, item in agent.handlers.items()} == {
        "begin": ("begin", "dev.heed.task.completed"),
        "begin_2": ("begin_2", "dev.heed.task.failed"),
        "begin_3": ("begin_3", "com.example.asked"),
    }


def test_a_handler_may_do_what_its_code_names() -> None:
    agent = agent_with()
    work = agent.tasks["work"]

    @agent.on(Asked)
    def begin(event: Asked, state: Known) -> Reaction:
        effects = [work.start(n=index) for index in range(2)]  # type: ignore[attr-defined]
        return [*effects, emit(Answered())]

    assert (list(only(agent).emits), list(only(agent).starts)) == ([Answered], [work])


def test_a_handler_may_do_what_functions_name_that_it_calls_and_that_stand_below_it() -> None:
    agent = agent_with()

    @agent.on(Asked)
    def begin(event: Asked) -> Reaction:
        return _below()

    assert list(only(agent).emits) == [Answered]


def _below() -> Reaction:
    return _further()


def _further(again: bool = False) -> Reaction:
    return _below() if again else emit(Answered())  # functions that call each other


def test_a_handler_may_do_what_methods_of_its_state_name() -> None:
    agent = agent_with()

    @agent.on(Asked)
    def begin(event: Asked, state: Known) -> Reaction:
        return state.tell()

    assert list(only(agent).emits) == [Answered]


def test_what_is_declared_wins_over_what_the_code_names() -> None:
    agent = agent_with()

    @agent.on(Asked, emits=[], starts=[agent.tasks["work"], agent.tasks["work"]], pending=True)
    def begin(event: Asked) -> Reaction:
        return emit(Answered())

    assert (list(only(agent).emits), [task.name for task in only(agent).starts]) == ([], ["work"])
    assert only(agent).reads_pending


@pytest.mark.parametrize("reads", [True, False])
def test_a_handler_reads_pending_tasks_where_its_code_says_so(reads: bool) -> None:
    agent = agent_with()

    @agent.on(Asked)
    def reading(event: Asked, state: Known) -> Reaction:
        return None if state.pending("work") else state

    @agent.on(Asked)
    def blind(event: Asked, state: Known) -> Reaction:
        return state

    assert agent.handlers["reading" if reads else "blind"].reads_pending is reads


# ── mistakes ────────────────────────────────────────────────────────────────────────────────────────────────────────

Declare = Callable[[Agent], Any]


def _without_parameters(agent: Agent) -> None:
    @agent.on
    def wrong() -> Reaction: ...


def _without_annotation(agent: Agent) -> None:
    @agent.on
    def wrong(event) -> Reaction: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def _of_no_event(agent: Agent) -> None:
    @agent.on
    def wrong(event: str) -> Reaction: ...


def _of_a_base_class(agent: Agent) -> None:
    @agent.on
    def wrong(event: Event) -> Reaction: ...


def _of_another_event(agent: Agent) -> None:
    @agent.on(Asked)  # type: ignore[arg-type]
    def wrong(event: Answered) -> Reaction: ...


def _of_another_outcome(agent: Agent) -> None:
    @agent.on(agent.tasks["work"].completed)  # type: ignore[arg-type]
    def wrong(event: Failed) -> Reaction: ...


def _of_a_task_without_saying_which(agent: Agent) -> None:
    @agent.on
    def wrong(event: Completed[str]) -> Reaction: ...


def _of_a_pattern(agent: Agent) -> None:
    @agent.on("com.example.*")  # type: ignore[arg-type]
    def wrong(event: Asked) -> Reaction: ...


def _with_another_state(agent: Agent) -> None:
    @agent.on
    def wrong(event: Asked, state: Other) -> Reaction: ...


def _with_what_nothing_gives(agent: Agent) -> None:
    @agent.on
    def wrong(event: Asked, state: Known, client: int) -> Reaction: ...


def _with_nothing_said(agent: Agent) -> None:
    @agent.on
    def wrong(event: Asked, client) -> Reaction: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def _twice(agent: Agent) -> None:
    for _ in range(2):

        @agent.on
        def wrong(event: Asked) -> Reaction: ...


def _of_an_event_without_a_type(agent: Agent) -> None:
    @agent.on
    def wrong(event: Untyped) -> Reaction: ...


def _of_the_same_twice(agent: Agent) -> None:
    @agent.on
    @agent.on(Asked)
    def wrong(event: Asked) -> Reaction: ...


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            _of_an_event_without_a_type,
            'Untyped has no type; write class Untyped(Event, type="com.example.…")',
        ),
        (_of_the_same_twice, "reacts to com.example.asked already; remove one of its decorators"),
        (_without_parameters, "has no parameter; its first one is the event"),
        (
            _without_annotation,
            "does not say what it reacts to; annotate the event, or write @agent.on(research.",
        ),
        (_of_no_event, "does not say what it reacts to"),
        (_of_a_base_class, "does not say what it reacts to"),
        (_of_another_event, "takes Answered, and is given Asked; change the annotation, or the decorator"),
        (_of_another_outcome, "takes Failed, and is given Completed"),
        (_of_a_task_without_saying_which, "does not say what it reacts to"),
        (_of_a_pattern, "takes Asked, and is given AnyEvent"),
        (_with_another_state, "state: the Agent's state is Known; annotate it with that"),
        (
            _with_what_nothing_gives,
            "client has no annotation that says what it wants; there are: Known (the state)",
        ),
        (_with_nothing_said, "client has no annotation that says what it wants"),
        (_twice, "there is a handler of this name; rename one"),
    ],
)
def test_each_mistake_names_the_function_and_its_line(declare: Declare, message: str) -> None:
    line = next(
        constant.co_firstlineno
        for constant in declare.__code__.co_consts
        if getattr(constant, "co_name", None) == "wrong"
    )

    with pytest.raises(DeclarationError) as caught:
        declare(agent_with())

    assert str(caught.value).startswith(f"wrong (test_handlers.py:{line}): {message}")


def test_the_right_annotations_of_task_events() -> None:
    agent = agent_with()
    work = agent.tasks["work"]

    @agent.on(work.completed)
    def one(event: Completed[Any]) -> Reaction: ...

    @agent.on(work.failed)
    def two(event: Failed) -> Reaction: ...

    @agent.on(work.progress)
    def three(event: Progress) -> Reaction: ...

    @agent.on(work.failed)
    def four(event: Any) -> Reaction: ...

    assert [item.pattern for item in agent.handlers.values()] == [
        "dev.heed.task.completed",
        "dev.heed.task.failed",
        "dev.heed.task.progress",
        "dev.heed.task.failed",
    ]


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "-a", "a" * 64, "a.b"])
def test_an_agent_has_a_dns_label_as_its_name(name: str) -> None:
    with pytest.raises(DeclarationError, match="is no name of an Agent; use a-z, 0-9 and -"):
        Agent(name)


def test_every_field_of_a_state_has_a_default() -> None:
    class Needy(State):
        must: str

    with pytest.raises(DeclarationError, match=r"Needy\.must has no default; sessions begin without a state"):
        Agent("a", state=Needy)


@pytest.mark.parametrize("duration", ["1 h", "1w", "", "h"])
def test_a_duration_that_is_none_is_refused(duration: str) -> None:
    with pytest.raises(DeclarationError, match="is no duration; write it as 90s, 10m or 1h30m"):
        Agent("a", idle_timeout=duration)


@pytest.mark.parametrize(
    ("schedule", "member"), [("15m", "every"), ("1h30m", "every"), ("0 3 * * *", "cron")]
)
def test_a_timer_is_an_interval_or_a_cron_expression(schedule: str, member: str) -> None:
    agent = Agent("a")

    @agent.every(schedule, time_zone="UTC")
    def nightly_report(tick: Tick) -> Reaction: ...

    assert agent.timers == {"nightly-report": {member: schedule, "timeZone": "UTC"}}
    assert only(agent).timer == "nightly-report"
