"""A Subscription compiled: its condition, and whether an event is for it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.api.fields import parse_duration
from heed.api.subscription import EventSubscription, EventSubscriptionSpec, SinkSpec
from heed.core.cel.cost import SCOPE_WORK
from heed.core.cel.expression import Expression, ExpressionError, Scope, compile_expression
from heed.core.cel.polynomial import EXTENT, NO_WORK, DataLimit, plus, scale
from heed.core.cel.variables import Vocabulary
from heed.core.policy.addresses import IpNetwork, find_refusal
from heed.core.policy.gateway_rules import NO_RULES, POLICY_REMEDY, GatewayRules
from heed.core.type_patterns import matches
from heed.errors import POLICY_VIOLATION, DecisionFailed, Problem, manifest_error

WHERE_VARIABLES: Final = Vocabulary(("event",))
MAX_TIMEOUT_S: Final = 600
MIN_EXTENT: Final = 256 * 1024  # of events that every Subscription can look at
TAKEN_HEADERS: Final = frozenset(
    ("connection", "content-length", "content-type", "expect", "host", "keep-alive", "te", "trailer")
) | {"transfer-encoding", "upgrade", "user-agent", "content-encoding"}
_HOST: Final = re.compile(r"https?://(?:\[([^\]]*)\]|([^:/?#]+))(?::([0-9]*))?(?=[/?]|$)")


@dataclass(frozen=True, slots=True)
class SubscriptionProgram:
    """A Subscription, ready for events."""

    namespace: str
    name: str
    uid: str
    spec: EventSubscriptionSpec
    where: Expression | None
    limit: DataLimit
    rules: GatewayRules = NO_RULES

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of its events, and of its dead letters that are sent again."""
        wanted = [names.event_subject(self.namespace, pattern) for pattern in self.spec.types]
        return (*wanted, names.redrive_subject(self.namespace, names.subscriber(self.name), ">"))

    def wants(self, type_: str) -> bool:
        """Whether it asks for events of a type."""
        return any(matches(pattern, type_) for pattern in self.spec.types)

    def check_redriven(self, type_: str) -> None:
        """Raise DecisionFailed for an event of a dead letter that may not be delivered any more."""
        if (refused := self.rules.delivery_problem(type_)) is not None:
            raise DecisionFailed(POLICY_VIOLATION, f"{refused}; {POLICY_REMEDY}")

    def passes(self, variable: Mapping[str, Any]) -> bool:
        """Whether `where` holds of an event, as expressions see it. Raises DecisionFailed."""
        if self.where is None:
            return True
        if not self.limit.allows(variable):
            message = "the event is larger than the condition `where` may look at; send less, or a reference"
            raise DecisionFailed("TooCostly", message)
        try:
            return self.where.holds(Scope({"event": dict(variable)}))
        except ExpressionError as error:
            raise DecisionFailed("ExpressionFailed", f"spec.where: {error}") from None


def compile_subscription(
    item: EventSubscription, allowed: Sequence[IpNetwork] = (), rules: GatewayRules = NO_RULES
) -> SubscriptionProgram:
    """Compile a Subscription with what it may deliver; sinks in `allowed` networks are let through.

    Raises InvalidManifest with every problem, PolicyViolation where all of them are that it is not allowed.
    """
    problems = list[Problem]()
    for index, pattern in enumerate(item.spec.types):
        if (refused := rules.delivery_problem(pattern)) is not None:
            problems.append(Problem(f"spec.types[{index}]", refused, POLICY_REMEDY, POLICY_VIOLATION))
    _check_sink(problems, item.spec.sink, allowed)
    if not 1 <= parse_duration(item.spec.delivery.timeout) <= MAX_TIMEOUT_S:
        remedy = f"give a sink from 1s to {MAX_TIMEOUT_S // 60}m to answer"
        problems.append(Problem("spec.delivery.timeout", f"is {item.spec.delivery.timeout}", remedy))
    where: Expression | None = None
    if item.spec.where is not None:
        try:
            where = compile_expression(item.spec.where, condition=True, known=WHERE_VARIABLES)
        except ExpressionError as error:
            problems.append(Problem("spec.where", str(error)))
    limit = DataLimit.of(NO_WORK if where is None else plus(scale(EXTENT, SCOPE_WORK), where.cost.work))
    if limit.always < MIN_EXTENT:
        remedy = "shorten it, or subscribe to types of their own"
        problems.append(Problem("spec.where", "may cost too much on small events", remedy))
    if problems:
        raise manifest_error(problems)
    metadata = item.metadata
    return SubscriptionProgram(
        metadata.namespace, metadata.name, metadata.uid, item.spec, where, limit, rules
    )


def _check_sink(problems: list[Problem], sink: SinkSpec, allowed: Sequence[IpNetwork]) -> None:
    found = _HOST.match(sink.url)
    if found is None or (found[3] is not None and not 0 < int(found[3] or 0) < 65536):
        remedy = "write it like https://orders.shop.svc:8443/events"
        problems.append(Problem("spec.sink.url", "names no host and port", remedy))
    else:
        host = found[1] if found[1] is not None else found[2]
        is_literal = found[1] is not None or host.replace(".", "").isdecimal()
        reason = find_refusal(host, allowed) if is_literal else None
        if host.rstrip(".").lower() == "localhost":
            reason = find_refusal("127.0.0.1", allowed)
        if reason is not None:
            problems.append(Problem("spec.sink.url", reason, "name a service, or an address of a network"))
    for index, header in enumerate(sink.headers):
        name = header.name.lower()
        if name in TAKEN_HEADERS or name.startswith("ce-"):
            problems.append(
                Problem(
                    f"spec.sink.headers[{index}].name", f"{header.name} is taken", "choose another header"
                )
            )
