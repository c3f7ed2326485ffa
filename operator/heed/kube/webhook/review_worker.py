"""The worker process for admission reviews: a manifest made to hang or crash it harms no Agent.

See `sandbox.worker` for what it reads and writes: requests and answers are JSON.
"""

import json
import sys
import time
import traceback
from dataclasses import asdict
from typing import Any, Final

from heed.core.cel.expression import compile_expression
from heed.core.compiler.admission import AdmissionRequest, AdmissionVerdict, ClusterContext, judge
from heed.errors import Problem
from heed.sandbox.worker import Worker, cpu_limit, run

CONTEXT_CHECK_TIMEOUT_S: Final = 1.0  # seconds for what a request means to other objects


def answer(data: bytes) -> dict[str, Any]:
    """The verdict on a request as JSON. A bug of Heed's is returned as `mistake`, and is no verdict."""
    until = time.monotonic() + CONTEXT_CHECK_TIMEOUT_S
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


class ReviewWorker(Worker):
    """Answers requests with verdicts."""

    def answer(self, request: bytes) -> bytes:
        """A verdict on a request."""
        with cpu_limit(self.cpu):
            return json.dumps(answer(request)).encode()


def main(memory: int, cpu: float) -> None:
    """Serve until standard input ends, or this process has grown too large for another request."""
    run(ReviewWorker, memory, cpu, warm_up=lambda: compile_expression("[event].map(x, x)"))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
