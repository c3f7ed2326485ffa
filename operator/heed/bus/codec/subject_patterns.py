"""Subject patterns as sets. The server refuses a consumer whose filters overlap, so they are made disjoint first."""

from collections.abc import Iterable

from heed.core.type_patterns import covers, matches

__all__ = ["covers", "matches", "merge_patterns", "overlap"]


def merge_patterns(patterns: Iterable[str]) -> list[str]:
    """Consumer filters for overlapping patterns: disjoint ones that match at least as much, in a stable order.

    A pattern that another one covers goes. Two that overlap partly (`a.*` and `*.b`) give way to one that covers
    both, and so matches more: the reader has to filter by `patterns` again.
    """
    result: list[str] = []
    for pattern in dict.fromkeys(patterns):
        _add(result, pattern)
    return result


def _add(result: list[str], pattern: str) -> None:
    while (other := next((item for item in result if overlap(item, pattern)), None)) is not None:
        result.remove(other)
        pattern = _join(other, pattern)
    result.append(pattern)


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both."""
    left, right = one.split("."), other.split(".")
    for a, b in zip(left, right, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(left) == len(right)


def _join(one: str, other: str) -> str:
    """The narrowest pattern that covers two that overlap."""
    tokens = []
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if ">" in (a, b):
            tokens.append(">")
            break
        tokens.append(a if a == b else "*")
    return ".".join(tokens)
