"""What nests too deep to be read costs itself, and not what is read along with it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.kube.client.deep_json import MAX_OBJECT_DEPTH, _shallow, loads, read_deep

DEEP = 9_000
TEXTS = st.text(alphabet='ab"\\[]{},: é\n')
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}"), ('[{"]": ', "}]")])
def test_what_stands_beside_the_deep_is_read(begin: str, end: str) -> None:
    deep = begin * DEEP + "1" + end * DEEP
    text = f'{{"items": [{{"name": "a \\" ]", "deep": {deep}, "after": [1, {{"b": 2}}]}}, {{"name": "c"}}]}}'
    with pytest.raises(RecursionError):
        json.loads(text)

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


@given(VALUES)
def test_what_is_not_too_deep_is_read_as_it_is(value: Any) -> None:
    text = json.dumps(value)

    assert read_deep(text) == (value, False)
    assert _shallow(text) == text


@pytest.mark.parametrize("text", ["", "[", "[" * DEEP, "]" * 3, '{"a"', b"\xff"])
def test_what_is_no_json_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)
