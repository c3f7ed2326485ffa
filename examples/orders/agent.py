"""The packer in Python: one run of a task for each item of an order, joined in whatever order they end."""

import asyncio

from pydantic import BaseModel

from heed.sdk import Agent, Completed, Effect, Event, Failed, Reaction, Session, State, emit, end

STOCK = {"lamp": 2, "mug": 40, "rug": 3}


class Item(BaseModel):
    """What is wanted of an article."""

    sku: str
    quantity: int


class Result(BaseModel):
    """What became of an item: its parcel, or why there is none."""

    sku: str
    parcel: str | None = None
    problem: str | None = None


class Placed(Event, type="com.example.order.placed"):
    """A customer has ordered something; none of it has been packed yet."""

    order: str
    items: list[Item]


class OrderCompleted(Event, type="com.example.order.completed"):
    """Everything of an order that can be packed is packed."""

    order: str
    complete: bool
    items: list[Result]


class Parcel(BaseModel):
    """An item that is packed."""

    parcel: str


class Order(State):
    """An order that is being packed, with the results so far."""

    items: list[Item] | None = None
    results: list[Result] | None = None


agent = Agent("packer", state=Order, key="event.data.order", idle_timeout="2h")
agent.subscribe(Placed, where="has(event.data.items) && size(event.data.items) > 0")


@agent.task(timeout="5m")
async def pack(order: str, sku: str, quantity: int) -> Parcel:
    await asyncio.sleep(0.05 * quantity)
    if quantity > STOCK.get(sku, 0):
        raise LookupError(f"only {STOCK.get(sku, 0)} in stock")
    return Parcel(parcel=f"{order}/{sku}")


# Fan out: one run for each item.
@agent.on(Placed)
def begin(event: Placed, state: Order) -> Reaction:
    if state.items is not None:
        return None
    runs = [pack.start(order=event.order, sku=item.sku, quantity=item.quantity) for item in event.items]
    return state.set(items=event.items, results=[]), runs


# Collect, in whatever order the runs end.
@agent.on(pack.completed)
def packed(done: Completed[Parcel], state: Order, session: Session) -> Reaction:
    return collect(state, session, Result(sku=done.input["sku"], parcel=done.result.parcel))


@agent.on(pack.failed)
def missing(failed: Failed, state: Order, session: Session) -> Reaction:
    problem = failed.reason if failed.message is None else failed.message
    return collect(state, session, Result(sku=failed.input["sku"], problem=problem))


def collect(state: Order, session: Session, result: Result) -> Reaction:
    """Add a result, and conclude where it is the last one: results are told in the order of the items."""
    results, items = [*(state.results or []), result], state.items or []
    effects: list[Effect] = []
    if len(results) == len(items):
        complete = all(each.parcel is not None for each in results)
        told = [next(each for each in results if each.sku == item.sku) for item in items]
        effects = [emit(OrderCompleted(order=session.key, complete=complete, items=told)), end()]
    return state.set(results=results), effects
