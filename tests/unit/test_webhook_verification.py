"""A delivery is believed where its signature or token is right, and its time near: nothing else is looked at before."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.api.event_source import HmacSpec, TokenSpec
from heed.core.webhooks.verification import (
    MAX_SIGNATURES,
    find_payload_problem,
    is_secret,
    signed_payload,
    verify_signature,
    verify_token,
)

BODY = b'{"action":"opened"}'
REF = {"name": "webhook", "key": "secret"}
NOW = 1_700_000_000


def spec(**members: Any) -> HmacSpec:
    return HmacSpec.model_validate({"header": "X-Signature", "secretRef": REF, **members})


def sign(secret: bytes, payload: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret, payload, getattr(hashlib, algorithm)).hexdigest()


def code(found: Any) -> str | None:
    return None if found is None else found.code


def verify(
    rule: HmacSpec, headers: dict[str, str], body: bytes = BODY, secrets: Any = (b"s3cret",), now: float = NOW
) -> str | None:
    return code(verify_signature(rule, headers, body, secrets, now))


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
def test_the_right_signature_is_believed(algorithm: str) -> None:
    headers = {"x-signature": f"{algorithm}={sign(b's3cret', BODY, algorithm)}"}

    assert verify(spec(algorithm=algorithm, prefix=f"{algorithm}="), headers) is None


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, BODY, "SignatureMissing"),
        ({"x-signature": ""}, BODY, "SignatureMismatch"),
        ({"x-signature": "no hex"}, BODY, "SignatureMismatch"),
        ({"x-signature": sign(b"other", BODY)}, BODY, "SignatureMismatch"),
        ({"x-signature": sign(b"s3cret", BODY)}, BODY + b" ", "SignatureMismatch"),
        ({"x-signature": sign(b"s3cret", BODY)[:-2]}, BODY, "SignatureMismatch"),
        ({"x-signature": sign(b"s3cret", BODY) + "00"}, BODY, "SignatureMismatch"),
        ({"x-signature": "ÿ" + sign(b"s3cret", BODY)}, BODY, "SignatureMismatch"),
    ],
)
def test_any_other_is_not(headers: dict[str, str], body: bytes, expected: str) -> None:
    assert verify(spec(), headers, body) == expected


def test_without_the_prefix_it_is_another_kind_of_signature() -> None:
    assert verify(spec(prefix="sha256="), {"x-signature": sign(b"s3cret", BODY)}) == "SignatureMismatch"


def test_base64_is_read_strictly() -> None:
    right = base64.b64encode(bytes.fromhex(sign(b"s3cret", BODY))).decode()

    assert verify(spec(encoding="base64"), {"x-signature": right}) is None
    assert verify(spec(encoding="base64"), {"x-signature": right + "\n!"}) == "SignatureMismatch"


def test_each_of_several_secrets_counts_and_none_is_no_secret_at_all() -> None:
    headers = {"x-signature": sign(b"new", BODY)}

    assert verify(spec(), headers, secrets=(b"old", b"new")) is None
    assert verify(spec(), headers, secrets=(b"new", b"old")) is None
    assert verify(spec(), headers, secrets=(b"old",)) == "SignatureMismatch"
    assert verify(spec(), headers, secrets=()) == "SignatureMismatch"


STRIPE: dict[str, Any] = {
    "field": "v1",
    "timestamp": {"field": "t"},
    "payload": "{timestamp}.{body}",
    "timestampTolerance": "5m",
}


def stripe(at: int, secret: bytes = b"s3cret", scheme: str = "v1") -> str:
    return f"t={at},{scheme}={sign(secret, str(at).encode() + b'.' + BODY)}"


@pytest.mark.parametrize("away", [-300, 0, 300])
def test_a_time_within_the_tolerance_is_believed_up_to_its_last_second(away: int) -> None:
    assert verify(spec(**STRIPE), {"x-signature": stripe(NOW + away)}) is None


@pytest.mark.parametrize("away", [-301, 301])
def test_an_older_or_later_one_is_a_replay(away: int) -> None:
    assert verify(spec(**STRIPE), {"x-signature": stripe(NOW + away)}) == "TimestampOutsideTolerance"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "there is no header X-Signature"),
        (
            {"x-signature": "v1=00"},
            "it does not say when it was signed, in Unix seconds",
        ),
        ({"x-signature": f"t={NOW},v1=00"}, "the signature in X-Signature is not that of the body"),
        (
            {"x-signature": stripe(NOW - 301)},
            "it was signed more than 5m ago, or in the future; is it a replay?",
        ),
    ],
)
def test_a_sender_is_told_what_is_wrong_and_nothing_of_the_secret(
    headers: dict[str, str], message: str
) -> None:
    found = verify_signature(spec(**STRIPE), headers, BODY, [b"s3cret"], NOW)

    assert found is not None
    assert found.message == message


def test_a_time_that_was_changed_does_not_fit_the_signature() -> None:
    old = stripe(NOW - 3600)

    changed = old.replace(f"t={NOW - 3600}", f"t={NOW}")

    assert verify(spec(**STRIPE), {"x-signature": changed}) == "SignatureMismatch"


def test_of_two_times_neither_counts() -> None:
    assert verify(spec(**STRIPE), {"x-signature": f"t={NOW},{stripe(NOW)}"}) == "TimestampMissing"


@pytest.mark.parametrize("stamp", ["", "soon", "-5", "1.5", "٣", "1" * 13])
def test_what_is_no_time_is_none(stamp: str) -> None:
    assert verify(spec(**STRIPE), {"x-signature": f"t={stamp},v1=00"}) == "TimestampMissing"


def test_one_of_several_signatures_has_to_be_right_and_only_those_of_its_name_count() -> None:
    right = sign(b"s3cret", f"{NOW}.".encode() + BODY)

    assert verify(spec(**STRIPE), {"x-signature": f"t={NOW},v1={'0' * 64},v1={right}"}) is None
    assert verify(spec(**STRIPE), {"x-signature": f"t={NOW},v0={right}"}) == "SignatureMismatch"


def test_no_more_signatures_are_looked_at_than_a_rotation_needs() -> None:
    right = sign(b"s3cret", f"{NOW}.".encode() + BODY)
    wrong = f"v1={'0' * 64},"

    assert (
        verify(spec(**STRIPE), {"x-signature": f"t={NOW},{wrong * (MAX_SIGNATURES - 1)}v1={right}"}) is None
    )
    too_many = f"t={NOW},{wrong * MAX_SIGNATURES}v1={right}"
    assert verify(spec(**STRIPE), {"x-signature": too_many}) == "SignatureMismatch"


def test_a_time_in_a_header_of_its_own_is_part_of_what_is_signed() -> None:
    slack = spec(
        prefix="v0=", payload="v0:{timestamp}:{body}", timestamp={"header": "X-Slack-Request-Timestamp"}
    )
    signature = "v0=" + sign(b"s3cret", f"v0:{NOW}:".encode() + BODY)
    headers = {"x-signature": signature, "x-slack-request-timestamp": str(NOW)}

    assert verify(slack, headers) is None
    assert verify(slack, {"x-signature": signature}) == "TimestampMissing"
    assert verify(slack, headers, now=NOW + 301) == "TimestampOutsideTolerance"


def test_other_headers_may_be_signed_too() -> None:
    payload = "{header:Webhook-Id}.{body}"

    assert signed_payload(payload, {"webhook-id": "msg_1"}, b"{body}", "") == b"msg_1.{body}"
    assert signed_payload(payload, {}, b"x", "") == b".x"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"payload": "{body}"}, None),
        ({"payload": "{timestamp}", "timestamp": {"header": "T"}}, "does not contain {body}"),
        ({"payload": "{timestamp}{body}"}, "belong together"),
        ({"payload": "{body}", "timestamp": {"header": "T"}}, "belong together"),
        ({"payload": "{body}{stamp}"}, "braces of another kind"),
        ({"payload": "{body}}"}, "braces of another kind"),
    ],
)
def test_what_is_signed_has_to_make_sense(members: dict[str, Any], expected: str | None) -> None:
    found = find_payload_problem(spec(**members))

    assert (found is None) == (expected is None)
    assert expected is None or expected in (found or "")


@given(st.binary(max_size=64), st.binary(min_size=1, max_size=32), st.binary(min_size=1, max_size=32))
def test_only_the_secret_that_signed_it_proves_a_body(body: bytes, secret: bytes, other: bytes) -> None:
    headers = {"x-signature": sign(secret, body)}

    assert verify(spec(), headers, body, (secret,)) is None
    # HMAC fills keys up with zeros: those that differ in them only are one key.
    same = secret.rstrip(b"\0") == other.rstrip(b"\0")
    assert (verify(spec(), headers, body, (other,)) is None) == same


# --- tokens -------------------------------------------------------------------------------------------------------


def token(**members: Any) -> TokenSpec:
    return TokenSpec.model_validate({"secretRef": REF, **members})


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("Bearer s3cret", None),
        ("bearer s3cret", None),
        ("Bearer S3cret", "TokenMismatch"),
        ("Bearer s3cret ", "TokenMismatch"),
        ("s3cret", "TokenMismatch"),
        ("Bearer ", "TokenMismatch"),
        (None, "TokenMissing"),
    ],
)
def test_a_token_is_compared_whole(sent: str | None, expected: str | None) -> None:
    headers = {} if sent is None else {"authorization": sent}

    assert code(verify_token(token(prefix="Bearer "), headers, (b"s3cret",))) == expected


def test_each_of_several_tokens_counts() -> None:
    rule = token(header="X-Gitlab-Token")

    assert verify_token(rule, {"x-gitlab-token": "old"}, (b"new", b"old")) is None
    assert code(verify_token(rule, {"x-gitlab-token": "old"}, ())) == "TokenMismatch"


def test_a_parameter_is_compared_whole() -> None:
    assert is_secret("s3cret", (b"s3cret",))
    assert not is_secret("s3cre", (b"s3cret",))
    assert not is_secret("", ())
