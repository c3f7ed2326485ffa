"""A Subscription says which events go where; sinks that no event may go to are refused before any does."""

from typing import Any

import pytest

from heed.core.policy.addresses import LOOPBACK, find_refusal, parse_networks
from heed.core.subscriptions.program import SubscriptionProgram, compile_subscription
from heed.errors import DecisionFailed, InvalidManifest
from tests.builders.gateway import make_subscription


def subscribed(**spec: Any) -> SubscriptionProgram:
    return compile_subscription(make_subscription(**spec))


def mistakes(**spec: Any) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        subscribed(**spec)
    return [str(problem) for problem in caught.value.problems]


def placed(**data: Any) -> dict[str, Any]:
    return {"type": "com.example.order.placed", "data": data}


def test_it_reads_its_own_namespace_and_what_is_sent_to_it_again() -> None:
    found = subscribed(types=["com.example.order.*", "com.example.>"], namespace="shop")

    assert found.subjects == (
        "heed.events.shop.com.example.order.*",
        "heed.events.shop.com.example.>",
        "heed.redrive.shop.subscription:orders.>",
    )


def test_types_are_patterns() -> None:
    found = subscribed(types=["com.example.order.*", "a.b"])

    assert [
        found.wants(type_) for type_ in ("com.example.order.placed", "a.b", "a.b.c", "com.example.x")
    ] == [
        True,
        True,
        False,
        False,
    ]


def test_without_a_condition_every_event_passes() -> None:
    assert subscribed().passes(placed())


def test_a_condition_looks_at_the_event() -> None:
    found = subscribed(where="event.data.total > 10")

    assert found.passes(placed(total=11))
    assert not found.passes(placed(total=10))


def test_a_condition_that_fails_is_not_taken_for_false() -> None:
    with pytest.raises(DecisionFailed, match=r'spec\.where: there is no "total"') as caught:
        subscribed(where="event.data.total > 10").passes(placed())

    assert caught.value.code == "ExpressionFailed"


def test_an_event_on_which_a_condition_may_cost_too_much_is_not_looked_at() -> None:
    found = subscribed(where="event.data.items.exists(x, x == 'a')")

    with pytest.raises(DecisionFailed) as caught:
        found.passes(placed(items=["b"] * 200_000))

    assert caught.value.code == "TooCostly"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"where": "evnt.id == 'a'"},
            'spec.where: unknown variable or function "evnt"; did you mean "event"?',
        ),
        ({"where": "state.total > 10"}, 'spec.where: unknown variable or function "state"'),
        (
            {"where": "event.a.all(x, event.b.all(y, event.c.all(z, x == y)))"},
            "spec.where: may cost too much",
        ),
        ({"delivery": {"timeout": "0s"}}, "spec.delivery.timeout: is 0s; give a sink from 1s to 10m"),
        ({"delivery": {"timeout": "601s"}}, "spec.delivery.timeout: is 601s; give a sink from 1s to 10m"),
        ({"url": "http://127.0.0.1:8080/"}, "spec.sink.url: 127.0.0.1 is a loopback address"),
        ({"url": "http://[::1]/"}, "spec.sink.url: ::1 is a loopback address"),
        ({"url": "http://LOCALHOST./"}, "spec.sink.url: 127.0.0.1 is a loopback address"),
        ({"url": "http://169.254.169.254/latest"}, "spec.sink.url: 169.254.169.254 is a link-local address"),
        ({"url": "http://sink:0/"}, "spec.sink.url: names no host and port"),
        ({"url": "http://sink:65536/"}, "spec.sink.url: names no host and port"),
        ({"url": "http://sink:/"}, "spec.sink.url: names no host and port"),
        ({"url": "http://2130706433/"}, "spec.sink.url: 2130706433 is no IP address"),
    ],
)
def test_mistakes_are_named_with_their_field(spec: dict[str, Any], problem: str) -> None:
    (found,) = mistakes(**spec)

    assert found.startswith(problem)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://169.254.169.254/"])
def test_a_sink_that_no_event_may_go_to_has_a_remedy(url: str) -> None:
    (found,) = mistakes(url=url)

    assert found.endswith("; name a service, or an address of a network")


@pytest.mark.parametrize("url", ["http://sink", "https://sink.shop.svc:65535/a?b=c", "http://10.0.0.1:1/"])
def test_sinks_of_a_cluster_are_let_through(url: str) -> None:
    assert subscribed(url=url).spec.sink.url == url


@pytest.mark.parametrize("name", ["Host", "content-type", "Content-Length", "ce-id", "CE-Whatever"])
def test_headers_that_the_binding_writes_are_taken(name: str) -> None:
    sink = {"url": "http://sink", "headers": [{"name": "X-Team", "value": "a"}, {"name": name, "value": "x"}]}

    assert mistakes(sink=sink) == [f"spec.sink.headers[1].name: {name} is taken; choose another header"]


def test_where_the_gateway_lets_a_network_through_its_sinks_are() -> None:
    item = make_subscription(url="http://127.0.0.1:8080/")

    assert compile_subscription(item, LOOPBACK).name == "orders"
    with pytest.raises(InvalidManifest):
        compile_subscription(make_subscription(url="http://169.254.169.254/"), LOOPBACK)


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("0.0.0.0", "of this machine"),
        ("0.1.2.3", "of this machine"),
        ("::", "of this machine"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::a9fe:a9fe", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "many machines"),
        ("ff02::1", "many machines"),
        ("255.255.255.255", "many machines"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "metadata"),
        ("::ffff:168.63.129.16", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fd00:c1::a9fe:a9fe", "metadata"),
        ("fd00:42::42", "metadata"),
        ("fd00:a9fe:a9fe::1", "metadata"),
        ("fd00:100::100:200", "metadata"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("64:ff9b:1:a9fe:a9:fe00::", "link-local"),
        ("2001:0:7f00:1::", "loopback"),
        ("2001:0:808:808:0:0:5601:5601", "link-local"),  # of Teredo, which turns the bits of the client's
        ("sink", "no IP address"),
    ],
)
def test_addresses_of_this_machine_and_of_metadata_are_refused(address: str, reason: str) -> None:
    found = find_refusal(address)

    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "192.168.1.1", "172.16.0.1", "100.100.100.201", "fd00::1", "8.8.8.8", "2001:db8::1"),
        *("64:ff9b::808:808", "64:ff9b:1:808:8:800::", "64:ff9b:1::808:808", "2001:0:808:808:0:0:f7f7:f7f7"),
    ],
)
def test_others_are_not(address: str) -> None:
    assert find_refusal(address) is None


def test_networks_can_be_let_through_and_then_also_what_stands_for_their_addresses() -> None:
    allowed = parse_networks("127.0.0.0/8, ::1/128,")

    assert find_refusal("127.0.0.1", allowed) is None
    assert find_refusal("::1", allowed) is None
    assert find_refusal("169.254.169.254", allowed) is not None
    with pytest.raises(ValueError, match="somewhere"):
        parse_networks("somewhere")


def test_a_sink_that_is_no_url_says_what_one_is() -> None:
    assert mistakes(sink={"url": "ftp://ledger.shop.svc/events"}) == [
        "spec.sink.url: 'ftp://ledger.shop.svc/events' does not fit; write a URL of http:// or https://, such as "
        "https://orders.example.com/events"
    ]
