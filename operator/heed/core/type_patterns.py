"""Type patterns: NATS wildcards over the tokens of a CloudEvents type."""

from functools import lru_cache


@lru_cache(maxsize=4096)
def matches(pattern: str, type_: str) -> bool:
    """Whether `type_` matches `pattern`: `*` stands for one token, a last `>` for one or more."""
    wanted, tokens = pattern.split("."), type_.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


def covers(wide: str, narrow: str) -> bool:
    """Whether `wide` matches everything that `narrow` matches."""
    wanted, tokens = wide.split("."), narrow.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or tokens[index] == ">" or token not in ("*", tokens[index]):
            return False
    return len(wanted) == len(tokens)


def may_overlap(one: str, other: str) -> bool:
    """Whether a type can match both patterns."""
    first, second = one.split("."), other.split(".")
    for left, right in zip(first, second, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(first) == len(second)
