"""What docs/gateway.md says to type works, with a real `heed dev`; and `heed dev` is for this machine only."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from heed import names
from heed.bus.client.connection import connect
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.gateway.inbound.static_tokens import read_tokens
from heed.settings import Settings
from tests.integration.waiting import until
from tests.markdown import ROOT, blocks, commands, section
from tests.nats_server import require_nats_server
from tests.unit.cli import heed

PAGE = (ROOT / "docs" / "gateway.md").read_text()
ADDRESS = "127.0.0.1:8090"
HEED = (sys.executable, "-c", "from heed.cli.main import main; main()")


@asynccontextmanager
async def dev(arguments: Sequence[str], folder: Path) -> AsyncIterator[Path]:
    """`heed dev` in a folder; gives the file with its output."""
    output = folder / "output"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "NO_COLOR": "1"}
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *HEED, *arguments, cwd=folder, env=environment, stdout=file, stderr=file
        )
    try:
        yield output
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_the_requests_of_the_page_are_taken_and_published_once(tmp_path: Path) -> None:
    require_nats_server()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    typed = commands(section(PAGE, "Try it"))
    ((_, *arguments),) = (words for words in typed if words[0] == "heed")
    requests = [words for words in typed if words[0] == "curl"]
    assert len(requests) == 3
    chosen = [word.replace(ADDRESS, "127.0.0.1:0") for word in arguments]

    async with dev(chosen, tmp_path) as output:
        await until(lambda: "\ntry " in output.read_text())
        (broker,) = re.findall(r"^broker (\S+)", output.read_text(), re.MULTILINE)
        (gateway,) = re.findall(r"^gateway http://(\S+)", output.read_text(), re.MULTILINE)
        for words in [*requests, *requests]:
            curl = await asyncio.create_subprocess_exec(
                *(word.replace(ADDRESS, gateway) for word in words), stdout=asyncio.subprocess.PIPE
            )
            answer, _ = await curl.communicate()
            assert answer.startswith(b"HTTP/1.1 202 "), answer
        connection = await connect(Settings(nats_url=broker), "test", attempts=3)
        bus = JetStreamBus(connection)
        first, last = await bus.bounds()
        found = [item for item in await bus.fetch(range(first, last + 1)) if item is not None]
        await connection.close()

    asked = [
        (item.subject, item.event.id)
        for item in found
        if isinstance(item.event, Event) and item.event.source == "/curl"
    ]
    type_ = "com.example.question.asked"
    assert asked == [
        (names.event_subject("default", type_), "q-1"),
        (names.inbox_subject("default", "researcher", type_), "q-2"),
        (names.event_subject("default", type_), "q-3"),
        (names.event_subject("default", type_), "q-4"),
    ]
    assert "Traceback" not in output.read_text()


def test_alerts_speak_of_metrics_that_exist() -> None:
    (document,) = (
        document
        for block in blocks(PAGE, "yaml")
        if (document := yaml.safe_load(block)).get("kind") == "PrometheusRule"
    )
    rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
    documented = dict(re.findall(r"^\| `(heed_gateway_\w+)` \|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE))

    for rule in rules:
        shown = rule["annotations"]["summary"]
        labels = set(re.findall(r"\$labels\.(\w+)", shown)) - {"job"}
        used = re.findall(r"heed_gateway_\w+", rule["expr"])
        assert used and set(used) <= documented.keys(), rule["alert"]
        assert all(f"`{label}`" in documented[used[0]] for label in labels), rule["alert"]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5


def test_the_reasons_that_alerts_name_are_refusals() -> None:
    source = "".join(file.read_text() for file in (ROOT / "operator/heed").rglob("*.py"))
    named = {name for found in re.findall(r'reason=~?"([^"]+)"', PAGE) for name in found.split("|")}
    named |= set(
        re.findall(r"`([A-Z]\w+)`", "".join(re.findall(r"^   \| (`[^|]+\(\d+\)[^|]*)\|", PAGE, re.MULTILINE)))
    )

    assert len(named) > 15
    assert {name for name in named if f'"{name}"' not in source and name != "NotFound"} == set()


def test_the_token_file_of_the_page_can_be_read() -> None:
    (secret,) = (
        document
        for block in blocks(PAGE, "yaml")
        if (document := yaml.safe_load(block)).get("kind") == "Secret"
    )

    ((name, content),) = secret["stringData"].items()
    (known,) = read_tokens(name, content.encode())
    assert (known.sender.namespaces, known.sender.types) == (("shop",), ("com.example.order.>",))


@pytest.mark.parametrize("address", ["0.0.0.0:8090", "192.0.2.1:80", "[::]:80", "example.com:80"])
def test_heed_dev_listens_for_this_machine_only(address: str, tmp_path: Path) -> None:
    done = heed("dev", "-f", str(ROOT / "examples/research"), "--dir", str(tmp_path), "--gateway", address)

    assert done.exit_code != 0 and "is no loopback address" in done.stderr


@pytest.mark.parametrize(
    "address", ["8090", "127.0.0.1", "127.0.0.1:x", "a@127.0.0.1:1", "127.0.0.1:1/x", ":1", "[::1"]
)
def test_its_address_is_a_host_and_a_port(address: str, tmp_path: Path) -> None:
    done = heed("dev", "-f", str(ROOT / "examples/research"), "--dir", str(tmp_path), "--gateway", address)

    assert done.exit_code != 0 and "write HOST:PORT, such as 127.0.0.1:8090" in done.stderr
