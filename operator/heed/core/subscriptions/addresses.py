"""Addresses that nothing is delivered to: those of this machine, and those at which clouds hand out credentials.

Private networks are where the sinks of a cluster are, so they are let through: which of them a gateway may reach is the
business of a NetworkPolicy.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Metadata services that are not link-local: Amazon's over IPv6, Alibaba's, Azure's wire server, Oracle's.
METADATA_NETWORKS: Final[tuple[IpNetwork, ...]] = (
    ipaddress.ip_network("fd00:ec2::/32"),
    ipaddress.ip_network("100.100.100.200/32"),
    ipaddress.ip_network("168.63.129.16/32"),
    ipaddress.ip_network("192.0.0.192/32"),
)
EVERYWHERE: Final[tuple[IpNetwork, ...]] = (
    ipaddress.ip_network("0.0.0.0/0"),
    ipaddress.ip_network("::/0"),
)
LOOPBACK: Final[tuple[IpNetwork, ...]] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)
NAT64_NETWORKS: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_V4_BITS: Final = 0xFFFFFFFF


def find_refusal(address: str, allowed: Sequence[IpNetwork] = ()) -> str | None:
    """Why nothing may be sent to an IP address, or None. `allowed` are networks that are let through all the same."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is no IP address"
    for each in _meant(ip):
        if (reason := _reason(each)) is not None and not any(each in network for network in allowed):
            return f"{address} is {reason}"
    return None


def parse_networks(text: str) -> tuple[IpNetwork, ...]:
    """Networks in a list with commas. Raises ValueError that names the wrong one."""
    return tuple(ipaddress.ip_network(item.strip()) for item in text.split(",") if item.strip())


def _meant(ip: IpAddress) -> tuple[IpAddress, ...]:
    """An address, and the IPv4 address that it stands for: mapped, of 6to4, or behind NAT64."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    inner = [ip.ipv4_mapped, ip.sixtofour]
    if any(ip in network for network in NAT64_NETWORKS):
        inner.append(ipaddress.IPv4Address(int(ip) & _V4_BITS))
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
