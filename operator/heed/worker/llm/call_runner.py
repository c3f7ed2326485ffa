"""Calls of models, from their work items to the reports of them."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from heed import names
from heed.api.http_task import HttpHeader
from heed.api.secret_refs import SecretKeyRef
from heed.bus.client.connection import Connection
from heed.bus.transcripts import RecordTooLarge, TaskTranscript
from heed.core.llm.loop_record import addition_from_json
from heed.core.llm.model_answer import Failure, FailureReason, Outcome
from heed.core.llm.model_call import ModelCall
from heed.core.llm.task_terms import read_prompts, read_settings
from heed.core.llm.turn_events import Addition, ToolText, TurnReport
from heed.core.llm.turn_report import report_to_json
from heed.core.policy.egress import Egress
from heed.errors import BusUnavailable
from heed.worker.http.calls import SecretSource
from heed.worker.http.failures import CallFailed
from heed.worker.http.requests import Headers, Secrets
from heed.worker.lease import Lease
from heed.worker.llm.model_client import DEFAULT_TIMEOUT_S, EndpointAccess, ModelClient
from heed.worker.llm.turn_runner import TurnWork, run_turn

RETRY_S: Final = 1.0
_HEADERS: Final = TypeAdapter(list[HttpHeader])


class ModelCaller:
    """Makes calls of models for one Agent, many at once."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        agent: str,
        secrets: SecretSource,
        client: ModelClient | None = None,
    ) -> None:
        self._connection, self._namespace, self._agent = connection, namespace, agent
        self._secrets, self._client = secrets, client or ModelClient()

    async def run(self, item: Mapping[str, Any], lease: Lease) -> dict[str, Any]:
        """The report of the call that a work item is. What the broker does not take is tried until it does.

        Raises LeaseOver.
        """
        turn = item["spec"]["turn"]
        try:
            report = await self._run(item, turn, lease)
        except CallFailed as failed:
            failure = Failure(FailureReason.NOT_AUTHORIZED, failed.message, unpaid=True)
            report = TurnReport(turn["turn"], turn["attempt"], failure=failure)
        except RecordTooLarge as error:  # the model may have been paid
            failure = Failure(FailureReason.INVALID_REQUEST, str(error))
            report = TurnReport(turn["turn"], turn["attempt"], failure=failure)
        except (ValueError, TypeError, KeyError) as error:  # what templates made of the manifest
            message = f"the call cannot be made: {type(error).__name__}: {error}"
            failure = Failure(FailureReason.INVALID_REQUEST, message, unpaid=True)
            report = TurnReport(turn["turn"], turn["attempt"], failure=failure)
        return report_to_json(report)

    async def _run(self, item: Mapping[str, Any], turn: Mapping[str, Any], lease: Lease) -> TurnReport:
        """Raises CallFailed where a Secret is missing, ValueError and the like for a spec that is none."""
        spec = item["spec"]
        task_id, _ = names.split_attempt(item["attempt"])
        additions, texts = _read_additions(turn["additions"])
        work = TurnWork(read_settings(spec), turn["turn"], turn["attempt"], read_prompts(spec), additions)
        access = await self._access(item, spec, lease)

        async def read_text(reference: str) -> str:
            return texts[reference]

        async def ask(call: ModelCall) -> Outcome:
            return await self._client.ask(call, access)

        while True:
            transcript = TaskTranscript(self._connection, self._namespace, self._agent, task_id)
            try:
                return await run_turn(work, transcript, read_text, ask)
            except BusUnavailable:
                await asyncio.sleep(RETRY_S)

    async def _access(self, item: Mapping[str, Any], spec: Mapping[str, Any], lease: Lease) -> EndpointAccess:
        """Key, headers and rules of a call. Raises CallFailed: SecretMissing."""
        headers = _HEADERS.validate_python(spec.get("headers") or [])
        key = spec.get("key")
        ref = None if key is None else SecretKeyRef.model_validate(key["secretRef"])
        wanted = [header.secret_ref for header in headers if header.secret_ref is not None]
        secrets = await self._secrets.read([*wanted, *([] if ref is None else [ref])])
        left = item.get("timeout")
        return EndpointAccess(
            key=None if ref is None else secrets[ref],
            headers=_write_headers(headers, secrets),
            egress=Egress.parse(item["egress"]),
            timeout_s=DEFAULT_TIMEOUT_S if left is None else min(float(left), DEFAULT_TIMEOUT_S),
            by_proxy=spec.get("proxy") == "Environment",
            lease=lease,
        )


def _write_headers(headers: list[HttpHeader], secrets: Secrets) -> Headers:
    return tuple(
        (item.name, f"{item.prefix}{secrets[item.secret_ref]}" if item.secret_ref else item.value or "")
        for item in headers
    )


def _read_additions(given: list[Mapping[str, str]]) -> tuple[tuple[Addition, ...], dict[str, str]]:
    """The additions of a work item, in which results of tools stand as texts: those by their calls, too."""
    texts = {item["call"]: item["text"] for item in given if "text" in item}
    additions = tuple(
        ToolText(item["call"], item["name"], item["call"]) if "text" in item else addition_from_json(item)
        for item in given
    )
    return additions, texts
