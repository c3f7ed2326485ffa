"""Data to try an Agent with are of the types that its expressions compare them with."""

from typing import Any

import pytest

from heed.cli.sample_data import sample_data


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("event.data.topic", {"topic": "…"}),
        ("has(event.data.topic) && event.data.topic != ''", {"topic": "…"}),
        ("event.data.n > 5", {"n": 6}),
        ("event.data.n >= 1.5 && event.data.m < 0", {"n": 1.5, "m": -1}),
        ("event.data.ok == true && event.data.bad != true", {"ok": True, "bad": False}),
        ("event.data.kind == 'order'", {"kind": "order"}),
        ('event.data.customer.mail == "a@b"', {"customer": {"mail": "a@b"}}),
        ("event.data.?customer.?mail.orValue('none')", {"customer": {"mail": "none"}}),
        ("${event.data.parts.map(p, {'input': p})}", {"parts": ["…"]}),
        ("event.data.parts[0] == 1", {"parts": ["…"]}),
        ("event.data.name.startsWith('a')", {"name": "…"}),
        ("event.dat.x == 1", {}),
    ],
)
def test_a_member_is_what_it_is_compared_with(text: str, data: dict[str, Any]) -> None:
    assert sample_data({"when": text}) == data


def test_what_is_known_of_a_member_stays() -> None:
    document = {"when": "event.data.n > 5", "state": {"n": "${event.data.n}", "m": ["${event.data.m}"]}}

    assert sample_data([document, document]) == {"n": 6, "m": "…"}
