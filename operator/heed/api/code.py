"""What the code of an Agent answers: state and effects of one function on one event, as a worker sends them."""

from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictInt, StrictStr

from heed.api.fields import MAX_DURATION_S, Model


class CodeHold(Model):
    """The event is to be set aside until the session's state changes, for so long at most."""

    seconds: Annotated[StrictInt, Field(ge=1, le=MAX_DURATION_S)]
    handled: StrictBool = False  # whether the handlers of dev.heed.hold.expired act where the time passes


class CodeAnswer(Model):
    """What a function makes of a call. `state` is the session's whole state, None where it stays as it is.

    One with neither state nor effects says that the function does not act, as if its condition did not hold.

    `start` has maps of {task, input, priority}, `emit` of {type, data, subject, to}, `cancel` names of tasks. `place`
    says where the function stands, for people: `agent.py:31`.
    """

    state: dict[str, Any] | None = None
    start: list[dict[str, Any]] = []
    emit: list[dict[str, Any]] = []
    cancel: list[StrictStr] = []
    end: StrictBool = False
    hold: CodeHold | None = None
    place: StrictStr | None = None

    @property
    def acts(self) -> bool:
        """Whether it has a state or an effect."""
        return self.state is not None or any((self.start, self.emit, self.cancel, self.end, self.hold))
