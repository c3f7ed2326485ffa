"""The folder of one task: everything that outlives the process that runs it.

task.json   what the child reads          result     what it answers
work.json   what it takes to restart it   log        what it wrote
pid.json    the child that runs now       end.json   how it ended, written before anyone is told
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.tasks.job_contract import ENV_TASK_FILE, task_document_json
from heed.errors import TaskUnavailable
from heed.local.process.child import Process, end_leftovers, read_start_time
from heed.local.process.state_files import read_json, write_atomically


@contextmanager
def translate_disk_errors(what: str) -> Iterator[None]:
    """Translate errors of a full or read-only disk to TaskUnavailable, which is retried."""
    try:
        yield
    except OSError as error:
        raise TaskUnavailable(f"cannot write {what}: {error.strerror}; make room or give --dir") from error


@dataclass(frozen=True, slots=True)
class TaskDir:
    """A task's folder, which may not exist."""

    path: Path

    @property
    def task_file(self) -> Path:
        """The file the child reads its task from."""
        return self.path / "task.json"

    @property
    def result_file(self) -> Path:
        """What the child answers."""
        return self.path / "result"

    @property
    def log_file(self) -> Path:
        """What the child wrote."""
        return self.path / "log"

    def prepare(self, work: TaskWork) -> None:
        """Store what is to be run. Raises TaskUnavailable."""
        with translate_disk_errors(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.task_file, task_document_json(work))
            write_atomically(self.path / "work.json", json.dumps(asdict(work)))

    def work(self) -> TaskWork | None:
        """What was to be run, or None where nothing was written down."""
        found = read_json(self.path / "work.json")
        return TaskWork(**{**found, "agent": AgentRef(**found["agent"])}) if found else None

    def end(self) -> TaskEnd | None:
        """How the task ended, or None where it has not."""
        found = read_json(self.path / "end.json")
        return TaskEnd(**found) if found else None

    def finish(self, end: TaskEnd) -> None:
        """Store how the task ended. Raises TaskUnavailable."""
        with translate_disk_errors(str(self.path)):
            write_atomically(self.path / "end.json", json.dumps(asdict(end)))
            (self.path / "pid.json").unlink(missing_ok=True)

    def expired(self, now: str, floor: int) -> bool:
        """Whether the task ended longer ago than its retention, and than `floor` seconds."""
        end, work = self.end(), self.work()
        if end is None:
            return False
        kept = timedelta(seconds=max(work.retention if work else 0, floor))
        return datetime.fromisoformat(end.at) + kept <= datetime.fromisoformat(now)

    def begin(self, process: Process) -> None:
        """Store which child runs, so that it is found after a crash."""
        record = {"pid": process.pid, "start": read_start_time(process.pid)}
        write_atomically(self.path / "pid.json", json.dumps(record))

    def end_leftovers(self) -> None:
        """Kill the process group an earlier run left behind."""
        found = read_json(self.path / "pid.json")
        if found:
            end_leftovers(found["pid"], found["start"], f"{ENV_TASK_FILE}={self.task_file}")
            (self.path / "pid.json").unlink(missing_ok=True)

    def result(self) -> bytes:
        """What the child answered."""
        try:
            return self.result_file.read_bytes()
        except OSError:
            return b""

    def remove(self) -> None:
        """Remove the folder, and a child left behind. Raises TaskUnavailable."""
        self.end_leftovers()
        with translate_disk_errors(str(self.path)):
            if self.path.exists():
                shutil.rmtree(self.path)

    @contextmanager
    def log(self) -> Iterator[Callable[[str], None]]:
        """Append lines to the task's log."""
        with self.log_file.open("a", encoding="utf-8", errors="replace", buffering=1) as log:
            yield lambda line: print(line, file=log)
