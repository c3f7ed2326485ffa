"""The page of an approval as HTML: whatever is asked and entered, it is text, and each control is labelled."""

from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.approval.request import PendingApproval
from heed.core.effects import AgentRef
from heed.gateway.approvals.form_fields import default_entries, form_fields, read_entries
from heed.gateway.approvals.form_page import Entries, form_page, label_of, show_time
from heed.gateway.approvals.links import ApprovalLink
from tests.builders.approvals import approval_of, awaiting, buyer

LINK = ApprovalLink("demo", "researcher", "uid", "buy-1", 2_000_000_000, "Kim <kim@example.com>")
AGENT = AgentRef("demo", "researcher", "uid")
WAITING = approval_of(awaiting(buyer()))
KEYWORDS = (
    "type",
    "enum",
    "title",
    "description",
    "default",
    "format",
    "minimum",
    "maximum",
    "maxLength",
    "const",
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(
        ["string", "number", "integer", "boolean", "date", "<b>", '"', "'"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
SCHEMAS = st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=5)


class Outline(HTMLParser):
    """The tags of a page, those that are open at its end, and its text."""

    VOID = frozenset(("meta", "input", "br", "hr"))

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def asked(**members: Any) -> PendingApproval:
    """An approval that asks this."""
    return replace(WAITING, request=replace(WAITING.request, **members))


def page_of(approval: PendingApproval, entries: Entries | None = None) -> str:
    """Its page."""
    response = form_page(200, LINK, AGENT, approval, "proof", entries or Entries())
    assert isinstance(response.body, bytes)
    return response.body.decode()


def outline_of(html: str) -> Outline:
    """What a browser makes of a page."""
    outline = Outline()
    outline.feed(html)
    outline.close()
    return outline


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_asked_is_text(title: str, label: str, comment: str) -> None:
    approval = asked(title=title, choices={"approve": label, "reject": "no"})

    found = outline_of(page_of(approval, Entries({"comment": comment}, problem=label)))

    assert found.open == []
    plain = [tag for tag, _ in outline_of(page_of(asked(choices={"approve": "a", "reject": "no"}))).tags]
    assert [tag for tag, _ in found.tags if tag not in ("div", "p", "bdi")] == [
        tag for tag in plain if tag not in ("div", "p", "bdi")
    ]


@given(st.dictionaries(st.text(max_size=6), SCHEMAS, max_size=4), st.lists(st.text(max_size=6), max_size=2))
def test_whatever_the_schema_it_has_a_form_that_can_be_read(
    properties: Mapping[str, Any], entered: list[str]
) -> None:
    schema = {"type": "object", "properties": properties, "required": list(properties)[:2]}
    fields = form_fields(schema)
    values = {
        **default_entries(fields),
        **dict(zip([item.control for item in fields], entered, strict=False)),
    }

    found = outline_of(page_of(asked(fields=schema), Entries(values)))

    assert found.open == []
    controls = {
        attributes.get("id") for tag, attributes in found.tags if tag in ("input", "select", "textarea")
    }
    assert {item.control for item in fields} <= controls
    read, problems = read_entries(fields, values)
    assert read.keys() <= properties.keys() or not properties
    assert problems.keys() <= values.keys()


def test_labels_begin_with_a_capital_only_where_they_are_names() -> None:
    approval = asked(choices={"approve": "approve", "later": "ask me later"})

    assert label_of(approval, "approve") == "Approve"
    assert label_of(approval, "later") == "ask me later"
    assert label_of(approval, "other") == "Other"
    assert label_of(None, "reject") == "Reject"


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-11-09T08:05:59.9Z", "9 November 2026, 08:05 UTC"),
        ("2026-11-29T23:30:00-01:00", "30 November 2026, 00:30 UTC"),
        (0, "1 January 1970, 00:00 UTC"),
    ],
)
def test_times_are_written_for_people(at: str | int, shown: str) -> None:
    assert show_time(at) == shown


def test_the_time_until_which_it_waits_is_there_where_there_is_one() -> None:
    assert "Answer until" not in page_of(WAITING)
    until = approval_of(awaiting(buyer(timeout="1h")))
    assert "<dt>Answer until</dt>" in page_of(until)


def test_details_are_there_where_there_are_any() -> None:
    assert 'class="details"' not in page_of(asked(details=" \n"))
    assert '<div class="details"><p>so</p>' in page_of(asked(details="so"))


def test_a_control_refers_to_its_help_and_to_what_is_wrong_with_it() -> None:
    schema = {"properties": {"a": {"type": "string", "maxLength": 9, "description": "Say it."}}}

    html = page_of(asked(fields=schema), Entries({"field-0": "x"}, "Bad.", {"field-0": "Wrong."}))

    assert 'aria-describedby="field-0-help field-0-wrong"' in html and 'aria-invalid="true"' in html
    assert 'id="field-0-help"><bdi>Say it.' in html and 'id="field-0-wrong"><bdi>Wrong.' in html
    assert 'role="alert"><p><bdi>Bad.' in html
    plain = page_of(asked(fields=schema)).partition("<body>")[2]
    assert 'aria-describedby="field-0-help"' in plain and "aria-invalid" not in plain


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string", "format": "date"}, 'type="date"'),
        ({"type": "string", "format": "email"}, 'type="email"'),
        ({"type": "string", "format": "uri"}, 'type="url"'),
        ({"type": "string", "maxLength": 5}, 'type="text"'),
        ({"type": "number", "maximum": 1.5}, 'type="number" step="any" inputmode="decimal" max="1.5"'),
        ({"type": "integer", "minimum": True}, 'type="number" step="1" inputmode="numeric" value'),
        ({"enum": [True, None, "x"]}, '<option value="0">yes</option><option value="1">none</option>'),
    ],
)
def test_controls_are_of_the_browsers_own_kinds(schema: dict[str, Any], written: str) -> None:
    assert written in page_of(asked(fields={"properties": {"a": schema}}))
