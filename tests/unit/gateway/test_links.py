"""Links: what is signed comes back, and nothing else does."""

import base64
import json
from dataclasses import replace

import pytest

from heed.gateway.approvals import links
from heed.gateway.approvals.links import ApprovalLink, LinkKeys, LinkSigner, OpenedLink, is_label

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
LINK = ApprovalLink(
    "shop", "buyer", "uid-1", "buy-0123456789abcdef", 2_000_000_000, "Kim Ö <kim@example.com>"
)


def signer(*keys: bytes) -> LinkSigner:
    """One that signs with the first key and believes all."""
    found = LinkKeys(keys[0], keys)
    return LinkSigner(lambda: found)


def read(reader: LinkSigner, token: str) -> ApprovalLink | None:
    """What a token says to one."""
    found = reader.verify(token)
    return None if found is None else found.said


def encoded(value: object) -> str:
    """JSON as a token has it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_signed_link_comes_back_and_fits_into_a_url() -> None:
    token = signer(NEW).sign(LINK)

    assert read(signer(NEW), token) == LINK
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_every_changed_character_makes_it_none() -> None:
    token = signer(NEW).sign(LINK)

    for place, letter in enumerate(token):
        other = "A" if letter != "A" else "B"
        assert read(signer(NEW), token[:place] + other + token[place + 1 :]) is None, place


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "a",
        "a.",
        ".a",
        "ä.ö",
        "a.b.c",
        "a" * 10_000,
        encoded([1, "shop", "buyer", "uid-1", "buy-0", 2_000_000_000, ""]),
        encoded([1, "shop", "buyer", "uid-1", "buy-0", 2_000_000_000, ""]) + ".",
    ],
)
def test_what_nobody_signed_is_none(token: str) -> None:
    assert read(signer(NEW), token) is None


def test_a_longer_token_than_is_made_is_not_looked_at() -> None:
    token = signer(NEW).sign(replace(LINK, label="x" * 2000))

    assert len(token) > 2048
    assert read(signer(NEW), token) is None
    lengths = {len(signer(NEW).sign(replace(LINK, label="x" * count))): count for count in range(1300, 1500)}
    longest = replace(LINK, label="x" * lengths[2048])
    assert read(signer(NEW), signer(NEW).sign(longest)) == longest


def test_a_link_of_another_key_is_none_and_one_of_an_older_key_is_believed_while_that_is_there() -> None:
    old = signer(OLD).sign(LINK)

    assert read(signer(OTHER), old) is None
    assert read(signer(NEW), old) is None
    assert read(signer(NEW, OLD), old) == LINK
    assert read(signer(OLD), signer(NEW, OLD).sign(LINK)) is None  # signed with the new one


def test_a_signed_format_of_another_version_is_none() -> None:
    made = signer(NEW).sign(LINK)
    older: tuple[object, ...] = (
        ["2", "x"],
        [2, *json.loads(base64.urlsafe_b64decode(made.split(".")[0] + "=="))[1:]],
        [],
        7,
        {},
    )
    for said in older:
        body = encoded(said)
        token = f"{body}.{links._mac(NEW, links._LINK, body)}"
        assert read(signer(NEW), token) is None


def test_a_link_is_good_until_its_last_second() -> None:
    assert not LINK.is_expired(LINK.expires_at - 0.001)
    assert LINK.is_expired(LINK.expires_at)


def test_the_proof_of_a_form_is_that_of_its_link_and_no_signature_of_one() -> None:
    token, other = signer(NEW).sign(LINK), signer(NEW).sign(replace(LINK, task="sell-0"))
    proof = signer(NEW).form_proof(token)

    assert signer(NEW, OLD).is_form_proof(token, proof)
    assert signer(NEW, OLD).is_form_proof(token, signer(OLD).form_proof(token))
    assert not signer(NEW).is_form_proof(other, proof)
    assert not signer(OTHER).is_form_proof(token, proof)
    for wrong in ("", "ä", proof[:-1], token.split(".")[1]):
        assert not signer(NEW).is_form_proof(token, wrong)


def test_the_answers_of_two_links_have_two_names_which_the_link_alone_tells() -> None:
    later = replace(LINK, expires_at=LINK.expires_at + 1)
    tokens = (signer(NEW).sign(LINK), signer(NEW).sign(later), signer(OTHER).sign(LINK))
    found = [OpenedLink(token, LINK).answer_name for token in tokens]

    assert len(set(found)) == 3
    assert found[0] == OpenedLink(tokens[0], LINK).answer_name
    assert found[0].startswith("buy-0123456789abcdef-link-")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("", True),
        ("Kim Ö <kim@example.com>", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a\nb", False),
        ("a]b", False),
        ("a[b", False),
        ("a\u202eb", False),
        ("\x00", False),
    ],
)
def test_a_label_is_of_one_line_without_brackets(text: str, good: bool) -> None:
    assert is_label(text) is good
