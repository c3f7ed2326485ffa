"""Why a pattern of a schema cannot be used: its first slip in the author's words, and what to write instead."""

import re

import pytest

from heed.core.schema.pattern_diagnostics import explain_pattern
from heed.core.schema.validator import SchemaValidator

AROUND = " looks around, which is not supported; check what is around in another pattern (allOf, not)"
BACK = " refers back to a group, which is not supported; write out what it stands for"
ESCAPE = " is no escape here; write out the characters"
REPEATS = r" repeats nothing; write a \ before a literal * or +"
BRACKETS = r"its brackets ( and ) do not match; close them, or write \( for a literal one"
OPEN = r"its [ has no ]; close it, or write \[ for a literal one"
UNKNOWN = "it has a construct that is not supported, or repeats too much"


def no_end(group: str, better: str) -> str:
    """What is said of a class of characters beside a dash."""
    return rf"a class such as \w is no end of a range in {group}; write the - last: {better}"


@pytest.mark.parametrize(
    ("pattern", "slip"),
    [
        (r"[\w-.]", no_end(r"[\w-.]", r"[\w.-]")),
        (r"[.-\w]", no_end(r"[.-\w]", r"[.\w-]")),
        (r"[^a-\d]", no_end(r"[^a-\d]", r"[^a\d-]")),
        (r"[\p{L}-x]", no_end(r"[\p{L}-x]", r"[\p{L}x-]")),
        (r"[\s-\.]", no_end(r"[\s-\.]", r"[\s\.-]")),
        (r"[\]-\w]", no_end(r"[\]-\w]", r"[\]\w-]")),
        (r"[a-z]+[\w-_]+[\d-,]", no_end(r"[\w-_]", r"[\w_-]")),
        ("[z-a]", "the range z-a in [z-a] goes backwards; write a-z"),
        ("[a-zA-Y][9-0c-b]", "the range 9-0 in [9-0c-b] goes backwards; write 0-9"),
        ("(?=a)b", f"(?={AROUND}"),
        ("(?!a)b", f"(?!{AROUND}"),
        ("a(?<=a)", f"(?<={AROUND}"),
        ("a(?<!a)", f"(?<!{AROUND}"),
        ("(?>a)", "(?> is an atomic group, which is not supported; write (?:…)"),
        (r"(a)\1", rf"\1{BACK}"),
        (r"(a)\9", rf"\9{BACK}"),
        (r"(?<n>a)\k<n>", rf"\k<n>{BACK}"),
        ("(?P<n>a)(?P=n)", f"(?P=n){BACK}"),
        ("a{,3}", "{,3} has no least count; write {0,…}"),
        (r"a\Z", r"\Z is no anchor here; write $"),
        (r"\Aa", rf"\A{ESCAPE}"),
        (r"a\h", rf"\h{ESCAPE}"),
        ("*a", f"*{REPEATS}"),
        ("+a", f"+{REPEATS}"),
        ("?a", f"?{REPEATS}"),
        ("a|*b", f"|*{REPEATS}"),
        ("(+a)", f"(+{REPEATS}"),
        ("(a", BRACKETS),
        ("a)", BRACKETS),
        (r"\((a", BRACKETS),
        ("[a-z", OPEN),
        (r"[a\]", OPEN),
        (r"[\w-", OPEN),
        ("a{1001}", UNKNOWN),
    ],
)
def test_the_first_slip_is_named_with_what_to_write(pattern: str, slip: str) -> None:
    assert explain_pattern(pattern) == slip


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"[\w-]", r"[-\w]", r"[\w\-.]", "[a-z]", "[a-a]", "[-z]", "[z-]"),
        *("[(?=a)]", r"[\1]", "[*+?]", "[](]", "[^](]", r"[\](]", "[[]"),
        *("a*", "(a+)", "a|b", r"\(*", r"\|+", r"\[", r"\[z-a]", r"\[\w-.]", r"\(a", r"a\)", r"\\A", r"\\1"),
        *("(?:a)", "(?<n>a)", "a{0,3}", "a{3,}", r"\w\d\s\b"),
    ],
)
def test_what_is_none_is_not_taken_for_one(pattern: str) -> None:
    assert explain_pattern(pattern) == UNKNOWN


def test_a_bracket_after_an_escaped_backslash_is_one() -> None:
    assert explain_pattern(r"\\(") == BRACKETS
    assert explain_pattern(r"\\[a") == OPEN
    assert explain_pattern(r"\\[z-a]") == "the range z-a in [z-a] goes backwards; write a-z"
    assert explain_pattern(r"\[abc](") == BRACKETS


def test_what_is_very_long_is_not_looked_through() -> None:
    assert explain_pattern("(" * 1000) == BRACKETS
    assert explain_pattern("(" * 1001) == UNKNOWN


@pytest.mark.parametrize(
    "pattern", [r"[\w-.]", r"[.-\w]", r"[^a-\d]", r"[\p{L}-x]", "[\\s-_]", "[z-a]", "[a-zA-Y9-0]", "x{,3}"]
)
def test_what_is_to_be_written_instead_can_be_used(pattern: str) -> None:
    slip = explain_pattern(pattern)
    better = slip.rpartition(": ")[2]
    if found := re.search(r"range (.*) in .* write (.*)$", slip):
        better = pattern.replace(found[1], found[2])
    elif "least count" in slip:
        better = pattern.replace("{,", "{0,")

    assert SchemaValidator({"pattern": better}).problem("") is not None or "0," in better
