"""The example with people in it: what its README says to type, with a `heed dev` and somebody who answers."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from heed.cli.main import main
from tests.integration.test_examples import ACTIVATED, HEED, _broadcast, _running, _until, typed
from tests.markdown import ROOT
from tests.nats_server import require_nats_server

NAME, LOCALLY = "purchase-approval", "Run it on your machine"


def test_it_is_valid_and_simulates_to_its_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    for words in typed(NAME, "validate"):
        done = CliRunner().invoke(main, [*words, "--strict"])
        assert (done.exit_code, done.stderr) == (0, ""), done.output
    (words,) = typed(NAME, "simulate")
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("as expected\n")


async def test_somebody_decides_on_a_laptop(tmp_path: Path) -> None:
    require_nats_server()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "PATH": ACTIVATED, "PYTHONPATH": str(ROOT / "operator"), "NO_COLOR": "1"}

    async def heed(*words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *HEED,
            *words,
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    (dev,) = typed(NAME, "dev", where=LOCALLY)
    (publish,) = typed(NAME, "publish", where=LOCALLY)
    (listing,) = typed(NAME, "approvals", where=LOCALLY)
    (approve,) = typed(NAME, "approve", where=LOCALLY)

    async with _running(dev, tmp_path, environment) as output:
        await _until(lambda: "\ntry " in output.read_text(), output.read_text)
        (broker,) = re.findall(r"^broker (\S+)", output.read_text(), re.MULTILINE)
        assert (await heed(*publish))[0] == 0
        await _until(lambda: "start decide-" in output.read_text(), output.read_text)

        _, listed, _ = await heed(*listing, "-o", "json")
        (item,) = json.loads(listed)
        assert item["title"] == "Buy a desk for 420 euros?"
        own, _, why = await heed("approve", "decide", "--as", "lee", "--as-group", "purchasing")
        assert (own, "NotAnApprover" in why) == (1, True)
        myself, _, why = await heed("reject", item["task"])
        assert (myself, "local:" in why, "--as USER" in why) == (1, True, True)
        first, said, _ = await heed(*approve)
        assert (first, "answered approve, as kim" in said) == (0, True), said
        second, _, why = await heed("reject", item["task"], "--as", "ada", "--as-group", "purchasing")
        assert (second, "kim answered approve at" in why) == (1, True)

        (decided,) = await _broadcast(broker, {"com.example.purchase.decided"}, 1)
        assert decided["data"] == {"item": "a desk", "choice": "approve", "by": "kim", "budget": "2026-03"}
        assert (await heed(*listing))[2].startswith("no approval waits")
