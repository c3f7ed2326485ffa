"""How much a worker does at once, and how it is looked after."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """`functions` and `handlers` that run at once; `health_port` of its probes (0: none); the `digest` it must have."""

    functions: int = 16
    handlers: int = 8
    health_port: int = 0
    digest: str | None = None
