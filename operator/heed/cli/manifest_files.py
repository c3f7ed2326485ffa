"""What commands read from files, folders and standard input."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heed.api.agent import Agent
from heed.api.manifest.document import Manifest, NotAManifest, UnreadableManifest, parse_manifests
from heed.api.validation import parse_agent
from heed.cli.code_manifests import choose_types, read_code
from heed.core.compiler.program import Program
from heed.core.decision.code import Answers as CodeAnswers
from heed.errors import InvalidManifest, InvalidSettings, Problem
from heed.local.manifest_loader import find_files
from heed.local.policy_loader import NO_RULES, PolicySet, load_policies
from heed.sdk.in_process import answers_of
from heed.sdk.loading import ModuleFailed, is_python
from heed.sdk.manifest_places import CodeManifest

STDIN: Final = "-"
MAX_INPUT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedAgent:
    """An Agent that can run, with the manifest it comes from."""

    manifest: Manifest
    agent: Agent
    program: Program

    @property
    def answers(self) -> CodeAnswers | None:
        """The answers of its functions, where it is one in code."""
        return answers_of(self.manifest.code) if isinstance(self.manifest, CodeManifest) else None


def find_sources(paths: Sequence[str]) -> list[str]:
    """The files named by paths, each once, as `heed dev` finds them. Raises InvalidSettings."""
    found: dict[str, None] = {}
    for path in paths:
        inner = [path] if path == STDIN else [str(file) for file in find_files([Path(path)])]
        if not inner:
            raise InvalidSettings(
                f"{path}: holds no manifests; name a folder with .yaml, .yml or .json files"
            )
        found.update(dict.fromkeys(inner))
    return list(found)


def read_manifests(source: str) -> list[Manifest]:
    """The documents of one file, or those that its code is. Raises InvalidSettings, UnreadableManifest."""
    if is_python(source):
        try:
            return list(read_code(source))
        except ModuleFailed as error:
            raise UnreadableManifest(error.source, error.line, 1, error.message, error.remedy) from None
    text = read_text(source)
    return parse_manifests(text, source_name(source))


def source_name(source: str) -> str:
    """The display name of a source."""
    return "<stdin>" if source == STDIN else source


def read_text(source: str) -> str:
    """The text of a file or of standard input. Raises InvalidSettings, UnreadableManifest where it is no text."""
    try:
        if source == STDIN:
            content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(MAX_INPUT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidSettings(f"{source}: cannot be read: {reason}") from None
    if len(content) > MAX_INPUT_BYTES:
        raise InvalidSettings(f"{source}: is larger than {MAX_INPUT_BYTES} bytes; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableManifest(
            source_name(source), line, 1, "is not UTF-8", "save it as UTF-8 text"
        ) from None


def load_agents(paths: Sequence[str]) -> list[LoadedAgent]:
    """The Agents in files and folders, compiled with the policies there.

    Raises InvalidSettings, InvalidManifest with file, line and every problem.
    """
    problems: list[Problem] = []
    loaded: list[LoadedAgent] = []
    manifests = choose_types(_manifests(paths, problems))
    rules, mistakes = load_policies(manifests)
    for manifest in manifests:
        if manifest.is_agent:
            try:
                loaded.append(load_agent(manifest, rules))
            except InvalidManifest as error:
                problems.extend(manifest.locate(error.problems).problems)
    for manifest, problem in (*mistakes, *duplicate_agents(loaded)):
        problems.extend(manifest.locate([problem]).problems)
    if problems:
        raise InvalidManifest(problems)
    if not loaded:
        raise InvalidSettings(f"{', '.join(map(source_name, paths))}: there is no Agent")
    return loaded


def _manifests(paths: Sequence[str], problems: list[Problem]) -> Iterator[Manifest]:
    for source in find_sources(paths):
        try:
            yield from read_manifests(source)
        except NotAManifest as error:
            if source in paths:
                problems.extend(error.problems)
        except InvalidManifest as error:
            problems.extend(error.problems)


def load_agent(manifest: Manifest, rules: PolicySet = NO_RULES) -> LoadedAgent:
    """One Agent, checked as the operator checks it. Raises InvalidManifest with paths only."""
    agent = parse_agent(manifest.document)
    return LoadedAgent(manifest, agent, rules.compile(agent))


def duplicate_agents(loaded: Iterable[LoadedAgent]) -> Iterator[tuple[Manifest, Problem]]:
    """The Agents with the name of an earlier one."""
    seen: dict[str, Manifest] = {}
    for item in loaded:
        name = str(item.program.agent)
        if name in seen:
            where = f"{seen[name].source}:{seen[name].line}"
            problem = Problem("metadata.name", f"{name} is in {where} too", "give each Agent its own name")
            yield item.manifest, problem
        seen.setdefault(name, item.manifest)
