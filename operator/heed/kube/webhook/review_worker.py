"""The process in which manifests are judged before they are stored: one made to hang or to crash harms no Agent.

    python -m heed.kube.webhook.review_worker MEMORY CPU

Reads requests from standard input and ends with it; each is answered by one frame. MEMORY is bytes of address space
beyond our own, CPU seconds for one request; the kernel enforces both.
"""

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict
from typing import Any, Final

from heed.core.cel.expression import compile_expression
from heed.core.compiler.admission import AdmissionRequest, AdmissionVerdict, ClusterContext, judge
from heed.errors import Problem
from heed.sandbox.decision_worker import LENGTH, address_space, cpu_limit, limit_memory, read_frame

LOOK_AROUND: Final = 1.0  # seconds for what a request means to other objects
_SPARE: Final = 64 * 1024**2  # bytes that a request may leave behind; more would be missing for the next


def frame(value: Any) -> bytes:
    """A JSON value as it goes over the pipe."""
    data = json.dumps(value).encode()
    return LENGTH.pack(len(data)) + data


def answer(data: bytes) -> dict[str, Any]:
    """The verdict on a request, as JSON; a mistake of ours is none."""
    until = time.monotonic() + LOOK_AROUND
    try:
        question = json.loads(data)
        request, around = AdmissionRequest(**question["request"]), ClusterContext(**question["around"])
        return asdict(judge(request, around, lambda: time.monotonic() < until))
    except RecursionError:
        return asdict(AdmissionVerdict((Problem("spec", "nests too deep", "flatten it"),)))
    except MemoryError:
        return asdict(
            AdmissionVerdict((Problem("spec", "takes too much memory to check", "make it smaller"),))
        )
    except Exception as error:
        traceback.print_exc()
        return {"mistake": repr(error)[:500]}


def main(memory: int, cpu: float) -> None:
    """Serve until standard input ends, or this process has grown too large for another request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for those who stop us
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    compile_expression("[event].map(x, x)")  # what is loaded late is ours, too
    limit_memory(memory)
    enough = (address_space() or 0) + _SPARE
    try:
        while (data := read_frame(requests)) is not None:
            with cpu_limit(cpu):
                said = frame(answer(data) | {"last": (address_space() or 0) > enough})
            answers.write(said)
            answers.flush()
    except BrokenPipeError:
        os._exit(0)  # nobody waits for the answer


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
