"""A call of a model: settings, transcript so far, and how many tokens that should be."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.token_estimate import TokenEstimate, estimate_request
from heed.core.llm.transcript import Entry


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to be made, or that was made; `estimate` is of its input."""

    settings: ModelSettings
    entries: tuple[Entry, ...]
    estimate: TokenEstimate

    @classmethod
    def of(cls, settings: ModelSettings, entries: Sequence[Entry]) -> "ModelCall":
        """A call with its estimate."""
        return cls(settings, tuple(entries), estimate_request(settings, entries))


def dump_request(body: Mapping[str, Any]) -> bytes:
    """A request's body as it is sent. Raises ValueError for numbers that JSON does not have."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
