"""What tests are given has one builder, whose name means nothing else in any test."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
BUILDERS = sorted((TESTS / "builders").glob("*.py"))


def defined(file: Path) -> set[str]:
    """The names of a module's public functions and classes."""
    body = ast.parse(file.read_text()).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")}


def test_a_builder_is_defined_once() -> None:
    made = [name for file in BUILDERS for name in defined(file)]

    assert len(made) > 30
    assert len(set(made)) == len(made)


def test_no_test_defines_what_has_the_name_of_a_builder() -> None:
    made = {name for file in BUILDERS for name in defined(file)}
    others = [file for file in TESTS.rglob("*.py") if file not in BUILDERS]

    clashes = {f"{file.relative_to(TESTS)}: {name}" for file in others for name in made & defined(file)}

    assert clashes == set(), "take the builder of tests/builders, or say in the name what is different"
