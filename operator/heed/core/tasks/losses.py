"""Why a task is lost: it was started once, and what ran it is found no more."""

from typing import Final

JOB_LOST: Final = "JobLost"
RESOURCE_LOST: Final = "ResourceLost"
FUNCTION_LOST: Final = "FunctionLost"
CALL_LOST: Final = "CallLost"

LOSSES: Final = frozenset({JOB_LOST, RESOURCE_LOST, FUNCTION_LOST, CALL_LOST})
