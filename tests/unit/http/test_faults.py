"""Services that misbehave: each ends the call as documented, and says whether another attempt is safe."""

import asyncio
import time
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from heed.util.clock import now
from heed.worker.lease import LEASE_S, Lease, LeaseOver
from tests.http_services import raw, reply, serving, silent_after
from tests.ports import reserved_port
from tests.unit.http.calls import TOKEN, failed, make_call

UNSAFE: dict[str, Any] = {"method": "POST", "idempotencyKey": "None"}
QUICK = {"connect": "5s", "firstByte": "1s", "total": "5s"}
CUT = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")


@pytest.mark.parametrize(
    ("status", "method", "retryable"),
    [
        (500, "GET", True),
        (502, "PUT", True),
        (500, "UNSAFE", False),
        (503, "UNSAFE", True),
        (429, "UNSAFE", True),
        (408, "UNSAFE", True),
        (425, "UNSAFE", True),
        (400, "GET", False),
        (404, "GET", False),
        (302, "GET", False),
    ],
)
async def test_a_status_that_is_not_expected_fails(status: int, method: str, retryable: bool) -> None:
    async with serving(reply(status, body="what it says is its own")) as service:
        end = await make_call({"url": f"{service.url}/secret-path?k=v", **_of(method)})

    shown = f"{'POST' if method == 'UNSAFE' else method} {service.url}"
    assert end == failed(
        "HttpStatus", f"{shown} answered {status}, which is not expected", retryable=retryable
    )


@pytest.mark.parametrize(
    ("expect", "status", "completed"),
    [(["2xx"], 299, True), (["2xx"], 300, False), (["200", "404"], 404, True), (["200"], 201, False)],
)
async def test_expected_statuses_complete(expect: list[str], status: int, completed: bool) -> None:
    async with serving(reply(status)) as service:
        end = await make_call({"url": service.url, "expect": expect})

    assert end["completed"] is completed


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", None), ("soon", None), ("90000", 3600.0)])
async def test_retry_after_in_seconds_is_passed_on(header: str, seconds: float | None) -> None:
    async with serving(reply(429, Retry_After=header)) as service:
        end = await make_call({"url": service.url})

    assert end.get("retryAfter") == seconds


async def test_retry_after_as_a_date_is_passed_on_in_seconds() -> None:
    moment = format_datetime(now() + timedelta(seconds=120), usegmt=True)
    async with serving(reply(503, Retry_After=moment)) as service:
        end = await make_call({"url": service.url})

    assert 60 < end["retryAfter"] <= 120


async def test_no_answer_in_time_fails() -> None:
    async with serving(silent_after()) as service:
        safe, unsafe = await asyncio.gather(
            make_call({"url": service.url, "timeouts": QUICK}),
            make_call({"url": service.url, "timeouts": QUICK, **UNSAFE}),
        )

    assert safe == failed("HttpTimeout", f"GET {service.url}: no answer within 1 s", retryable=True)
    assert unsafe == failed(
        "HttpTimeout",
        f"POST {service.url}: no answer within 1 s; it is not repeated, as it may have been served",
    )


async def test_an_answer_that_is_not_whole_in_time_fails() -> None:
    slow = silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    async with serving(slow) as service:
        end = await make_call({"url": service.url, "timeouts": {**QUICK, "total": "1s"}})

    message = f"GET {service.url}: the answer was not there as a whole within 1 s"
    assert end == failed("HttpTimeout", message, retryable=True)


async def test_what_is_left_of_the_tasks_timeout_bounds_the_call() -> None:
    async with serving(silent_after()) as service:
        began = time.monotonic()
        end = await make_call({"url": service.url}, timeout=0.2)

    assert end["reason"] == "HttpTimeout" and time.monotonic() > began


async def test_an_answer_cut_in_mid_body_is_lost() -> None:
    async with serving(CUT) as service:
        safe = await make_call({"url": service.url})
        unsafe = await make_call({"url": service.url, **UNSAFE})

    cut = "the answer was cut off"
    assert safe == failed("HttpAnswerLost", f"GET {service.url}: {cut}", retryable=True)
    assert unsafe == failed(
        "HttpAnswerLost", f"POST {service.url}: {cut}; it is not repeated, as it may have been served"
    )


async def test_a_connection_that_ends_before_the_answer_is_lost() -> None:
    async with serving(raw(b"")) as service:
        end = await make_call({"url": service.url, **UNSAFE})

    assert (end["reason"], end["retryable"]) == ("HttpAnswerLost", False)
    assert service.connections == 1


async def test_what_is_no_http_is_an_invalid_response() -> None:
    async with serving(raw(b"SSH-2.0-OpenSSH\r\n\r\n")) as service:
        end = await make_call({"url": service.url})

    assert (end["reason"], end["message"]) == (
        "HttpInvalidResponse",
        f"GET {service.url}: the answer is no HTTP",
    )


async def test_nobody_listening_is_unreachable_and_safe_to_try_again() -> None:
    with reserved_port() as reserved:
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        end = await make_call({"url": url, **UNSAFE})

    assert (end["reason"], end.get("retryable", True)) == ("HttpUnreachable", True)
    assert end["message"].startswith(f"POST {url}: no connection: ")


async def test_a_name_without_an_address_is_unreachable() -> None:
    end = await make_call({"url": "http://nowhere.invalid"})

    assert end == failed(
        "HttpUnreachable", "GET http://nowhere.invalid: the name has no address", retryable=True
    )


@pytest.mark.parametrize(("size", "completed"), [(10, True), (11, False)])
async def test_a_body_has_a_largest_size(size: int, completed: bool) -> None:
    async with serving(reply(body="x" * size)) as service:
        end = await make_call({"url": service.url, "maxBytes": 10})

    assert end["completed"] is completed
    if not completed:
        message = f"GET {service.url}: the answer is larger than 10 bytes; raise maxBytes, or ask for less"
        assert end == failed("HttpTooLarge", message)


async def test_json_that_is_none_is_an_invalid_response() -> None:
    async with serving(reply(body='{"a":', Content_Type="application/json")) as service:
        end = await make_call({"url": service.url})

    assert (end["reason"], end["retryable"]) == ("HttpInvalidResponse", False)
    assert "it is not JSON" in end["message"]


async def test_an_answer_that_is_encoded_unasked_is_an_invalid_response() -> None:
    async with serving(reply(body="x", Content_Encoding="br")) as service:
        end = await make_call({"url": service.url})

    assert service.requests[0].headers["accept-encoding"] == "identity"
    assert end["reason"] == "HttpInvalidResponse"


async def test_a_missing_secret_fails_before_anything_is_sent() -> None:
    header = {"name": "X-Key", "secretRef": {"name": "api", "key": "other"}}
    async with serving(reply()) as service:
        end = await make_call({"url": service.url, "headers": [header]})

    assert end == failed("SecretMissing", "Secret api has no key other", retryable=True)
    assert service.connections == 0


@pytest.mark.parametrize("answer", [reply(500), CUT, raw(b""), reply(302, Location="http://[")])
async def test_no_failure_quotes_a_secret_a_path_or_a_query(answer: Any) -> None:
    header = {"name": "X-Key", "secretRef": {"name": "api", "key": "token"}}
    async with serving(answer) as service:
        url = f"{service.url}/sesame?word=sesame"
        end = await make_call({"url": url, "headers": [header], "redirects": 1})

    assert not end["completed"]
    assert "sesame" not in str(end) and TOKEN not in str(end)


# ── answers that were lost ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_that_a_dead_worker_had_taken_is_repeated_where_that_is_safe() -> None:
    async with serving(reply(body="ok")) as service:
        end = await make_call({"url": service.url, "method": "POST"}, again=True)

    assert end["completed"] and service.connections == 1


async def test_a_call_that_a_dead_worker_had_taken_is_not_repeated_where_it_may_have_been_served() -> None:
    async with serving(reply()) as service:
        end = await make_call({"url": service.url, **UNSAFE}, again=True)

    assert (end["reason"], end["retryable"]) == ("HttpAnswerLost", False)
    assert service.connections == 0


@pytest.mark.parametrize(
    ("answers", "again", "methods"),
    [
        ([CUT, reply(200, body="served")], False, ["POST", "GET"]),
        ([CUT, reply(404), reply(201, body="served")], False, ["POST", "GET", "POST"]),
        ([reply(200, body="served")], True, ["GET"]),
        ([reply(404), reply(201, body="served")], True, ["GET", "POST"]),
        ([CUT, reply(500), reply(200, body="served")], False, ["POST", "GET", "GET"]),
    ],
)
async def test_the_service_is_asked_what_became_of_a_call_before_it_is_repeated(
    answers: list[Any], again: bool, methods: list[str]
) -> None:
    async with serving(*answers) as service:
        spec = {"url": service.url, **UNSAFE, "reconcile": {"url": f"{service.url}/payments/pay-1"}}
        end = await make_call(spec, again=again)

    assert [seen.method for seen in service.requests] == methods
    assert end["completed"] and end["result"]["body"] == "served"


async def test_a_service_that_cannot_say_what_became_of_a_call_ends_it() -> None:
    async with serving(CUT, reply(401)) as service:
        spec = {"url": service.url, **UNSAFE, "reconcile": {"url": f"{service.url}/payments/pay-1"}}
        end = await make_call(spec)

    assert [seen.method for seen in service.requests] == ["POST", "GET", "GET", "GET"]
    assert (end["reason"], end["retryable"]) == ("HttpAnswerLost", False)
    assert end["message"].endswith(f"could not be found out: GET {service.url} answered 401")


@pytest.mark.parametrize("request_", [UNSAFE, {"method": "GET"}])
async def test_what_another_worker_may_have_by_now_is_not_sent(request_: dict[str, Any]) -> None:
    async with serving(reply()) as service:
        with pytest.raises(LeaseOver):
            await make_call({"url": service.url, **request_}, age=LEASE_S)
        assert service.connections == 0
        assert (await make_call({"url": service.url, **request_}, age=LEASE_S - 5))["completed"]


def test_a_sign_of_life_makes_a_lease_last_and_one_that_is_late_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = [LEASE_S - 1, LEASE_S - 1, 2 * LEASE_S - 2, 2 * LEASE_S - 1, 2 * LEASE_S - 1, 2 * LEASE_S - 1]
    monkeypatch.setattr("heed.worker.lease.loop_time", iter(times).__next__)
    lease = Lease(0.0, again=False)

    lease.renew()
    assert not lease.is_over
    lease.renew()
    assert lease.is_over


def _of(method: str) -> dict[str, Any]:
    return UNSAFE if method == "UNSAFE" else {"method": method}
