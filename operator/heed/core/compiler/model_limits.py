"""What the tasks of models of an Agent may spend together, by its manifest and by policies."""

from heed.api.llm_task import ModelAllowance, ModelBudgetsSpec
from heed.core.llm.budget import Limit, SharedLimits, read_cost
from heed.core.policy.permissions import ModelQuota, Permissions


def compile_shared_limits(budgets: ModelBudgetsSpec, permissions: Permissions) -> SharedLimits:
    """The limits of sessions, days and policies."""
    return SharedLimits(
        session=_limit(budgets.session),
        day=_limit(budgets.day),
        policies={quota.policy: _of_policy(quota) for quota in permissions.limits.models},
    )


def _limit(allowed: ModelAllowance | None) -> Limit | None:
    if allowed is None:
        return None
    return Limit(allowed.tokens, _cost(allowed.cost), allowed.turns, allowed.tool_calls)


def _of_policy(quota: ModelQuota) -> Limit:
    return Limit(quota.tokens, _cost(quota.cost), quota.turns, quota.tool_calls)


def _cost(written: str | None) -> int | None:
    return None if written is None else read_cost(written)
