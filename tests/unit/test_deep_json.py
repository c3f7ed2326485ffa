"""What nests too deep to be read costs itself, and not what is read along with it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.kube.client import deep_json
from heed.kube.client.deep_json import MAX_OBJECT_DEPTH, MAX_PARSED_DEPTH, _shallow, loads, read_deep

DEEP = 9_000
TEXTS = st.text(alphabet='ab"\\[]{},: é\n')
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[{"]": ', "}]")])
def test_what_stands_beside_the_deep_is_read(begin: str, end: str) -> None:
    deep = begin * DEEP + "1" + end * DEEP
    text = f'{{"items": [{{"name": "a \\" ]", "deep": {deep}, "after": [1, {{"b": 2}}]}}, {{"name": "c"}}]}}'

    for given_text in (text, text.encode()):
        found, cut = read_deep(given_text)
        first, second = found["items"]
        assert cut
        assert (first["name"], first["after"], second) == ('a " ]', [1, {"b": 2}], {"name": "c"})
        assert _depth(first["deep"]) == MAX_OBJECT_DEPTH - 3


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, dict | list):
        value, depth = next(iter(value.values() if isinstance(value, dict) else value)), depth + 1
    assert value == f"${{nests deeper than {MAX_OBJECT_DEPTH} levels}}"
    return depth


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_where_the_parser_does_not_give_up_as_much_is_read_and_no_more(
    monkeypatch: pytest.MonkeyPatch, begin: str, end: str
) -> None:
    monkeypatch.setattr(deep_json, "_PARSER_GIVES_UP", False)  # as in Python 3.12 and later
    brackets = "[" * 10 + "]" * 10  # beside each level, so that there are many of them at few levels

    def nested(levels: int) -> str:
        return f'[{begin * (levels - 1)}"]"{end * (levels - 1)}{f",{brackets}" * levels}]'

    for text in (nested(MAX_PARSED_DEPTH), nested(MAX_PARSED_DEPTH).encode()):
        assert read_deep(text) == (json.loads(text), False)
    for text in (nested(MAX_PARSED_DEPTH + 1), nested(MAX_PARSED_DEPTH + 1).encode()):
        value, cut = read_deep(text)
        assert cut
        assert _depth(value) == MAX_OBJECT_DEPTH
        assert value[1:] == json.loads(f"[{brackets}]") * (MAX_PARSED_DEPTH + 1)


def test_a_text_full_of_brackets_is_not_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_json, "_PARSER_GIVES_UP", False)

    assert read_deep(json.dumps("[{" * DEEP)) == ("[{" * DEEP, False)


@given(VALUES)
def test_what_is_not_too_deep_is_read_as_it_is(value: Any) -> None:
    text = json.dumps(value)

    assert read_deep(text) == (value, False)
    assert _shallow(text) == text


@pytest.mark.parametrize("text", ["", "[", "[" * DEEP, "]" * 3, '{"a"', b"\xff"])
def test_what_is_no_json_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)
