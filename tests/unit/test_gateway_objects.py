"""The gateway's objects from files: seen, followed, and kept while a file cannot be read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.gateway.objects import FileObjects, local_object, read_documents
from tests.builders.gateway import event_source_document, subscription_document
from tests.builders.manifests import policy_manifest


class Watched:
    """A folder, and what was told of the EventSources in it since it was last asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told: list[tuple[str, bool]] = []
        self.objects = FileObjects([folder], names.EVENT_SOURCE, self._tell)

    def write(self, file: str, *documents: dict[str, Any] | str) -> None:
        texts = [item if isinstance(item, str) else yaml.safe_dump(item) for item in documents]
        (self.folder / file).write_text("\n---\n".join(texts))

    def refresh(self) -> list[tuple[str, bool]]:
        self._told.clear()
        self.objects.refresh()
        return sorted(self._told)

    def _tell(self, body: Any, deleted: bool) -> None:
        self._told.append((body["metadata"]["name"], deleted))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """With nothing in it."""
    return Watched(tmp_path)


def test_only_objects_of_the_kind_are_told_of(watched: Watched) -> None:
    assert watched.objects.missing() == "the manifests were not read yet"
    watched.write("a.yaml", event_source_document("a"), subscription_document("s"), "kind: EventSource")
    watched.write("b.json", "{}")

    assert watched.refresh() == [("a", False)]
    assert watched.objects.missing() is None


def test_policies_are_objects_too(watched: Watched) -> None:
    policies = FileObjects([watched.folder], names.AGENT_POLICY, watched._tell)
    watched.write("a.yaml", policy_manifest("strict"), event_source_document("a"))

    assert not policies.synced.is_set()
    policies.refresh()

    assert watched._told == [("strict", False)]
    assert policies.synced.is_set()


def test_what_changed_is_told_and_nothing_else(watched: Watched) -> None:
    watched.write("a.yaml", event_source_document("a"))
    watched.write("b.yaml", event_source_document("b"))
    watched.refresh()

    assert watched.refresh() == []
    watched.write("b.yaml", event_source_document("b", path="another"))
    assert watched.refresh() == [("b", False)]
    (watched.folder / "a.yaml").unlink()
    assert watched.refresh() == [("a", True)]


def test_while_a_file_cannot_be_read_nothing_is_taken_away(watched: Watched) -> None:
    watched.write("a.yaml", event_source_document("a"))
    watched.refresh()

    watched.write("a.yaml", "kind: [")
    watched.write("b.yaml", event_source_document("b"))
    assert watched.refresh() == [("b", False)]
    watched.write("a.yaml", "kind: Other")
    assert watched.refresh() == [("a", True)]


def test_a_manifest_is_shown_as_the_api_server_would_show_it() -> None:
    first, again = (local_object({"kind": "EventSource", "metadata": {"name": "a"}}) for _ in range(2))

    assert first == again
    assert first["metadata"]["namespace"] == "default"
    assert first["metadata"]["uid"]
    other = local_object({"kind": "EventSource", "metadata": {"name": "a", "namespace": "shop"}})
    assert other["metadata"]["uid"] != first["metadata"]["uid"]
    assert (
        local_object({"kind": "EventSource", "metadata": {"name": "a", "uid": "u"}})["metadata"]["uid"] == "u"
    )


def test_secrets_are_those_of_the_core(tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
    foreign = {"apiVersion": "other.dev/v1", "kind": "Secret", "metadata": {"name": "b"}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([secret, foreign, {"kind": "Secret"}]))

    assert [body["metadata"]["name"] for body in read_documents([tmp_path], "Secret")] == ["a"]
