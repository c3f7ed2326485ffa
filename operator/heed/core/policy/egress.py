"""Where calls of an Agent may go: the hosts and ports that policies allow, and the addresses that these may have.

Plain data that travels with each call to the worker, which holds every connection to it: names before they are
resolved, addresses at the socket.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heed.core.policy.addresses import IpNetwork, find_refusal
from heed.core.policy.pod_rules import glob_matches

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<literal>[^\]]+)\]|(?P<name>[^\[\]:/?#@\s\\]+))(?::(?P<port>[0-9]{1,5}))?(?=[/?#]|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class EgressRule:
    """Hosts by a pattern, ports (none: all), and networks that are not public and allowed for these hosts."""

    host: str
    ports: tuple[int, ...] = ()
    networks: tuple[str, ...] = ()

    def covers(self, host: str, port: int) -> bool:
        """Whether a host and a port are among them."""
        return glob_matches(self.host, host) and (not self.ports or port in self.ports)

    def __str__(self) -> str:
        return f"{self.host}:{','.join(map(str, self.ports))}" if self.ports else self.host


@dataclass(frozen=True, slots=True)
class Egress:
    """What calls may reach. Without `rules` any host; `networks` are allowed beside public addresses, for all hosts.

    `policies` are those that say so.
    """

    rules: tuple[EgressRule, ...] | None = None
    networks: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()

    def find_host_refusal(self, host: str, port: int) -> str | None:
        """Why nothing may be sent to a host, by its name as it is written, or None."""
        host = normalize_host(host)
        if self.rules is None or any(rule.covers(host, port) for rule in self.rules):
            return None
        named = ", ".join(self.policies)
        allowed = ", ".join(map(str, self.rules)) or "nothing"
        return f"AgentPolicy {named} allows no calls to {host}:{port}; allowed: {allowed}"

    def find_address_refusal(self, address: str, host: str, port: int) -> str | None:
        """Why nothing may be sent to an address that a host has, or None."""
        return find_refusal(address, self._networks(host, port), public_only=True)

    def _networks(self, host: str, port: int) -> list[IpNetwork]:
        host = normalize_host(host)
        given = [rule.networks for rule in self.rules or () if rule.covers(host, port)]
        return [
            ipaddress.ip_network(item, strict=False)
            for item in (*self.networks, *(each for networks in given for each in networks))
        ]

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        rules = None
        if self.rules is not None:
            rules = [
                {"host": item.host, "ports": list(item.ports), "networks": list(item.networks)}
                for item in self.rules
            ]
        return {"rules": rules, "networks": list(self.networks), "policies": list(self.policies)}

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Egress":
        """From JSON. Raises KeyError, TypeError or ValueError for what `dump` has not made."""
        rules: Sequence[Mapping[str, Any]] | None = given["rules"]
        parsed = None
        if rules is not None:
            parsed = tuple(
                EgressRule(str(item["host"]), tuple(map(int, item["ports"])), tuple(item["networks"]))
                for item in rules
            )
        found = cls(parsed, tuple(given["networks"]), tuple(given["policies"]))
        for network in (*found.networks, *(each for rule in parsed or () for each in rule.networks)):
            ipaddress.ip_network(network, strict=False)
        return found


def normalize_host(host: str) -> str:
    """A host's name as patterns are compared with it: in small letters, without the dot of the root."""
    return host.rstrip(".").lower()


def parse_authority(url: Any) -> tuple[str, int] | None:
    """Host and port of an http:// or https:// URL; None for what is none, or is known to an event only."""
    found = _URL.match(url) if isinstance(url, str) else None
    if found is None:
        return None
    host = found["literal"] or found["name"]
    port = int(found["port"] or (443 if found["scheme"].lower() == "https" else 80))
    return normalize_host(host), port
