"""The dispatcher in Python: events of one shipment come in any order, and those that are early are held."""

from pydantic import BaseModel

from heed.sdk import Agent, Event, HoldExpired, Reaction, Session, SessionExpired, State, emit, end, hold


class Announced(Event, type="com.example.shipment.announced"):
    """A shipment will have these parcels."""

    shipment: str
    parcels: list[str]


class Scanned(Event, type="com.example.shipment.scanned"):
    """A parcel was weighed."""

    shipment: str
    parcel: str
    kg: float


class Departed(Event, type="com.example.shipment.departed"):
    """A truck has left with the shipment."""

    shipment: str
    truck: str


class Weighed(BaseModel):
    """A parcel and its weight."""

    parcel: str
    kg: float


class Complete(Event, type="com.example.delivery.complete"):
    """All parcels of a shipment are on their way."""

    shipment: str
    truck: str
    parcels: list[Weighed]


class Incomplete(Event, type="com.example.delivery.incomplete"):
    """A truck has left without some parcels."""

    shipment: str
    truck: str
    missing: list[str]


class Forgotten(Event, type="com.example.delivery.forgotten"):
    """A shipment never departed."""

    shipment: str
    since: str


class Shipment(State):
    """The parcels that were announced, and the weights of those that were scanned."""

    parcels: list[str] | None = None
    kg: dict[str, float] = {}

    def missing(self) -> list[str]:
        """The parcels that were not scanned."""
        return [parcel for parcel in self.parcels or [] if parcel not in self.kg]


agent = Agent("dispatcher", state=Shipment, key="event.data.shipment", idle_timeout="7d", on_expire="Emit")


@agent.on(Announced)
def announced(event: Announced, state: Shipment) -> Reaction:
    return state.set(parcels=event.parcels)


@agent.on(Scanned)
def scanned(event: Scanned, state: Shipment) -> Reaction:
    if state.parcels is None:  # it may come before the announcement
        return hold("1d")
    return state.set(kg={**state.kg, event.parcel: event.kg})


@agent.on(Departed)
def departed(event: Departed, state: Shipment) -> Reaction:
    if state.parcels is None or state.missing():  # it may come before everything else
        return hold("1h", on_expire="Handle")
    parcels = [Weighed(parcel=parcel, kg=state.kg[parcel]) for parcel in state.parcels]
    return [emit(Complete(shipment=event.shipment, truck=event.truck, parcels=parcels)), end()]


@agent.on(HoldExpired)
def incomplete(expired: HoldExpired, state: Shipment, session: Session) -> Reaction:
    truck = expired.event["data"]["truck"]  # an hour after the departure something is still missing
    return [emit(Incomplete(shipment=session.key, truck=truck, missing=state.missing())), end()]


@agent.on(SessionExpired)
def forgotten(expired: SessionExpired, session: Session) -> Reaction:
    return emit(Forgotten(shipment=session.key, since=expired.started_at))
