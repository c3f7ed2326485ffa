"""Proxies by the environment, as Go programs read it."""

import pytest

from heed.errors import InvalidSettings
from heed.util.http_proxy import proxy_for

PROXIES = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


# What golang.org/x/net/http/httpproxy v0.47.0 says of the same.
@pytest.mark.parametrize(
    ("no_proxy", "url", "proxy"),
    [
        ("10.96.0.0/12", "https://10.96.0.1", None),
        ("10.96.0.0/12", "https://10.112.0.1", "http://secure:2"),
        ("10.96.0.0/12", "http://10.96.0.1:8080", None),
        ("fd00::/8", "https://[fd00::1]:6443", None),
        ("fd00::/8", "https://[fe00::1]", "http://secure:2"),
        ("10.96.0.1", "https://10.96.0.1:6443", None),
        ("10.96.0.1:443", "https://10.96.0.1", None),
        ("10.96.0.1:443", "https://10.96.0.1:6443", "http://secure:2"),
        ("[fd00::1]:443", "https://[fd00::1]", None),
        ("fd00::1", "https://[fd00::1]", None),
        ("", "https://127.0.0.1:6443", None),
        ("", "https://localhost:6443", None),
        ("", "https://[::1]:6443", None),
        ("", "https://127.8.9.1", None),
        ("", "http://kubernetes.default.svc", "http://plain:1"),
        ("", "https://kubernetes.default.svc", "http://secure:2"),
        ("svc", "https://kubernetes.default.svc", None),
        (".svc", "https://kubernetes.default.svc", None),
        ("*.svc", "https://kubernetes.default.svc", None),
        ("*.svc", "https://svc", "http://secure:2"),
        (".svc", "https://svc", "http://secure:2"),
        ("svc", "https://svc", None),
        ("svc", "https://othersvc", "http://secure:2"),
        ("default.svc:443", "https://kubernetes.default.svc", None),
        ("default.svc:444", "https://kubernetes.default.svc", "http://secure:2"),
        (" a.example , KUBERNETES.default.SVC ", "https://kubernetes.default.svc", None),
        ("*", "https://kubernetes.default.svc", None),
        ("a,*,b", "https://10.0.0.1", None),
        ("10.0.0.0/8", "https://ten.example", "http://secure:2"),
        ("10.0.0", "https://10.0.0.1", "http://secure:2"),
        ("10.0.0.0/40", "https://10.0.0.1", "http://secure:2"),
        (":443", "https://10.0.0.1", "http://secure:2"),
        ("", "ws://broker", None),
        ("", "nats://broker", None),
        ("::ffff:10.0.0.1", "https://10.0.0.1", None),
        ("10.0.0.0/8", "https://[::ffff:10.0.0.1]", None),
        ("svc.", "https://a.svc", "http://secure:2"),
        ("svc", "https://a.svc.", "http://secure:2"),
        ("[fd00::1]", "https://[fd00::1]", "http://secure:2"),
        ("host:", "https://host", None),
        ("http://host", "https://host", "http://secure:2"),
    ],
)
def test_exceptions_are_those_of_go_programs(no_proxy: str, url: str, proxy: str | None) -> None:
    assert proxy_for(url, {**PROXIES, "NO_PROXY": no_proxy}) == proxy


def test_capital_letters_come_first_and_empty_is_unset() -> None:
    assert proxy_for("https://a", {"https_proxy": "http://b:1"}) == "http://b:1"
    assert proxy_for("https://a", {"HTTPS_PROXY": "http://c:1", "https_proxy": "http://b:1"}) == "http://c:1"
    assert proxy_for("https://a", {"HTTPS_PROXY": "", "https_proxy": "http://b:1"}) == "http://b:1"
    assert proxy_for("https://a", {**PROXIES, "no_proxy": "a"}) is None
    assert proxy_for("https://a", {}) is None


def test_every_scheme_has_a_variable_of_its_own() -> None:
    assert proxy_for("https://a", {"HTTP_PROXY": "http://b:1"}) is None
    assert proxy_for("http://a", {"HTTP_PROXY": "http://b:1", "REQUEST_METHOD": "GET"}) is None


def test_a_proxy_without_a_scheme_is_http() -> None:
    assert proxy_for("https://a", {"HTTPS_PROXY": "b:3128"}) == "http://b:3128"


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        (
            "socks5://user:secret@b",
            r"HTTPS_PROXY: socks5:// is not supported; give an http:// or https:// proxy",
        ),
        ("http://", "HTTPS_PROXY names no host; write http://proxy:3128"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_an_error_without_secrets(proxy: str, message: str) -> None:
    with pytest.raises(InvalidSettings, match=message) as raised:
        proxy_for("https://a", {"HTTPS_PROXY": proxy})
    assert "secret" not in str(raised.value)
