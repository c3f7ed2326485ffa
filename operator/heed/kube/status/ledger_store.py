"""The ledger store of a cluster: the Agent's status subresource, with resourceVersion as optimistic lock.

The conditions that follow from the ledger alone go with it, in the same write. The reconciler writes its own into the
same list, so what was there is known by the version that it was read at. Where its write was fenced by the version
that a ledger is based on, the ledger is the same still, and the next commit goes on from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, NoReturn

from heed.api import conditions
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger, load_ledger, make_patch
from heed.engine.ports import StoredLedger
from heed.errors import LedgerConflict, LedgerGone, LedgerUnavailable
from heed.kube.client.client import ApiError, ApiResponse, KubeApi, agent_path
from heed.util.clock import timestamp

Conditions = list[dict[str, Any]]
MAX_REMEMBERED_MOVES: Final = 8  # of the reconciler that are remembered, between two commits


@dataclass(frozen=True, slots=True)
class _KnownConditions:
    """The conditions of an Agent at a version, and its generation."""

    version: str
    conditions: Conditions
    generation: int


class StatusLedgerStore:
    """The ledger of one Agent. A write carries only what changed, and the resourceVersion it is based on."""

    def __init__(self, api: KubeApi, agent: AgentRef) -> None:
        self._api, self._agent = api, agent
        self._said: _KnownConditions | None = None
        self._next_versions: dict[str, str] = {}  # from a version to the next one, with the same ledger

    async def load(self) -> StoredLedger:
        """Load the ledger. Raises LedgerGone, also where another Agent has the name now."""
        try:
            answer = await self._api.get(agent_path(self._agent.namespace, self._agent.name))
        except ApiError as error:
            _refuse(error)
        self._check_same(answer)
        return self._stored(answer, load_ledger(answer.body.get("status") or {}))

    async def commit(self, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        """Commit by one merge patch of the status. Raises LedgerConflict where the object changed since `base`."""
        version = base.version
        while version in self._next_versions:
            version = self._next_versions[version]
        status = make_patch(base.ledger, ledger)
        if (changed := self._changed_conditions(version, base, ledger)) is not None:
            status["conditions"] = changed
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": version, "uid": self._agent.uid},
            "status": status,
        }
        try:
            answer = await self._api.merge(
                agent_path(self._agent.namespace, self._agent.name, "status"), patch
            )
        except ApiError as error:
            _refuse(error)
        return self._stored(answer, ledger)

    def note_condition_write(self, before: str, body: Mapping[str, Any]) -> None:
        """Note that the reconciler's write moved the Agent from version `before` to `body`, with the same ledger."""
        version = body["metadata"]["resourceVersion"]
        if version == before:
            return
        self._next_versions[before] = version
        while len(self._next_versions) > MAX_REMEMBERED_MOVES:
            del self._next_versions[next(iter(self._next_versions))]
        if self._said is not None and self._said.version == before:
            self._said = _said(body)

    def _changed_conditions(self, version: str, base: StoredLedger, ledger: Ledger) -> Conditions | None:
        """All conditions with the ledger's changes; None where none changes, or the version's are not known."""
        if self._said is None or self._said.version != version:
            return None
        return changed_conditions(
            self._said.conditions, base.ledger, ledger, timestamp(), self._said.generation
        )

    def _check_same(self, answer: ApiResponse) -> None:
        uid = answer.body["metadata"]["uid"]
        if uid != self._agent.uid:
            raise LedgerGone(f"agent {self._agent} is another one now: uid {uid}")

    def _stored(self, answer: ApiResponse, ledger: Ledger) -> StoredLedger:
        self._said = _said(answer.body)
        return StoredLedger(ledger, self._said.version, answer.size)


def _said(body: Mapping[str, Any]) -> _KnownConditions:
    metadata, status = body["metadata"], body.get("status") or {}
    return _KnownConditions(
        metadata["resourceVersion"], status.get("conditions") or [], metadata.get("generation", 0)
    )


def changed_conditions(
    known: Conditions, base: Ledger, ledger: Ledger, at: str, generation: int
) -> Conditions | None:
    """The conditions after the ledger went from `base` to `ledger` at a time (RFC 3339); None where none changes."""
    total = ledger.totals.expired
    lately = _describe_cursor(base) if total > base.totals.expired else None
    news = (
        conditions.saturated_condition(known, len(ledger.waiting), at, generation),
        conditions.expired_condition(known, total, lately, at, generation),
    )
    if not any(news):
        return None
    return reduce(conditions.set_condition, filter(None, news), known)


def _describe_cursor(base: Ledger) -> str:
    cursor = base.cursor
    return f"after sequence {cursor.sequence}" + (f" of {cursor.time[:19]}Z" if cursor.time else "")


def _refuse(error: ApiError) -> NoReturn:
    if error.status == 404:
        raise LedgerGone(error.message) from None
    if error.status == 409:
        raise LedgerConflict(error.message) from None
    raise LedgerUnavailable(str(error)) from error
