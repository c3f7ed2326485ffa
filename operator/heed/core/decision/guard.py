"""What a careful program does not decide: it may be costly, and is left to a process with limits of its own."""

from typing import Final

from heed.errors import DecisionFailed

NEEDS_GUARD: Final = "NeedsGuard"  # not a failure: the decision is to be made elsewhere


def check_harmless(is_harmless: bool) -> None:
    """Raise DecisionFailed where a careful program was given more data than it may decide on."""
    if not is_harmless:
        raise DecisionFailed(NEEDS_GUARD, "deciding this may be costly")
