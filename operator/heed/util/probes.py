"""Kubernetes' probes of a process: /healthz says whether it needs a restart, /readyz whether it can do its work."""

from collections.abc import Callable, Sequence

from aiohttp import web

Problem = Callable[[], str | None]  # what is wrong, as a sentence, or None


def nothing_wrong() -> None:
    """A process that no restart would help."""


def probe_routes(
    missing: Problem, *, broken: Problem = nothing_wrong, ready: Callable[[], str] = lambda: "ok"
) -> Sequence[web.RouteDef]:
    """The routes of both probes. `missing` says what the process waits for, `ready` what it says where it is well."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(broken(), "ok")

    async def readyz(_: web.Request) -> web.Response:
        return _answer(missing(), ready())

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _answer(wrong: str | None, fine: str) -> web.Response:
    return web.Response(text=f"{wrong or fine}\n", status=503 if wrong else 200)
