"""Headers that are HTTP's own, which no task may set."""

from typing import Final

OWN_HEADERS: Final = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding")
) | {"upgrade"}
