"""Addresses that nothing is sent to: those of this machine, and those at which clouds hand out credentials.

Private networks are where the sinks of a cluster are, so the gateway is let through to them: which of them it may reach
is the business of a NetworkPolicy. Calls of Agents go to public addresses only, unless somebody allows more.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Metadata services that are not link-local.
METADATA_NETWORKS: Final[tuple[IpNetwork, ...]] = (
    ipaddress.ip_network("fd00:ec2::/32"),  # Amazon
    ipaddress.ip_network("fd20:ce::254/128"),  # Google
    ipaddress.ip_network("fd00:c1::a9fe:a9fe/128"),  # Oracle
    ipaddress.ip_network("192.0.0.192/32"),
    ipaddress.ip_network("fd00:42::42/128"),  # Scaleway
    ipaddress.ip_network("fd00:a9fe:a9fe::1/128"),  # Linode
    ipaddress.ip_network("100.100.100.200/32"),  # Alibaba
    ipaddress.ip_network("fd00:100::100:200/128"),
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's wire server
)
EVERYWHERE: Final[tuple[IpNetwork, ...]] = (
    ipaddress.ip_network("0.0.0.0/0"),
    ipaddress.ip_network("::/0"),
)
LOOPBACK: Final[tuple[IpNetwork, ...]] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)
# In their last 32 bits there is an IPv4 address: NAT64 (RFC 6052, 8215), translated (RFC 2765), compatible (RFC 4291).
V4_SUFFIX_NETWORKS: Final = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::ffff:0:0:0/96"),
    ipaddress.IPv6Network("::/96"),
)
LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")  # in which it may be in the middle, too
_V4_BITS: Final = 0xFFFFFFFF
_HALF_BITS: Final = 0xFFFF


def find_refusal(address: str, allowed: Sequence[IpNetwork] = (), *, public_only: bool = False) -> str | None:
    """Why nothing may be sent to an IP address, or None. `allowed` are networks that are let through all the same."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is no IP address"
    for each in _meant(ip):
        reason = _reason(each) or ("a private address" if public_only and not each.is_global else None)
        if reason is not None and not any(each in network for network in allowed):
            return f"{address} is {reason}"
    return None


def parse_networks(text: str) -> tuple[IpNetwork, ...]:
    """Networks in a list with commas. Raises ValueError that names the wrong one."""
    return tuple(ipaddress.ip_network(item.strip()) for item in text.split(",") if item.strip())


def _meant(ip: IpAddress) -> tuple[IpAddress, ...]:
    """An address, and the IPv4 addresses that it may stand for: mapped, of a tunnel, or behind a translator."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    number = int(ip)
    last = number & _V4_BITS
    if last > 1 and any(
        ip in network for network in V4_SUFFIX_NETWORKS
    ):  # "::" and "::1" are no IPv4 addresses
        inner.append(ipaddress.IPv4Address(last))
    # RFC 6052, section 2.2, of a prefix of 48 bits: around the bits 64 to 71.
    middle = (number >> 64 & _HALF_BITS) << 16 | number >> 40 & _HALF_BITS
    if middle and ip in LOCAL_NAT64:
        inner.append(ipaddress.IPv4Address(middle))
    return (ip, *(each for each in inner if each is not None))


def _reason(ip: IpAddress) -> str | None:
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_unspecified or (isinstance(ip, ipaddress.IPv4Address) and ip in _THIS_NETWORK):
        return "an address of this machine"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_multicast or (isinstance(ip, ipaddress.IPv4Address) and ip == _BROADCAST):
        return "an address of many machines"
    if any(ip in network for network in METADATA_NETWORKS):
        return "the address of a cloud's metadata service"
    return None


_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
