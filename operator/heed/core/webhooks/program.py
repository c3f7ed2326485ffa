"""An EventSource compiled: its expressions and templates, and the data on which they are harmless.

Deliveries are made by strangers, so nothing is evaluated whose cost they could choose: what may cost too much on small
bodies is refused when it is compiled, and a body on which it may is refused when it comes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from heed import names
from heed.api.event_source import EventSource, EventSourceSpec
from heed.core.cel.cost import RENDER_WORK, SCOPE_WORK
from heed.core.cel.expression import Expression, ExpressionError, compile_expression
from heed.core.cel.polynomial import EXTENT, NO_WORK, Bound, DataLimit, plus, scale
from heed.core.cel.template import Template, TemplateError, compile_template
from heed.core.cel.variables import Vocabulary
from heed.core.policy.gateway_rules import NO_RULES, POLICY_REMEDY, GatewayRules
from heed.core.webhooks.verification import find_payload_problem
from heed.errors import POLICY_VIOLATION, Problem, manifest_error

T = TypeVar("T")
DELIVERY_VARIABLES: Final = Vocabulary(("headers", "query", "body", "delivery"))
MIN_EXTENT: Final = 128 * 1024  # of data that every EventSource can work on: some tens of kilobytes of JSON
_BODY: Final = re.compile(r"\bbody\b")
TEXT_FIELDS: Final = ("type", "id", "source", "subject", "time", "correlationid")


@dataclass(frozen=True, slots=True)
class CompiledChallenge:
    """A question of the sender, and what it is answered with."""

    method: str
    when: Expression
    reply: Template
    content_type: str


@dataclass(frozen=True, slots=True)
class WebhookProgram:
    """An EventSource, ready for deliveries. `texts` are the event's attributes by name; `data` None is the body.

    `limit` is on the data that expressions see; where none of them reads the body, it is not among these.
    """

    namespace: str
    name: str
    spec: EventSourceSpec
    when: Expression | None
    texts: Mapping[str, Template]
    data: Template | None
    challenge: CompiledChallenge | None
    limit: DataLimit
    reads_body: bool
    rules: GatewayRules = NO_RULES

    @property
    def path(self) -> str:
        """The end of its address, after the namespace."""
        return self.spec.path


def compile_event_source(source: EventSource, rules: GatewayRules = NO_RULES) -> WebhookProgram:
    """Compile an EventSource with what it may publish.

    Raises InvalidManifest with every problem, PolicyViolation where all of them are that it is not allowed.
    """
    compiler = _Compiler(source, rules)
    program = compiler.compile()
    if compiler.problems:
        raise manifest_error(compiler.problems)
    return program


class _Compiler:
    def __init__(self, source: EventSource, rules: GatewayRules) -> None:
        self._source, self._spec, self._rules = source, source.spec, rules
        self.problems: list[Problem] = []
        self._work: list[Bound] = [scale(EXTENT, SCOPE_WORK)]
        self._reads_body = False

    def compile(self) -> WebhookProgram:
        self._check_verification()
        spec, metadata = self._spec, self._source.metadata
        when = self._condition(spec.when, "spec.when") if spec.when is not None else None
        challenge = self._challenge()
        texts = {
            name: template
            for name in TEXT_FIELDS
            if (value := getattr(spec.event, name)) is not None
            and (template := self._template(value, f"spec.event.{name}")) is not None
        }
        self._check_type(spec.event.type, texts.get("type"))
        data = self._template(spec.event.data, "spec.event.data") if self._source.has_data else None
        limit = DataLimit.of(plus(*self._work))
        if not self.problems and limit.always < MIN_EXTENT:
            remedy = "deliveries come from strangers; use shorter expressions, and no macros within macros"
            self.problems.append(Problem("spec", "its expressions may cost too much on small bodies", remedy))
        return WebhookProgram(
            namespace=metadata.namespace,
            name=metadata.name,
            spec=spec,
            when=when,
            texts=texts,
            data=data,
            challenge=challenge,
            limit=limit,
            reads_body=self._reads_body,
            rules=self._rules,
        )

    def _challenge(self) -> CompiledChallenge | None:
        if (spec := self._spec.challenge) is None:
            return None
        if spec.token is not None and spec.method != "GET":
            remedy = "leave it out: deliveries by POST are verified as `verify` says"
            self.problems.append(Problem("spec.challenge.token", "is for GET only", remedy))
        when = self._condition(spec.when, "spec.challenge.when")
        reply = self._template(spec.reply, "spec.challenge.reply")
        if when is None or reply is None:
            return None
        return CompiledChallenge(spec.method, when, reply, spec.content_type)

    def _check_verification(self) -> None:
        verify = self._spec.verify
        given = [name for name in ("hmac", "token", "none") if getattr(verify, name) is not None]
        if len(given) != 1:
            message = f"has {' and '.join(given)}" if given else "says nothing"
            remedy = "give exactly one of hmac, token and none"
            self.problems.append(Problem("spec.verify", message, remedy))
        if verify.hmac is None:
            return
        if (problem := find_payload_problem(verify.hmac)) is not None:
            self.problems.append(Problem("spec.verify.hmac.payload", problem))
        stamp = verify.hmac.timestamp
        if stamp is not None and (stamp.header is None) == (stamp.field is None):
            remedy = "give exactly one of them"
            self.problems.append(Problem("spec.verify.hmac.timestamp", "needs header or field", remedy))

    def _check_type(self, source: str, template: Template | None) -> None:
        begin, computed, _ = source.partition("${")
        if begin.startswith(names.RESERVED_PREFIX) if computed else names.is_reserved(begin):
            remedy = "dev.heed.* is for Heed's own events; choose a type of your own"
            message = (
                f'"{begin}" is reserved' if not computed else f'begins with "{begin}", which is reserved'
            )
            self.problems.append(Problem("spec.event.type", message, remedy))
            return
        if template is None or not template.constant:
            return
        type_ = template.shape
        if not names.is_type(type_):
            remedy = "use dot-separated tokens without wildcards, such as com.example.done"
            self.problems.append(Problem("spec.event.type", f'"{type_}" is no event type', remedy))
        elif (refused := self._rules.publishing_problem(type_)) is not None:
            self.problems.append(Problem("spec.event.type", refused, POLICY_REMEDY, POLICY_VIOLATION))

    def _condition(self, source: str, path: str) -> Expression | None:
        def compile_() -> Expression:
            found = compile_expression(source, condition=True, known=DELIVERY_VARIABLES)
            self._add(found.cost.work, found)
            return found

        return self._compiled(compile_, path)

    def _template(self, value: Any, path: str) -> Template | None:
        def compile_() -> Template:
            found = compile_template(value, known=DELIVERY_VARIABLES)
            inner = (expression for _, expression in found.expressions)
            self._add(NO_WORK if found.constant else _rendering(found), *inner)
            return found

        return self._compiled(compile_, path)

    def _add(self, work: Bound, *expressions: Expression) -> None:
        self._work.append(work)
        self._reads_body |= any(_BODY.search(item.source) is not None for item in expressions)

    def _compiled(self, compile_: Callable[[], T], path: str) -> T | None:
        try:
            return compile_()
        except ExpressionError as error:
            self.problems.append(Problem(path, str(error)))
        except TemplateError as error:
            self.problems.append(Problem(path + error.path, error.message))
        return None


def _rendering(template: Template) -> Bound:
    return plus(template.cost.work, scale(template.cost.size, RENDER_WORK))
