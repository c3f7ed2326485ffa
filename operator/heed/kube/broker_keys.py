"""The keys of the embedded broker, in a Secret that the first replica fills once.

This has to happen before anybody is elected, since a replica without a broker stands by for nothing; two replicas that
fill it at once are told apart by the API server (compare-and-swap). What is in it is never changed by Heed again, only
credentials that an earlier release did not know are added: empty it and restart broker and operator for new keys.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping
from typing import Any, Final

from heed.bus.auth import accounts
from heed.errors import InvalidSettings
from heed.kube.client.client import CORE_API, ApiError, KubeApi
from heed.kube.leader.election import own_namespace
from heed.kube.probes import ProbeState
from heed.settings import Settings
from heed.util.clock import unix_time

log = logging.getLogger("heed.broker")
RETRY_DELAY_S: Final = 2.0
REMEDIES: Final = {
    403: "let Heed's service account get and patch it",
    404: "create it, empty; the chart does",
}


async def ensure_broker_keys(
    api: KubeApi, settings: Settings, health: ProbeState
) -> Mapping[str, str] | None:
    """The content of the configured Secret by file name, filled with new keys if it was empty.

    Waits for as long as the Secret cannot be read. None where no Secret is named. Raises InvalidSettings.
    """
    if settings.nats_keys_secret is None:
        return None
    namespace = settings.lease_namespace or own_namespace() or settings.namespace or "default"
    path = f"{CORE_API}/namespaces/{namespace}/secrets/{settings.nats_keys_secret}"
    secret = f"{namespace}/{settings.nats_keys_secret}"
    while True:
        try:
            keys = await _read_or_fill(api, path)
        except ApiError as error:
            if error.status == 409:
                continue  # somebody else has filled it
            reason = f"{error}; {REMEDIES.get(error.status, 'trying again')}"
            wrong = f"no keys for the broker in Secret {secret}: {reason}"
            if wrong != health.keyless:
                log.warning("no keys for the broker yet", extra={"secret": secret, "error": reason})
            health.keyless = wrong
            await asyncio.sleep(RETRY_DELAY_S)
        else:
            health.keyless = None
            return keys


async def _read_or_fill(api: KubeApi, path: str) -> Mapping[str, str]:
    """Raises ApiError, also (409) where someone else was quicker; InvalidSettings."""
    secret = (await api.get(path)).body
    found, now = _content(secret), int(unix_time())
    new = accounts.add_later_files(found, now) if found else accounts.make_broker_keys(now)
    if not new:
        return found
    data = {name: base64.b64encode(value.encode()).decode() for name, value in new.items()}
    version = secret["metadata"]["resourceVersion"]
    await api.merge(path, {"metadata": {"resourceVersion": version}, "data": data})
    message = "credentials added to the keys for the broker" if found else "keys for the broker made"
    log.info(message, extra={"secret": path.rpartition("/")[2]})
    return {**found, **new}


def _content(secret: Mapping[str, Any]) -> Mapping[str, str]:
    """What the Secret holds; nothing where it is empty. Raises InvalidSettings where it is neither of both."""
    data: Mapping[str, str] = {name: text for name, text in (secret.get("data") or {}).items() if text}
    if not data:
        return {}
    name = secret["metadata"]["name"]
    wanted = [key for key in accounts.KEY_FILES if key in data or key not in accounts.LATER_FILES]
    if missing := [key for key in wanted if key not in data]:
        raise InvalidSettings(
            f"Secret {name} holds something, but not {', '.join(missing)}; empty it for new keys, "
            "or fill it with what `heed broker-keys` prints"
        )
    try:
        return {key: base64.b64decode(data[key], validate=True).decode() for key in wanted}
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidSettings(f"Secret {name} cannot be read: {error}; empty it for new keys") from None
