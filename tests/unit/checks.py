"""Short ways to say "what this check says of such an Agent"."""

from __future__ import annotations

from typing import Any

from heed.api.agent import AgentSpec
from heed.core.compiler.validation import Compiler
from heed.errors import Problem
from tests.builders.agents import manifest


def spec(*handlers: dict[str, Any], **fields: Any) -> AgentSpec:
    """The spec of an Agent, with one handler where none is given."""
    return AgentSpec.model_validate(manifest(*(handlers or ({},)), **fields)["spec"])


def said(check: Any, *arguments: Any, **options: Any) -> list[str]:
    """What a check says."""
    problems: list[Problem] = []
    check(Compiler(problems), *arguments, **options)
    return [str(problem) for problem in problems]
