"""How a loop of turns starts: its first call of the model is reserved, by estimate, in the decision that owes it."""

from dataclasses import replace
from typing import Any

from heed.api.status import PendingTask
from heed.core.decision.loop_ends import owe_end
from heed.core.decision.model_budgets import find_limits, read_accounts, write_accounts
from heed.core.decision.step import Step
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.task_terms import LoopTerms, read_prompts, read_settings, read_terms
from heed.core.llm.token_estimate import estimate_request
from heed.core.llm.turn_events import FailTask
from heed.core.llm.turn_loop import LoopRules, begin_loop
from heed.core.schema.cost import SchemaRefused
from heed.errors import DecisionFailed


def begin_turns(step: Step, task_id: str, record: PendingTask, spec: Any) -> PendingTask:
    """The record of a task whose first call of the model is owed, or whose end where its budget has no room for it.

    Raises DecisionFailed: BadTask.
    """
    try:
        terms, settings = read_terms(spec), read_settings(spec)
        prompt_tokens = estimate_request(settings, read_prompts(spec)).most
    except (ValueError, SchemaRefused) as error:
        raise DecisionFailed("BadTask", str(error)) from None
    rules = find_rules(step, task_id, record, terms)
    begun = begin_loop(rules, read_accounts(step.budgets, {}, rules.limits), prompt_tokens)
    own = write_accounts(step, begun.accounts, record.session)
    loop = LoopRecord(begun.state, own).dump()
    (action,) = begun.actions
    if isinstance(action, FailTask):
        return owe_end(step, task_id, replace(record, loop=loop), action)
    return replace(record, loop=loop)


def find_rules(step: Step, task_id: str, record: PendingTask, terms: LoopTerms) -> LoopRules:
    """What a loop goes by now: the terms that its task was rendered with, and today's limits of Agent and policies."""
    return LoopRules(
        task_id,
        find_limits(step, task_id, record.session, terms.limit),
        terms.price,
        terms.max_output_tokens,
        terms.parallel_tools,
    )
