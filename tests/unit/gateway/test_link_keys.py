"""Keys of links: of entries of a folder or a Secret one signs and all are believed; an empty Secret is filled once."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heed.errors import InvalidSettings
from heed.gateway.approvals import link_keys
from heed.gateway.approvals.link_keys import FolderKeys, LinkKeyring, SecretKeys, load_soon, make_keys
from heed.gateway.refusals import RequestRefused
from heed.kube.client.client import ApiError, KubeApi
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer, api_server

KEY, OTHER = b"k" * 32, b"o" * 40
SECRET = "/api/v1/namespaces/heed/secrets/links"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """An API server with an empty Secret."""
    async with api_server() as server:
        server.add(SECRET)
        yield server


def keys_of(api: ApiServer) -> SecretKeys:
    """What one gateway reads."""
    return SecretKeys(api.connect(KubeApi), "heed", "links")


def encoded(**entries: bytes) -> dict[str, str]:
    """Entries as a Secret has them."""
    return {name: base64.b64encode(value).decode() for name, value in entries.items()}


async def test_one_file_signs_and_all_are_believed(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    (tmp_path / "previous").write_bytes(OTHER)
    (tmp_path / "..data").write_bytes(b"short")
    (tmp_path / "folder").mkdir()

    keys = await FolderKeys(tmp_path)()

    assert keys.signing == KEY
    assert set(keys.believed) == {KEY, OTHER}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no `key`; `openssl rand -hex 32`"),
        ({"other": KEY}, "has no `key`"),
        ({"key": KEY[1:]}, "key is too short for a key"),
        ({"key": KEY, "next": b""}, "next is too short for a key"),
        ({"key": KEY, "a": KEY, "b": KEY, "c": KEY, "d": KEY}, "has more than 4 keys"),
    ],
)
async def test_what_cannot_be_used_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidSettings) as raised:
        await FolderKeys(tmp_path)()

    assert message in str(raised.value)
    assert str(raised.value).startswith(f"HEED_GATEWAY_LINK_KEYS={tmp_path}: ")
    assert "kkk" not in str(raised.value)


async def test_four_keys_are_not_too_many(tmp_path: Path) -> None:
    for name in ("key", "a", "b", "c"):
        (tmp_path / name).write_bytes(KEY + name.encode())

    assert len((await FolderKeys(tmp_path)()).believed) == 4


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read: No such file"):
        await FolderKeys(tmp_path / "none")()


async def test_keys_are_followed_and_the_last_good_ones_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_keys, "LOOK_INTERVAL_S", 0.001)
    keys = LinkKeyring(FolderKeys(tmp_path))
    await keys.load()
    assert "has no `key`" in str(keys.missing())
    with pytest.raises(RequestRefused, match="there are no keys for links yet"):
        keys()
    (tmp_path / "key").write_bytes(KEY)
    keeping = asyncio.create_task(keys.keep())
    try:
        await until(lambda: keys.missing() is None)
        assert keys().signing == KEY
        caplog.clear()
        caplog.set_level("INFO")
        (tmp_path / "key").unlink()
        await until(lambda: "cannot use the keys of approval links" in caplog.text)
        assert (keys().signing, keys.missing()) == (KEY, None)
        (tmp_path / "key").write_bytes(OTHER)
        await until(lambda: keys().signing == OTHER)
    finally:
        keeping.cancel()
    assert caplog.text.count("cannot use the keys of approval links") == 1
    read = [record for record in caplog.records if record.msg == "keys of approval links read"]
    assert len(read) == 1  # of many looks, one saw another key


async def test_an_empty_secret_is_filled_once(api: ApiServer) -> None:
    first = await keys_of(api)()
    second = await keys_of(api)()

    assert first == second
    assert len(first.signing) == 64
    assert api.at(SECRET)["data"] == encoded(key=first.signing)
    assert api.count("PATCH") == 1


async def test_keys_that_are_there_are_read_once_at_a_start(api: ApiServer) -> None:
    api.edit(SECRET, data=encoded(key=KEY))

    await load_soon(LinkKeyring(keys_of(api)))

    assert api.count("GET") == 1


async def test_of_two_gateways_that_fill_it_at_once_both_use_the_key_of_one(api: ApiServer) -> None:
    rings = [LinkKeyring(keys_of(api)) for _ in range(4)]

    await asyncio.gather(*map(load_soon, rings))

    assert {ring().signing for ring in rings} == {base64.b64decode(api.at(SECRET)["data"]["key"])}


async def test_a_key_that_is_there_stays_and_others_are_believed(api: ApiServer) -> None:
    api.edit(SECRET, data=encoded(key=KEY + b"\n", next=OTHER) | {"empty": ""})

    keys = await keys_of(api)()

    assert (keys.signing, set(keys.believed)) == (KEY, {KEY, OTHER})
    assert api.count("PATCH") == 0


async def test_a_key_that_was_taken_out_is_made_again_beside_the_others(api: ApiServer) -> None:
    api.edit(SECRET, data=encoded(previous=OTHER))

    keys = await keys_of(api)()

    assert OTHER in keys.believed and keys.signing != OTHER
    assert set(api.at(SECRET)["data"]) == {"key", "previous"}


async def test_a_secret_that_cannot_be_read_is_no_key(api: ApiServer) -> None:
    api.remove(SECRET)
    with pytest.raises(ApiError):
        await keys_of(api)()
    api.add(SECRET, data={"key": "a"})
    with pytest.raises(InvalidSettings, match="Secret heed/links: data are no base64"):
        await keys_of(api)()


def test_keys_of_one_process_are_its_own() -> None:
    first, second = make_keys(), make_keys()

    assert len(first.signing) == 32
    assert first.signing != second.signing
    assert first.believed == (first.signing,)
