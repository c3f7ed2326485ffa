"""Kinds of tasks that nothing runs: their record in the ledger is all there is of them, and time or people end them."""

from typing import Final

LEDGER_KINDS: Final = frozenset(("wait", "approval"))
