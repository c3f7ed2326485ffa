"""Agents as manifests and compiled: a test names the handlers that matter to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heed import names
from heed.api.agent import Agent
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.effects import AgentRef
from heed.errors import InvalidManifest, Problem

ASKED = "com.example.question.asked"
NAMESPACE, AGENT, UID = "demo", "researcher", "5c3b1f9e-uid"


def job(*args: str, **more: Any) -> dict[str, Any]:
    """A task that is a job."""
    container = {"name": "main", "image": "example/work:1", "args": list(args)}
    return {"job": {"template": {"spec": {"containers": [container]}}}, **more}


def nap(for_: str, **more: Any) -> dict[str, Any]:
    """A task that is a wait."""
    return {"wait": {"for": for_}, **more}


def asking(title: str = "Buy it?", timeout: str | None = None, **spec: Any) -> dict[str, Any]:
    """A task that is an approval."""
    return {"approval": {"title": title, **spec}} | ({} if timeout is None else {"timeout": timeout})


def manifest(*handlers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An Agent that heeds com.example.>, with these handlers, and names for those that have none."""
    named = [{"name": f"h{index}", "type": ASKED, **handler} for index, handler in enumerate(handlers)]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": AGENT, "namespace": NAMESPACE, "uid": UID, "generation": 3},
        "spec": {"subscribe": [{"type": "com.example.>"}], "handlers": named, **spec},
    }


def agent(*handlers: dict[str, Any], **spec: Any) -> Agent:
    """Such an Agent, parsed; it has one handler where none is given."""
    return parse_agent(manifest(*(handlers or ({},)), **spec))


def program(*handlers: dict[str, Any], **spec: Any) -> Program:
    """The Program of such an Agent."""
    return compile_agent(parse_agent(manifest(*handlers, **spec)))


def ref(body: Mapping[str, Any]) -> AgentRef:
    """Which Agent an object is."""
    metadata = body["metadata"]
    return AgentRef(metadata["namespace"], metadata["name"], metadata["uid"])


def problems(document: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a manifest, none of it where it can be run."""
    try:
        compile_agent(parse_agent(document))
    except InvalidManifest as error:
        return list(error.problems)
    return []
