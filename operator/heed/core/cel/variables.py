"""The variables that expressions may read at each site of a manifest, with the members of closed ones."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heed.core.cel.member_paths import EACH, MemberReads

VARIABLES: Final = ("event", "state", "task", "input", "agent", "session")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The variables of a site. `task` has the members of that variable there."""

    variables: tuple[str, ...] = VARIABLES
    task: tuple[str, ...] = ("id", "name", "kind", "startedAt", "attempt")

    def members(self, variable: str) -> tuple[str, ...] | None:
        """All members of a variable; None where they depend on the event or the session."""
        return {
            "task": self.task,
            "session": ("key", "startedAt"),
            "agent": ("name", "namespace", "labels"),
            "answer": ("user", "groups", "choice", "fields", "comment"),
            "delivery": ("digest",),
            "timer": ("name", "scheduledAt", "previousAt", "missed"),
        }.get(variable)

    def unknown(self, reads: MemberReads) -> str | None:
        """Why a read of a member can never succeed; None where it can."""
        for path in reads.values:
            members = self.members(path[0])
            if members is not None and path[1] not in (*members, EACH) and path[:2] not in reads.asked:
                return f'{path[0]} has no member "{path[1]}"; {suggest_name(path[1], members)}'
        return None


ALL_VARIABLES: Final = Vocabulary()
SUBSCRIPTION_VARIABLES: Final = Vocabulary(("event", "agent"))
HANDLER_VARIABLES: Final = Vocabulary(("event", "state", "agent", "session"))
TIMER_VARIABLES: Final = Vocabulary(("timer", "agent"))
TASK_VARIABLES: Final = Vocabulary(task=("id", "name", "attempt"))  # of a task's template
APPROVER_VARIABLES: Final = Vocabulary(("answer", "input", "task", "session"))
OBJECT_VARIABLES: Final = Vocabulary(("object",))  # of what judges the live object of a resource task


def suggest_name(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar of the known names."""
    known = tuple(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known here are {', '.join(known) or 'none'}"
