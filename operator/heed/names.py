"""Every name that Heed derives: subjects, ids, labels. Pure, so that a retry finds what the first try made."""

import base64
import hashlib
import json
import re
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final

GROUP: Final = "heed.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "Agent"
PLURAL: Final = "agents"
AGENT_POLICY: Final = "AgentPolicy"
AGENT_POLICIES: Final = "agentpolicies"
EVENT_GRANT: Final = "EventGrant"
EVENT_GRANTS: Final = "eventgrants"
EVENT_TYPE: Final = "EventType"
EVENT_TYPES: Final = "eventtypes"
RULE_KINDS: Final = (AGENT_POLICY, EVENT_GRANT, EVENT_TYPE)
EVENT_SOURCE: Final = "EventSource"
EVENT_SOURCES: Final = "eventsources"
SUBSCRIPTION: Final = "Subscription"
SUBSCRIPTIONS: Final = "subscriptions"
GATEWAY_KINDS: Final = (EVENT_SOURCE, SUBSCRIPTION)  # what `heed gateway` serves
APPROVAL_ANSWER: Final = "ApprovalAnswer"
APPROVAL_ANSWERS: Final = "approvalanswers"
PLURALS: Final = {
    KIND: PLURAL,
    AGENT_POLICY: AGENT_POLICIES,
    EVENT_GRANT: EVENT_GRANTS,
    EVENT_TYPE: EVENT_TYPES,
    EVENT_SOURCE: EVENT_SOURCES,
    SUBSCRIPTION: SUBSCRIPTIONS,
    APPROVAL_ANSWER: APPROVAL_ANSWERS,
}
API_VERSION: Final = f"{GROUP}/{VERSION}"

STREAM: Final = "HEED"
DEAD_STREAM: Final = "HEED_DEAD"
WORK_STREAM: Final = "HEED_WORK"
TRANSCRIPT_STREAM: Final = "HEED_TRANSCRIPTS"
STREAM_SUBJECTS: Final = ("heed.>",)
DEAD_STREAM_SUBJECTS: Final = ("heed-dead.>",)
WORK_STREAM_SUBJECTS: Final = ("heed-work.>",)
TRANSCRIPT_STREAM_SUBJECTS: Final = ("heed-transcript.>",)

TASK_TYPE_PREFIX: Final = "dev.heed.task."
TASK_COMPLETED: Final = "dev.heed.task.completed"
TASK_FAILED: Final = "dev.heed.task.failed"
TASK_PROGRESS: Final = "dev.heed.task.progress"  # what a task says before its end
TASK_RESULT: Final = "dev.heed.task.result"  # the result that a task publishes instead of writing it
TASK_DONE: Final = "dev.heed.task.done"  # what a worker says at the end of a function, to the operator
TASK_TURN: Final = "dev.heed.task.turn"  # what a worker says of one call of a model
HANDLED_TASK_TYPES: Final = (TASK_COMPLETED, TASK_FAILED, TASK_PROGRESS)  # what handlers may react to

TIMER_TYPE_PREFIX: Final = "dev.heed.timer."
TIMER_FIRED: Final = "dev.heed.timer.fired"  # the type of a tick whose timer names no other
TIMER_EXTENSION: Final = "heedtimer"  # the CloudEvents extension that names a tick's timer
HOLD_EXPIRED: Final = "dev.heed.hold.expired"  # what an event comes as whose hold took too long
SESSION_EXPIRED: Final = (
    "dev.heed.session.expired"  # the end of an idle or old session, where it is to be heard
)
HANDLED_OWN_TYPES: Final = (
    *HANDLED_TASK_TYPES,
    HOLD_EXPIRED,
    SESSION_EXPIRED,
    TIMER_FIRED,
)  # of all that Heed says
UNHELD_TYPES: Final = (*HANDLED_TASK_TYPES, HOLD_EXPIRED, SESSION_EXPIRED)  # what no handler may hold

DUE_TYPE_PREFIX: Final = "dev.heed.due."  # what the engine says to an Agent's inbox when something is due
SUBSCRIPTION_CONSUMER_PREFIX: Final = "heed-sub-"
SUBSCRIBER_PREFIX: Final = "subscription:"
DUE_TICKS_DROPPED: Final = "dev.heed.due.dropped"  # ticks of a timer were too late
RESERVED_PREFIX: Final = "dev.heed."  # of types that only Heed itself may publish
DUE_TIMERS_CHANGED: Final = "dev.heed.due.timers"  # the timers are to be scheduled

INBOX_PREFIX: Final = "_INBOX.heed"  # of the replies to all of Heed's own processes
TASK_INBOX_PREFIX: Final = "_INBOX.heed-task"
WORKER_INBOX_PREFIX: Final = "_INBOX.heed-worker"

LABEL_AGENT: Final = "heed.dev/agent"
LABEL_TASK: Final = "heed.dev/task"
LABEL_TASK_ID: Final = "heed.dev/task-id"
LABEL_ATTEMPT: Final = "heed.dev/attempt"
LABEL_SESSION: Final = "heed.dev/session-hash"
LABEL_GATEWAY_SECRET: Final = "heed.dev/gateway-secret"  # "true" on a Secret that the gateway may use
LABEL_RESOURCE_OF: Final = "heed.dev/resource-of"  # the Agent of a resource task's object, which is no `job`
LABEL_WORKER_OF: Final = "heed.dev/worker-of"  # the Agent of a Deployment of workers, and of its pods
ANNOTATION_TEMPLATE: Final = "heed.dev/worker-template"  # digest of what a worker's pods were made of
ANNOTATION_EXPIRES: Final = "heed.dev/credentials-expire"  # when a worker's credentials do, in Unix seconds
ANNOTATION_TASK: Final = "heed.dev/task.json"
ANNOTATION_RETENTION: Final = "heed.dev/retention"
ANNOTATION_PUBLISHES: Final = "heed.dev/publishes"  # of a Job that may publish its result
ANNOTATION_SUSPENDED: Final = (
    "heed.dev/suspended"  # of a Job that waits for its credentials, and for nothing else
)


def is_own_key(key: str) -> bool:
    """Whether a label or an annotation is one that Heed sets and reads."""
    return key.startswith(f"{GROUP}/")


_PARTS = json.JSONEncoder()
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TOKEN = r"[^\s.*>\x00-\x20\x7f]+"
_TYPE = re.compile(rf"{_TOKEN}(\.{_TOKEN})*")
_SOURCE = re.compile(rf"/apis/{re.escape(API_VERSION)}/namespaces/([^/]+)/{PLURAL}/([^/]+)")
_PATTERN = re.compile(rf"(({_TOKEN}|\*)\.)*({_TOKEN}|\*|>)")
MAX_TYPE_CHARS: Final = 255
MAX_DNS_LABEL_CHARS: Final = 63
# Room for `-<index>` of an Indexed Job (an int32), and `-<5 characters>` of a pod.
MAX_JOB_NAME_CHARS: Final = MAX_DNS_LABEL_CHARS - 17
_DIGITS: Final = 16  # of the digest that ends a task id
_ATTEMPT: Final = re.compile(r"(.+-[0-9a-f]{16})-([1-9][0-9]{0,2})")


@lru_cache(maxsize=4096)
def is_type(value: str) -> bool:
    """Whether `value` may be a CloudEvents type here: dot-separated tokens that are plain NATS subject tokens."""
    return len(value) <= MAX_TYPE_CHARS and _TYPE.fullmatch(value) is not None


def is_pattern(value: str) -> bool:
    """Whether `value` is a NATS pattern over types (`*` for one token, a last `>` for one or more)."""
    return len(value) <= MAX_TYPE_CHARS and _PATTERN.fullmatch(value) is not None


def is_name(value: str) -> bool:
    """Whether `value` may name an Agent or a namespace: a DNS label (RFC 1123), which is one token of a subject."""
    return len(value) <= 63 and _LABEL.fullmatch(value) is not None


def event_subject(namespace: str, type_: str) -> str:
    """The broadcast subject of a type, or of a type pattern, in a namespace."""
    return f"heed.events.{namespace}.{type_}"


def inbox_subject(namespace: str, agent: str, type_: str) -> str:
    """The subject of events for one Agent only."""
    return f"heed.inbox.{namespace}.{agent}.{type_}"


def task_subject(namespace: str, agent: str, task: str, type_: str) -> str:
    """The subject on which a running task publishes to its Agent. `task` is the `attempt_id`, or `*`."""
    return f"heed.tasks.{namespace}.{agent}.{task}.{type_}"


def task_of_subject(subject: str) -> str | None:
    """The `attempt_id` of the task that a `task_subject` belongs to; None for other subjects."""
    tokens = subject.split(".", 5)
    return tokens[4] if len(tokens) == 6 and subject.startswith("heed.tasks.") else None


def task_inbox(namespace: str, agent: str, task: str) -> str:
    """The inbox prefix (reply subjects) of a task's own connection."""
    return f"{TASK_INBOX_PREFIX}.{namespace}.{agent}.{task}"


def worker_inbox(namespace: str, agent: str) -> str:
    """The inbox prefix (reply subjects) of the connections of an Agent's workers."""
    return f"{WORKER_INBOX_PREFIX}.{namespace}.{agent}"


def decide_subject(namespace: str, agent: str, digest: str) -> str:
    """The subject on which workers of an Agent's code of this digest answer calls; no stream keeps it."""
    return f"heed-decide.{namespace}.{agent}.{digest}"


def work_subject(namespace: str, agent: str, attempt: str) -> str:
    """The subject of an attempt of a function task in the work queue; `attempt` may be `>`."""
    return f"heed-work.{namespace}.{agent}.{attempt}"


def work_consumer(namespace: str, agent: str) -> str:
    """The durable consumer of an Agent's workers."""
    return f"{namespace}_{agent}"


def call_pool(agent: str) -> str:
    """The token of an Agent's calls, beside its functions, in the work queue: no other Agent can have that name."""
    return f"{agent}_calls"


def transcript_subject(namespace: str, agent: str, record: str) -> str:
    """The subject of one record of a transcript, `<task id>.<place>`; it may be `>`."""
    return f"heed-transcript.{namespace}.{agent}.{record}"


def stop_subject(namespace: str, agent: str, attempt: str) -> str:
    """Where workers hear that an attempt of a function task is cancelled; `attempt` may be `*`; no stream keeps it."""
    return f"heed-stop.{namespace}.{agent}.{attempt}"


def redrive_subject(namespace: str, agent: str, type_: str) -> str:
    """The subject on which an Agent's redriven dead letters are published."""
    return f"heed.redrive.{namespace}.{agent}.{type_}"


def dead_subject(namespace: str, agent: str) -> str:
    """The subject of an Agent's dead letters."""
    return f"heed-dead.{namespace}.{agent}"


def redriven_subject(namespace: str, agent: str) -> str:
    """The subject of the markers that record which of an Agent's dead letters were redriven."""
    return f"heed-dead.{namespace}.{agent}.redriven"


@lru_cache(maxsize=4096)
def type_of_subject(subject: str) -> str | None:
    """The event type in a subject's tail, or None where the subject is none of Heed's."""
    skipped = {"events": 3, "inbox": 4, "redrive": 4, "tasks": 5}
    tokens = subject.split(".")
    if len(tokens) < 2 or tokens[0] != "heed" or tokens[1] not in skipped:
        return None
    return ".".join(tokens[skipped[tokens[1]] :]) or None


@lru_cache(maxsize=4096)
def namespace_of_subject(subject: str) -> str:
    """The namespace in one of Heed's subjects: the third token in every family."""
    return (subject.split(".", 3)[2:3] or [""])[0]


def is_inbox(subject: str) -> bool:
    """Whether a subject addresses one Agent."""
    return subject.startswith(("heed.inbox.", "heed.redrive.", "heed.tasks."))


def is_inbox_of(subject: str, namespace: str, agent: str) -> bool:
    """Whether a subject that addresses one Agent addresses this one."""
    return subject.split(".", 4)[2:4] == [namespace, agent]


def event_source_uri(namespace: str, name: str) -> str:
    """The CloudEvents `source` of a webhook's events whose EventSource names no other: its API path."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{EVENT_SOURCES}/{name}"


def subscriber(name: str) -> str:
    """The token of a Subscription in subjects of dead letters and redrives; no Agent can have this name."""
    return f"{SUBSCRIBER_PREFIX}{name}"


def is_recipient(value: str) -> bool:
    """Whether dead letters may be those of `value`: an Agent's name, or the token of a Subscription."""
    return is_name(value.removeprefix(SUBSCRIBER_PREFIX))


def subscription_consumer(uid: str) -> str:
    """The durable consumer of a Subscription; one of the same name that is made later gets another."""
    return f"{SUBSCRIPTION_CONSUMER_PREFIX}{digest('subscription', uid)}"


def is_reserved(type_: str) -> bool:
    """Whether a type, or a pattern of types, is one that only Heed itself may publish."""
    return type_ == "dev.heed" or type_.startswith(RESERVED_PREFIX)


def is_left_by(subject: str, namespace: str, agent: str) -> bool:
    """Whether an Agent may publish on a subject: events in its own namespace, and its own dead letters."""
    events = (f"heed.events.{namespace}.", f"heed.inbox.{namespace}.")
    return subject.startswith(events) or subject == dead_subject(namespace, agent)


def is_redrive(subject: str) -> bool:
    """Whether a subject is that of a redriven dead letter."""
    return subject.startswith("heed.redrive.")


def agent_source(namespace: str, name: str) -> str:
    """The CloudEvents `source` of what an Agent emits: its API path."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}"


def agent_of_source(source: str) -> tuple[str, str] | None:
    """Namespace and name of the Agent whose `agent_source` this is, or None."""
    found = _SOURCE.fullmatch(source)
    return (found[1], found[2]) if found else None


def digest(*parts: str | int, size: int = 16) -> str:
    """`size` bytes of BLAKE2b over the parts, in hex. JSON keeps ("a", "bc") apart from ("ab", "c")."""
    return hashlib.blake2b(_PARTS.encode(parts).encode(), digest_size=size).hexdigest()


def event_digest(source: str, id: str) -> str:
    """The dedup key of an event, from source and id: 8 bytes as base64, since an Agent's status holds hundreds."""
    # As json.dumps([source, id]) writes it; written out, since it is done for every event.
    text = f"[{encode_basestring_ascii(source)}, {encode_basestring_ascii(id)}]"
    raw = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def progress_digest(task: str, source: str, id: str) -> str:
    """The dedup key of a task's progress message, in a key space of its own: it collides with no other event's."""
    return event_digest(f"progress of {task}", event_digest(source, id))


def redrive_digest(letter: str, attempt: int) -> str:
    """The dedup key of one redrive attempt of a dead letter, so that each attempt is decided once."""
    return event_digest(f"redrive-{attempt}", letter)


def redrive_id(letter: str, attempt: int) -> str:
    """The Nats-Msg-Id of a redriven dead letter, so that sending it again stores it once."""
    return digest("redrive", letter, attempt)


def redriven_id(letter: str, attempt: int) -> str:
    """The Nats-Msg-Id of the mark that a dead letter was redriven."""
    return digest("redriven", letter, attempt)


def waiting_digest(key: str) -> str:
    """A short digest of a session key for deferred events: 3 bytes as base64.

    Two keys of the same digest only wait for each other.
    """
    raw = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=3).digest()
    return base64.urlsafe_b64encode(raw).decode()


def origin(agent_uid: str, stream_created: str | None) -> str:
    """The scope in which stream sequences are unique, for derived ids: an Agent's uid, and the stream's creation."""
    return agent_uid if stream_created is None else f"{agent_uid}@{stream_created}"


def event_id(origin: str, sequence: int, index: int) -> str:
    """The id of the `index`th event that an Agent emits on deciding the event at `sequence`."""
    return digest("event", origin, sequence, index)


def letter_id(origin: str, sequence: int) -> str:
    """The id of the dead letter for the event at `sequence`."""
    return digest("dead-letter", origin, sequence)


def task_id(origin: str, sequence: int, index: int, task: str) -> str:
    """The id of the `index`th task that an Agent starts on deciding the event at `sequence`."""
    return f"{task}-{digest('task', origin, sequence, index, size=8)}"


def tool_id(parent: str, turn: int, index: int, task: str) -> str:
    """The id of the task for the `index`th call of a tool in a turn of the model of the task `parent`."""
    return f"{task}-{digest('tool', parent, turn, index, size=8)}"


def attempt_id(task: str, attempt: int) -> str:
    """The id of one attempt of a task: of the first one the task's id, of others `<task id>-<attempt>`."""
    return task if attempt == 1 else f"{task}-{attempt}"


def split_attempt(attempt: str) -> tuple[str, int]:
    """The task's id and the number of the attempt in an `attempt_id`."""
    found = _ATTEMPT.fullmatch(attempt)
    return (found[1], int(found[2])) if found else (attempt, 1)


def job_name(agent: str, attempt: str) -> str:
    """The Job of an `attempt_id`: `<agent>-<id>`, the parts before the id's digest cut where they would be too long.

    `<job>-<index>` is a DNS label for every index, as Indexed Jobs need it, and `<job>-<index>-<5 characters>` is one.
    """
    whole = f"{agent}-{attempt}"
    if len(whole) <= MAX_JOB_NAME_CHARS:
        return whole
    task, _ = split_attempt(attempt)
    name, digits = task[: -_DIGITS - 1], attempt[len(task) - _DIGITS :]
    room = MAX_JOB_NAME_CHARS - len(digits) - 2
    of_agent = min(len(agent), max(room // 2, room - len(name)))
    return f"{agent[:of_agent].rstrip('-')}-{name[: room - of_agent].rstrip('-')}-{digits}"


def job_names(agent: str, attempt: str) -> tuple[str, ...]:
    """The names that the Job of an attempt may have: the one it gets, and that of releases which left no room."""
    room = MAX_DNS_LABEL_CHARS - len(attempt) - 1
    return tuple(dict.fromkeys((job_name(agent, attempt), f"{agent[:room].rstrip('-')}-{attempt}")))


def session_hash(key: str) -> str:
    """A label value for a session key, which itself may hold any characters."""
    return digest("session", key, size=8)
