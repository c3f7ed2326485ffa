"""YAML read as kubectl reads it (go-yaml 2 by way of sigs.k8s.io/yaml), with the lines of everything.

PyYAML's own loaders know another YAML: 1:30 is 90 to them, 1e3 a string, and a date no JSON at all. Here only its
scanner and composer are used; what a plain scalar means was measured with kubectl 1.37. Where kubectl would silently
take one of two equal keys, or drop an unknown tag, this refuses: the author meant something else.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

MAX_MANIFEST_CHARS: Final = 4 * 1024 * 1024
MAX_YAML_DEPTH: Final = 100
MAX_YAML_VALUES: Final = 100_000  # of one document, aliases counted at every use

_PLAIN: Final = "plain"
_CORE: Final = "tag:yaml.org,2002:"
_RESOLVED: Final = frozenset(_CORE + name for name in ("bool", "float", "int", "null"))
_KEPT: Final = frozenset(_CORE + name for name in ("map", "seq", "str", "timestamp"))
_WORDS: Final[dict[str, bool | None]] = {
    **{form: None for word in ("null",) for form in (word, word.title(), word.upper(), "~", "")},
    **{form: True for word in ("y", "yes", "true", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("n", "no", "false", "off") for form in (word, word.title(), word.upper())},
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_REMEDIES: Final = {
    "found character '\\t'": "indent with spaces, not tabs",
    "found character": "quote the value",
    "mapping values are not allowed": 'quote a value that holds ": "',
    "expected ',' or '}'": "quote strings in {…} that hold braces, such as ${CEL}",
    "expected ',' or ']'": "quote strings in […] that hold braces or brackets, such as ${CEL}",
    "undefined alias": "name an anchor that stands above, or quote a value that begins with *",
    "expected alphabetic or numeric character": "quote a value that begins with * or &",
    "undetermined tag": "quote a value that begins with !",
    "could not find expected ':'": "is a colon missing, or the indentation wrong?",
    "expected <block end>": "check the indentation, and quote a value that goes on after its closing quote",
}


class YamlError(Exception):
    """Text that is no YAML for manifests. Lines and columns count from 1."""

    def __init__(self, message: str, line: int, column: int, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.remedy = message, line, column, remedy


@dataclass(frozen=True, slots=True)
class YamlTree:
    """A value with the YAML nodes that it was read from."""

    value: Any
    node: yaml.Node

    @property
    def line(self) -> int:
        """Where it begins."""
        return int(self.node.start_mark.line) + 1

    def item(self, index: int) -> "YamlTree":
        """An item of a list."""
        return YamlTree(self.value[index], self.node.value[index])

    def member(self, key: str) -> "YamlTree | None":
        """A member of a map, if there is one of its own."""
        nodes = (value for name, _, value in map_members(self.node) if name == key)
        node = next(nodes, None)
        return None if node is None else YamlTree(self.value[key], node)

    def line_of(self, path: str) -> int:
        """The line of `spec.handlers[2].when`, or of the nearest of its parents that exists."""
        return _find(self.node, path, self.line)[1]

    def owner_of(self, path: str) -> str:
        """Nothing: a field of YAML stands where it is written."""
        return ""


def is_word(text: str) -> bool:
    """Whether kubectl reads a plain, unquoted scalar as just this string."""
    return text not in _WORDS and text[:1] not in "+-.0123456789" and text != "<<"


def read_documents(text: str) -> list[YamlTree]:
    """Every document of a text that is not empty. Raises YamlError."""
    if len(text) > MAX_MANIFEST_CHARS:
        raise YamlError(f"is longer than {MAX_MANIFEST_CHARS} characters", 1, 1, "split it")
    text = text.removeprefix("\ufeff")
    composer = _composer(_without_tabs(text))
    try:
        nodes = list(_documents(composer))
    except yaml.MarkedYAMLError as error:
        raise _explained(error) from None
    except (ValueError, OverflowError):
        raise YamlError("has an escape that is no Unicode character", composer.line + 1, 1) from None
    trees = (YamlTree(_ValueReader().value(node, ()), node) for node in nodes)
    return [tree for tree in trees if tree.value is not None]


class _Composer(yaml.BaseLoader):
    """PyYAML's composer, which tells plain scalars from quoted ones here, and stops at MAX_YAML_DEPTH."""

    depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node without one."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _CORE + "str"
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """A scalar; `! 5` is a string by YAML 1.1, which PyYAML forgets."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        event.tag = _CORE + "str" if event.tag == "!" else event.tag
        return super().compose_scalar_node(anchor)

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """The next node."""
        self.depth += 1
        if self.depth > MAX_YAML_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise YamlError(f"nests deeper than {MAX_YAML_DEPTH} levels", mark.line + 1, mark.column + 1)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _composer(text: str) -> _Composer:
    try:
        return _Composer(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        message = f"holds the character {text[error.position]!a}, which YAML does not allow"
        raise YamlError(message, line, column, "remove it, or escape it in double quotes") from None


def _documents(composer: _Composer) -> Iterator[yaml.Node]:
    while composer.check_node():
        node = composer.get_node()
        if node is not None:
            yield node


def _without_tabs(text: str) -> str:
    """JSON may be indented with tabs, which YAML refuses; no string of JSON holds one."""
    if "\t" in text and text.lstrip()[:1] in ("{", "["):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return text
        return text.replace("\t", " ")
    return text


def _explained(error: yaml.MarkedYAMLError) -> YamlError:
    mark = error.problem_mark or error.context_mark
    message = error.problem or error.context or "is not YAML"
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in message), "")
    return YamlError(message, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, remedy)


def _fail(node: yaml.Node, message: str, remedy: str = "") -> YamlError:
    return YamlError(message, node.start_mark.line + 1, node.start_mark.column + 1, remedy)


class _ValueReader:
    """Converts nodes to values, at most MAX_YAML_VALUES of them: aliases of aliases could stand for billions."""

    def __init__(self) -> None:
        self.made = 0

    def value(self, node: yaml.Node, above: tuple[yaml.Node, ...]) -> Any:
        """The value of a node. `above` are the nodes that it is in."""
        self.made += 1
        if self.made > MAX_YAML_VALUES:
            raise _fail(node, f"stands for more than {MAX_YAML_VALUES} values", "use fewer aliases")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if node.tag not in _KEPT:
            raise _foreign(node)
        if node in above:
            raise _fail(node, "holds itself through an alias", "write it out")
        if len(above) > MAX_YAML_DEPTH:
            raise _fail(node, f"nests deeper than {MAX_YAML_DEPTH} levels")
        inner = (*above, node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, inner) for item in node.value]
        return self._map(node, inner)

    def _map(self, node: yaml.Node, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """A map, read in the order of its lines as kubectl does: `<<` overrides members that stand before it."""
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, item in node.value:
            if _is_merge(key):
                for source in _merged(item):
                    values |= self._merged_map(source, above)
                continue
            name = _key(key)
            if name in lines:
                message, remedy = f'has the key "{name}" twice', f"the other one is in line {lines[name]}"
                raise _fail(key, message, remedy)
            values[name] = self.value(item, above)
            lines[name] = key.start_mark.line + 1
        return values

    def _merged_map(self, source: yaml.Node, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        merged = self.value(source, above)
        if not isinstance(merged, dict):
            raise _fail(source, "is not a map, so << cannot merge it")
        return merged


def map_members(node: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """A map's own members: name, node of the key, node of the value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not _is_merge(key):
                yield _key(key), key, value


def _merged(node: yaml.Node) -> Iterator[yaml.Node]:
    """The maps that one `<<` merges, last one first: of a list, earlier ones override later ones (YAML 1.1)."""
    yield from reversed(node.value) if isinstance(node, yaml.SequenceNode) else (node,)


def _is_merge(key: yaml.Node) -> bool:
    return key.tag == _PLAIN and key.value == "<<"


def _key(node: yaml.Node) -> str:
    """A key as the string it becomes in JSON: an unquoted `on` is "true" to kubectl."""
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if value is None:
        raise _fail(node, "is no key for a map", "keys are strings")
    return value if isinstance(value, str) else json.dumps(value)


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag == _PLAIN or node.tag in _RESOLVED:
        return _plain(node, node.value)
    if node.tag not in _KEPT:
        raise _foreign(node)
    try:
        # JSON escapes other planes as two surrogates.
        return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _fail(node, "holds half a surrogate pair, which is no Unicode text", "drop it") from None


def _foreign(node: yaml.Node) -> YamlError:
    shown = node.tag.removeprefix(_CORE) if node.tag.startswith(_CORE) else node.tag
    return _fail(node, f"YAML reads {shown[:60]!r} as a tag", "quote a value that begins with !")


def _plain(node: yaml.ScalarNode, text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        raise _fail(node, f"is {text}, which JSON cannot hold", "quote it")
    number = text.replace("_", "") if text[0] != "." else text
    if _INTEGER.fullmatch(number) and len(number) < 100:
        return _bounded(_integer(number))
    if _FLOAT.fullmatch(number) and math.isfinite(float(number)):
        return _bounded(float(number))
    return text


def _integer(text: str) -> int:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.removeprefix("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _bounded(number: float) -> float:
    """As the API server keeps it: whole numbers of 64 bits as integers, others as floats."""
    if -(2**63) <= number < 2**63:
        return int(number) if float(number).is_integer() else number
    return float(number)


def _find(node: yaml.Node, path: str, line: int) -> tuple[int, int]:
    """Follow a path. Returns how many characters of it are left where it leaves the tree, and the line there."""
    best = (len(path), line)
    if isinstance(node, yaml.SequenceNode):
        found = re.match(r"\[([0-9]{1,6})\]\.?", path)
        if found and int(found[1]) < len(node.value):
            item = node.value[int(found[1])]
            return _find(item, path[found.end() :], item.start_mark.line + 1)
    for name, key, value in map_members(node):
        if path.startswith(name) and path[len(name) : len(name) + 1] in ("", ".", "["):
            rest = path[len(name) :].removeprefix(".")
            best = min(best, _find(value, rest, key.start_mark.line + 1))
    if len(path) == best[0] and isinstance(node, yaml.MappingNode):
        merges = [item for key, item in node.value if _is_merge(key)]
        best = min([best, *(_find(source, path, line) for item in merges for source in _merged(item))])
    return best
