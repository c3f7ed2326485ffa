"""Verification of deliveries: HMAC signatures with their time, and tokens; compared in constant time.

All that is compared with a secret is compared as bytes by `hmac.compare_digest`, and each secret is tried whatever the
ones before it came to.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from heed.api.event_source import HmacSpec, TokenSpec
from heed.api.fields import parse_duration

MAX_SIGNATURES: Final = 16  # that are looked at in one header
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_PLACEHOLDER: Final = re.compile(r"\{(body|timestamp|header:([^{}]+))\}")


@dataclass(frozen=True, slots=True)
class VerificationFailure:
    """Why a delivery is not believed: a CamelCase code, and a sentence that tells nothing of the secret."""

    code: str
    message: str


def verify_signature(
    spec: HmacSpec, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float
) -> VerificationFailure | None:
    """Why a delivery is not believed, or None. Headers are by lower-case name, `now` is in Unix seconds."""
    sent = headers.get(spec.header.lower())
    if sent is None:
        return VerificationFailure("SignatureMissing", f"there is no header {spec.header}")
    signatures = list(_signatures(spec, sent))
    stamp = _find_timestamp(spec, headers, sent)
    if spec.timestamp is not None and (stamp is None or _TIMESTAMP.fullmatch(stamp) is None):
        return VerificationFailure("TimestampMissing", "it does not say when it was signed, in Unix seconds")
    signed = signed_payload(spec.payload, headers, body, stamp or "")
    right = False
    for secret in secrets:
        expected = hmac.digest(secret, signed, spec.algorithm)
        for signature in signatures:
            right |= hmac.compare_digest(expected, signature)
    if not right:
        return VerificationFailure(
            "SignatureMismatch", f"the signature in {spec.header} is not that of the body"
        )
    # Only now: a time that is not signed says nothing.
    if stamp is not None and abs(now - int(stamp)) > parse_duration(spec.timestamp_tolerance):
        message = f"it was signed more than {spec.timestamp_tolerance} ago, or in the future; is it a replay?"
        return VerificationFailure("TimestampOutsideTolerance", message)
    return None


def verify_token(
    spec: TokenSpec, headers: Mapping[str, str], secrets: Sequence[bytes]
) -> VerificationFailure | None:
    """Why a delivery is not believed, or None. Headers are by lower-case name."""
    sent = headers.get(spec.header.lower())
    if sent is None:
        return VerificationFailure("TokenMissing", f"there is no header {spec.header}")
    if _matches(sent, spec.prefix, secrets):
        return None
    return VerificationFailure("TokenMismatch", f"the token in {spec.header} is not the right one")


def is_secret(sent: str, secrets: Sequence[bytes]) -> bool:
    """Whether a text is one of the secrets."""
    return _matches(sent, "", secrets)


def _matches(sent: str, prefix: str, secrets: Sequence[bytes]) -> bool:
    # Schemes such as `Bearer` are case-insensitive (RFC 9110, section 11.1); what follows is not.
    if sent[: len(prefix)].lower() != prefix.lower():
        return False
    token = sent[len(prefix) :].encode(errors="surrogateescape")
    right = False
    for secret in secrets:
        right |= hmac.compare_digest(secret, token)
    return right


def signed_payload(pattern: str, headers: Mapping[str, str], body: bytes, timestamp: str) -> bytes:
    """The bytes that are signed: a pattern with {body}, {timestamp} and {header:NAME} filled in."""
    filled: list[bytes] = []
    position = 0
    for found in _PLACEHOLDER.finditer(pattern):
        filled.append(pattern[position : found.start()].encode())
        if found[1] == "body":
            filled.append(body)
        elif found[1] == "timestamp":
            filled.append(timestamp.encode())
        else:
            filled.append(headers.get(found[2].lower(), "").encode(errors="surrogateescape"))
        position = found.end()
    filled.append(pattern[position:].encode())
    return b"".join(filled)


def find_payload_problem(spec: HmacSpec) -> str | None:
    """What is wrong with the pattern of what is signed, or None."""
    rest = _PLACEHOLDER.sub("", spec.payload)
    if "{" in rest or "}" in rest:
        return "has braces of another kind; use {body}, {timestamp} and {header:NAME}"
    if "{body}" not in spec.payload:
        return "does not contain {body}: anything could be sent with a signature that was seen once; add it"
    if ("{timestamp}" in spec.payload) != (spec.timestamp is not None):
        return (
            "and `timestamp` belong together: a time that is not signed proves nothing; give both, or neither"
        )
    return None


def _signatures(spec: HmacSpec, sent: str) -> Iterator[bytes]:
    """The signatures in a header, decoded; what cannot be decoded is none."""
    values = [sent] if spec.field is None else _field_values(sent, spec.field)
    for value in values[:MAX_SIGNATURES]:
        if not value.startswith(spec.prefix):
            continue
        text = value[len(spec.prefix) :]
        try:
            yield bytes.fromhex(text) if spec.encoding == "hex" else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            continue


def _find_timestamp(spec: HmacSpec, headers: Mapping[str, str], sent: str) -> str | None:
    if spec.timestamp is None:
        return None
    if spec.timestamp.header is not None:
        return headers.get(spec.timestamp.header.lower())
    found = _field_values(sent, spec.timestamp.field or "")
    return found[0] if len(found) == 1 else None  # of two, either might have been signed


def _field_values(sent: str, name: str) -> list[str]:
    """The values of a name in a list `name=value,name=value`."""
    pairs = (item.strip().partition("=") for item in sent.split(","))
    return [value for key, equals, value in pairs if equals and key == name]
