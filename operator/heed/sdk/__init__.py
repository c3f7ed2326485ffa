"""Agents in Python: handlers and tasks as plain typed functions.

    from heed.sdk import Agent, Event, State, emit, end

A handler is a function of an event and a state that returns the next state and effects. It can be called as it is, in
a test, and in a cluster it has the guarantees of a declarative one: what it returns counts once it is committed.
"""

from heed.sdk.agent import Agent
from heed.sdk.effects import Cancel, Effect, Emit, End, Hold, Reaction, Start, cancel, emit, end, hold
from heed.sdk.errors import CodeError, CodeTooOld, DeclarationError
from heed.sdk.events import AnyEvent, Event, EventMeta, HoldExpired, SessionExpired, Tick
from heed.sdk.injection import AgentInfo, Resource, Session, TaskContext
from heed.sdk.state import State
from heed.sdk.tasks import Backoff, Choice, Completed, Failed, Progress, TaskOptions

__all__ = [
    "Agent",
    "AgentInfo",
    "AnyEvent",
    "Backoff",
    "Cancel",
    "Choice",
    "CodeError",
    "CodeTooOld",
    "Completed",
    "DeclarationError",
    "Effect",
    "Emit",
    "End",
    "Event",
    "EventMeta",
    "Failed",
    "Hold",
    "HoldExpired",
    "Progress",
    "Reaction",
    "Resource",
    "Session",
    "SessionExpired",
    "Start",
    "State",
    "TaskContext",
    "TaskOptions",
    "Tick",
    "cancel",
    "emit",
    "end",
    "hold",
]
