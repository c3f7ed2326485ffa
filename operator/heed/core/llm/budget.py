"""Budgets: amounts are reserved before a call is made, by estimate, and settled after it, by usage.

All arithmetic is on integers. Money is in trillionths of the price table's currency, so that a price of one millionth
for a million tokens is a whole number for each. What is spent and reserved together never exceeds a limit: a call that
could cross one is refused before it is made. It can be crossed only where a call uses more than was reserved for it,
which the settlement then shows, and nothing is reserved after that.

A set of accounts is a value in one ledger, whose commit is a compare-and-swap: of two that reserve at once, one has its
commit refused and reserves again from what the other left.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from heed.core.llm.model_answer import Usage

ScopeKind = Literal["task", "session", "agentDay", "policy"]
MICRO: Final = 10**6
COST_UNITS: Final = 10**12  # of one unit of the currency
_MEASURES: Final = {"tokens": "tokens", "cost": "", "turns": "turns", "tool_calls": "calls of tools"}
_PRICE_LIMIT: Final = Decimal(10**6)


@dataclass(frozen=True, slots=True)
class Amount:
    """What is reserved or spent. `cost` is in trillionths of the currency."""

    tokens: int = 0
    cost: int = 0
    turns: int = 0
    tool_calls: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.turns + other.turns,
            self.tool_calls + other.tool_calls,
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """The most of each; None is without limit."""

    tokens: int | None = None
    cost: int | None = None
    turns: int | None = None
    tool_calls: int | None = None


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """What the tasks of an Agent may spend together: in a session, on a day, and on a day by each policy's name."""

    session: Limit | None = None
    day: Limit | None = None
    policies: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a limit is for: `name` is a task's id, a session's key, `<agent>/<date>`, or `<policy>/<date>`."""

    kind: ScopeKind
    name: str


@dataclass(frozen=True, slots=True)
class Price:
    """A model's prices, in trillionths for one token. `cached` is of input that the endpoint had in its cache."""

    input: int
    output: int
    cached: int

    @classmethod
    def of(cls, of_input: str, of_output: str, of_cached: str | None = None) -> "Price":
        """From decimal prices of a million tokens, with six places at most. Raises ValueError for others."""
        return cls(_units(of_input), _units(of_output), _units(of_input if of_cached is None else of_cached))

    def cost(self, usage: Usage) -> int:
        """What a call cost."""
        cached = min(usage.cached, usage.input)
        return (usage.input - cached) * self.input + cached * self.cached + usage.output * self.output

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """The most that so many tokens cost."""
        return input_tokens * max(self.input, self.cached) + output_tokens * self.output


FREE: Final = Price(0, 0, 0)


def _units(price: str) -> int:
    try:
        value = Decimal(price)
    except InvalidOperation:
        raise ValueError(f"{price!r} is no amount of money; write one like 2.50") from None
    if (
        not value.is_finite()
        or not 0 <= value <= _PRICE_LIMIT
        or (units := value * MICRO) != units.to_integral_value()
    ):
        raise ValueError(
            f"{price!r} is no amount of money; write one from 0 to a million, with six decimal places at most"
        )
    return int(units)


def read_cost(cost: str) -> int:
    """An amount of money as a limit, in trillionths. Raises ValueError."""
    return _units(cost) * MICRO


def show_cost(cost: int) -> str:
    """Trillionths as a decimal, without zeros at its end."""
    text = f"{Decimal(cost) / COST_UNITS:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class Account:
    """What was spent in a scope, and what is reserved for calls under way, by their keys."""

    spent: Amount = Amount()
    reserved: Mapping[str, Amount] = field(default_factory=dict)

    @property
    def committed(self) -> Amount:
        """Spent and reserved."""
        return sum(self.reserved.values(), self.spent)


Accounts = Mapping[Scope, Account]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A limit that a call could cross."""

    scope: Scope
    measure: str
    limit: int
    account: Account
    asked: int

    def __str__(self) -> str:
        word = _MEASURES[self.measure]
        spent, committed = (
            getattr(amount, self.measure) for amount in (self.account.spent, self.account.committed)
        )
        show = show_cost if self.measure == "cost" else str
        shown = [show(value) for value in (self.limit, spent, committed - spent, self.asked)]
        name = {"task": "the task", "session": "the session", "agentDay": "the Agent and day"}.get(
            self.scope.kind
        )
        of = f"{name} {self.scope.name}" if name else f"AgentPolicy {self.scope.name}"
        budget = f"the budget of {of}, {shown[0]}{f' {word}' if word else ''}"
        return f"{budget}, could be exceeded: {shown[1]} spent, {shown[2]} reserved, {shown[3]} asked for"


def reserve(
    accounts: Accounts, key: str, amount: Amount, limits: Mapping[Scope, Limit]
) -> Accounts | Shortfall:
    """Accounts with an amount reserved under `key` in every scope of `limits`, or the first limit that has no room.

    What is reserved under the same key already stays as it is, so that the same call may be decided again.
    """
    changed = dict(accounts)
    for scope, limit in limits.items():
        account = accounts.get(scope, Account())
        if key in account.reserved:
            continue
        if (shortfall := _find_shortfall(scope, account, limit, amount)) is not None:
            return shortfall
        changed[scope] = Account(account.spent, {**account.reserved, key: amount})
    return changed


def _find_shortfall(scope: Scope, account: Account, limit: Limit, amount: Amount) -> Shortfall | None:
    committed = account.committed
    for measure in _MEASURES:
        most, asked = getattr(limit, measure), getattr(amount, measure)
        if most is not None and asked > 0 and getattr(committed, measure) + asked > most:
            return Shortfall(scope, measure, most, account, asked)
    return None


def settle(accounts: Accounts, key: str, actual: Amount | None) -> Accounts:
    """Accounts in which what is reserved under `key` is spent instead: `actual`, or all of it where that is not known.

    A key under which nothing is reserved changes nothing: it was settled before.
    """
    changed = dict(accounts)
    for scope, account in accounts.items():
        if (reserved := account.reserved.get(key)) is None:
            continue
        left = {other: amount for other, amount in account.reserved.items() if other != key}
        changed[scope] = Account(account.spent + (reserved if actual is None else actual), left)
    return changed


def release(accounts: Accounts, key: str) -> Accounts:
    """Accounts without what is reserved under `key`: the call was not made, or not paid."""
    return settle(accounts, key, Amount())


def forget(accounts: Accounts, scopes: Collection[Scope]) -> Accounts:
    """Accounts without those of these scopes that have nothing reserved: past days, sessions that ended."""
    return {scope: account for scope, account in accounts.items() if account.reserved or scope not in scopes}


def accounts_to_json(accounts: Accounts) -> dict[str, Any]:
    """Accounts as a JSON object, by `<kind> <name>`; zeros are left out."""
    return {
        f"{scope.kind} {scope.name}": {
            "spent": _amount_to_json(account.spent),
            "reserved": {key: _amount_to_json(amount) for key, amount in account.reserved.items()},
        }
        for scope, account in accounts.items()
    }


def accounts_from_json(value: Mapping[str, Any]) -> Accounts:
    """The accounts that `accounts_to_json` wrote."""
    accounts = {}
    for label, account in value.items():
        kind, _, name = label.partition(" ")
        reserved = {key: Amount(**amount) for key, amount in account.get("reserved", {}).items()}
        accounts[Scope(kind, name)] = Account(Amount(**account.get("spent", {})), reserved)  # type: ignore[arg-type]
    return accounts


def _amount_to_json(amount: Amount) -> dict[str, int]:
    return {name: value for part in fields(amount) if (value := getattr(amount, name := part.name))}
