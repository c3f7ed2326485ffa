"""Tokens in files: what a file may say, and that the files are followed."""

import hashlib
import os
from pathlib import Path

import pytest
import yaml

from heed.gateway.inbound.senders import EventAddress, TokenSender
from heed.gateway.inbound.static_tokens import StaticTokens, UnusableToken, read_tokens

TOKEN, OTHER = "t" * 24, "u" * 24


def written(**members: object) -> bytes:
    """A file."""
    return yaml.safe_dump({"tokens": [TOKEN], "namespaces": ["shop"], **members}).encode()


def test_a_file_says_whose_a_token_is_and_what_it_may_publish() -> None:
    (known,) = read_tokens("till", written(types=["com.example.>"]))

    assert known.sender == TokenSender("till", ("shop",), ("com.example.>",))
    assert known.digest == hashlib.sha256(TOKEN.encode()).digest()
    assert TOKEN not in repr(known)


def test_a_file_may_hold_digests_and_several_tokens() -> None:
    digest = hashlib.sha256(OTHER.encode()).hexdigest()
    known = read_tokens("till", written(sha256=[digest], tokens=[TOKEN, "v" * 24]))

    assert [item.digest.hex() for item in known] == [
        digest,
        *(hashlib.sha256(item.encode()).hexdigest() for item in (TOKEN, "v" * 24)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not YAML"),
        (b"- a", "write a map"),
        (written(token=TOKEN), "write a map with namespaces, sha256, tokens, types"),
        (written(tokens=[]), "there is no token"),
        (written(tokens=["t" * 23]), "at least 24"),
        (written(tokens=["t" * 23 + "é"]), "at least 24 printable"),
        (written(tokens=[7]), "tokens is no list of texts"),
        (written(tokens=TOKEN), "tokens is no list of texts"),
        (written(sha256=["f" * 63]), "64 hexadecimal"),
        (written(namespaces=[]), "namespaces is missing"),
        (written(namespaces=["Shop"]), "'Shop' is no namespace"),
        (written(types=["two words"]), "'two words' is no type pattern"),
        (b"#" * (64 * 1024 + 1), "more than 65536 bytes"),
    ],
)
def test_a_mistake_is_explained_and_shows_no_token(content: bytes, message: str) -> None:
    with pytest.raises(UnusableToken, match=message) as caught:
        read_tokens("till", content)
    assert "ttt" not in str(caught.value)


def test_what_a_token_is_for() -> None:
    sender = TokenSender("till", ("shop",), ("com.example.>",))
    anywhere = TokenSender("all", ("*",), (">",))
    shop, other = EventAddress("shop"), EventAddress("other", "agent", {})

    assert sender.refusal(shop) is None
    assert sender.type_refusal(shop, "com.example.x") is None
    assert (
        sender.type_refusal(shop, "org.example.x")
        == "the token of till is not for events of type org.example.x"
    )
    assert sender.refusal(other) == "the token of till is not for namespace other"
    assert sender.type_refusal(other, "com.example.x") == "the token of till is not for namespace other"
    assert anywhere.refusal(other) is None and anywhere.type_refusal(other, "x") is None


def test_files_are_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = StaticTokens(tmp_path)
    tokens.load()
    assert tokens.find(TOKEN) is None

    (tmp_path / "till").write_bytes(written())
    (tmp_path / "broken").write_text(f"tokens: {OTHER}")
    (tmp_path / ".hidden").write_bytes(written(tokens=["h" * 24]))
    tokens.load()
    found = tokens.find(TOKEN)
    assert found is not None and found.name == "till"
    assert tokens.find(OTHER) is None and tokens.find("h" * 24) is None and tokens.find("\udc80") is None
    assert "cannot use a token file" in caplog.text and OTHER not in caplog.text

    replaced = tmp_path / ".new"
    replaced.write_bytes(written(tokens=[OTHER]))
    os.replace(replaced, tmp_path / "till")
    tokens.load()
    assert tokens.find(TOKEN) is None and tokens.find(OTHER) is not None

    (tmp_path / "till").unlink()
    tokens.load()
    assert tokens.find(OTHER) is None
