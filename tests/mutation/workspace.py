"""A copy of the tree, outside of it, and beside it the modules in which every function carries all of its mutants.

mutmut writes the mutants: each function becomes a trampoline that runs the mutant that MUTANT_UNDER_TEST names, in this
process and in every process that it starts. So one copy serves all mutants, and choosing one costs nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import Pool
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents

from tests.mutation.children import IMPORTED_FIRST, MUTATED

TREE = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "sandbox", "engine", "bus", "kube", "gateway")
ORIGINAL = "__mutmut_orig"


@dataclass(frozen=True)
class Mutant:
    """One change of one function. `name` is what MUTANT_UNDER_TEST takes; `text` of a log line or message only."""

    name: str
    module: str
    function: str
    before: str
    after: str
    line: int
    original: str
    text: bool

    @property
    def package(self) -> str:
        return self.module.split(".")[1]

    @property
    def reached_as(self) -> str:
        """What the trampoline calls the function."""
        return self.name.rpartition("__mutmut_")[0]

    @property
    def key(self) -> str:
        """The same as long as the function and the change are."""
        parts = (self.function, self.original, str(self.line), self.before, self.after, self.ordinal)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def ordinal(self) -> str:
        """Which of the function's mutants it is: two may make the same change in one line."""
        return self.name.rpartition("_")[2]


class Workspace:
    """One state of the tree: `folder/heed` and all that the tests read, and `folder/mutated/site-packages/heed`."""

    def __init__(self, root: Path) -> None:
        self._root, self.folder = root, root / tree_digest()

    def prepare(self) -> list[Mutant]:
        """Write what is not there yet. Returns all mutants, in the order of modules and lines."""
        listing = self.folder / "mutants.json"
        if not listing.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self._copy()
            found = list(self._mutate(self._to_mutate()))
            listing.write_text(json.dumps([asdict(mutant) for mutant in found]))
        return [Mutant(**each) for each in json.loads(listing.read_text())]

    def _copy(self) -> None:
        for name in tracked_files():
            target = self.folder / name.removeprefix("operator/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / name, target)
        (self.folder / "sitecustomize.py").write_text(IMPORTED_FIRST)
        configuration = self.folder / "pyproject.toml"
        configuration.write_text(configuration.read_text().replace('["operator", "."]', '["."]'))

    def _to_mutate(self) -> Iterator[Path]:
        for package in PACKAGES:
            yield from sorted((self.folder / "heed" / package).rglob("*.py"))

    def _mutate(self, paths: Iterable[Path]) -> Iterator[Mutant]:
        """Write the mutated file of each. What is known of the same source from before is taken from there."""
        paths, known = list(paths), self._root / "mutated"
        known.mkdir(parents=True, exist_ok=True)
        jobs = [
            (path, ".".join(path.relative_to(self.folder).with_suffix("").parts), known) for path in paths
        ]
        with Pool() as pool:
            for path, kept in zip(paths, pool.starmap(_mutated, jobs), strict=True):
                document = json.loads(kept.read_text())
                target = self.folder / MUTATED / path.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(document["code"])
                yield from (Mutant(**each) for each in document["mutants"])


def _mutated(path: Path, module: str, known: Path) -> Path:
    """A file with a module's mutated code and its mutants, made where there is none for this very source and tool."""
    source = path.read_text()
    digest = hashlib.sha256(Path(__file__).read_bytes() + source.encode()).hexdigest()[:12]
    kept = known / f"{module}-{digest}.json"
    if not kept.exists():
        # A method called `list` would hide the type in the signatures of the mutants that follow it.
        source = source.replace('"""\n\n', '"""\n\nfrom __future__ import annotations\n\n', 1)
        mutated = mutate_file_contents(str(path), source)
        found = [asdict(mutant) for mutant in mutants_of(module, mutated.code, mutated.mutant_names)]
        kept.write_text(json.dumps({"code": mutated.code, "mutants": found}))
    return kept


def mutants_of(module: str, code: str, names: object) -> Iterator[Mutant]:
    """The mutants in mutated code, each compared with its original."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name in names:  # type: ignore[attr-defined]
        base = name.rpartition("__mutmut_")[0]
        original, changed = functions[base + ORIGINAL], functions[name]
        place = _difference(original, changed)
        if place is None:
            continue  # a change of the signature's annotations only
        before, after, path = place
        function = f"{module}.{base.removeprefix('x').strip('_ǁ').replace('ǁ', '.')}"
        yield Mutant(
            name=f"{module}.{name}",
            module=module,
            function=function,
            before=_source(before),
            after=_source(after),
            line=getattr(before, "lineno", original.lineno) - original.lineno,
            original=hashlib.sha256(ast.unparse(original).encode()).hexdigest()[:12],
            text=_is_text(before, path),
        )


def _difference(
    before: ast.AST, after: ast.AST, path: tuple[ast.AST, ...] = ()
) -> tuple[object, object, tuple[ast.AST, ...]] | None:
    """The smallest part that differs, as it was and as it is, with what it stands in."""
    path = (*path, before)
    if type(before) is not type(after):
        return before, after, path
    found: list[tuple[object, object, tuple[ast.AST, ...]]] = []
    for one, other in _parts(before, after, skip="name" if len(path) == 1 else None):
        if isinstance(one, ast.AST) and isinstance(other, ast.AST):
            found.extend(filter(None, [_difference(one, other, path)]))
        elif one != other:
            found.append((before, after, path))
    if len(found) > 1:
        return before, after, path
    return found[0] if found else None


def _parts(before: ast.AST, after: ast.AST, skip: str | None) -> Iterator[tuple[object, object]]:
    """The fields of two nodes of one type, pair by pair, and the items of those that are lists of one length."""
    for name in before._fields:
        if name == skip:
            continue
        one, other = getattr(before, name, None), getattr(after, name, None)
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            yield from zip(one, other, strict=True)
        else:
            yield one, other


def _is_text(before: object, path: tuple[ast.AST, ...]) -> bool:
    """Whether the change is in what a log line says, or in words of a message."""
    if any(_is_log_call(node) for node in path):
        return True
    if isinstance(before, ast.Constant):
        inside = any(isinstance(node, ast.JoinedStr) for node in path)
        return isinstance(before.value, str) and (" " in before.value or inside)
    return isinstance(before, ast.JoinedStr)


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
    )


def _source(node: object) -> str:
    """As text; an operator, which has none of its own, by its name."""
    return (ast.unparse(node) or type(node).__name__) if isinstance(node, ast.AST) else repr(node)


def tracked_files() -> list[str]:
    """The files of the tree that git knows, and the new ones that it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (TREE / name).is_file()]


def tree_digest() -> str:
    """A fingerprint of the tree as it is."""
    digest = hashlib.sha256()
    for name in tracked_files():
        digest.update(f"{name}\0".encode() + hashlib.sha256((TREE / name).read_bytes()).digest())
    return digest.hexdigest()[:12]


def cache_root() -> Path:
    """Where workspaces and results are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heed" / "mutation"
