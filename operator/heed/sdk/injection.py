"""What a function may ask for beside its event, state or input: by the annotation of a parameter."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin


@dataclass(frozen=True, slots=True)
class Session:
    """The session of an event: its key, and when it began (RFC 3339)."""

    key: str = ""
    started_at: str = ""


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """The Agent that a function runs for."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """Made once for each worker: `Annotated[Client, Resource(make_client)]`."""

    make: Callable[[], Any]


class TaskContext:
    """What a running function task knows of itself, and can say. `id` and `attempt` name the attempt."""

    def __init__(
        self, id: str = "", name: str = "", attempt: int = 1, say: Callable[[Any], None] | None = None
    ) -> None:
        self.id, self.name, self.attempt = id, name, attempt
        self._say = say

    def progress(self, data: Any) -> None:
        """Say how far it is: the Agent gets it as `Progress`. Without a worker, as in a test, nothing hears it."""
        if self._say is not None:
            self._say(data)


def resource_of(hint: Any) -> Resource | None:
    """The resource that an annotation asks for."""
    if get_origin(hint) is Annotated:
        return next((item for item in get_args(hint)[1:] if isinstance(item, Resource)), None)
    return None


def is_injected(hint: Any) -> bool:
    """Whether a parameter with this annotation gets its value from the worker."""
    return hint in (Session, AgentInfo, TaskContext) or resource_of(hint) is not None


class Resources:
    """The resources of one worker, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[Callable[[], Any], Any] = {}

    def get(self, resource: Resource) -> Any:
        """The value of a resource."""
        if resource.make not in self._made:
            self._made[resource.make] = resource.make()
        return self._made[resource.make]
