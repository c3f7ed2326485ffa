"""The admission review of a manifest: problems refuse it, warnings do not.

It judges as the operator will when it sees the object, so that a mistake is heard of by who makes it, and not only in a
condition. Only what is new is judged: an object whose spec stays as it is passes, whatever is wrong with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from heed import names
from heed.api.event_grant import EventGrant, parse_grant
from heed.api.event_source import parse_event_source
from heed.api.event_type import EventType, parse_event_type
from heed.api.policy import AgentPolicy, closed_policy, parse_policy
from heed.api.subscription import parse_subscription
from heed.api.validation import parse_agent
from heed.core.compiler.authorization import check_permissions
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.lint import lint_agent
from heed.core.compiler.program import compile_agent
from heed.core.policy.addresses import EVERYWHERE, IpNetwork
from heed.core.policy.gateway_rules import resolve_gateway_rules
from heed.core.policy.permissions import resolve_permissions
from heed.core.schema.registry import CompiledEventType, RefusedEventType, compile_type
from heed.core.subscriptions.program import compile_subscription
from heed.core.webhooks.program import compile_event_source
from heed.errors import NOT_GRANTED, InvalidManifest, Problem

Document = Mapping[str, Any]
_NAMED: Final = 5  # Agents that a warning names


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """The object under review, and the one it replaces."""

    kind: str
    new: Document
    old: Document | None = None


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """Other objects that matter to a request. `complete`: all of them were read."""

    policies: Sequence[Document] = ()
    grants: Sequence[Document] = ()
    types: Sequence[Document] = ()
    agents: Sequence[Document] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class AdmissionVerdict:
    """The result of a review: admitted where there are no problems. Warnings are shown in either case."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


ADMITTED: Final = AdmissionVerdict()


@dataclass(frozen=True, slots=True)
class _ParsedPolicies:
    """Parsed policies and grants. Unreadable ones count as in the operator: fail-closed."""

    policies: tuple[AgentPolicy, ...] = field(default=())
    grants: tuple[EventGrant, ...] = field(default=())


def is_unchanged(request: AdmissionRequest) -> bool:
    """Whether the review can be skipped: neither spec nor relevant labels changed, or the object is being deleted."""
    if (request.new.get("metadata") or {}).get("deletionTimestamp"):
        return True
    return request.old is not None and _spec(request) == _spec(request, old=True) and not _relabelled(request)


def judge(
    request: AdmissionRequest, around: ClusterContext, go_on: Callable[[], bool] = lambda: True
) -> AdmissionVerdict:
    """Review a request. The check of other objects stops once `go_on` returns False."""
    if is_unchanged(request):
        return ADMITTED
    try:
        match request.kind:
            case names.KIND:
                return _agent(request, around, go_on)
            case names.AGENT_POLICY:
                return AdmissionVerdict((), tuple(_of_policy(request, around, go_on)))
            case names.EVENT_GRANT:
                return AdmissionVerdict((), tuple(_of_grant(request, around, go_on)))
            case names.EVENT_TYPE:
                return _event_type(request, around)
            case names.EVENT_SOURCE | names.SUBSCRIPTION:
                check_gateway_object(request.kind, request.new, _rules(around).policies)
    except InvalidManifest as error:
        return AdmissionVerdict(error.problems)
    return ADMITTED


def _spec(request: AdmissionRequest, *, old: bool = False) -> Any:
    return ((request.old if old else request.new) or {}).get("spec")


def _relabelled(request: AdmissionRequest) -> bool:
    """Whether other policies may select an Agent now."""
    return request.kind == names.KIND and _labels(request.new) != _labels(request.old or {})


def _labels(document: Document) -> Any:
    return (document.get("metadata") or {}).get("labels") or {}


# ── Agents ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _agent(request: AdmissionRequest, around: ClusterContext, go_on: Callable[[], bool]) -> AdmissionVerdict:
    """Review an Agent. A missing grant only warns: it may be created later, and the Agent waits for it."""
    agent = parse_agent(request.new)
    rules = _rules(around)
    warnings: Iterable[Problem] = ()
    try:
        program = compile_agent(agent, resolve_permissions(agent.metadata, rules.policies, rules.grants))
    except InvalidManifest as error:
        problems = error.problems
    else:
        problems, warnings = (), lint_expressions(program, go_on, knows_types=False)
    if request.old is not None and _unsuspended(_spec(request)) == _unsuspended(_spec(request, old=True)):
        return AdmissionVerdict((), tuple(map(str, problems)))  # only its labels, or `suspend`, are new
    refused = tuple(item for item in problems if item.reason != NOT_GRANTED)
    waits = [f"it waits until it is granted: {item}" for item in problems if item.reason == NOT_GRANTED]
    advice = lint_agent(agent, expressions=warnings)
    return AdmissionVerdict(refused, (*waits, *(str(item) for item in advice if not _of_a_laptop(item))))


def _unsuspended(spec: Any) -> Any:
    """A spec without `suspend`: that an Agent is to pause, or goes on, is no reason to judge the rest once more."""
    return (
        {name: value for name, value in spec.items() if name != "suspend"} if isinstance(spec, dict) else spec
    )


def _of_a_laptop(advice: Problem) -> bool:
    """Whether a warning concerns `heed dev` only."""
    return advice.path.endswith("].command")


# ── policies, grants and types ────────────────────────────────────────────────────────────────────────────────────────


def _of_policy(request: AdmissionRequest, around: ClusterContext, go_on: Callable[[], bool]) -> Iterator[str]:
    policy, before = parse_policy(request.new), _rules(around)
    name = policy.metadata.name
    others = tuple(item for item in before.policies if item.metadata.name != name)
    yield from _stopped(before, _ParsedPolicies((*others, policy), before.grants), around, go_on)


def _of_grant(request: AdmissionRequest, around: ClusterContext, go_on: Callable[[], bool]) -> Iterator[str]:
    grant, before = parse_grant(request.new), _rules(around)
    others = tuple(item for item in before.grants if _key(item) != _key(grant))
    yield from _stopped(before, _ParsedPolicies(before.policies, (*others, grant)), around, go_on)


def _stopped(
    before: _ParsedPolicies, after: _ParsedPolicies, around: ClusterContext, go_on: Callable[[], bool]
) -> Iterator[str]:
    """Warnings that name the Agents a change would stop."""
    found = 0
    complete = around.complete
    for document in around.agents:
        if not go_on():
            complete = False
            break
        if (problem := _newly_refused(document, before, after)) is not None:
            found += 1
            if found <= _NAMED:
                metadata = document["metadata"]
                yield f"stops Agent {metadata['namespace']}/{metadata['name']}: {problem}"
    if found > _NAMED:
        yield f"stops {found - _NAMED} more Agents"
    if not complete:
        yield "there are more Agents than were looked at; see their condition Ready"


def _newly_refused(document: Document, before: _ParsedPolicies, after: _ParsedPolicies) -> Problem | None:
    try:
        agent = parse_agent(document)
    except InvalidManifest:
        return None
    old = resolve_permissions(agent.metadata, before.policies, before.grants)
    new = resolve_permissions(agent.metadata, after.policies, after.grants)
    if old == new:
        return None
    problems, known = list[Problem](), list[Problem]()
    check_permissions(problems, agent, new)
    check_permissions(known, agent, old)
    places = {(item.path, item.reason) for item in known}
    return next((item for item in problems if (item.path, item.reason) not in places), None)


def _event_type(request: AdmissionRequest, around: ClusterContext) -> AdmissionVerdict:
    item = parse_event_type(request.new)
    problems = tuple(check_event_type(compile_type(item)))
    return AdmissionVerdict(problems, tuple(_rivals(item, around)))


def check_gateway_object(
    kind: str,
    document: Document,
    policies: Iterable[AgentPolicy] = (),
    allowed: Sequence[IpNetwork] = EVERYWHERE,
) -> None:
    """Check an EventSource or a Subscription as the gateway will, with these policies. Raises InvalidManifest.

    Which addresses of sinks it lets through is a setting of the gateway: `allowed` are those that count as such.
    """
    if kind == names.EVENT_SOURCE:
        source = parse_event_source(document)
        compile_event_source(source, resolve_gateway_rules(source.metadata.namespace, policies))
    else:
        item = parse_subscription(document)
        compile_subscription(item, allowed, resolve_gateway_rules(item.metadata.namespace, policies))


def check_event_type(compiled: CompiledEventType | RefusedEventType) -> Iterator[Problem]:
    """Problems of an EventType: of its schema, or examples that do not match it."""
    if isinstance(compiled, RefusedEventType):
        yield _placed(compiled.message)
        return
    for index, example in enumerate(compiled.item.spec.examples):
        if (finding := compiled.check(example)) is not None:
            remedy = "correct the example, or the schema"
            yield Problem(f"spec.examples[{index}]", finding.message, remedy)


def _placed(message: str) -> Problem:
    """The problem in a message that begins with its path; without one, it is a problem of spec.schema."""
    path, _, text = message.partition(": ")
    return Problem(path, text) if text and path.startswith("spec.") else Problem("spec.schema", message)


def _rivals(item: EventType, around: ClusterContext) -> Iterator[str]:
    """Warnings for other EventTypes of the same type, of which the oldest counts."""
    for document in around.types:
        try:
            other = parse_event_type(document)
        except InvalidManifest:
            continue
        if other.spec.type != item.spec.type or _key(other) == _key(item):
            continue
        name = f"EventType {'/'.join(_key(other))}"
        if _age(other) < _age(item):
            yield f"has no effect: {name}, which is older, describes {item.spec.type} already"
            return
        yield f"takes effect instead of {name}, which is younger"


def _age(item: EventType) -> tuple[str, str]:
    """To be compared; what was never stored is younger than all."""
    return item.metadata.creation_timestamp or "~", item.metadata.name


def _rules(around: ClusterContext) -> _ParsedPolicies:
    policies, grants = list[AgentPolicy](), list[EventGrant]()
    for document in around.policies:
        try:
            policies.append(parse_policy(document))
        except InvalidManifest:
            policies.append(closed_policy(document))
    for document in around.grants:
        try:
            grants.append(parse_grant(document))
        except InvalidManifest:
            continue
    return _ParsedPolicies(tuple(policies), tuple(grants))


def _key(item: AgentPolicy | EventGrant | EventType) -> tuple[str, str]:
    return item.metadata.namespace, item.metadata.name
