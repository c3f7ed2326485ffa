"""Manifests as people write them: documents of YAML or JSON that know in which line each of their fields stands.

The API server has no lines, so the operator names fields by path; whatever reads files adds file and line to that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import yaml

from heed import names
from heed.api.manifest.yaml import YamlError, YamlTree, map_members, read_documents
from heed.errors import InvalidManifest, Problem


class UnreadableManifest(InvalidManifest):
    """A text that kubectl would not accept as YAML. `line` and `column` count from 1."""

    def __init__(self, source: str, line: int, column: int, message: str, remedy: str = "") -> None:
        super().__init__([Problem(f"{source}:{line}:{column}", message, remedy)])
        self.source, self.line, self.column = source, line, column
        self.message, self.remedy = message, remedy


class NotAManifest(UnreadableManifest):
    """A document that is no map, so no Kubernetes object: skipped among the files of a folder."""


class FieldTree(Protocol):
    """Where the fields of a manifest come from: lines of YAML, or of code that it was built from."""

    def line_of(self, path: str) -> int:
        """The line of a field such as `spec.handlers[2].when`, or of its nearest parent that exists."""

    def owner_of(self, path: str) -> str:
        """What a field comes from, for people, where it does not stand there itself: `begin()`."""

    def member(self, name: str) -> YamlTree | None:
        """A member as YAML, where there is any."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document. `source` is the name of the file it stands in, `line` where it begins."""

    document: dict[str, Any]
    source: str
    line: int
    _tree: FieldTree = field(repr=False, compare=False)

    @property
    def is_agent(self) -> bool:
        """Whether it is a heed.dev Agent, valid or not; an Agent of another API group is none."""
        return self.rule is None and self.gateway_kind is None and self._is_ours(names.KIND)

    @property
    def rule(self) -> str | None:
        """The kind if it is an AgentPolicy, EventGrant or EventType, valid or not; else None."""
        kind = self.document.get("kind")
        return kind if kind in names.RULE_KINDS and self._is_ours(str(kind)) else None

    @property
    def gateway_kind(self) -> str | None:
        """The kind if it is an EventSource or a heed.dev Subscription, valid or not; else None."""
        kind = self.document.get("kind")
        if kind not in names.GATEWAY_KINDS or not self._is_ours(str(kind)):
            return None
        version = self.document.get("apiVersion")
        return str(kind) if version or kind == names.EVENT_SOURCE else None

    def _is_ours(self, kind: str) -> bool:
        version = self.document.get("apiVersion")
        if isinstance(version, str) and version:
            return version.partition("/")[0] == names.GROUP
        return self.document.get("kind") == kind

    @property
    def name(self) -> str:
        """`metadata.name`, or nothing where there is none."""
        metadata = self.document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else ""

    @property
    def title(self) -> str:
        """Kind and name for messages: `Agent researcher`."""
        kind = self.document.get("kind")
        return f"{kind if isinstance(kind, str) and kind else 'document'} {self.name}".rstrip()

    def line_of(self, path: str) -> int:
        """The line of a field such as `spec.handlers[2].when`, or of its nearest parent that exists."""
        return self._tree.line_of(path)

    def find_misread_keys(self) -> list[Problem]:
        """Problems with unquoted keys under spec that YAML 1.1 reads as another value: `on` is true, as for kubectl."""
        spec = self._tree.member("spec")
        return [] if spec is None else list(_misread(spec.node, "spec"))

    def locate(self, problems: Sequence[Problem]) -> InvalidManifest:
        """An InvalidManifest of these problems, with file and line before each path."""
        located = (
            replace(item, path=f"{self.source}:{self.line_of(item.path)}: {item.path}")
            for item in map(self.attribute, problems)
        )
        return InvalidManifest(list(located))

    def attribute(self, problem: Problem) -> Problem:
        """A problem that names the function that its field comes from, where the manifest was built from code."""
        owner = self._tree.owner_of(problem.path)
        return replace(problem, message=f"{owner}: {problem.message}") if owner else problem


def _misread(node: yaml.Node, path: str) -> Iterator[Problem]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _misread(item, f"{path}[{index}]")
    for name, key, value in map_members(node):
        here = f"{path}.{name}"
        if name in ("true", "false") and key.value != name:
            yield Problem(here, f"YAML reads the key {key.value} as {name}", f'quote it: "{key.value}"')
        yield from _misread(value, here)


def parse_manifests(text: str, source: str) -> list[Manifest]:
    """The documents of a text; empty ones are left out, a `List`'s items are documents. Raises UnreadableManifest."""
    try:
        trees = read_documents(text)
    except YamlError as error:
        raise UnreadableManifest(source, error.line, error.column, error.message, error.remedy) from None
    return [_manifest(item, source) for tree in trees for item in _unpacked(tree)]


def _unpacked(tree: YamlTree) -> list[YamlTree]:
    """The items of a `List`, as `kubectl get -o yaml` prints it, or the document itself."""
    if not isinstance(tree.value, dict) or not str(tree.value.get("kind", "")).endswith("List"):
        return [tree]
    items = tree.member("items")
    if items is None or not isinstance(items.value, list):
        return [tree]
    return [items.item(index) for index in range(len(items.value))]


def _manifest(tree: YamlTree, source: str) -> Manifest:
    if not isinstance(tree.value, dict):
        kind = "a list" if isinstance(tree.value, list) else "a single value"
        remedy = "a manifest has apiVersion, kind, metadata and spec"
        raise NotAManifest(source, tree.line, 1, f"the document is {kind}, not a map", remedy)
    return Manifest(tree.value, source, tree.line, tree)
