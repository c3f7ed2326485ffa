"""A concierge in Python, whose guests are greeted by an Agent in TypeScript: they know each other's events only."""

from heed.sdk import Agent, Event, Reaction, State, emit, end


class Booked(Event, type="com.example.room.booked"):
    """A room is booked for a guest."""

    guest: str
    room: int


class Came(Event, type="com.example.guest.came"):
    """A guest comes: the greeter heeds it."""

    name: str


class Greeted(Event, type="com.example.greeting.sent"):
    """What the greeter says."""

    text: str


class Ready(Event, type="com.example.room.ready"):
    """The key is handed over."""

    room: int
    card: str


class Booking(State):
    """What is booked."""

    room: int | None = None


agent = Agent("concierge", state=Booking, idle_timeout="1d")


@agent.on
def announce(event: Booked, state: Booking) -> Reaction:
    return state.set(room=event.room), emit(Came(name=event.guest))


@agent.on
def hand_over(event: Greeted, state: Booking) -> Reaction:
    if state.room is None:
        return None
    return [emit(Ready(room=state.room, card=event.text)), end()]
