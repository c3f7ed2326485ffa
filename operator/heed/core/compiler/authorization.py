"""Authorization at compile time: checks a manifest against its Agent's permissions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from heed import names
from heed.api.agent import Agent, SubscriptionSpec
from heed.api.handler import HandlerSpec
from heed.api.timer import TimerSpec
from heed.core.compiler.timers import read_schedule
from heed.core.policy.gateway_rules import POLICY_REMEDY
from heed.core.policy.permissions import UNRESTRICTED, Permissions, Quotas
from heed.core.schedule.period import find_shorter_period
from heed.core.tasks.resource import ObjectKind
from heed.errors import NOT_GRANTED, POLICY_VIOLATION, InvalidManifest, Problem


def check_permissions(problems: list[Problem], agent: Agent, permissions: Permissions) -> None:
    """Add problems for what is not permitted. What depends on expressions is checked at decision time."""
    own, spec = agent.metadata.namespace, agent.spec
    problems += _subscriptions(spec.subscribe, own, permissions)
    if permissions == UNRESTRICTED:
        return
    for name, task in spec.tasks.items():
        path = f"spec.tasks.{name}"
        problems += _against(path, permissions.kind_problem(task.kind))
        if task.job is not None:
            problems += _against(f"{path}.job", permissions.job_problem(task.job, literal=True))
        if task.http is not None:
            refused = None if "${" in task.http.url else permissions.egress_problem(task.http.url)
            problems += _against(f"{path}.http.url", refused)
        if task.llm is not None:
            url = task.llm.base_url
            refused = None if "${" in url else permissions.egress_problem(url)
            problems += _against(f"{path}.llm.baseURL", refused)
        if task.resource is not None:
            kind = ObjectKind.of(task.resource.template)
            problems += _against(f"{path}.resource", permissions.resource_problem(kind.group, kind.kind))
    if spec.worker is not None and spec.worker.template is not None:
        refused = permissions.job_problem({"template": spec.worker.template})
        problems += _against("spec.worker.template", refused)
    problems += _timers(spec.timers, permissions.limits)
    for index, handler in enumerate(spec.handlers):
        problems += _emissions(handler, f"spec.handlers[{index}]", permissions)


def _subscriptions(
    items: Sequence[SubscriptionSpec], own: str, permissions: Permissions
) -> Iterator[Problem]:
    for index, item in enumerate(items):
        path, namespace = f"spec.subscribe[{index}]", item.namespace or own
        yield from _against(f"{path}.type", permissions.policy_problem(item.type, namespace))
        if namespace != own and (refused := permissions.grant_problem(item.type, namespace)) is not None:
            remedy = f"ask those of {namespace} for an {names.EVENT_GRANT} from namespace {own}"
            yield Problem(f"{path}.namespace", refused, remedy, NOT_GRANTED)


def _emissions(handler: HandlerSpec, path: str, permissions: Permissions) -> Iterator[Problem]:
    """What a handler emits; of a function all types that it declares."""
    for index, item in enumerate(handler.emit):
        if item.type is not None and "${" not in item.type:
            yield from _against(f"{path}.emit[{index}].type", permissions.emission_problem(item.type))
    for index, pattern in enumerate(handler.call.emits if handler.call else ()):
        refused = permissions.declared_emission_problem(pattern)
        yield from _against(f"{path}.call.emits[{index}]", refused)


def _timers(timers: Mapping[str, TimerSpec], limits: Quotas) -> Iterator[Problem]:
    if limits.timers is not None and len(timers) > limits.timers.most:
        refused = f"{limits.timers.refusal('timers')} (limits.timers); there are {len(timers)}"
        yield from _against("spec.timers", refused)
    if (shortest := limits.timer_period) is None:
        return
    for name, timer in timers.items():
        path = f"spec.timers.{name}"
        with suppress(InvalidManifest):  # told by who compiles it
            period = find_shorter_period(read_schedule(timer, path), shortest.seconds)
            yield from _against(path, None if period is None else shortest.refusal(period))


def _against(path: str, refused: str | None) -> Iterator[Problem]:
    if refused is not None:
        yield Problem(path, refused, POLICY_REMEDY, POLICY_VIOLATION)
