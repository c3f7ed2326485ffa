"""What `import heed.sdk` costs: a handler and its tests need nothing of the cluster, the broker or CEL."""

import subprocess
import sys

import pytest

HEAVY = (
    "kopf",
    "kubernetes",
    "cel_expr_python",
    "nats",
    "aiohttp",
    "yaml",
    "click",
    "cronsim",
    "jsonschema_rs",
)


@pytest.mark.parametrize("module", ["heed.sdk", "heed.sdk.calls", "heed.sdk.loading", "heed.sdk.manifest"])
def test_it_imports_pydantic_and_little_else(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(found.stdout.split())
    assert "pydantic" in loaded
    assert loaded.isdisjoint(HEAVY)


PLAIN_MODEL = "from pydantic import BaseModel\nclass Model(BaseModel):\n    number: int = 0"


def test_beside_pydantic_it_imports_json_and_itself() -> None:
    beside = _loaded("import heed.sdk") - _loaded(PLAIN_MODEL)

    others = {name for name in beside if name.partition(".")[0] not in ("heed", "pydantic")}
    assert {name.partition(".")[0] for name in others} <= {"json", "_json", "traceback"}
    own = {name for name in beside if name.startswith("heed.") and not name.startswith("heed.sdk")}
    assert own == {"heed.names", "heed.api", "heed.api.fields"}


def _loaded(code: str) -> set[str]:
    """The modules that a new process has loaded after this."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())
