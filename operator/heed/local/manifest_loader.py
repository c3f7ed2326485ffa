"""Loads Agents and policies from files and folders, with mistakes located as file:line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from heed.api.agent import Agent
from heed.api.manifest.document import Manifest, NotAManifest, parse_manifests
from heed.api.validation import parse_agent
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.lint import ANY_TYPE, direct_types, lint_agent
from heed.core.compiler.program import Program
from heed.errors import InvalidManifest, Problem
from heed.local.policy_loader import PolicySet, load_policies
from heed.sdk.loading import SUFFIX as MODULE_SUFFIX

SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """A well-formed Agent with its location."""

    file: Path
    agent: Agent
    manifest: Manifest

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.agent.metadata.namespace, self.agent.metadata.name


@dataclass(frozen=True, slots=True)
class ManifestMistake:
    """Why a file, or an Agent in it, does not run. The problems' paths begin with file:line."""

    file: Path
    problems: tuple[Problem, ...]
    of_rule: bool = False  # whether it is about what rules Agents, and no Agent


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files named by paths: files themselves, and the manifests in folders that are not hidden, in order."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        inner = (item for item in sorted(path.rglob("*")) if item.suffix in SUFFIXES and item.is_file())
        found.update((item, None) for item in inner if not _hidden(item.relative_to(path)))
    return list(found)


def stamp_files(paths: Iterable[Path]) -> list[tuple[Path, int, int]]:
    """The modification times and sizes that reveal changed files."""
    stamps = []
    for path in find_files(paths):
        try:
            status = path.stat()
        except OSError:
            stamps.append((path, 0, 0))
        else:
            stamps.append((path, status.st_mtime_ns, status.st_size))
    return stamps


Modules = Mapping[Path, Sequence[Manifest] | Problem]


def load_manifests(
    paths: Sequence[Path], modules: Modules = MappingProxyType({})
) -> tuple[list[FoundAgent], PolicySet, list[ManifestMistake]]:
    """The Agents and policies of all files, and the mistakes in both. Never raises for their content.

    Documents of other kinds are passed over. `modules` has the manifests of Python files, or what is wrong with one.
    """
    agents: dict[tuple[str, str], FoundAgent] = {}
    mistakes: list[ManifestMistake] = []
    rules: list[Manifest] = []
    for file, manifest in _manifests(paths, modules, mistakes):
        if manifest.is_agent:
            _add(file, manifest, agents, mistakes)
        elif manifest.rule is not None:
            rules.append(manifest)
    read, wrong = load_policies(rules)
    for manifest, problem in wrong:
        mistakes.append(
            ManifestMistake(Path(manifest.source), manifest.locate([problem]).problems, of_rule=True)
        )
    return list(agents.values()), read, mistakes


def lint_manifests(items: Sequence[tuple[Manifest, Program]]) -> Iterator[tuple[Manifest, Problem]]:
    """The lint warnings of Agents, seen together. Paths are those of fields."""
    direct = direct_types(program.manifest for _, program in items)
    for manifest, program in items:
        agent = program.manifest
        namespace, name = agent.metadata.namespace, agent.metadata.name
        known = direct.get((namespace, name), set()) | direct.get((namespace, ANY_TYPE), set())
        for problem in (*manifest.find_misread_keys(), *lint_agent(agent, known, lint_expressions(program))):
            yield manifest, problem


def _manifests(
    paths: Sequence[Path], modules: Modules, mistakes: list[ManifestMistake]
) -> Iterator[tuple[Path, Manifest]]:
    for file in find_files(paths):
        if file.suffix == MODULE_SUFFIX:
            yield from ((file, manifest) for manifest in _of_module(file, modules.get(file, []), mistakes))
            continue
        try:
            manifests = parse_manifests(file.read_text(encoding="utf-8"), str(file))
        except InvalidManifest as error:
            if file in paths or not (file.suffix == ".json" or isinstance(error, NotAManifest)):
                mistakes.append(
                    ManifestMistake(file, error.problems)
                )  # other YAML and JSON lie around in folders
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(_unreadable(file, error))
        else:
            yield from ((file, manifest) for manifest in manifests)


def _of_module(
    file: Path, found: Sequence[Manifest] | Problem, mistakes: list[ManifestMistake]
) -> Sequence[Manifest]:
    if isinstance(found, Problem):
        mistakes.append(ManifestMistake(file, (found,)))
        return []
    return found


def _add(
    file: Path, manifest: Manifest, agents: dict[tuple[str, str], FoundAgent], mistakes: list[ManifestMistake]
) -> None:
    try:
        found = FoundAgent(file, parse_agent(manifest.document), manifest)
        if (first := agents.setdefault(found.key, found)) is not found:
            what = f"{'/'.join(found.key)} is in {first.manifest.source}:{first.manifest.line} too"
            raise InvalidManifest([Problem("metadata.name", what, "give one of them another name")])
    except InvalidManifest as error:
        mistakes.append(ManifestMistake(file, manifest.locate(error.problems).problems))


def _unreadable(file: Path, error: OSError | UnicodeDecodeError) -> ManifestMistake:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    return ManifestMistake(
        file, (Problem(f"{file}:1", f"cannot be read: {reason}", "check its name and rights"),)
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
