"""Asks a gateway for an approval link, as a service account: the key of links never leaves the gateway."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from heed.cli.approval.options import PlaceChoice
from heed.cli.approval.places import ApprovalPlace, ClusterApprovals
from heed.cli.approval.waiting import WaitingApproval
from heed.cli.output import BadInput, CliError

if TYPE_CHECKING:
    from heed.kube.client.client import KubeApi

DEV_GATEWAY: Final = "http://127.0.0.1:8090"
DEFAULT_AUDIENCE: Final = "heed"
TOKEN_LIFETIME_S: Final = 600  # the least that the API server makes
REQUEST_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class LinkWish:
    """A link as somebody asks for it: `whom` it is for, how long it is good, and as which account to ask where."""

    whom: str
    valid: str
    gateway: str | None = None
    service_account: str | None = None
    token_file: Path | None = None


def ask_for_link(place: PlaceChoice, task: str, namespace: str | None, wish: LinkWish) -> dict[str, Any]:
    """What the gateway says of the link that it made. Raises CliError."""
    where = place.find_namespace(namespace)
    in_dev = place.find_dev() is not None
    if in_dev and (wish.service_account or wish.token_file):
        raise BadInput(
            "--service-account and --token-file are for a cluster; `heed dev` asks nobody who they are"
        )
    if not in_dev and (wish.service_account is None) == (wish.token_file is None):
        raise BadInput(
            "as whom? Say --service-account NAME, which the API server makes a token for, or --token-file"
        )

    if in_dev:

        async def ask_dev(there: ApprovalPlace) -> dict[str, Any]:
            waiting = (await there.find(where)).choose(task)
            return await _post(wish.gateway or DEV_GATEWAY, waiting, wish, None)

        return place.run(ask_dev)

    async def ask(api: "KubeApi") -> dict[str, Any]:
        waiting = (await ClusterApprovals(api).find(where)).choose(task)
        address = await _address(api, waiting)
        gateway = wish.gateway or _gateway_of(address, waiting)
        audience = str(address.get("audience") or DEFAULT_AUDIENCE)
        return await _post(gateway, waiting, wish, await _token(api, waiting, wish, audience))

    return place.cluster.run(ask)


async def _address(api: "KubeApi", waiting: WaitingApproval) -> Mapping[str, Any]:
    """The Agent's address at the gateway, as its status has it; empty where there is none."""
    from heed.kube.client.client import agent_path

    body = (await api.get(agent_path(waiting.agent.namespace, waiting.agent.name))).body
    return (body.get("status") or {}).get("address") or {}


def _gateway_of(address: Mapping[str, Any], waiting: WaitingApproval) -> str:
    url, tail = str(address.get("url") or ""), f"/v1/agents/{waiting.agent.namespace}/{waiting.agent.name}"
    if not url.endswith(tail):
        raise CliError(
            f"the status of {waiting.agent} names no gateway; say --gateway URL, or set gateway.enabled=true"
        )
    return url.removesuffix(tail)


async def _token(api: "KubeApi", waiting: WaitingApproval, wish: LinkWish, audience: str) -> str:
    from heed.kube.client.client import CORE_API

    if wish.token_file is not None:
        return wish.token_file.read_text().strip()
    account = quote(wish.service_account or "", safe="")
    path = f"{CORE_API}/namespaces/{waiting.agent.namespace}/serviceaccounts/{account}/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": TOKEN_LIFETIME_S},
    }
    return str((await api.create(path, request)).body["status"]["token"])


async def _post(gateway: str, waiting: WaitingApproval, wish: LinkWish, token: str | None) -> dict[str, Any]:
    import aiohttp

    from heed.util.http_proxy import proxy_for

    agent = waiting.agent
    url = (
        f"{gateway.rstrip('/')}/v1/approvals/{agent.namespace}/{agent.name}/{waiting.approval.task_id}/links"
    )
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = {"for": wish.whom, "valid": wish.valid}
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
            http.post(
                url, json=body, headers=headers, proxy=proxy_for(url, os.environ), allow_redirects=False
            ) as response,
        ):
            said = await _read(response)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        remedy = (
            "start `heed dev` with --gateway 127.0.0.1:8090, or say --gateway URL"
            if token is None
            else ("say --gateway URL where it is reached from here")
        )
        raise CliError(
            f"no gateway answers at {gateway}: {error or type(error).__name__}; {remedy}"
        ) from None
    if response.status != 201:
        raise CliError(f"no link: {said.get('detail') or f'the gateway answered {response.status}'}")
    return said


async def _read(response: Any) -> dict[str, Any]:
    """The JSON of an answer; nothing where something else answers than a gateway."""
    try:
        said = await response.json(content_type=None)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
