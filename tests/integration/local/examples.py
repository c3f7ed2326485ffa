"""A small Agent with a job, as a file to edit."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from heed import names
from heed.cli.dev import read_stubs
from heed.core.events import Event
from heed.local.assembly import open_dev_server
from heed.local.console import Console
from heed.local.dev_server import DevServer
from heed.local.stub_script import StubScript
from heed.settings import Settings
from heed.util.clock import timestamp
from tests.integration.local.runs import until

ASKED, ANSWERED, FAILED = (f"com.example.question.{what}" for what in ("asked", "answered", "failed"))

AGENT = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: researcher, namespace: demo}
spec:
  subscribe:
    - type: com.example.question.asked
  tasks:
    research:
      job:
        backoffLimit: 0
        template:
          spec:
            containers:
              - name: main
                image: ghcr.io/example/research:1
                command: [sh, research.sh]
                args: ["${input.topic}"]
  handlers:
    - name: begin
      type: com.example.question.asked
      when: "!has(state.topic)"
      state: {topic: "${event.data.topic}"}
      start: [{task: research, input: {topic: "${event.data.topic}"}}]
    - name: conclude
      type: dev.heed.task.completed
      emit:
        - type: com.example.question.answered
          data: {topic: "${state.topic}", answer: "${event.data.result.answer}"}
      end: true
    - name: give-up
      type: dev.heed.task.failed
      emit: [{type: com.example.question.failed, data: {reason: "${event.data.reason}"}}]
      end: true
"""
SCRIPT = """\
echo looking up $1
echo $$ >> runs
until [ -e go ]; do sleep 0.02; done
test "$1" = storms && exit 3
printf '{"answer": "all about %s"}' "$1" > $HEED_RESULT_FILE
"""


def write_example(folder: Path, *, patient: bool = False) -> Path:
    """The Agent, its job and its event. A patient one's jobs wait for a file `go`."""
    folder.mkdir(exist_ok=True)
    (folder / "agent.yaml").write_text(AGENT)
    (folder / "research.sh").write_text(SCRIPT)
    event = {"type": ASKED, "correlationid": "q-1", "data": {"topic": "tides"}}
    (folder / "event.json").write_text(json.dumps(event))
    if not patient:
        (folder / "go").touch()
    return folder


def asked(topic: str, correlation: str) -> Event:
    """Somebody asks about a topic."""
    return Event(
        id=f"{correlation}-asked",
        source="/test",
        type=ASKED,
        data={"topic": topic},
        time=timestamp(),
        datacontenttype="application/json",
        extensions={"correlationid": correlation},
    )


class Life:
    """One life of `heed dev` in this process."""

    def __init__(self, bench: DevServer, stream: io.StringIO) -> None:
        self.bench, self._stream = bench, stream

    def told(self, kind: str, **facts: Any) -> list[dict[str, Any]]:
        """What the console said of a kind, with these facts."""
        records = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        wanted = {"kind": kind, **facts}
        return [item for item in records if wanted.items() <= item.items()]

    async def hears(self, kind: str, **facts: Any) -> dict[str, Any]:
        """The first such record, once there is one."""
        await until(lambda: bool(self.told(kind, **facts)), f"the console told of {kind} {facts}")
        return self.told(kind, **facts)[0]

    async def ask(self, topic: str, correlation: str) -> None:
        """Publish a question."""
        await self.bench.bus.publish(names.event_subject("demo", ASKED), asked(topic, correlation))

    async def emitted(self, type_: str) -> dict[str, Any]:
        """The data of the first event of a type that the Agent emitted."""

        def found() -> list[dict[str, Any]]:
            effects = (effect for record in self.told("decided") for effect in record["effects"])
            return [
                effect["emit"]["data"] for effect in effects if effect.get("emit", {}).get("type") == type_
            ]

        await until(lambda: bool(found()), f"{type_} was emitted")
        return found()[0]


@asynccontextmanager
async def life(*paths: Path, folder: Path, script: Path | None = None) -> AsyncIterator[Life]:
    """Agents from `paths`, with their state in `folder`, and a script of stubs, if any."""
    stream = io.StringIO()
    console = Console(stream, timestamp, form="json")
    stubs = None if script is None else StubScript(script, partial(read_stubs, str(script)))
    async with open_dev_server(
        paths, folder, console, Settings(), url=None, port=None, script=stubs
    ) as bench:
        yield Life(bench, stream)


def edit(path: Path, old: str, new: str) -> None:
    """Replace a part of a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
