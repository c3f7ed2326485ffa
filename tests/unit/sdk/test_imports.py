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
