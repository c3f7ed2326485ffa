"""What an Agent's calls of models may spend and have spent, beyond the task: per session, per day, by policies.

The ledger's budgets are read as accounts, and written back. One is forgotten once its session, or its day, is over and
nothing is reserved in it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from heed.api.status import ModelBudget, ModelSpending
from heed.core.decision.step import Step
from heed.core.llm.budget import Account, Accounts, Amount, Limit, Scope, settle
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.turn_loop import LoopRules, LoopState, reservation_key

TASK: Final = "task"
_DATE: Final = len("2026-11-30")

Budgets = Mapping[str, ModelBudget]


def find_limits(step: Step, task_id: str, session: str, own: Limit) -> dict[Scope, Limit]:
    """The limits of a call that is decided now: the task's own, and today's of the Agent and of policies."""
    shared, agent, today = step.program.shared_limits, step.program.agent, _today(step)
    limits = {Scope(TASK, task_id): own}
    if shared.session is not None:
        limits[Scope("session", session)] = shared.session
    if shared.day is not None:
        limits[Scope("agentDay", f"{agent.name}/{today}")] = shared.day
    return limits | {Scope("policy", f"{name}/{today}"): limit for name, limit in shared.policies.items()}


def read_accounts(budgets: Budgets, own: Accounts, limits: Mapping[Scope, Limit]) -> Accounts:
    """The task's account, those that its limits are about, and others in which something is reserved."""
    wanted = {_label(scope) for scope in limits}
    shared = {
        _scope(label): _account(budget)
        for label, budget in budgets.items()
        if budget.reserved or label in wanted
    }
    return {**shared, **own}


def write_accounts(step: Step, accounts: Accounts, session: str) -> Accounts:
    """Keep the shared accounts in the step's budgets, less what is over. Returns the task's own."""
    written = {_label(scope): _budget(account) for scope, account in accounts.items() if scope.kind != TASK}
    changed = {label: budget for label, budget in written.items() if step.budgets.get(label) != budget}
    over = _find_over(step, {**step.budgets, **changed}, session)
    if changed or over:
        kept = {**step.budgets, **changed}
        step.budgets = {label: budget for label, budget in kept.items() if label not in over}
    return {scope: account for scope, account in accounts.items() if scope.kind == TASK}


def settle_stopped(budgets: Budgets, loops: Mapping[str, str]) -> Budgets:
    """The budgets after loops, by their tasks' ids, were stopped from outside.

    A call of the model under way counts as reserved: it may be paid, and no report of it is taken.
    """
    for task_id, loop in loops.items():
        state = LoopRecord.load(loop).state
        key = _key(task_id, state)
        for label, budget in budgets.items():
            if key in budget.reserved:
                scope = _scope(label)
                settled = settle({scope: _account(budget)}, key, None)
                budgets = {**budgets, label: _budget(settled[scope])}
    return budgets


def _key(task_id: str, state: LoopState) -> str:
    return reservation_key(LoopRules(task_id), state)


def _find_over(step: Step, budgets: Budgets, session: str) -> set[str]:
    """The labels of budgets that nobody will ask for again."""
    today = _today(step)
    over = set[str]()
    for label, budget in budgets.items():
        scope = _scope(label)
        if budget.reserved:
            continue
        if scope.kind == "session":
            if scope.name != session and scope.name not in step.ledger.sessions:
                over.add(label)
        elif not scope.name.endswith(f"/{today}"):
            over.add(label)
    return over


def _today(step: Step) -> str:
    """The date of stream time, which never goes back."""
    return (step.ledger.cursor.time or step.received.at)[:_DATE]


def _label(scope: Scope) -> str:
    return f"{scope.kind} {scope.name}"


def _scope(label: str) -> Scope:
    kind, _, name = label.partition(" ")
    return Scope(kind, name)  # type: ignore[arg-type]  # as it was written


def _account(budget: ModelBudget) -> Account:
    return Account(
        Amount(**asdict(budget.spent)),
        {key: Amount(**asdict(spending)) for key, spending in budget.reserved.items()},
    )


def _budget(account: Account) -> ModelBudget:
    return ModelBudget(
        _spending(account.spent), {key: _spending(amount) for key, amount in account.reserved.items()}
    )


def _spending(amount: Amount) -> ModelSpending:
    return ModelSpending(amount.tokens, amount.cost, amount.turns, amount.tool_calls)
