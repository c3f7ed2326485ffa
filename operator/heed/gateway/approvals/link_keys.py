"""Keys of approval links: from a Secret that the gateway fills once, from a folder of files, or for one process.

The entry `key` signs, and all entries are believed: so a key can be replaced while its links stay good.
"""

import asyncio
import base64
import binascii
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from heed.errors import HeedError, InvalidSettings
from heed.gateway.approvals.links import LinkKeys
from heed.gateway.refusals import busy
from heed.kube.client.client import CORE_API, KubeApi

log = logging.getLogger("heed.gateway")
SIGNING_ENTRY: Final = "key"
MIN_KEY_BYTES: Final = 32
MAX_KEYS: Final = 4
LOOK_INTERVAL_S: Final = 10.0  # between two looks at the keys
ReadKeys = Callable[[], Awaitable[LinkKeys]]  # raises ApiError, InvalidSettings


class LinkKeyring:
    """The keys as they were last read; `keep` follows their changes."""

    def __init__(self, read: ReadKeys) -> None:
        self._read = read
        self._keys: LinkKeys | None = None
        self._problem = "they were not read yet"

    def __call__(self) -> LinkKeys:
        """The keys. Raises RequestRefused, 503, while there are none."""
        if self._keys is None:
            raise busy(503, "NoLinkKeys", "there are no keys for links yet; try again in a moment")
        return self._keys

    def missing(self) -> str | None:
        """Why there are no keys, or None."""
        return f"no keys of approval links: {self._problem}" if self._keys is None else None

    async def load(self) -> None:
        """Read them; what cannot be used leaves those that there are."""
        try:
            found = await self._read()
        except HeedError as error:
            if str(error) != self._problem:
                log.warning("cannot use the keys of approval links", extra={"error": str(error)})
            self._problem = str(error)
            return
        if found != self._keys:
            log.info("keys of approval links read", extra={"keys": len(found.believed)})
        self._keys, self._problem = found, ""

    async def keep(self) -> None:
        """Read them again for ever."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await self.load()


class FolderKeys:
    """Keys in the files of a folder, such as a mounted Secret."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self) -> LinkKeys:
        """The keys now. Raises InvalidSettings."""
        where = f"HEED_GATEWAY_LINK_KEYS={self._folder}"
        try:
            # Kubernetes keeps the versions of a mounted Secret in files that begin with a dot.
            files = [path for path in self._folder.iterdir() if path.name[0] != "." and path.is_file()]
            found = {path.name: path.read_bytes().strip() for path in files}
        except OSError as error:
            remedy = f"give a folder with a file `{SIGNING_ENTRY}`"
            raise InvalidSettings(f"{where}: cannot be read: {error.strerror}; {remedy}") from None
        return check_keys(where, found)


class SecretKeys:
    """Keys in a Secret, which the first gateway fills where it is empty; the API server lets only one do so."""

    def __init__(self, api: KubeApi, namespace: str, name: str) -> None:
        self._api, self._secret = api, f"{namespace}/{name}"
        self._path = f"{CORE_API}/namespaces/{namespace}/secrets/{name}"

    async def __call__(self) -> LinkKeys:
        """The keys now. Raises ApiError, also (409) where another gateway fills it, and InvalidSettings."""
        body = (await self._api.get(self._path)).body
        found = self._decode(body.get("data") or {})
        if SIGNING_ENTRY not in found:
            found[SIGNING_ENTRY] = key = secrets.token_hex(MIN_KEY_BYTES).encode()
            version = {"resourceVersion": body["metadata"]["resourceVersion"]}
            data = {SIGNING_ENTRY: base64.b64encode(key).decode()}
            await self._api.merge(self._path, {"metadata": version, "data": data})
            log.info("key of approval links made", extra={"secret": self._secret})
        return check_keys(f"Secret {self._secret}", found)

    def _decode(self, data: Mapping[str, str]) -> dict[str, bytes]:
        try:
            return {name: base64.b64decode(text).strip() for name, text in data.items() if text}
        except (binascii.Error, ValueError):
            raise InvalidSettings(f"Secret {self._secret}: data are no base64; empty it") from None


async def load_soon(keyring: LinkKeyring) -> None:
    """Read keys at a start, again at once where another gateway was quicker to fill the Secret."""
    await keyring.load()
    if keyring.missing() is not None:
        await keyring.load()


def check_keys(where: str, found: Mapping[str, bytes]) -> LinkKeys:
    """The keys in entries by name. Raises InvalidSettings."""
    if SIGNING_ENTRY not in found:
        remedy = "`openssl rand -hex 32` makes what is in it"
        raise InvalidSettings(f"{where}: has no `{SIGNING_ENTRY}`; {remedy}")
    if len(found) > MAX_KEYS:
        raise InvalidSettings(
            f"{where}: has more than {MAX_KEYS} keys; take out those whose links have expired"
        )
    short = [name for name, key in found.items() if len(key) < MIN_KEY_BYTES]
    if short:
        remedy = f"give {MIN_KEY_BYTES} bytes or more, such as `openssl rand -hex 32` makes"
        raise InvalidSettings(f"{where}: {short[0]} is too short for a key; {remedy}")
    return LinkKeys(found[SIGNING_ENTRY], tuple(found.values()))


def make_keys() -> LinkKeys:
    """Keys for one process: its links are good as long as it runs."""
    key = secrets.token_bytes(MIN_KEY_BYTES)
    return LinkKeys(key, (key,))
