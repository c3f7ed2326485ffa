"""Senders made with the SDKs of CloudEvents. What has to be built is built once, outside the tree.

`python -m tests.sdks.sending URL [SENDER…]` writes messages.json again, with a broker at URL that has the streams.
"""

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import urllib3
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent as FormerCloudEvent

from heed.bus.codec.dead_letter import OriginalMessage, read_original
from tests.cluster.controlplane.build import Unavailable, module_binaries

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TYPE = "com.example.sent"
SOURCE = "/sdk"
EVENTS: list[dict[str, Any]] = json.loads((HERE / "events.json").read_text())
NAMESPACE = "sdks"


@dataclass(frozen=True)
class Sender:
    """An SDK with a way to publish, in one content mode."""

    sdk: str
    mode: str

    def __str__(self) -> str:
        return f"{self.sdk}-{self.mode}"


SENDERS = (
    Sender("go-nats_jetstream", "binary"),
    Sender("go-nats_jetstream", "structured"),
    Sender("go-nats", "structured"),
    Sender("javascript", "binary"),
    Sender("javascript", "structured"),
    Sender("python", "binary"),
    Sender("python", "structured"),
    Sender("python-1", "binary"),
    Sender("python-1", "structured"),
    Sender("rust", "structured"),
)


HTTP_SENDERS = (
    Sender("go-http", "binary"),
    Sender("go-http", "structured"),
    Sender("javascript-http", "binary"),
    Sender("javascript-http", "structured"),
    Sender("python", "binary"),
    Sender("python", "structured"),
    Sender("python-1", "binary"),
    Sender("python-1", "structured"),
)


@dataclass(frozen=True)
class Message:
    """What a sender put into the stream for one event."""

    sender: str
    event: str
    headers: Mapping[str, str]
    payload: str  # base64

    @property
    def body(self) -> bytes:
        return base64.b64decode(self.payload)


def subject() -> str:
    """Where all of them are published."""
    return f"heed.events.{NAMESPACE}.{TYPE}"


def send(sender: Sender, url: str) -> None:
    """Publish all events. Raises Unavailable where the sender cannot be had."""
    if sender.sdk.startswith("python"):
        asyncio.run(_send_with_python(sender, url))
        return
    wanted = [{**item, "source": SOURCE, "type": TYPE, "on": subject()} for item in EVENTS]
    command = _COMMANDS[sender.sdk](sender, url)
    done = subprocess.run(command, input=json.dumps(wanted), text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{sender}: {done.stderr[-2000:]}")


def post(sender: Sender, url: str) -> dict[str, str]:
    """Send all events to a URL over HTTP; why those were not delivered that were not, by id. Raises Unavailable."""
    if sender.sdk.startswith("python"):
        return _post_with_python(sender, url)
    wanted = json.dumps([{**item, "source": SOURCE, "type": TYPE, "on": ""} for item in EVENTS])
    command = _COMMANDS[sender.sdk](sender, url)
    done = subprocess.run(command, input=wanted, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{sender}: {done.stderr[-2000:]}")
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def _post_with_python(sender: Sender, url: str) -> dict[str, str]:
    """These SDKs make headers and body, and leave it to others to send them."""
    failed = {}
    http = urllib3.PoolManager(retries=False)
    for item in EVENTS:
        headers, body = _with_python(sender, item)
        try:
            answer = http.request("POST", url, body=body, headers={k: str(v) for k, v in headers.items()})
        except (urllib3.exceptions.HTTPError, UnicodeEncodeError) as error:
            failed[item["id"]] = str(error)
        else:
            if answer.status >= 300:
                failed[item["id"]] = f"{answer.status} {answer.data.decode()}"
    return failed


def _go(sender: Sender, url: str) -> list[str]:
    found = module_binaries(HERE / "go", {"sender": "heed.dev/senders"})["sender"]
    return [str(found), url, sender.sdk.removeprefix("go-"), sender.mode]


def _javascript(sender: Sender, url: str) -> list[str]:
    node, npm = _tool("node"), _tool("npm")
    folder = _prepared(HERE / "node", lambda folder: _run([npm, "ci", "--no-audit", "--no-fund"], folder))
    program = "http-sender.js" if sender.sdk == "javascript-http" else "sender.js"
    return [node, str(folder / program), url, sender.mode]


def typescript_worker() -> list[str]:
    """The command of the worker in examples/worker-typescript, built. Raises Unavailable."""
    node, npm = _tool("node"), _tool("npm")
    example = ROOT / "examples/worker-typescript"

    def build(folder: Path) -> None:
        _run([npm, "ci", "--no-audit", "--no-fund"], folder)
        _run([npm, "run", "build"], folder)

    return [node, str(_prepared(example, build) / "build/worker.js")]


def graph_python(above: Sequence[str]) -> Path:
    """A Python with what examples/graph needs, and beneath that the packages in these folders. Raises Unavailable."""

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
        _run(
            [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "-r", "requirements.txt"], folder
        )

    folder = _prepared(ROOT / "examples/graph", install, "requirements.txt")
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    (packages / "beneath.pth").write_text("".join(f"{path}\n" for path in above))
    return folder / "venv/bin/python"


def asyncapi_schema() -> Path:
    """The schema of AsyncAPI 3.0 documents, out of the package of those who publish it. Raises Unavailable."""
    npm = _tool("npm")
    folder = _prepared(HERE / "asyncapi", lambda folder: _run([npm, "ci", "--no-audit", "--no-fund"], folder))
    return folder / "node_modules/@asyncapi/specs/schemas/3.0.0.json"


def type_checker() -> list[str]:
    """The command of pyright, which reads `pyrightconfig.json` of its working directory. Raises Unavailable."""
    node, npm = _tool("node"), _tool("npm")
    folder = _prepared(HERE / "pyright", lambda folder: _run([npm, "ci", "--no-audit", "--no-fund"], folder))
    return [node, str(folder / "node_modules/pyright/index.js")]


def _rust(_sender: Sender, url: str) -> list[str]:
    """Only where it was built before: that takes minutes, and all it does is to write JSON."""
    program = os.environ.get("HEED_RUST_SENDER")
    if program is None:
        raise Unavailable("HEED_RUST_SENDER does not name the program that cargo builds from tests/sdks/rust")
    return [program, url]


_COMMANDS: dict[str, Callable[[Sender, str], list[str]]] = {
    "go-nats": _go,
    "go-nats_jetstream": _go,
    "go-http": _go,
    "javascript": _javascript,
    "javascript-http": _javascript,
    "rust": _rust,
}


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not on PATH; what was sent with it once is in messages.json")
    return found


def _prepared(source: Path, prepare: Callable[[Path], None], pattern: str = "*") -> Path:
    """A copy of a folder in the cache, prepared once for its very files of a pattern."""
    name, made = source.name, shutil.ignore_patterns("node_modules", "build")
    files = sorted(path for path in source.rglob(pattern) if path.is_file() and _is_source(path))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heed" / "senders"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{digest}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source, folder, ignore=made)
            prepare(folder)
            (folder / "ready").touch()
    return folder


def _is_source(path: Path) -> bool:
    return not {"node_modules", "build"} & set(path.parts)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr[-1000:].strip()}")


async def _send_with_python(sender: Sender, url: str) -> None:
    """HTTP's headers and body on a NATS message: these SDKs have no binding to NATS."""
    client = await nats.connect(url)
    try:
        for item in EVENTS:
            headers, body = _with_python(sender, item)
            texts = {name: str(value) for name, value in headers.items()}
            await client.jetstream().publish(subject(), body or b"", headers=texts)
    finally:
        await client.close()


def _with_python(sender: Sender, item: Mapping[str, Any]) -> tuple[Mapping[str, str], bytes | None]:
    named = {name: value for name, value in item.items() if name not in ("text", "bytes", "extensions")}
    attributes = {**named, "source": SOURCE, "type": TYPE, "specversion": "1.0", **item.get("extensions", {})}
    data = _data(item)
    if sender.sdk == "python-1":
        former = FormerCloudEvent(attributes, data)
        headers, body = (to_binary if sender.mode == "binary" else to_structured)(former)
        return headers, body
    if "time" in attributes:
        attributes["time"] = datetime.fromisoformat(attributes["time"])
    event = CloudEvent(attributes, data)
    message = (to_binary_event if sender.mode == "binary" else to_structured_event)(event)
    return message.headers, message.body


def _data(item: Mapping[str, Any]) -> Any:
    if "bytes" in item:
        return base64.b64decode(item["bytes"])
    if item.get("datacontenttype") == "application/json":
        return json.loads(item["text"])
    return item.get("text")


async def stored_originals(url: str, after: int, count: int) -> list[OriginalMessage]:
    """The stream's messages behind a sequence."""
    client = await nats.connect(url)
    try:
        asked = [json.dumps({"seq": after + 1 + index}).encode() for index in range(count)]
        found = [await client.request("$JS.API.STREAM.MSG.GET.HEED", request) for request in asked]
        return [read_original(json.loads(item.data)["message"]) for item in found]
    finally:
        await client.close()


async def last(url: str) -> int:
    """The stream's last sequence."""
    client = await nats.connect(url)
    try:
        return (await client.jetstream().stream_info("HEED")).state.last_seq
    finally:
        await client.close()


def sent(sender: Sender, url: str) -> list[Message]:
    """Publish all events, and what the stream holds of them then."""
    after = asyncio.run(last(url))
    send(sender, url)
    found = asyncio.run(stored_originals(url, after, len(EVENTS)))
    return [
        Message(str(sender), item["id"], message.headers, base64.b64encode(message.payload).decode())
        for item, message in zip(EVENTS, found, strict=True)
    ]


def main() -> None:
    path, chosen = HERE / "messages.json", sys.argv[2:]
    kept = json.loads(path.read_text()) if path.exists() else []
    recorded = [item for item in kept if chosen and item["sender"] not in chosen]
    for sender in SENDERS:
        if not chosen or str(sender) in chosen:
            recorded += [asdict(message) for message in sent(sender, sys.argv[1])]
    path.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
