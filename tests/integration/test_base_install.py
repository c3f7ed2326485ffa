"""`pip install .` without extras into an empty environment: what works there, and which extra else is told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from heed import names
from heed.cli.main import COMMANDS, DEV_MODULES, OPERATOR_MODULES
from heed.sdk.loading import load_agent
from heed.sdk.manifest import code_digest
from tests.cluster.controlplane.build import Unavailable
from tests.markdown import ROOT
from tests.nats_server import NatsServer
from tests.sdks.availability import skipping_unavailable

EXAMPLE = ROOT / "examples/research/agent.py"
INSTALLED = ("pyproject.toml", "README.md", "LICENSE", "operator")
IN_BASE = {"broker-keys", "build", "completion", "crds", "credentials", "worker"}
# They import what they need once they run, so that their help is shown all the same.
NEED_MORE_TO_RUN = {"gateway", "operator"}
# What would let this checkout, or its environment, be found from the other one.
OUT_OF_SIGHT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def environment() -> dict[str, str]:
    """Variables that lead to no other packages."""
    return {name: value for name, value in os.environ.items() if name not in OUT_OF_SIGHT}


class Installation:
    """An environment of its own that holds the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binaries = folder / "venv/bin"

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, away from the checkout."""
        return subprocess.run(
            [self.binaries / program, *words],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def pip(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Have this process' pip work on the environment; its cache of wheels is that of the user."""
        command = [sys.executable, "-m", "pip", "--python", str(self.binaries / "python"), *words]
        return subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=300
        )


def pins() -> str:
    """The versions of requirements/demo.txt, as constraints."""
    pinned = re.findall(r"^\S+==\S+", (ROOT / "requirements/demo.txt").read_text(), re.MULTILINE)
    assert pinned
    return "".join(f"{item}\n" for item in pinned)


def require_registry(installation: Installation) -> None:
    """Raises Unavailable where no package can be had."""
    asked = installation.pip("download", "-q", "--no-deps", "-c", "pins.txt", "-d", "probe", "click")
    if asked.returncode:
        raise Unavailable(f"no package registry: {asked.stderr[-1000:].strip()}")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The package, installed without extras from a copy of its sources."""
    folder = tmp_path_factory.mktemp("base")
    installation = Installation(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (folder / "pins.txt").write_text(pins())
    with skipping_unavailable(fails_in_ci=True):
        require_registry(installation)
    (folder / "source").mkdir()
    for name in INSTALLED:
        source = ROOT / name
        if source.is_dir():
            made = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / "source" / name, ignore=made)
        else:
            shutil.copy(source, folder / "source" / name)
    done = installation.pip("install", "-q", "--constraint", "pins.txt", "./source")
    assert done.returncode == 0, done.stderr
    return installation


def test_it_brings_the_package_and_none_of_the_extras(installed: Installation) -> None:
    extras = sorted(DEV_MODULES | OPERATOR_MODULES)
    code = (
        "import importlib.util, heed.sdk; print(heed.sdk.__file__);"
        f"print([name for name in {extras} if importlib.util.find_spec(name)])"
    )

    done = installed.run("python", "-c", code)

    assert done.returncode == 0, done.stderr
    where, found = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed.folder / "venv")
    assert found == "[]"


def test_help_names_every_command(installed: Installation) -> None:
    done = installed.run("heed", "--help")

    assert done.returncode == 0, done.stderr
    shown = set(re.findall(r"^  ([a-z-]+) {2,}\S", done.stdout, re.MULTILINE))
    assert shown >= {name for section in COMMANDS.values() for name in section}


@pytest.mark.parametrize("command", sorted(name for section in COMMANDS.values() for name in section))
def test_a_command_explains_itself_or_names_the_extra(installed: Installation, command: str) -> None:
    done = installed.run("heed", command, "--help")

    if command in IN_BASE | NEED_MORE_TO_RUN:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: heed {command} ")
    else:
        assert done.returncode == 1
        assert re.fullmatch(
            rf"heed {command} needs the Python package \w+; install it: "
            r"pip install 'heed\[(dev|operator)\]'\n",
            done.stderr,
        )


@pytest.mark.parametrize(
    ("words", "extra"),
    [(["dev", str(EXAMPLE)], "dev"), (["operator"], "operator"), (["gateway"], "operator")],
)
def test_what_needs_more_says_so_when_it_runs(
    installed: Installation, words: Sequence[str], extra: str
) -> None:
    done = installed.run("heed", *words)

    assert done.returncode == 1
    assert done.stderr.endswith(f"; install it: pip install 'heed[{extra}]'\n")
    assert done.stderr.count("\n") == 1


def test_a_module_is_built_and_the_missing_check_is_told(installed: Installation) -> None:
    done = installed.run("heed", "build", str(EXAMPLE))

    assert done.returncode == 0, done.stderr
    assert "kind: Agent" in done.stdout
    assert done.stderr == "not checked, as that needs more: pip install 'heed[dev]'\n"


async def ask(client: Client, subject: str, request: bytes) -> Msg:
    """The reply, once there is a worker."""
    while True:
        try:
            return await client.request(subject, request, timeout=5)
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.1)


async def test_a_worker_answers_on_a_real_broker(installed: Installation, nats_server: NatsServer) -> None:
    subject = names.decide_subject("base", "researcher", code_digest(load_agent(str(EXAMPLE))))
    event = {"id": "1", "source": "/s", "type": "com.example.question.asked", "data": {"topic": "tides"}}
    session = {"key": "1", "startedAt": ""}
    variables = {"event": event, "agent": {}, "session": session, "task": {}, "input": {}}
    call = {"function": "begin", "variables": variables, "state": {}, "pending": {}}

    worker = await asyncio.create_subprocess_exec(
        *(installed.binaries / "heed", "worker", str(EXAMPLE), "--namespace", "base"),
        cwd=installed.folder,
        env={**environment(), "HEED_NATS_URL": nats_server.url},
    )
    client = await nats.connect(nats_server.url)
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
