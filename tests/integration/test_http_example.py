"""The example of http tasks: what its README says to type, with its service and `heed dev`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from heed.cli.main import main
from heed.sdk.loading import load_agent
from heed.sdk.manifest import build_agent
from tests.integration.test_examples import ACTIVATED, HEED, _broadcast, _running, _until, typed
from tests.markdown import ROOT
from tests.nats_server import require_nats_server

NAME, LOCALLY = "http", "Run it on your machine"
CHARGED = "com.example.order.charged"


def test_it_is_valid_and_simulates_to_its_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    for words in typed(NAME, "validate"):
        done = CliRunner().invoke(main, [*words, "--strict"])
        assert (done.exit_code, done.stderr) == (0, ""), done.output
    simulations = typed(NAME, "simulate")
    assert {words[2] for words in simulations} == {"examples/http/agent.yaml", "examples/http/agent.py"}
    for words in simulations:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert done.output.endswith("as expected\n")


def test_the_agent_in_python_makes_the_same_call() -> None:
    import yaml

    ours = build_agent(load_agent(str(ROOT / "examples/http/agent.py")))["spec"]["tasks"]["charge"]
    theirs = yaml.safe_load((ROOT / "examples/http/agent.yaml").read_text())["spec"]["tasks"]["charge"]

    assert (ours["http"], ours["timeout"]) == (theirs["http"], theirs["timeout"])
    assert ours["retry"]["attempts"] == theirs["retry"]["attempts"]


async def test_a_busy_service_charges_each_order_once(tmp_path: Path, unused_tcp_port: int) -> None:
    require_nats_server()
    folder = tmp_path / "examples/http"
    shutil.copytree(ROOT / "examples/http", folder)
    manifest = folder / "agent.yaml"
    manifest.write_text(manifest.read_text().replace("8181", str(unused_tcp_port)))
    environment = {**os.environ, "PATH": ACTIVATED, "PYTHONPATH": str(ROOT / "operator"), "NO_COLOR": "1"}
    (dev,) = typed(NAME, "dev", where=LOCALLY)

    async with (
        _serving(folder / "service.py", unused_tcp_port) as charges,
        _running(dev, tmp_path, environment) as output,
    ):
        await _until(lambda: "\ntry " in output.read_text(), output.read_text)
        (broker,) = re.findall(r"^broker (\S+)", output.read_text(), re.MULTILINE)
        for words in typed(NAME, "publish", where=LOCALLY):
            publisher = await asyncio.create_subprocess_exec(*HEED, *words, cwd=tmp_path, env=environment)
            assert await publisher.wait() == 0
        told = await _broadcast(broker, {CHARGED, "com.example.order.stuck"}, 2)
        made = await asyncio.to_thread(charges)

    assert sorted(told, key=lambda event: str(event["data"]["order"])) == [
        {"type": CHARGED, "data": {"order": "o-1", "paid": True, "charge": "ch-1"}},
        {"type": CHARGED, "data": {"order": "o-2", "paid": False, "charge": ""}},
    ]
    assert made == [{"id": "ch-1", "order": "o-1", "cents": 1999}]
    assert output.read_text().count("HttpStatus") >= 2  # each was busy the first time
    assert "not-a-secret" not in output.read_text() and "Traceback" not in output.read_text()


@asynccontextmanager
async def _serving(program: Path, port: int) -> AsyncIterator[Any]:
    """The example's service, once it answers; what it has charged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(port), stderr=asyncio.subprocess.DEVNULL
    )

    def charges() -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/charges") as answer:
            return json.load(answer)

    def answers() -> bool:
        try:
            return bool(charges() == [])
        except OSError:
            return False

    try:
        await _until(answers, lambda: "the service does not answer")
        yield charges
    finally:
        process.kill()
        await process.wait()
