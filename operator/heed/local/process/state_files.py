"""Files of `heed dev`'s state: atomic writes, and locks between processes."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heed.errors import InvalidSettings


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def read_json(path: Path) -> Any:
    """The JSON in a file, or None where the file is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def lock_file(path: Path) -> int | None:
    """Lock a file and return its descriptor; None where it is locked. Child processes that inherit it keep the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for this process, and keep it out of git. Raises InvalidSettings where another one has it."""
    descriptor = lock_file(folder / "lock")
    if descriptor is None:
        raise InvalidSettings(f"{folder}: another `heed dev` runs here; stop it, or give another --dir")
    try:
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        yield
    finally:
        os.close(descriptor)
