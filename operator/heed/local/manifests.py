"""The Agents in files and folders, with every mistake as file:line, where an editor finds it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heed.api.agent import Agent
from heed.api.manifests import Manifest, NotAManifest, parse_manifests
from heed.api.parsing import parse_agent
from heed.errors import InvalidManifest, Problem

SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Found:
    """A well-formed Agent and where it stands."""

    file: Path
    agent: Agent
    manifest: Manifest

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.agent.metadata.namespace, self.agent.metadata.name


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a file, or an Agent in it, is not run. The problems' paths begin with file:line."""

    file: Path
    problems: tuple[Problem, ...]


def files(paths: Iterable[Path]) -> list[Path]:
    """The files that the paths mean: themselves, and what is not hidden of the manifests in folders, in order."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        inner = (item for item in sorted(path.rglob("*")) if item.suffix in SUFFIXES and item.is_file())
        found.update((item, None) for item in inner if not _hidden(item.relative_to(path)))
    return list(found)


def load(paths: Sequence[Path]) -> tuple[list[Found], list[Mistake]]:
    """The Agents of all files; documents of other kinds are passed over. Never raises for what it reads."""
    agents: dict[tuple[str, str], Found] = {}
    mistakes: list[Mistake] = []
    for file in files(paths):
        try:
            manifests = parse_manifests(file.read_text(encoding="utf-8"), str(file))
        except InvalidManifest as error:
            if file in paths or not (file.suffix == ".json" or isinstance(error, NotAManifest)):
                mistakes.append(Mistake(file, error.problems))  # other YAML and JSON lie around in folders
            continue
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(_unreadable(file, error))
            continue
        for manifest in manifests:
            if manifest.is_agent:
                _add(file, manifest, agents, mistakes)
    return list(agents.values()), mistakes


def _add(
    file: Path, manifest: Manifest, agents: dict[tuple[str, str], Found], mistakes: list[Mistake]
) -> None:
    try:
        found = Found(file, parse_agent(manifest.document), manifest)
        if (first := agents.setdefault(found.key, found)) is not found:
            what = f"{'/'.join(found.key)} is in {first.manifest.source}:{first.manifest.line} too"
            raise InvalidManifest([Problem("metadata.name", what, "give one of them another name")])
    except InvalidManifest as error:
        mistakes.append(Mistake(file, manifest.located(error.problems).problems))


def _unreadable(file: Path, error: OSError | UnicodeDecodeError) -> Mistake:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    return Mistake(file, (Problem(f"{file}:1", f"cannot be read: {reason}", "check its name and rights"),))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
