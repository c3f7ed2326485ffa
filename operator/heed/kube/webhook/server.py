"""The validating webhook's server: answers AdmissionReviews on Agents, policies, grants and event types.

Every replica answers, from the start of its process to the end, whatever becomes of the broker or the election. Nothing
is kept between requests: what a manifest has to fit is read when it comes. What could not be judged is an HTTP error,
so the `failurePolicy` of the webhook's configuration decides, which the installation sets.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from heed import names
from heed.api.validation import json_kind
from heed.core.compiler.admission import ADMITTED, AdmissionRequest, AdmissionVerdict, is_unchanged
from heed.errors import HeedError, Problem
from heed.kube.client.client import KubeApi
from heed.kube.client.deep_json import read_deep
from heed.kube.webhook.certificates import CERTIFICATE_CHECK_INTERVAL_S, ServerTls, certificate_source
from heed.kube.webhook.cluster_context import ClusterContextReader
from heed.kube.webhook.review_pool import ReviewPool
from heed.settings import Settings
from heed.util.aio import stop
from heed.util.http_server import serving
from heed.util.terminal import visible

log = logging.getLogger("heed.webhook")
REVIEW_API_VERSION: Final = "admission.k8s.io/v1"
MAX_REVIEW_BYTES: Final = 8 * 1024**2  # bytes: an object of 3 MiB, as it was and as it is to be
MAX_CONCURRENT_REVIEWS: Final = 8  # requests; the API server hears at once that there are too many
REVIEW_TIMEOUT_S: Final = 10.0  # seconds; the API server itself waits 5, or as long as its configuration says
MAX_REVIEW_MESSAGE_CHARS: Final = 8 * 1024  # characters
MAX_CAUSES: Final = 32
MAX_WARNING, MAX_WARNINGS = 250, 12  # the API server cuts at 256 characters, and at 4 KiB of all
TOO_DEEP_VERDICT: Final = AdmissionVerdict((Problem("spec", "nests too deep", "flatten it"),))
Body = dict[str, Any]


class _MalformedReview(HeedError):
    """The body is no AdmissionReview of a known version."""


@dataclass(frozen=True, slots=True)
class _ParsedReview:
    """A parsed AdmissionReview request."""

    uid: str
    namespace: str
    name: str
    request: AdmissionRequest | None  # None: another kind or operation
    cut: bool = False  # it nests deeper than can be read


@asynccontextmanager
async def serve_admission(
    settings: Settings, api: KubeApi, *, host: str | None = None, look: float = CERTIFICATE_CHECK_INTERVAL_S
) -> AsyncIterator[None]:
    """Serve the webhook on its port (0: do not), and look after its certificate every `look` seconds.

    `api` should be a connection of its own. Raises InvalidSettings.
    """
    if not settings.webhook_port:
        yield
        return
    async with AsyncExitStack() as closing:
        tls, checks = ServerTls(), ReviewPool()
        closing.push_async_callback(checks.close)
        keeping = asyncio.create_task(tls.keep(certificate_source(settings, api), look))
        closing.push_async_callback(stop, keeping)
        admission = AdmissionServer(api, checks, settings.namespace)
        server = serving(
            settings.webhook_port,
            [web.post("/validate", admission.validate)],
            variable="HEED_WEBHOOK_PORT",
            what="webhook",
            host=host,
            tls=tls.context,
            body=MAX_REVIEW_BYTES,
        )
        await closing.enter_async_context(server)
        yield


class AdmissionServer:
    """Answers AdmissionReviews. `watched` is the one namespace whose Agents run here; None: all."""

    def __init__(self, api: KubeApi, checks: ReviewPool, watched: str | None = None) -> None:
        self._surroundings, self._checks, self._watched = ClusterContextReader(api), checks, watched
        self._under_way = 0

    async def validate(self, http: web.Request) -> web.Response:
        """POST /validate."""
        if self._under_way >= MAX_CONCURRENT_REVIEWS:
            return _error(503, "too many requests at once")
        self._under_way += 1
        try:
            async with asyncio.timeout(REVIEW_TIMEOUT_S):
                asked = _asked(await http.read())
                verdict = await self._verdict(asked)
        except _MalformedReview as error:
            return _error(400, str(error))
        except (web.RequestPayloadError, ConnectionError) as error:
            return _error(400, f"the request broke off: {error}")
        except TimeoutError:
            return _error(503, f"not judged within {REVIEW_TIMEOUT_S:g} s")
        except HeedError as error:
            log.warning("cannot review a manifest", extra={"error": str(error)})
            return _error(503, str(error))
        except web.HTTPException:
            raise
        except Exception as error:  # a bug, which the reply does not disclose
            log.error("cannot review a manifest", extra={"error": str(error)}, exc_info=error)
            return _error(500, "a mistake of Heed's; its log says more")
        finally:
            self._under_way -= 1
        if verdict.problems:
            extra = {"object": f"{asked.namespace}/{asked.name}", "problems": len(verdict.problems)}
            log.info("manifest refused", extra=extra)
        return web.json_response(_review(asked, verdict))

    async def _verdict(self, asked: _ParsedReview) -> AdmissionVerdict:
        if (
            asked.request is None
            or self._watched not in (None, asked.namespace)
            or is_unchanged(asked.request)
        ):
            return ADMITTED
        if asked.cut:
            return TOO_DEEP_VERDICT
        around = await self._surroundings.read_context(asked.request, asked.namespace)
        try:
            return await self._checks.judge(asked.request, around)
        except RecursionError:  # it cannot even be passed on
            return TOO_DEEP_VERDICT


# ── AdmissionReview ─────────────────────────────────────────────────────────────────────────────────────────────────


def _asked(data: bytes) -> _ParsedReview:
    """Parse an AdmissionReview. Raises _MalformedReview."""
    try:
        review, cut = read_deep(data)
    except ValueError:
        raise _MalformedReview("this is no JSON") from None
    if not isinstance(review, dict) or review.get("apiVersion") != REVIEW_API_VERSION:
        raise _MalformedReview(f"this is no AdmissionReview of {REVIEW_API_VERSION}")
    request = _field(review, "request", dict)
    kind = _field(request, "kind", dict)
    uid, operation = _field(request, "uid", str), _field(request, "operation", str)
    namespace, name = request.get("namespace") or "", request.get("name") or ""
    if not (isinstance(namespace, str) and isinstance(name, str)):
        raise _MalformedReview("request.namespace and request.name are strings")
    is_known = (
        kind.get("group") == names.GROUP
        and kind.get("kind") in names.PLURALS
        and not request.get("subResource")
    )
    if not is_known or operation not in ("CREATE", "UPDATE"):
        return _ParsedReview(uid, namespace, name, None)
    if not names.is_name(namespace):
        raise _MalformedReview("request.namespace is no namespace")
    new = _field(request, "object", dict)
    old = _field(request, "oldObject", dict) if operation == "UPDATE" else None
    metadata = {"namespace": namespace, "name": name, **_field(new, "metadata", dict)}
    if not metadata["name"]:  # one whose name is still to be made
        metadata["name"] = f"{metadata.get('generateName') or 'x'}x"
    request = AdmissionRequest(kind["kind"], {**new, "metadata": metadata}, old)
    return _ParsedReview(uid, namespace, metadata["name"], request, cut)


def _field(body: Body, name: str, type_: type[Any]) -> Any:
    value = body.get(name)
    if not isinstance(value, type_):
        raise _MalformedReview(f"{name} is {json_kind(value)}")
    return value


def _review(asked: _ParsedReview, verdict: AdmissionVerdict) -> Body:
    response: Body = {"uid": asked.uid, "allowed": not verdict.problems}
    if verdict.problems:
        response["status"] = _status(asked, verdict)
    if verdict.warnings:
        shown = [_cut(item, MAX_WARNING) for item in verdict.warnings[:MAX_WARNINGS]]
        left = len(verdict.warnings) - MAX_WARNINGS
        response["warnings"] = (
            [*shown, f"and {left} warning{'s' if left > 1 else ''} more"] if left > 0 else shown
        )
    return {"apiVersion": REVIEW_API_VERSION, "kind": "AdmissionReview", "response": response}


def _status(asked: _ParsedReview, verdict: AdmissionVerdict) -> Body:
    """The Status of a denial, as the API server builds its own: kubectl shows the causes, other clients the message."""
    assert asked.request is not None
    causes = [
        {
            "reason": "FieldValueInvalid",
            "field": item.path,
            "message": _cut("; ".join(filter(None, (item.message, item.remedy))), MAX_WARNING * 4),
        }
        for item in verdict.problems[:MAX_CAUSES]
    ]
    return {
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": _cut(
            "\n".join(["", *(f"  {item}" for item in verdict.problems)]), MAX_REVIEW_MESSAGE_CHARS
        ),
        "details": {"group": names.GROUP, "kind": asked.request.kind, "name": asked.name, "causes": causes},
    }


def _cut(text: str, most: int) -> str:
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=f"{message}\n")
