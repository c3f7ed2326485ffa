"""Senders with tokens of their own, from a folder of files such as a mounted Secret: one file for each sender.

A file is named as its sender, and says in YAML what the sender may publish:

    tokens: [3kO…]                # several while one takes the place of another; or
    sha256: [9f86d0…]             # instead, so that the file holds no secret
    namespaces: [shop]            # or ["*"]
    types: [com.example.order.>]  # all without

Tokens are kept as digests, and compared in constant time. They are never logged.
"""

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from heed import names
from heed.errors import HeedError
from heed.gateway.inbound.senders import ANY_NAMESPACE, TokenSender

log = logging.getLogger("heed.gateway")
LOOK_INTERVAL_S: Final = 10.0  # seconds between two looks at the folder
MIN_TOKEN_CHARS: Final = 24
MAX_FILE_BYTES: Final = 64 * 1024
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MEMBERS: Final = frozenset(("tokens", "sha256", "namespaces", "types"))


class UnusableToken(HeedError):
    """A file that says nothing usable. The message holds nothing of its values but namespaces and patterns."""


@dataclass(frozen=True, slots=True)
class KnownToken:
    """The digest of a token, and whose it is."""

    digest: bytes
    sender: TokenSender


class StaticTokens:
    """The tokens in the files of a folder; `load` reads them again where files changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: Sequence[KnownToken] = ()
        self._seen: object = None

    def find(self, token: str) -> TokenSender | None:
        """The sender whose token this is. It takes as long for a wrong token as for a right one."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        found: TokenSender | None = None
        for known in self._known:
            if hmac.compare_digest(known.digest, digest):
                found = known.sender
        return found

    def load(self) -> None:
        """Read the files again if one changed. One that is unusable is logged, and lets its sender do nothing."""
        seen = list(self._stamps())
        if seen == self._seen:
            return
        known: list[KnownToken] = []
        for path in self._files():
            try:
                known += read_tokens(path.name, path.read_bytes()[: MAX_FILE_BYTES + 1])
            except (UnusableToken, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                log.warning("cannot use a token file", extra={"file": path.name, "error": reason})
        self._known, self._seen = known, seen
        log.info("token files read", extra={"senders": len({item.sender.name for item in known})})

    async def keep(self) -> None:
        """Follow changes of the files, for ever."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                self.load()
            except OSError as error:
                log.warning("cannot read token files", extra={"error": str(error.strerror)})

    def _files(self) -> Iterator[Path]:
        """The files, without those that begin with a dot: so Kubernetes keeps the versions of a mounted Secret."""
        return (path for path in sorted(self._folder.iterdir()) if path.name[0] != "." and path.is_file())

    def _stamps(self) -> Iterator[tuple[str, int, int, int]]:
        for path in self._files():
            status = path.stat()
            yield path.name, status.st_mtime_ns, status.st_size, status.st_ino


def read_tokens(name: str, content: bytes) -> Sequence[KnownToken]:
    """The tokens of a file. Raises UnusableToken."""
    if len(content) > MAX_FILE_BYTES:
        raise UnusableToken(f"more than {MAX_FILE_BYTES} bytes; give each sender a file of its own")
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):  # which would show what is in it
        raise UnusableToken("this is not YAML; see the documentation of the gateway") from None
    if not isinstance(document, Mapping) or not document.keys() <= _MEMBERS:
        raise UnusableToken(f"write a map with {', '.join(sorted(_MEMBERS))} and nothing else")
    sender = TokenSender(name, _namespaces(document), _types(document))
    digests = [*_digests(document), *(hashlib.sha256(item.encode()).digest() for item in _tokens(document))]
    if not digests:
        raise UnusableToken("there is no token; give some in tokens, or their digests in sha256")
    return [KnownToken(digest, sender) for digest in digests]


def _texts(document: Mapping[str, Any], member: str) -> Sequence[str]:
    value = document.get(member, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UnusableToken(f"{member} is no list of texts; write one, with quotes around each")
    return value


def _tokens(document: Mapping[str, Any]) -> Sequence[str]:
    tokens = _texts(document, "tokens")
    if any(len(item) < MIN_TOKEN_CHARS or not item.isascii() or not item.isprintable() for item in tokens):
        remedy = "use something that nobody guesses, such as `openssl rand -hex 32`"
        raise UnusableToken(f"a token has at least {MIN_TOKEN_CHARS} printable characters; {remedy}")
    return tokens


def _digests(document: Mapping[str, Any]) -> Iterator[bytes]:
    for item in _texts(document, "sha256"):
        if not _DIGEST.fullmatch(item):
            raise UnusableToken("an item of sha256 is not 64 hexadecimal digits; write what sha256sum prints")
        yield bytes.fromhex(item)


def _namespaces(document: Mapping[str, Any]) -> tuple[str, ...]:
    found = _texts(document, "namespaces")
    for item in found:
        if item != ANY_NAMESPACE and not names.is_name(item):
            raise UnusableToken(f"namespaces: {item!r} is no namespace; name one, or * for all")
    if not found:
        raise UnusableToken("namespaces is missing or empty; name those that the token is for, or * for all")
    return tuple(found)


def _types(document: Mapping[str, Any]) -> tuple[str, ...]:
    if "types" not in document:
        return (">",)
    found = _texts(document, "types")
    for item in found:
        if not names.is_pattern(item):
            raise UnusableToken(f"types: {item!r} is no type pattern; write such as com.example.>")
    return tuple(found)
