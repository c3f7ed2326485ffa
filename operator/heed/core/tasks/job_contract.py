"""What a job's container may rely on, and how it answers: one contract for pods and for child processes.

The container reads HEED_TASK_FILE and answers by writing HEED_RESULT_FILE, which in a cluster is its termination
message. Everything here is pure, so that both runners cannot but agree.
"""

import json
import re
from typing import Final

from heed import names
from heed.core.codec.strict_json import MAX_JSON_DEPTH, parse_json
from heed.core.effects import TaskWork
from heed.core.events import Json
from heed.errors import MalformedEvent

TASK_FILE: Final = "/heed/task.json"
TERMINATION_LOG: Final = "/dev/termination-log"  # core/v1 Container.terminationMessagePath's default
MAX_RESULT_BYTES: Final = 4096  # bytes; kubelet's MaxContainerTerminationMessageLength
MAX_MESSAGE_BYTES: Final = (
    1024  # bytes of a failed container's output that stand in for a termination message
)
DEFAULT_BACKOFF_LIMIT: Final = 6  # batch/v1 JobSpec.backoffLimit's default

_LEVELS_AROUND: Final = 4  # of the end event around a result, and of the event in a task file

REASON_BACKOFF_LIMIT: Final = "BackoffLimitExceeded"  # batch/v1 JobReasonBackoffLimitExceeded
REASON_DEADLINE: Final = "DeadlineExceeded"  # batch/v1 JobReasonDeadlineExceeded
CAUSE_ERROR: Final = "Error"  # as kubelet calls the end of a container whose exit code is not 0
REASON_INVALID: Final = "InvalidJob"  # it can never be a Job as it is

_EXPANDED: Final = re.compile(
    r"ontainers(\[\d+\])?(\.(command|args)\b|\.env(\[\d+\](\.value$)?)?$|"
    r"\.volumeMounts(\[\d+\](\.subPathExpr$)?)?$|$)"
)

ENV_AGENT: Final = "HEED_AGENT"
ENV_NAMESPACE: Final = "HEED_NAMESPACE"
ENV_TASK: Final = "HEED_TASK"
ENV_TASK_ID: Final = "HEED_TASK_ID"
ENV_ATTEMPT: Final = "HEED_ATTEMPT"
ENV_SESSION: Final = "HEED_SESSION"
ENV_CORRELATION_ID: Final = "HEED_CORRELATION_ID"
ENV_TASK_FILE: Final = "HEED_TASK_FILE"
ENV_RESULT_FILE: Final = "HEED_RESULT_FILE"
ENV_NATS_URL: Final = "HEED_NATS_URL"
ENV_NATS_CREDENTIALS: Final = "HEED_NATS_CREDENTIALS"
ENV_PROGRESS_SUBJECT: Final = "HEED_PROGRESS_SUBJECT"
ENV_RESULT_SUBJECT: Final = "HEED_RESULT_SUBJECT"
ENV_EVENTS_SUBJECT: Final = "HEED_EVENTS_SUBJECT"
ENV_INBOX_PREFIX: Final = "HEED_INBOX_PREFIX"


def task_environment(
    work: TaskWork, *, task_file: str = TASK_FILE, result_file: str = TERMINATION_LOG
) -> dict[str, str]:
    """The HEED_* variables of a job. `result_file` is the container's terminationMessagePath."""
    variables = {
        ENV_AGENT: work.agent.name,
        ENV_NAMESPACE: work.agent.namespace,
        ENV_TASK: work.task,
        ENV_TASK_ID: work.id,
        ENV_ATTEMPT: str(work.attempt),
        ENV_SESSION: work.session,
        ENV_TASK_FILE: task_file,
        ENV_RESULT_FILE: result_file,
    }
    event = work.document.get("event")
    correlationid = event.get("correlationid") if isinstance(event, dict) else None
    if correlationid is not None:
        variables[ENV_CORRELATION_ID] = str(correlationid)
    return variables


def broker_environment(work: TaskWork, url: str, credentials: str | None) -> dict[str, str]:
    """The variables of a job that may publish. `credentials` is the path of its .creds file, where it needs one.

    NATS_URL and NATS_CREDS are what the `nats` command reads.
    """
    agent = work.agent
    variables = {
        ENV_NATS_URL: url,
        "NATS_URL": url,
        ENV_PROGRESS_SUBJECT: names.task_subject(
            agent.namespace, agent.name, work.attempt_id, names.TASK_PROGRESS
        ),
        ENV_RESULT_SUBJECT: names.task_subject(
            agent.namespace, agent.name, work.attempt_id, names.TASK_RESULT
        ),
        ENV_EVENTS_SUBJECT: names.event_subject(agent.namespace, "").rstrip("."),
        ENV_INBOX_PREFIX: names.task_inbox(agent.namespace, agent.name, work.attempt_id),
    }
    if credentials is not None:
        variables |= {ENV_NATS_CREDENTIALS: credentials, "NATS_CREDS": credentials}
    return variables


def expands_variables(path: str) -> bool:
    """Whether Kubernetes puts variables for `$(NAME)` at this place of a JobSpec (core/v1 Container, EnvVar)."""
    return _EXPANDED.search(path) is not None


def task_document_json(work: TaskWork) -> str:
    """The content of the task file: one line of JSON, the same bytes for the same work."""
    return json.dumps(work.document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def cut_result(content: bytes) -> str:
    """What is left of a result: its *last* MAX_RESULT_BYTES bytes, as kubelet's tail.ReadAtMost reads the file."""
    return clean_text(content[-MAX_RESULT_BYTES:].decode("utf-8", errors="replace"))


def clean_text(text: str) -> str:
    """A text of a user's program as an event may carry it, without characters that an event cannot hold."""
    return text.encode("utf-8", errors="replace").decode().replace("\0", "\ufffd")


def parse_result(text: str) -> Json:
    """A job's result: None where it is blank, the value where it is JSON that an event can carry, else the text itself.

    What no event could hold (NaN, integers beyond 64 bits, too many levels) stays text, since a result that cannot be
    published would never arrive.
    """
    if not text.strip():
        return None
    try:
        return parse_json(
            text.encode(), "NotJson", "the result is text", levels=MAX_JSON_DEPTH - _LEVELS_AROUND
        )
    except (MalformedEvent, UnicodeEncodeError):
        return clean_text(text)
