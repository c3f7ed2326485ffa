"""The manifest that most stories are told with."""

from __future__ import annotations

import copy
from typing import Any

RESEARCHER: dict[str, Any] = {
    "apiVersion": "heed.dev/v1alpha1",
    "kind": "Agent",
    "metadata": {"name": "researcher"},
    "spec": {
        "subscribe": [{"type": "com.example.question.asked", "where": 'event.data.topic != ""'}],
        "tasks": {
            "research": {
                "job": {
                    "backoffLimit": 0,
                    "template": {
                        "spec": {
                            "containers": [
                                {"name": "main", "image": "example/research:1", "args": ["${input.topic}"]}
                            ]
                        }
                    },
                },
                "timeout": "10m",
            }
        },
        "handlers": [
            {
                "name": "begin",
                "type": "com.example.question.asked",
                "when": "!has(state.topic)",
                "state": {"topic": "${event.data.topic}"},
                "start": [{"task": "research", "input": {"topic": "${event.data.topic}"}}],
            },
            {
                "name": "conclude",
                "type": "dev.heed.task.completed",
                "when": 'task.name == "research"',
                "state": {"answer": "${event.data.result.answer}"},
                "emit": [
                    {
                        "type": "com.example.question.answered",
                        "data": {"topic": "${state.topic}", "answer": "${event.data.result.answer}"},
                    }
                ],
            },
            {
                "name": "give-up",
                "type": "dev.heed.task.failed",
                "state": {"reason": "${event.data.reason}"},
                "emit": [
                    {
                        "type": "com.example.question.failed",
                        "data": {
                            "reason": "${event.data.reason}",
                            "exitCode": "${event.data.?exitCode.orValue(0)}",
                        },
                    }
                ],
            },
        ],
    },
}


def researcher(**changes: Any) -> dict[str, Any]:
    """The manifest with members of its spec replaced."""
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"] |= changes
    return manifest


def with_handler(**handler: Any) -> dict[str, Any]:
    """The manifest with one more handler."""
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["handlers"].append(handler)
    return manifest
