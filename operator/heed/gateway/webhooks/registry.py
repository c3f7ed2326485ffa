"""The EventSources that there are, which of them has which address, and what is wrong with the others."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.api.event_source import parse_event_source
from heed.core.policy.gateway_rules import NO_RULES, GatewayRules
from heed.core.webhooks.program import WebhookProgram, compile_event_source
from heed.errors import InvalidManifest

log = logging.getLogger("heed.gateway")
ADDRESS_TAKEN: Final = "Conflict"
INVALID: Final = "Invalid"
Body = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name
Address = tuple[str, str]  # namespace and path


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """Why an EventSource is not served: a CamelCase reason, and a message with what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class KnownSource:
    """An EventSource as last seen: its program, or what is wrong with it."""

    body: Body
    program: WebhookProgram | None
    problem: SourceProblem | None

    @property
    def seniority(self) -> tuple[str, str]:
        """Of those with one address the first in this order has it: the oldest, then by name."""
        metadata = self.body["metadata"]
        return metadata.get("creationTimestamp") or "~", metadata["name"]


class WebhookRegistry:
    """EventSources by name and by address. `changed` is told of each whose standing may have changed.

    `rules_of` gives what those of a namespace may publish.
    """

    def __init__(
        self, changed: Callable[[Key], None], rules_of: Callable[[str], GatewayRules] = lambda _: NO_RULES
    ) -> None:
        self._changed, self._rules_of = changed, rules_of
        self._known: dict[Key, KnownSource] = {}
        self._claims: dict[Address, set[Key]] = {}

    def observe(self, body: Body, deleted: bool) -> None:
        """An EventSource is there, or was deleted."""
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        concerned = {key} | self._release(key)
        if deleted:
            concerned.discard(key)
        else:
            known = _compiled(body, self._rules_of(key[0]))
            self._known[key] = known
            if known.program is not None:
                claims = self._claims.setdefault((key[0], known.program.path), set())
                claims.add(key)
                concerned |= claims
        for each in concerned:
            self._changed(each)

    def recompile(self, namespace: str) -> None:
        """The rules of a namespace have changed."""
        for key in [key for key in self._known if key[0] == namespace]:
            self.observe(self._known[key].body, False)

    def find(self, namespace: str, path: str) -> WebhookProgram | None:
        """The EventSource that has an address."""
        holder = self._holder((namespace, path))
        return None if holder is None else self._known[holder].program

    def get(self, key: Key) -> KnownSource | None:
        """An EventSource, with what is wrong with it; None where it is gone."""
        known = self._known.get(key)
        if known is None or known.program is None:
            return known
        holder = self._holder((key[0], known.program.path))
        if holder == key or holder is None:
            return known
        message = (
            f"EventSource {holder[1]}, which is older, has the path {known.program.path}; choose another one"
        )
        return KnownSource(known.body, known.program, SourceProblem(ADDRESS_TAKEN, message))

    def __len__(self) -> int:
        return len(self._known)

    def _holder(self, address: Address) -> Key | None:
        claims = self._claims.get(address)
        return min(claims, key=lambda key: self._known[key].seniority) if claims else None

    def _release(self, key: Key) -> set[Key]:
        """Take an EventSource out. Returns who else claims its address."""
        known = self._known.pop(key, None)
        if known is None or known.program is None:
            return set()
        address = key[0], known.program.path
        claims = self._claims[address]
        claims.discard(key)
        if not claims:
            del self._claims[address]
        return set(claims)


def _compiled(body: Body, rules: GatewayRules) -> KnownSource:
    try:
        return KnownSource(body, compile_event_source(parse_event_source(body), rules), None)
    except InvalidManifest as error:
        return KnownSource(body, None, SourceProblem(error.reason, str(error)))
    except Exception as error:  # a bug, too: one object must not affect the others
        name = body["metadata"].get("name")
        log.exception("cannot read an EventSource", extra={"event_source": name, "error": str(error)})
        return KnownSource(
            body, None, SourceProblem(INVALID, "a mistake of Heed's; the gateway's log says more")
        )
