"""A loop of turns as the ledger keeps it with its task: state and the task's own account, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.core.codec.canonical_json import dump_compact
from heed.core.llm.budget import Accounts, accounts_from_json, accounts_to_json
from heed.core.llm.turn_events import Addition, RejectedCall, RepairRequest, ToolText
from heed.core.llm.turn_loop import LoopState, PendingCall


@dataclass(frozen=True, slots=True)
class LoopRecord:
    """Where a loop is, and what its task has spent."""

    state: LoopState
    accounts: Accounts

    def dump(self) -> str:
        """As JSON; what is empty is left out."""
        state = self.state
        value: dict[str, Any] = {
            "phase": state.phase,
            "turn": state.turn,
            "attempt": state.attempt,
            "context": state.context,
            "repairs": state.repairs,
            "additions": [addition_to_json(addition) for addition in state.additions],
            "calls": [_call_to_json(call) for call in state.calls],
            "accounts": accounts_to_json(self.accounts),
        }
        return dump_compact({name: item for name, item in value.items() if item not in (0, [], {})})

    @classmethod
    def load(cls, text: str) -> "LoopRecord":
        """The record that `dump` wrote."""
        value = json.loads(text)
        state = LoopState(
            phase=value["phase"],
            turn=value["turn"],
            attempt=value["attempt"],
            context=value.get("context", 0),
            repairs=value.get("repairs", 0),
            additions=tuple(map(addition_from_json, value.get("additions", ()))),
            calls=tuple(map(_call_from_json, value.get("calls", ()))),
        )
        return cls(state, accounts_from_json(value.get("accounts", {})))


def addition_to_json(addition: Addition) -> dict[str, str]:
    """What a turn adds to the transcript: {reference} or {problem} of a call, or {repair}."""
    match addition:
        case ToolText():
            return {"call": addition.call_id, "name": addition.name, "reference": addition.reference}
        case RejectedCall():
            return {"call": addition.call_id, "name": addition.name, "problem": addition.problem}
        case RepairRequest():
            return {"repair": addition.text}


def addition_from_json(value: Mapping[str, str]) -> Addition:
    """The addition that `addition_to_json` wrote."""
    if "repair" in value:
        return RepairRequest(value["repair"])
    if "problem" in value:
        return RejectedCall(value["call"], value["name"], value["problem"])
    return ToolText(value["call"], value["name"], value["reference"])


def _call_to_json(call: PendingCall) -> dict[str, Any]:
    value: dict[str, Any] = {"id": call.id, "name": call.name}
    if call.arguments is not None:
        value["arguments"] = dict(call.arguments)
    more = {"started": call.started, "problem": call.problem, "reference": call.reference}
    return value | {name: item for name, item in more.items() if item}


def _call_from_json(value: Mapping[str, Any]) -> PendingCall:
    return PendingCall(
        value["id"],
        value["name"],
        value.get("arguments"),
        value.get("started", False),
        value.get("problem", ""),
        value.get("reference"),
    )
