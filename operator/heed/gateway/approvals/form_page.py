"""The page on which an approval is answered: what is asked, and a form that needs no script."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from aiohttp import web

from heed.core.approval.request import PendingApproval
from heed.core.effects import AgentRef
from heed.gateway.approvals.details import render_details
from heed.gateway.approvals.form_fields import INPUT_TYPES, FormField, form_fields
from heed.gateway.approvals.frame import isolate, list_facts, respond
from heed.gateway.approvals.links import ApprovalLink

CHOICE: Final = "choice"  # names of controls
COMMENT: Final = "comment"
PROOF: Final = "proof"


@dataclass(frozen=True, slots=True)
class Entries:
    """What the form holds, and what is wrong with it: `problem` as a whole, `problems` by control."""

    values: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)


def form_page(
    status: int, link: ApprovalLink, agent: AgentRef, approval: PendingApproval, proof: str, entries: Entries
) -> web.Response:
    """The page of an approval that waits."""
    request = approval.request
    details = (
        f'<div class="details">{render_details(request.details)}</div>' if request.details.strip() else ""
    )
    content = (
        f'<section class="card"><h1>{isolate(request.title)}</h1>{_facts(agent, approval)}{details}</section>'
        f'<section class="card">{_form(approval, proof, entries)}</section>{_footer(link)}'
    )
    return respond(status, request.title, content)


def label_of(approval: PendingApproval | None, choice: str) -> str:
    """What people read for a choice."""
    label = choice if approval is None else approval.request.choices.get(choice, choice)
    return label if label != choice else choice[:1].upper() + choice[1:]


def show_time(at: str | float) -> str:
    """A time (RFC 3339, or Unix seconds) for people."""
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else datetime.fromisoformat(at)
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _facts(agent: AgentRef, approval: PendingApproval) -> str:
    facts = {
        "Asked by": f"{agent.name} in {agent.namespace}",
        "Asked on": show_time(approval.record.started_at),
    }
    if approval.until is not None:
        facts["Answer until"] = show_time(approval.until)
    return list_facts(facts)


def _form(approval: PendingApproval, proof: str, entries: Entries) -> str:
    fields = "".join(_control(item, entries) for item in form_fields(approval.request.fields))
    problem = (
        f'<div class="note bad" role="alert"><p>{isolate(entries.problem)}</p></div>'
        if entries.problem
        else ""
    )
    comment = escape(entries.values.get(COMMENT, ""))
    return (
        f'{problem}<form method="post" accept-charset="utf-8" autocomplete="off">'
        f'<input type="hidden" name="{PROOF}" value="{escape(proof)}">{_choices(approval, entries)}{fields}'
        f'<div class="field"><label class="label" for="{COMMENT}">Comment <span class="quiet">(optional)</span></label>'
        f'<textarea id="{COMMENT}" name="{COMMENT}" rows="3">\n{comment}</textarea></div>'
        '<button type="submit">Send answer</button>'
        '<p class="help">An answer is final: it cannot be changed or taken back.</p></form>'
    )


def _choices(approval: PendingApproval, entries: Entries) -> str:
    chosen = entries.values.get(CHOICE)
    items = "".join(
        f'<label class="choice"><input type="radio" name="{CHOICE}" value="{escape(name)}" required'
        f"{' checked' if name == chosen else ''}><span>{isolate(label_of(approval, name))}</span></label>"
        for name in approval.request.choices
    )
    return f"<fieldset><legend>Your answer</legend>{items}</fieldset>"


def _control(item: FormField, entries: Entries) -> str:
    value, wrong = entries.values.get(item.control, ""), entries.problems.get(item.control, "")
    described = [f"{item.control}-{name}" for name, text in (("help", item.help), ("wrong", wrong)) if text]
    attributes: dict[str, Any] = {"id": item.control, "name": item.control}
    if described:
        attributes["aria-describedby"] = " ".join(described)
    if wrong:
        attributes["aria-invalid"] = "true"
    notes = f'<p class="help" id="{item.control}-help">{isolate(item.help)}</p>' if item.help else ""
    notes += f'<p class="wrong" id="{item.control}-wrong">{isolate(wrong)}</p>' if wrong else ""
    if item.kind == "boolean":
        ticked = {"checked": True} if value else {}
        control = _tag("input", {**attributes, "type": "checkbox", "value": "on", **ticked})
        label = f'<label class="check">{control}<span>{isolate(item.title)}</span></label>'
        return f'<div class="field">{label}{notes}</div>'
    optional = "" if item.required else ' <span class="quiet">(optional)</span>'
    label = f'<label class="label" for="{item.control}">{isolate(item.title)}{optional}</label>'
    if item.required:
        attributes["required"] = True
    return f'<div class="field">{label}{_input(item, attributes, value)}{notes}</div>'


def _input(item: FormField, attributes: Mapping[str, Any], value: str) -> str:
    match item.kind:
        case "list":
            return _tag("select", attributes) + _options(item, value) + "</select>"
        case "long" | "json":
            return f"{_tag('textarea', {**attributes, 'rows': 3})}\n{escape(value)}</textarea>"
        case "number":
            return _tag("input", {**attributes, **_bounds(item.schema), "value": value})
    kind = INPUT_TYPES.get(str(item.schema.get("format")), "text")
    return _tag("input", {**attributes, "type": kind, "value": value})


def _bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    whole = schema["type"] == "integer"
    found: dict[str, Any] = {
        "type": "number",
        "step": 1 if whole else "any",
        "inputmode": "numeric" if whole else "decimal",
    }
    for name, member in (("min", "minimum"), ("max", "maximum")):
        bound = schema.get(member)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            found[name] = bound
    return found


def _options(item: FormField, value: str) -> str:
    items = [("", "Choose …" if item.required else "–")]
    items += [(str(index), _show(option)) for index, option in enumerate(item.options)]
    return "".join(
        f'<option value="{key}"{" selected" if key == value else ""}>{escape(text)}</option>'
        for key, text in items
    )


def _show(option: Any) -> str:
    words = {True: "yes", False: "no", None: "none"}
    return words[option] if option is None or isinstance(option, bool) else str(option)


def _footer(link: ApprovalLink) -> str:
    whom = f"This link was made for {link.label}. It" if link.label else "This link"
    return (
        f"<footer><p>{isolate(whom)} works once, until {show_time(link.expires_at)}. "
        "Anyone who has it can answer: do not pass it on.</p></footer>"
    )


def _tag(name: str, attributes: Mapping[str, Any]) -> str:
    written = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>"
