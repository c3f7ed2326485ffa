"""Budgets: reserved before, settled after, and never exceeded, whoever comes first."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.llm.budget import (
    Account,
    Accounts,
    Amount,
    Limit,
    Price,
    Scope,
    Shortfall,
    accounts_from_json,
    accounts_to_json,
    forget,
    read_cost,
    release,
    reserve,
    settle,
    show_cost,
)
from heed.core.llm.model_answer import Usage

TASK, POLICY = Scope("task", "chat-1"), Scope("policy", "team-a")
TOKENS = {TASK: Limit(tokens=100)}


def reserved(accounts: Accounts, key: str, amount: Amount, limits: dict[Scope, Limit]) -> Accounts:
    result = reserve(accounts, key, amount, limits)
    assert not isinstance(result, Shortfall), str(result)
    return result


def short(accounts: Accounts, key: str, amount: Amount, limits: dict[Scope, Limit]) -> Shortfall:
    result = reserve(accounts, key, amount, limits)
    assert isinstance(result, Shortfall)
    return result


def test_a_limit_can_be_used_up_and_no_further() -> None:
    accounts = reserved({}, "a", Amount(tokens=60), TOKENS)
    assert short(accounts, "b", Amount(tokens=41), TOKENS).asked == 41
    accounts = reserved(accounts, "b", Amount(tokens=40), TOKENS)
    assert accounts[TASK].committed == Amount(tokens=100)
    assert accounts[TASK].spent == Amount()
    assert short(accounts, "c", Amount(tokens=1), TOKENS).measure == "tokens"
    assert reserve(accounts, "c", Amount(), TOKENS) == {
        TASK: Account(Amount(), {**accounts[TASK].reserved, "c": Amount()})
    }


def test_what_was_not_used_is_free_again() -> None:
    accounts = settle(reserved({}, "a", Amount(tokens=100), TOKENS), "a", Amount(tokens=30))
    assert accounts == {TASK: Account(Amount(tokens=30))}
    assert reserved(accounts, "b", Amount(tokens=70), TOKENS)
    assert short(accounts, "b", Amount(tokens=71), TOKENS)


def test_what_is_not_known_counts_as_reserved_and_what_was_not_paid_not_at_all() -> None:
    accounts = reserved({}, "a", Amount(tokens=60, turns=1), TOKENS)
    assert settle(accounts, "a", None)[TASK] == Account(Amount(tokens=60, turns=1))
    assert release(accounts, "a")[TASK] == Account()


def test_a_call_that_used_more_than_was_reserved_is_counted_and_the_last() -> None:
    accounts = settle(reserved({}, "a", Amount(tokens=90), TOKENS), "a", Amount(tokens=120))
    assert accounts[TASK].spent.tokens == 120
    assert short(accounts, "b", Amount(tokens=1), TOKENS)


def test_a_limit_that_is_exceeded_is_no_matter_of_what_is_not_asked_for() -> None:
    limits = {TASK: Limit(tokens=100, tool_calls=5)}
    accounts = settle(reserved({}, "a", Amount(tokens=90), limits), "a", Amount(tokens=120))
    accounts = reserved(accounts, "b", Amount(tool_calls=2), limits)
    accounts = reserved(accounts, "c", Amount(tool_calls=3), limits)
    assert accounts[TASK].committed == Amount(tokens=120, tool_calls=5)
    assert short(accounts, "d", Amount(tool_calls=1), limits).measure == "tool_calls"


def test_nothing_is_reserved_where_one_of_the_scopes_has_no_room() -> None:
    limits = {TASK: Limit(tokens=100), POLICY: Limit(cost=5)}
    found = short({}, "a", Amount(tokens=1, cost=6), limits)
    assert (found.scope, found.measure, found.limit) == (POLICY, "cost", 5)
    assert reserved({}, "a", Amount(tokens=1, cost=5), limits)[POLICY].reserved == {
        "a": Amount(tokens=1, cost=5)
    }


def test_to_reserve_and_to_settle_again_changes_nothing() -> None:
    once = reserved({}, "a", Amount(tokens=100), TOKENS)
    assert reserve(once, "a", Amount(tokens=100), TOKENS) == once
    settled = settle(once, "a", Amount(tokens=1))
    assert settle(settled, "a", Amount(tokens=50)) == settled
    assert settle(settled, "never", None) == settled


@pytest.mark.parametrize("measure", ["tokens", "cost", "turns", "tool_calls"])
def test_each_measure_has_a_limit_of_its_own(measure: str) -> None:
    limits = {TASK: Limit(**{measure: 2})}
    assert reserved({}, "a", Amount(**{measure: 2}), limits)
    assert short({}, "a", Amount(**{measure: 3}), limits).measure == measure
    others = {"tokens": 9, "cost": 9, "turns": 9, "tool_calls": 9, measure: 1}
    assert reserved({}, "a", Amount(**others), limits)


def test_a_shortfall_names_the_budget_and_its_figures() -> None:
    limits = {POLICY: Limit(cost=read_cost("1.5"))}
    accounts = settle(reserved({}, "a", Amount(cost=read_cost("0.5")), limits), "a", None)
    accounts = reserved(accounts, "b", Amount(cost=read_cost("0.75")), limits)
    said = str(short(accounts, "c", Amount(cost=read_cost("0.3")), limits))
    assert said == (
        "the budget of AgentPolicy team-a, 1.5, could be exceeded: 0.5 spent, 0.75 reserved, 0.3 asked for"
    )
    assert "the budget of the task chat-1, 100 tokens" in str(short({}, "a", Amount(tokens=101), TOKENS))


def test_only_accounts_with_nothing_reserved_are_forgotten() -> None:
    accounts = {TASK: Account(Amount(tokens=1)), POLICY: Account(reserved={"a": Amount()})}
    assert forget(accounts, [TASK, POLICY]) == {POLICY: accounts[POLICY]}
    assert forget(accounts, []) == accounts


def test_accounts_are_the_same_after_a_journey() -> None:
    day = Scope("agentDay", "helper/2026-11-30")
    accounts = {day: Account(Amount(1, 2, 3, 4), {"a b": Amount(tokens=5)}), TASK: Account()}
    assert accounts_from_json(json.loads(json.dumps(accounts_to_json(accounts)))) == accounts


# ── money ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prices_are_exact() -> None:
    price = Price.of("2.50", "10", "0.25")
    assert price == Price(2_500_000, 10_000_000, 250_000)
    assert show_cost(price.cost(Usage(1000, 100, cached=400))) == "0.0026"
    assert price.most(1000, 100) == price.cost(Usage(1000, 100))
    assert show_cost(Price.of("0.000001", "0").cost(Usage(1, 0))) == "0.000000000001"
    assert (show_cost(0), show_cost(read_cost("12"))) == ("0", "12")
    assert Price.of("1", "1").cached == Price.of("1", "1").input


def test_more_cached_than_read_is_not_paid_back() -> None:
    assert Price.of("2", "0", "1").cost(Usage(10, 0, cached=50)) == 10 * 1_000_000


@pytest.mark.parametrize("price", ["", "x", "NaN", "Infinity", "-1", "1000000.1", "0.0000001"])
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match="amount of money"):
        Price.of(price, "0")


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_no_call_costs_more_than_was_reserved_for_its_tokens(
    a: int, b: int, c: int, read: int, said: int
) -> None:
    price = Price(a, b, c)
    for cached in (0, read // 2, read):
        assert price.cost(Usage(read, said, cached)) <= price.most(read, said)


# ── races ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Ledger:
    """Accounts behind a compare-and-swap."""

    accounts: Accounts = field(default_factory=dict)
    revision: int = 0

    def write(self, accounts: Accounts, revision: int) -> bool:
        if revision != self.revision:
            return False
        self.accounts, self.revision = accounts, revision + 1
        return True


@given(
    limit=st.integers(0, 60),
    calls=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 100)), max_size=12),
    order=st.lists(st.integers(0, 11), max_size=80),
)
def test_racing_workers_never_cross_a_budget(
    limit: int, calls: list[tuple[int, int]], order: list[int]
) -> None:
    """Each step of a worker is: look at the ledger, or write what was made of what it saw then."""
    ledger, limits = Ledger(), {TASK: Limit(tokens=limit, turns=8), POLICY: Limit(tokens=limit + 5)}
    seen: dict[int, tuple[Accounts, int]] = {}
    made: set[int] = set()
    paid: dict[int, int] = {}
    for worker in (number for number in order if number < len(calls)):
        asked, percent = calls[worker]
        if worker not in seen:
            seen[worker] = (ledger.accounts, ledger.revision)
            continue
        accounts, revision = seen.pop(worker)
        used = Amount(tokens=asked * percent // 100, turns=1)
        if worker in made:
            if ledger.write(settle(accounts, str(worker), used), revision):
                paid.setdefault(worker, used.tokens)
        else:
            wanted = reserve(accounts, str(worker), Amount(tokens=asked, turns=1), limits)
            if not isinstance(wanted, Shortfall) and ledger.write(wanted, revision):
                made.add(worker)
        for scope, most in limits.items():
            committed = ledger.accounts.get(scope, Account()).committed
            assert committed.tokens <= (most.tokens or 0) and committed.turns <= 8
    assert ledger.accounts.get(TASK, Account()).spent == Amount(tokens=sum(paid.values()), turns=len(paid))
