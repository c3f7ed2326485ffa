"""The HTTP proxy for a URL, by the environment as Go programs read it: a NO_PROXY that suits kubectl suits Heed.

Python knows no networks there (`10.96.0.0/12`), and goes to loopback addresses by proxy. The rules are those of
golang.org/x/net/http/httpproxy: names are compared and never resolved, and https wants HTTPS_PROXY.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from heed.errors import InvalidSettings

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST_AND_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([^:]*)):(\d*)")
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy's URL; None to connect directly. Raises InvalidSettings for a proxy that cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        return None
    variable = f"{parts.scheme.upper()}_PROXY"
    if variable == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        return None  # in a CGI program, it is a client's header
    proxy = _variable(environment, variable)
    if not proxy or _is_direct(parts, _variable(environment, "NO_PROXY")):
        return None
    return _checked(proxy, variable)


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def _checked(proxy: str, variable: str) -> str:
    url = proxy if "://" in proxy else f"http://{proxy}"
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidSettings(
            f"{variable}: {parts.scheme}:// is not supported; give an http:// or https:// proxy"
        )
    if not parts.hostname:
        raise InvalidSettings(f"{variable} names no host; write http://proxy:3128")
    return url


def _is_direct(parts: SplitResult, exceptions: str) -> bool:
    host = (parts.hostname or "").lower()
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    ip = _ip(host)
    if host == "localhost" or (ip is not None and ip.is_loopback):
        return True
    return any(_matches(item.strip().lower(), host, ip, port) for item in exceptions.split(","))


def _matches(exception: str, host: str, ip: _Ip | None, port: int) -> bool:
    """Whether an item of NO_PROXY is met: `*`, a network, or an address or a domain with or without port."""
    if exception in ("", "*"):
        return exception == "*"
    if (network := _network(exception)) is not None:
        return ip is not None and ip in network
    split = _HOST_AND_PORT.fullmatch(exception)
    name, only = (split[1] or split[2], split[3]) if split else (exception, "")
    if not name or only not in ("", str(port)):
        return False
    if (address := _ip(name)) is not None:
        return address == ip
    domain = name.removeprefix("*")
    return host.endswith(domain) if domain.startswith(".") else host == domain or host.endswith(f".{domain}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _ip(text: str) -> _Ip | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
