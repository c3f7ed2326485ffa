"""The address of an Agent at the gateway, as it stands in `status.address` (Knative's duck type Addressable)."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from heed.core.effects import AgentRef
from heed.errors import InvalidSettings
from heed.settings import GatewaySettings

SCHEMES = ("http", "https")


def agent_address(settings: GatewaySettings, agent: AgentRef) -> Mapping[str, str] | None:
    """URL and audience, as far as the gateway's are known."""
    if settings.url is None:
        return None
    url = f"{settings.url.rstrip('/')}/v1/agents/{agent.namespace}/{agent.name}"
    return {"url": url} | ({"audience": settings.audience} if settings.audience else {})


def check_gateway_url(settings: GatewaySettings) -> None:
    """Raise InvalidSettings where the gateway's URL is none that addresses could be made of."""
    if settings.url is None:
        return
    try:
        parts = urlsplit(settings.url)
        usable = (
            parts.scheme in SCHEMES
            and parts.hostname
            and not (parts.query or parts.fragment or parts.username)
        )
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSettings(f"HEED_GATEWAY_URL={settings.url}: write https://host, or http://host:port")
