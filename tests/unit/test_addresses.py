"""Addresses of brokers: decoded as Go's client does it, and never shown with their secrets."""

import pytest

from heed.bus.client.addresses import Login, find_login, parse_addresses, public_url
from heed.errors import InvalidSettings


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("nats://heed:a%2Fb@host:4222", Login(user="heed", password="a/b")),
        ("nats://he%40ed:p%3Aq%25@host", Login(user="he@ed", password="p:q%")),
        ("nats://heed:a:b@host", Login(user="heed", password="a:b")),
        ("nats://heed:a@b@host", Login(user="heed", password="a@b")),
        ("nats://heed:a+b%2Bc@host", Login(user="heed", password="a+b+c")),
        ("nats://heed:%C3%A9@host", Login(user="heed", password="é")),
        ("nats://heed:%252F@host", Login(user="heed", password="%2F")),
        ("nats://heed:@host", Login(user="heed", password="")),
        ("tls://t%2Fk@host", Login(token="t/k")),
        ("heed:x@host", Login(user="heed", password="x")),
        ("nats://host", None),
    ],
)
def test_user_password_and_token_are_percent_decoded_once(url: str, login: Login | None) -> None:
    (address,) = parse_addresses(url)
    assert address.login == login
    assert address.url in ("nats://host:4222", "nats://host", "tls://host")


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        ("nats://user:se%2Fcret@host:4222", "nats://host:4222"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("wss://token@host/path", "wss://host/path"),
        ("NATS://a:b@one/, tls://a:b@two:4443", "nats://one,tls://two:4443"),
    ],
)
def test_urls_are_shown_without_secrets(urls: str, shown: str) -> None:
    assert public_url(urls) == shown


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (
            "nats://heed:se/cret@host",
            r"address 1: a raw /, \? or # stands before the @; .*percent-encode it \(/ as %2F",
        ),
        ("nats://one,nats://heed:se?cret@host", "address 2: a raw /"),
        ("nats://heed:secret%zz@host", "begins no percent-encoded UTF-8.*% as %25"),
        ("nats://heed:secret%ff@host", "begins no percent-encoded UTF-8"),
        ("nats://heed:sec,ret@host", "address 1: there is no host, or its port is no number.*a comma as %2C"),
        ("nats://", "there is no host"),
        ("", "there is no host"),
        ("nats://host:0", "port is no number"),
        ("nats://[::1", "there is no host"),
        ("http://heed:secret@host", "http:// is not spoken by a NATS server; write nats://"),
    ],
)
def test_what_is_no_address_is_an_error_that_shows_no_secret(urls: str, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said) as raised:
        parse_addresses(urls)
    assert "HEED_NATS_URL" in str(raised.value)
    assert "sec" not in str(raised.value)


def test_addresses_name_one_user() -> None:
    assert find_login(parse_addresses("nats://a:b@one,nats://two,nats://a:b@three")) == Login("a", "b")
    with pytest.raises(InvalidSettings, match="names several users") as raised:
        find_login(parse_addresses("nats://a:secret@one,nats://c:secret@two"))
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(parse_addresses("nats://a:secret@one"))


BAD_HOST = (
    "there is no host, or its port is no number; write nats://host:4222. Where a comma, / or @ is part of a password, "
    "percent-encode it (/ as %2F, @ as %40, a comma as %2C, % as %25), or give it in a setting of its own"
)


@pytest.mark.parametrize(
    ("url", "place", "said"),
    [
        ("nats://host:0", 1, BAD_HOST),
        ("nats://host:65536", 1, BAD_HOST),
        ("nats://host:http", 1, BAD_HOST),
        ("nats://host:-1", 1, BAD_HOST),
        ("nats://:4222", 1, BAD_HOST),
        ("one,", 2, BAD_HOST),
        (
            "one, two, HTTP://three",
            3,
            "http:// is not spoken by a NATS server; write nats://, tls://, ws:// or wss://",
        ),
        (
            "a/b@host",
            1,
            "a raw /, ? or # stands before the @; where it is part of a password, percent-encode it "
            "(/ as %2F, @ as %40, a comma as %2C, % as %25), or give it in a setting of its own",
        ),
        (
            "one,a%@host",
            2,
            "before the @ stands a % that begins no percent-encoded UTF-8; where it is meant, percent-encode it "
            "(/ as %2F, @ as %40, a comma as %2C, % as %25), or give it in a setting of its own",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(url: str, place: int, said: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        parse_addresses(url)
    assert str(raised.value) == f"HEED_NATS_URL, address {place}: {said}"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("host", "nats://host"),
        ("host:1", "nats://host:1"),
        ("host:65535", "nats://host:65535"),
        (" TLS://host:4222// ", "tls://host:4222"),
        ("ws://host/path/", "ws://host/path"),
        ("wss://a:b@[::1]:443", "wss://[::1]:443"),
    ],
)
def test_an_address_has_a_scheme_and_no_slash_at_its_end(given: str, url: str) -> None:
    [address] = parse_addresses(given)
    assert address.url == public_url(given) == url


@pytest.mark.parametrize(
    ("urls", "login"),
    [
        ("one,two", None),
        ("one,t@two", Login(token="t")),
        ("t@one,t@two,three", Login(token="t")),
        ("u:@one", Login(user="u", password="")),
    ],
)
def test_the_login_is_that_of_any_address(urls: str, login: Login | None) -> None:
    assert find_login(parse_addresses(urls)) == login
