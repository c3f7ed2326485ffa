"""The handshake of web hooks: whose deliveries are expected, and at which rate."""

import pytest

from heed.gateway.inbound.abuse_protection import AbuseProtection
from heed.gateway.refusals import RequestRefused

ORIGIN = "eventemitter.example.com"


def asked(origin: str | None = ORIGIN, rate: str | None = None, **more: str) -> dict[str, str]:
    """The headers of a validation request."""
    named = {"WebHook-Request-Origin": origin, "WebHook-Request-Rate": rate}
    return {**{name: value for name, value in named.items() if value is not None}, **more}


def refused(abuse: AbuseProtection, headers: dict[str, str]) -> tuple[int, str]:
    """The refusal, which grants nothing."""
    with pytest.raises(RequestRefused) as caught:
        abuse.permission(headers)
    assert caught.value.headers == {}
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("origins", [ORIGIN, f" other.example.com , {ORIGIN.upper()}", "*"])
def test_who_is_listed_gets_permission(origins: str) -> None:
    assert AbuseProtection(origins, 0).permission(asked()) == {
        "WebHook-Allowed-Origin": ORIGIN,
        "WebHook-Allowed-Rate": "*",
    }


@pytest.mark.parametrize("origins", [None, "", "example.com", "eventemitter.example"])
def test_who_is_not_listed_gets_none(origins: str | None) -> None:
    assert refused(AbuseProtection(origins, 0), asked()) == (403, "OriginNotAllowed")


@pytest.mark.parametrize("origin", ["", "*", "https://example.com", "a b", "x" * 254])
def test_an_origin_is_a_host_name(origin: str) -> None:
    assert refused(AbuseProtection("*", 0), asked(origin)) == (403, "OriginNotAllowed")


def test_an_origin_is_needed() -> None:
    assert refused(AbuseProtection("*", 0), asked(None)) == (400, "NoOrigin")


@pytest.mark.parametrize(
    ("limit", "wanted", "allowed"),
    [
        (0, None, "*"),
        (0, "120", "120"),
        (2, None, "120"),
        (2, "119", "119"),
        (2, "120", "120"),
        (2, "121", "120"),
    ],
)
def test_the_rate_is_what_was_asked_for_within_the_limit(
    limit: int, wanted: str | None, allowed: str
) -> None:
    found = AbuseProtection("*", limit).permission(asked(rate=wanted))

    assert found["WebHook-Allowed-Rate"] == allowed


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "many", "", "9" * 10])
def test_a_rate_is_a_whole_number(rate: str) -> None:
    assert refused(AbuseProtection("*", 0), asked(rate=rate)) == (400, "BadRate")


def test_deliveries_of_others_are_refused_where_there_is_a_list() -> None:
    AbuseProtection(None, 0).check_delivery(asked("anybody.example.com"))
    AbuseProtection(ORIGIN, 0).check_delivery({})
    AbuseProtection(ORIGIN, 0).check_delivery(asked())
    with pytest.raises(RequestRefused, match="not expected here"):
        AbuseProtection(ORIGIN, 0).check_delivery(asked("anybody.example.com"))
