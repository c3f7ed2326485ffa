"""Events as typed values: a class for each CloudEvents type, whose fields are the data."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel

from heed import names
from heed.sdk.errors import CodeError, DeclarationError, explain

_NO_EXTENSIONS = ("specversion", "data", "data_base64", "datacontenttype", "dataschema", "extensions")


class EventMeta(BaseModel):
    """The CloudEvents attributes of an event that came. `time` is RFC 3339; `extensions` are all but the named ones."""

    model_config = ConfigDict(frozen=True)

    id: str = ""
    source: str = ""
    type: str = ""
    subject: str | None = None
    time: str | None = None
    correlationid: str = ""
    causationid: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    extensions: dict[str, str | int | bool] = {}

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """The attributes of an event in the JSON format of CloudEvents."""
        own = {name: event[name] for name in cls.model_fields if name in event}
        others = {name: value for name, value in event.items() if name not in {*own, *_NO_EXTENSIONS}}
        return cls.model_validate({**own, "extensions": others})


class Event(BaseModel):
    """A kind of event: `class Asked(Event, type="com.example.question.asked")`. Its fields are the event's data.

    A `type` with wildcards (`*` for one token, a last `>` for the rest) can be heeded and not emitted. What has more
    members than the class says is taken, as other publishers may know more.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    event_type: ClassVar[str] = ""
    _meta: EventMeta | Mapping[str, Any] | None = PrivateAttr(default=None)  # read once it is asked for

    def __init_subclass__(cls, *, type: str | None = None, **kwargs: Any) -> None:
        """Note the type. Raises DeclarationError where it is none."""
        super().__init_subclass__(**kwargs)
        if type is not None:
            if not names.is_pattern(type):
                remedy = "use dot-separated tokens, such as com.example.order.placed"
                raise DeclarationError(f'{cls.__name__}: "{type}" is not an event type; {remedy}')
            cls.event_type = type

    def __eq__(self, other: object) -> bool:
        """Whether it is of the same class and has the same data; attributes do not count."""
        return type(self) is type(other) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash((type(self), *dict(self).values()))

    @property
    def meta(self) -> EventMeta:
        """The attributes of the event; empty in one that was made here."""
        if not isinstance(self._meta, EventMeta):
            self._meta = EventMeta() if self._meta is None else EventMeta.of(self._meta)
        return self._meta

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Self:
        """The value of an event in the JSON format of CloudEvents. Raises CodeError: BadData."""
        try:
            found = cls.model_validate(cls.read(event))
        except ValidationError as error:
            raise CodeError(
                "BadData", f"{event.get('type')} is no {cls.__name__}: {explain(error)}"
            ) from None
        found._meta = event
        return found

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> Any:
        """What the fields are read from: the event's data."""
        data = event.get("data")
        return {} if data is None else data

    def with_meta(self, **attributes: Any) -> Self:
        """The same event with attributes, for tests of handlers: `Asked(topic="tides").with_meta(id="1")`."""
        made = self.model_copy()
        made._meta = self.meta.model_copy(update=attributes)
        return made

    def dump(self) -> dict[str, Any]:
        """The event's data as JSON, without what is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class AnyEvent(Event, type=">"):
    """An event of any type, with its data as they are: JSON, text, or base64 of bytes."""

    data: Any = None

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> Any:
        """The data, whatever they are."""
        return {"data": event.get("data")}


class _OwnEvent(Event):
    model_config = ConfigDict(alias_generator=to_camel)


class Tick(_OwnEvent, type=names.TIMER_FIRED):
    """A tick of a timer. Times are RFC 3339 in UTC; `missed` is how many ticks were left out before it."""

    timer: str
    scheduled_at: str
    previous_at: str | None = None
    missed: int = 0


class SessionExpired(_OwnEvent, type=names.SESSION_EXPIRED):
    """A session was forgotten, as it was Idle or Old (`reason`): with its key and its last state."""

    key: str
    reason: str
    started_at: str = ""
    last_event_at: str = ""
    state: dict[str, Any] = {}


class HoldExpired(_OwnEvent, type=names.HOLD_EXPIRED):
    """An event waited for too long: it comes as `event`, in the JSON format of CloudEvents."""

    event: dict[str, Any]
    handler: str
    held_since: str
    held_until: str
