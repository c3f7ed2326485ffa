"""`heed crds`: one document for each kind, on standard output or as files that are kept current."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from heed.api.crd.schema import crds
from heed.cli.crds import crd_files
from tests.unit.cli import heed

AGENTS = "heed.dev_agents.yaml"


def heed_crds(*arguments: str | Path) -> Result:
    return heed("crds", *arguments)


def test_standard_output_is_one_stream_of_documents_and_nothing_else() -> None:
    result = heed_crds()

    assert (result.exit_code, result.stderr) == (0, "")
    found = list(yaml.safe_load_all(result.stdout))
    assert found == [yaml.safe_load(text) for text in crd_files().values()]
    assert {item["kind"] for item in found} == {"CustomResourceDefinition"}


def test_a_folder_gets_a_file_for_each_kind(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crds"

    result = heed_crds("--output", folder)

    assert (result.exit_code, result.stdout) == (0, "")
    assert {path.name: path.read_text() for path in folder.iterdir()} == crd_files()
    assert result.stderr.splitlines() == [f"wrote {folder / name}" for name in crd_files()]


def test_only_what_is_not_current_is_written(tmp_path: Path) -> None:
    heed_crds("--output", tmp_path)
    (tmp_path / AGENTS).write_text("edited: by hand\n")

    result = heed_crds("--output", tmp_path)

    assert result.stderr == f"wrote {tmp_path / AGENTS}\n"
    assert (tmp_path / AGENTS).read_text() == crd_files()[AGENTS]


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("edited: by hand\n")])
def test_a_check_names_what_is_not_current_and_writes_nothing(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    current, other = tmp_path / "current", tmp_path / "other"
    heed_crds("--output", current, "--output", other)
    change(other / AGENTS)
    before = {path: path.read_text() for path in other.iterdir()}

    result = heed_crds("--check", "--output", current, "--output", other)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{other / AGENTS}: not current; run `make generate`\n"
    assert {path: path.read_text() for path in other.iterdir()} == before


def test_no_default_holds_a_null() -> None:
    def defaults(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield from [value["default"]] if "default" in value else []
            yield from (found for item in value.values() for found in defaults(item))
        elif isinstance(value, list):
            yield from (found for item in value for found in defaults(item))

    found = list(defaults(crds()))

    assert len(found) > 10
    assert "null" not in json.dumps(found)


def test_no_schema_has_an_empty_list_of_members() -> None:
    """An API server drops it, so that the same file applied again would be a conflict with what it keeps."""
    assert not any('"properties": {}' in json.dumps(crd) for crd in crds())
