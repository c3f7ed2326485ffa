"""llama.cpp's server on loopback, with a model made for it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from tests.inference.build import InferenceFiles
from tests.inference.tiny_model import CHAT_VOCABULARY, write_model
from tests.patience import PATIENCE
from tests.ports import free_port

POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A server at work."""

    url: str
    window: int

    @property
    def base_url(self) -> str:
        """As settings name it."""
        return f"{self.url}/v1"


@contextmanager
def running_server(
    files: InferenceFiles, scratch: Path, vocabulary: str = CHAT_VOCABULARY, window: int = 2048
) -> Iterator[LlamaServer]:
    """Run a server of a model with this vocabulary."""
    model, port = scratch / f"{vocabulary}.gguf", free_port()
    write_model(files.vocabulary(vocabulary), model, window=window, chat=vocabulary == CHAT_VOCABULARY)
    command = [str(files.server), "--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--ctx-size", str(window), "--parallel", "1", "--threads", "1", "--seed", "1"]
    command += ["--chat-template-file", str(files.template), "--no-context-shift", "--offline"]
    with (scratch / f"{vocabulary}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(url, process, scratch / f"{vocabulary}.log")
        yield LlamaServer(url, window)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(POLL_S)
    raise AssertionError(f"the server did not come up:\n{log.read_text(errors='replace')[-2000:]}")
