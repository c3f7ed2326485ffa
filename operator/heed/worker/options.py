"""How much a worker does at once, and how it is looked after."""

from dataclasses import dataclass

from heed.worker.secrets import SECRETS_FOLDER


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How many `functions`, `handlers` and `calls` run at once; `calls` of None are left to other workers.

    `health_port` is that of its probes (0: none), `digest` the one it must have, `secrets` a folder for calls.
    """

    functions: int = 16
    handlers: int = 8
    health_port: int = 0
    digest: str | None = None
    calls: int | None = None
    secrets: str = SECRETS_FOLDER
