"""Headroom: the bytes by which an Agent's status may still grow within its budget.

A session that does not exist yet is opened only out of what is not kept for the others. An event of a session that
exists may use most of what is kept, and the end of a task all of it, since that is what makes room again. What does not
fit is not decided: its place in the stream is noted, and the cursor goes on. Later events of the same session, and
later ones that would open another, wait behind it: so a session's events stay in order, and none is passed over.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Headroom:
    """`left` bytes may be added to the status; `kept` of them are reserved for open sessions."""

    left: int
    kept: int

    @property
    def for_new_session(self) -> int:
        """Bytes that a new session may take."""
        return self.left - self.kept

    @property
    def for_open_session(self) -> int:
        """Bytes that an event may add to an open session."""
        return self.left - self.kept // 4
