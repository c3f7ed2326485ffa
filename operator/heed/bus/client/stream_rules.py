"""Rules on a stream's configuration, so that it loses, refuses or changes no event."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heed.bus.codec.subject_patterns import covers


@dataclass(frozen=True, slots=True)
class StreamFlaw:
    """A flaw of a stream that costs events. `field` is the configuration's, in the broker's spelling."""

    stream: str
    field: str
    problem: str

    def __str__(self) -> str:
        return f"stream {self.stream}: {self.problem}"


@dataclass(frozen=True, slots=True)
class StreamRule:
    """A field that must have one of the values. A field that is not there counts as the first of them."""

    field: str
    allowed: tuple[Any, ...]
    remedy: str


STREAM_RULES: Final = (
    StreamRule(
        "retention",
        ("limits",),
        "every Agent reads for itself; delete the stream, or give Heed another broker",
    ),
    StreamRule("mirror", (None,), "a mirror takes no events; connect Heed to the stream's origin"),
    StreamRule("sealed", (False,), "a sealed stream takes no events; delete it"),
    StreamRule("no_ack", (False,), "without acknowledgements events get lost; edit the stream"),
    StreamRule("max_msgs_per_subject", (-1, 0), "it drops events that were not read yet; edit the stream"),
    StreamRule("subject_transform", (None,), "subjects say who an event is for; edit the stream"),
)
# Who may publish anything at all could otherwise delete every event with a header, or have the server publish anywhere.
PUBLISHER_RULES: Final = (
    StreamRule("allow_msg_schedules", (False,), "publishers could reach every subject; recreate the stream"),
    StreamRule("allow_rollup_hdrs", (False,), "publishers could delete all events; edit the stream"),
)


def find_flaws(
    wanted: Mapping[str, Any], config: Mapping[str, Any], rules: Sequence[StreamRule]
) -> tuple[StreamFlaw, ...]:
    """The flaws of a stream's configuration, where `wanted` is what Heed would create."""
    return (*_broken(wanted["name"], config, rules), *_uncovered(wanted, config))


def find_refusals(name: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[StreamFlaw, ...]:
    """The flaw of a full stream with `discard: new`, which would refuse one more message of average size."""
    if config.get("discard") != "new" or not (messages := state["messages"]):
        return ()
    limits = (("max_bytes", state["bytes"], state["bytes"] // messages), ("max_msgs", messages, 1))
    return tuple(
        StreamFlaw(name, "discard", _refuses(field, config[field], there))
        for field, there, more in limits
        if 0 < config.get(field, -1) < there + more
    )


def _refuses(field: str, limit: int, there: int) -> str:
    return (
        f'discard is "new", and {there} of its {field} {limit} are taken: it refuses events, also those of Agents; '
        'raise the limit, or set discard to "old"'
    )


def _broken(name: str, config: Mapping[str, Any], rules: Sequence[StreamRule]) -> Iterator[StreamFlaw]:
    for rule in rules:
        found = config.get(rule.field, rule.allowed[0])  # the server leaves out fields that are false
        if found not in rule.allowed:
            is_so = f"{rule.field} is {json.dumps(found)}, wanted {json.dumps(rule.allowed[0])}"
            yield StreamFlaw(name, rule.field, f"{is_so}; {rule.remedy}")


def _uncovered(wanted: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[StreamFlaw]:
    subjects = config.get("subjects") or []
    for subject in wanted["subjects"]:
        if not any(covers(item, subject) for item in subjects):
            are = f"subjects are {json.dumps(subjects)}, wanted {subject}"
            yield StreamFlaw(wanted["name"], "subjects", f"{are}; add it to the stream")
