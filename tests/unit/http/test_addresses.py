"""Addresses that nothing is sent to: no connection is made to them, by whatever name they come."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from heed.core.policy.egress import Egress, EgressRule
from tests.http_services import reply, serving
from tests.unit.http.calls import LOCAL, TOKEN, failed, make_call

PUBLIC_ONLY = Egress()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "HttpRefusedAddress"),
        ("localhost", "HttpRefusedAddress"),
        ("127.1", "InvalidRequest"),
        ("2130706433", "InvalidRequest"),
        ("0x7f000001", "HttpRefusedAddress"),
        ("[::ffff:127.0.0.1]", "HttpRefusedAddress"),
        ("0.0.0.0", "HttpRefusedAddress"),
    ],
)
async def test_nothing_reaches_this_machine(host: str, reason: str) -> None:
    async with serving(reply()) as service:
        end = await make_call({"url": f"http://{host}:{service.port}/"}, egress=PUBLIC_ONLY)

    assert (end["reason"], end["retryable"]) == (reason, False)
    assert service.connections == 0


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("10.1.2.3", "a private address"),
        ("172.16.0.1", "a private address"),
        ("192.168.1.1", "a private address"),
        ("100.64.0.1", "a private address"),
        ("[fd00::1]", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("[fe80::1]", "a link-local address"),
        ("224.0.0.1", "an address of many machines"),
        ("[::ffff:10.0.0.1]", "a private address"),
        ("[64:ff9b::a00:1]", "a private address"),
        ("168.63.129.16", "the address of a cloud's metadata service"),
    ],
)
async def test_no_socket_is_made_for_what_is_not_public(
    address: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr("heed.worker.http.sockets.socket.socket", lambda **given: made.append(given))

    end = await make_call({"url": f"http://{address}/"}, egress=PUBLIC_ONLY)

    assert end["reason"] == "HttpRefusedAddress" and what in end["message"]
    assert made == []


async def test_a_name_is_judged_by_the_address_that_it_has_when_it_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the second look, the name has another address than at the first one."""
    async with serving(reply()) as service:
        _resolve(monkeypatch, {"changes.example": ["203.0.113.7", "127.0.0.1"]})
        socket.getaddrinfo("changes.example", service.port)
        end = await make_call({"url": f"http://changes.example:{service.port}/"}, egress=PUBLIC_ONLY)

    assert end["reason"] == "HttpRefusedAddress"
    assert service.connections == 0


async def test_each_redirect_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(reply()) as inner:
        location = f"http://inner.example:{inner.port}/"
        async with serving(reply(302, Location=location)) as outer:
            _resolve(monkeypatch, {"inner.example": ["127.0.0.1"], "outer.example": ["127.0.0.1"]})
            only_outer = Egress((EgressRule("outer.example", networks=("127.0.0.0/8",)), EgressRule("*")))
            url = f"http://outer.example:{outer.port}/"
            end = await make_call({"url": url, "redirects": 1}, egress=only_outer)

    assert outer.connections == 1
    assert end["reason"] == "HttpRefusedAddress"
    assert inner.connections == 0


async def test_redirects_are_followed_as_often_as_allowed_and_no_secret_goes_to_another_origin() -> None:
    header = {"name": "X-Key", "secretRef": {"name": "api", "key": "token"}}
    async with serving(reply(body="there")) as inner:
        moved = reply(307, Location=f"http://127.0.0.1:{inner.port}/x")
        async with serving(moved) as outer:
            spec = {"url": outer.url, "headers": [header], "body": {"text": "hi"}}
            followed = await make_call({**spec, "redirects": 1})
            stopped = await make_call({**spec, "redirects": 0})

    (seen,) = inner.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/x", b"hi")
    assert "x-key" not in seen.headers and outer.requests[0].headers["x-key"] == TOKEN
    assert followed["result"]["body"] == "there"
    assert stopped["reason"] == "HttpStatus"


async def test_a_redirect_of_a_post_is_a_get_within_one_origin() -> None:
    header = {"name": "X-Key", "secretRef": {"name": "api", "key": "token"}}
    async with serving(reply(303, Location="/done"), reply(body="done")) as service:
        await make_call({"url": service.url, "body": {"text": "hi"}, "headers": [header], "redirects": 1})

    first, second = service.requests
    assert (second.method, second.target, second.body) == ("GET", "/done", b"")
    assert second.headers["x-key"] == TOKEN and "content-type" not in second.headers
    assert first.body == b"hi"


@pytest.mark.parametrize(
    ("rule", "completed"),
    [
        (EgressRule("127.0.0.1"), False),
        (EgressRule("127.0.0.1", networks=("127.0.0.0/8",)), True),
        (EgressRule("127.0.0.1", networks=("127.0.1.0/24",)), False),
    ],
)
async def test_a_rule_lets_its_networks_through(rule: EgressRule, completed: bool) -> None:
    async with serving(reply()) as service:
        end = await make_call({"url": service.url}, egress=Egress((rule,)))

    assert end["completed"] is completed


async def test_hosts_and_ports_that_no_rule_has_are_refused_by_name() -> None:
    egress = Egress((EgressRule("*.example.com", (443,)),), policies=("demo/strict",))
    async with serving(reply()) as service:
        end = await make_call({"url": service.url}, egress=egress)

    message = (
        f"AgentPolicy demo/strict allows no calls to 127.0.0.1:{service.port}; allowed: *.example.com:443"
    )
    assert end == failed("PolicyViolation", message)
    assert service.connections == 0


async def test_a_proxy_is_used_only_where_it_is_asked_for() -> None:
    async with serving(reply(body="by proxy")) as proxy:
        environment = {"HTTP_PROXY": proxy.url}
        spec = {"url": "http://nowhere.invalid/x"}
        direct = await make_call(spec, environment=environment)
        by_proxy = await make_call({**spec, "proxy": "Environment"}, environment=environment)
        literal = await make_call(
            {"url": "http://10.0.0.1/", "proxy": "Environment"}, environment=environment, egress=PUBLIC_ONLY
        )

    assert direct["reason"] == "HttpUnreachable"
    assert by_proxy["result"]["body"] == "by proxy"
    assert proxy.requests[0].target == "http://nowhere.invalid/x"
    assert literal["reason"] == "HttpRefusedAddress" and proxy.connections == 1


@pytest.mark.parametrize(
    ("host", "port", "refused"),
    [
        ("api.example.com", 443, False),
        ("API.Example.COM.", 443, False),
        ("api.example.com", 80, True),
        ("example.com", 443, True),
        ("api.example.com.evil.test", 443, True),
    ],
)
def test_hosts_are_compared_with_patterns(host: str, port: int, refused: bool) -> None:
    egress = Egress((EgressRule("*.example.com", (443,)),))

    assert (egress.find_host_refusal(host, port) is not None) is refused


def test_rules_travel_as_json() -> None:
    rule = EgressRule("*.svc", (80, 443), ("10.0.0.0/8",))
    for egress in (LOCAL, Egress(), Egress((), policies=("a/b",)), Egress((rule,), ("::1/128",), ("a/b",))):
        assert Egress.parse(egress.dump()) == egress


def _resolve(monkeypatch: pytest.MonkeyPatch, known: Mapping[str, Sequence[str]]) -> None:
    """Let names have addresses, one after the other; the last one stays."""
    real, left = socket.getaddrinfo, {name: list(addresses) for name, addresses in known.items()}

    def resolve(host: Any, port: Any, *more: Any, **others: Any) -> Any:
        if host in left:
            addresses = left[host]
            host = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return real(host, port, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
