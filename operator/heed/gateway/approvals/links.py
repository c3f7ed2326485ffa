"""Links to approvals: what a link says, signed, so that who has no key can neither make one nor change one."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Final

from heed import names

FORMAT: Final = 1  # of what is signed
MAX_TOKEN_CHARS: Final = 2048
MAX_LABEL_CHARS: Final = 128
_LINK: Final = b"heed approval link\0"
_FORM: Final = b"heed approval form\0"


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """The key that signs, and all that are believed, that one among them."""

    signing: bytes
    believed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ApprovalLink:
    """What a link says. `label` names for whom it was made; `expires_at` is in Unix seconds."""

    namespace: str
    agent: str
    agent_uid: str
    task: str
    expires_at: int
    label: str = ""

    def is_expired(self, at: float) -> bool:
        """Whether it may not be used any more at a time (Unix seconds)."""
        return at >= self.expires_at


def is_label(text: str) -> bool:
    """Whether a text may be a label: of one line, and without the brackets that a comment shows it in."""
    return len(text) <= MAX_LABEL_CHARS and text.isprintable() and not set(text) & set("[]")


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A link that somebody has opened, and the token that says it."""

    token: str
    said: ApprovalLink

    @property
    def answer_name(self) -> str:
        """The name of the ApprovalAnswer that it makes: always the same one, and no guess without the link."""
        return f"{self.said.task}-link-{names.digest('approval-link', self.token)}"


class LinkSigner:
    """Signs links and believes signed ones. `keys` gives the keys of now."""

    def __init__(self, keys: Callable[[], LinkKeys]) -> None:
        self._keys = keys

    def sign(self, link: ApprovalLink) -> str:
        """The token of a link: text that a URL may hold as it is."""
        said = json.dumps([FORMAT, *astuple(link)], ensure_ascii=False, separators=(",", ":"))
        body = _encode(said.encode())
        return f"{body}.{_mac(self._keys().signing, _LINK, body)}"

    def verify(self, token: str) -> OpenedLink | None:
        """The link of a token, whether it has expired or not; None for what is none."""
        body, dot, mac = token.partition(".")
        if len(token) > MAX_TOKEN_CHARS or not dot or not token.isascii():
            return None
        if not _is_any(mac, [_mac(key, _LINK, body) for key in self._keys().believed]):
            return None
        said = _read(body)
        return None if said is None else OpenedLink(token, said)

    def form_proof(self, token: str) -> str:
        """What the page of a link puts into its form, and what only that page tells."""
        return _mac(self._keys().signing, _FORM, token)

    def is_form_proof(self, token: str, given: str) -> bool:
        """Whether a form comes from the page of a link."""
        return given.isascii() and _is_any(given, [_mac(key, _FORM, token) for key in self._keys().believed])


def _mac(key: bytes, purpose: bytes, text: str) -> str:
    return _encode(hmac.digest(key, purpose + text.encode(), hashlib.sha256))


def _is_any(given: str, right: list[str]) -> bool:
    """Whether it is one of them, which takes as long for a wrong one as for a right one."""
    found = [hmac.compare_digest(given, item) for item in right]
    return any(found)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _read(body: str) -> ApprovalLink | None:
    """A link that was signed, by this version or by another one, whose format may be another one."""
    try:
        form, *members = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return ApprovalLink(*members) if form == FORMAT else None
    except (binascii.Error, ValueError, TypeError):
        return None
