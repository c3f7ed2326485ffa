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
