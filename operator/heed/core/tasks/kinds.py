"""Kinds of tasks, by what runs them.

What is in the ledger alone, nothing runs: the record is all there is of it, and time or people end it. Functions are
run by workers of the Agent's code, calls by Heed's own code in a worker: of services, and of models.
"""

from typing import Final

LEDGER_KINDS: Final = frozenset(("wait", "approval"))
FUNCTION: Final = "function"
HTTP: Final = "http"
LLM: Final = "llm"  # turns of a model and of tools: an attempt is one call of the model
WORKER_KINDS: Final = frozenset((FUNCTION, HTTP, LLM))
CALL_KINDS: Final = frozenset((HTTP, LLM))  # what Heed's own code in a worker does
