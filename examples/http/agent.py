"""The same Agent in Python."""

from pydantic import BaseModel

from heed.sdk import Agent, Backoff, Completed, Event, Failed, Reaction, State, TaskOptions, emit, end


class Placed(Event, type="com.example.order.placed"):
    """An order, and what it costs."""

    order: str
    cents: int


class Charged(Event, type="com.example.order.charged"):
    """What the payment service made of an order."""

    order: str
    paid: bool
    charge: str


class Stuck(Event, type="com.example.order.stuck"):
    """An order that nobody could be charged for."""

    order: str
    reason: str


class Order(BaseModel):
    """What is charged."""

    order: str
    cents: int


class Charge(BaseModel):
    """What the service answers."""

    paid: bool
    charge: str


class Payment(State):
    """An order in work."""

    order: str = ""


agent = Agent("payments", state=Payment)

TOKEN = {"name": "payments-api", "key": "token"}

charge = agent.http(
    "charge",
    url="http://127.0.0.1:8181/v1/charges",
    request={
        "headers": [{"name": "Authorization", "prefix": "Bearer ", "secretRef": TOKEN}],
        "body": {"json": {"order": "${input.order}", "cents": "${input.cents}"}},
        "expect": ["201", "402"],  # paid, or the card is refused: both are answers
        "result": {"reduce": "{'paid': response.status == 201, 'charge': response.body.?id.orValue('')}"},
    },
    input=Order,
    result=Charge,
    options=TaskOptions(timeout="10m", retries=4, backoff=Backoff(initial="1s")),
)


@agent.on(Placed)
def placed(event: Placed, state: Payment) -> Reaction:
    """Charge for an order."""
    return state.set(order=event.order), [charge.start(Order(order=event.order, cents=event.cents))]


@agent.on(charge.completed)
def charged(done: Completed[Charge], state: Payment) -> Reaction:
    """Tell what came of it."""
    return [emit(Charged(order=state.order, paid=done.result.paid, charge=done.result.charge)), end()]


@agent.on(charge.failed)
def not_charged(done: Failed, state: Payment) -> Reaction:
    """Tell why nothing came of it."""
    return [emit(Stuck(order=state.order, reason=done.reason)), end()]
