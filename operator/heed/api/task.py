"""`spec.tasks` of an Agent: the kinds of work, and how often and for how long a task may be tried."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt

from heed.api.fields import (
    FUNCTION_PATTERN,
    MAX_EXPRESSION_CHARS,
    MAX_FUNCTION_CHARS,
    MAX_LABEL_CHARS,
    MAX_LIST_ITEMS,
    Cel,
    Duration,
    Label,
    Model,
    Reason,
)
from heed.api.http_task import HttpSpec
from heed.api.llm_task import LlmSpec
from heed.api.status import FreeMap

MAX_APPROVERS = 64

TASK_KINDS = (
    "job",
    "wait",
    "approval",
    "resource",
    "function",
    "http",
    "llm",
)  # members of a task, one of which says what its work is

MAX_ATTEMPTS = 100  # of one task

MAX_PRIORITY = 1000

MAX_SLOTS = 100_000  # tasks at once


class WaitSpec(Model):
    """A time to wait for: exactly one of `for` and `until`."""

    for_: Annotated[
        str | None,
        Field(
            alias="for",
            max_length=MAX_EXPRESSION_CHARS,
            description="How long, counted from the event that started the task: a duration such as 90s or 1h30m; may "
            "hold ${CEL}.",
        ),
    ] = None
    until: Annotated[
        str | None,
        Field(
            max_length=MAX_EXPRESSION_CHARS,
            description="Until when, in RFC 3339 with its offset; may hold ${CEL}. A time that is over ends at once.",
        ),
    ] = None


class ChoiceSpec(Model):
    """A choice of an approval."""

    name: Annotated[Label, Field(description="What the answer and the end of the task call it.")]
    label: Annotated[
        str | None,
        Field(
            min_length=1, max_length=MAX_LABEL_CHARS, description="What people read; the name if not given."
        ),
    ] = None


class ApproversSpec(Model):
    """Who may answer an approval, of those whom RBAC lets create ApprovalAnswers in the namespace."""

    users: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]],
        Field(
            max_length=MAX_APPROVERS,
            description="Users as the API server knows them; may hold ${CEL}. With users or groups, the one who "
            "answers has to be one of the users, or in one of the groups.",
        ),
    ] = []
    groups: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]],
        Field(max_length=MAX_APPROVERS, description="Groups as the API server knows them; may hold ${CEL}."),
    ] = []
    where: Annotated[
        Cel | None,
        Field(
            description="CEL over `answer` (user, groups, choice, fields, comment), `input`, `task` and `session` "
            "that has to be true, too."
        ),
    ] = None


class ApprovalSpec(Model):
    """A question to people. The task completes with the first valid answer."""

    title: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_EXPRESSION_CHARS,
            description="What is asked, in one line of at most 256 characters; may hold ${CEL} as in a `job`.",
        ),
    ]
    details: Annotated[
        str | None,
        Field(
            max_length=8192,
            description="What it takes to decide, in Markdown of at most 8 KiB; may hold ${CEL} as in a `job`.",
        ),
    ] = None
    choices: Annotated[
        list[ChoiceSpec],
        Field(min_length=1, max_length=MAX_LIST_ITEMS, description="What can be chosen."),
    ] = [ChoiceSpec(name="approve"), ChoiceSpec(name="reject")]
    fields: Annotated[
        FreeMap | None,
        Field(
            description="JSON Schema (draft 2020-12) of what the person fills in, a map; nothing, if not given."
        ),
    ] = None
    on_timeout: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_LABEL_CHARS,
            description="After the task's `timeout`: Fail with DeadlineExceeded, or the choice that is taken then.",
        ),
    ] = "Fail"
    approvers: Annotated[
        ApproversSpec | None,
        Field(
            description="Who may answer; everyone whom RBAC lets create ApprovalAnswers in the namespace, if not given."
        ),
    ] = None

    @property
    def template(self) -> dict[str, Any]:
        """The parts that may hold ${CEL}."""
        who = self.approvers or ApproversSpec()
        asked = (
            {"title": self.title} if self.details is None else {"title": self.title, "details": self.details}
        )
        return {**asked, "approvers": {"users": list(who.users), "groups": list(who.groups)}}


class ResourceSpec(Model):
    """Any object of Kubernetes, and when it counts as done. It is created in the Agent's namespace and watched."""

    template: Annotated[
        FreeMap,
        Field(
            description="The object: apiVersion and kind as they are, `metadata` with labels and annotations, and all "
            "else that the kind has. Other strings may hold ${CEL} as in a `job`. Heed gives it its name."
        ),
    ]
    succeeded: Annotated[
        Cel,
        Field(
            description="CEL over `object`, the live one; where it is true, the task has completed. A member that is "
            "not there means: not yet."
        ),
    ]
    failed: Annotated[
        Cel | None,
        Field(
            description="The same for a failure. It is asked first; without it the task never fails by itself."
        ),
    ] = None
    result: Annotated[
        Cel | None, Field(description="CEL over `object` that yields the result once the task has completed.")
    ] = None
    progress: Annotated[
        Cel | None,
        Field(
            description="CEL over `object`; whenever its value changes, it is the data of a dev.heed.task.progress."
        ),
    ] = None
    reason: Annotated[
        Cel | None, Field(description="CEL over `object` that yields the reason of a failure, in CamelCase.")
    ] = None
    message: Annotated[
        Cel | None, Field(description="CEL over `object` that yields the message of a failure.")
    ] = None
    deletion: Annotated[
        Literal["AfterRetention", "Immediately", "Keep"],
        Field(
            description="What becomes of the object once the task's end is in the ledger: it is deleted after the "
            "task's `retention`, or at once, or left to be deleted with the Agent. One that is cancelled or too late "
            "is deleted in any case."
        ),
    ] = "AfterRetention"


class FunctionSpec(Model):
    """A function of the Agent's code, which a worker runs. It is given the `input` that the task was started with."""

    name: Annotated[
        str,
        Field(
            pattern=FUNCTION_PATTERN,
            max_length=MAX_FUNCTION_CHARS,
            description="The function's name, as the Agent's worker knows it.",
        ),
    ]


class BackoffSpec(Model):
    """How long it takes until the next attempt: `initial`, then `factor` times as long with each one, at most `max`."""

    initial: Annotated[Duration, Field(description="After the first attempt.")] = "10s"
    factor: Annotated[
        float, Field(ge=1, le=100, strict=True, description="By how much longer with each attempt.")
    ] = 2
    max: Annotated[Duration, Field(description="It never takes longer.")] = "10m"
    jitter: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            strict=True,
            description="Up to this share of it is left out, so that not all come again at once.",
        ),
    ] = 0.1


class RetrySpec(Model):
    """Further attempts at a task that failed. Handlers hear of the last one only."""

    attempts: Annotated[
        StrictInt,
        Field(
            ge=1, le=MAX_ATTEMPTS, description="How many attempts there are at most, the first one included."
        ),
    ]
    backoff: Annotated[BackoffSpec, Field(description="When the next attempt starts.")] = BackoffSpec()
    reasons: Annotated[
        list[Reason],
        Field(
            max_length=MAX_LIST_ITEMS,
            description="Reasons, or causes, of the failures that are tried again; all that may pass if not given. "
            "Never tried again is what was cancelled, refused as invalid or by a policy, or past its timeout.",
        ),
    ] = []


class TaskSpec(Model):
    """Long or costly work that handlers start. Its end comes back as dev.heed.task.completed or .failed.

    Exactly one of its kinds says what the work is.
    """

    job: Annotated[
        FreeMap | None,
        Field(
            description="A batch/v1 JobSpec, and `metadata` with labels and annotations of the Job. Every string in "
            "it may hold ${CEL} over `task`, `input`, `event`, `state`, `agent` and `session`."
        ),
    ] = None
    wait: Annotated[
        WaitSpec | None,
        Field(
            description="Nothing but time: the task completes when it is over. Strings may hold ${CEL} as in a `job`."
        ),
    ] = None
    approval: Annotated[
        ApprovalSpec | None,
        Field(description="A question to people: the task completes with their answer."),
    ] = None
    resource: Annotated[
        ResourceSpec | None,
        Field(description="An object of another kind: it is created, and CEL over it says when it is done."),
    ] = None
    function: Annotated[
        FunctionSpec | None,
        Field(description="A function of the Agent's code: a worker runs it, and its value is the result."),
    ] = None
    http: Annotated[
        HttpSpec | None,
        Field(description="A request to a service, which a worker sends: it completes with the answer."),
    ] = None
    llm: Annotated[
        LlmSpec | None,
        Field(
            description="A language model that a worker asks, and the tasks that it may call as tools: it completes "
            "with the model's answer. An attempt is one call of the model."
        ),
    ] = None
    timeout: Annotated[
        Duration | None,
        Field(
            description="The task fails with DeadlineExceeded so long after the event that started it, however many "
            "attempts there were."
        ),
    ] = None
    attempt_timeout: Annotated[
        Duration | None,
        Field(description="An attempt fails with DeadlineExceeded so long after it was to start."),
    ] = None
    retry: Annotated[
        RetrySpec | None, Field(description="Further attempts where one fails; none if not given.")
    ] = None
    max_concurrent: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=MAX_SLOTS,
            description="How many of this task run at once; others are queued, and sessions take turns.",
        ),
    ] = None
    priority: Annotated[
        StrictInt,
        Field(
            ge=-MAX_PRIORITY,
            le=MAX_PRIORITY,
            description="Of the tasks that are queued, those of a higher priority start first.",
        ),
    ] = 0
    retention: Annotated[
        Duration,
        Field(description="How long the finished Job or resource is kept once its end is in the ledger."),
    ] = "1h"
    publish: Annotated[
        StrictBool,
        Field(
            description="Give the Job what it takes to publish progress, results and events: HEED_NATS_* variables, "
            "and credentials where the broker asks for them."
        ),
    ] = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of work that it has: one, in a valid task."""
        return tuple(kind for kind in TASK_KINDS if getattr(self, kind) is not None)

    @property
    def kind(self) -> str:
        """What runs it; "job" where it says nothing, which is a mistake of its own."""
        return next(iter(self.kinds), "job")

    @property
    def condition(self) -> str | None:
        """The CEL over an answer that has to be true, of an approval that has one."""
        who = None if self.approval is None else self.approval.approvers
        return None if who is None else who.where

    @property
    def work(self) -> dict[str, Any] | None:
        """The template of its kind, as written in the manifest: what may hold ${CEL}."""
        if self.resource is not None and self.kind == "resource":
            return {"template": self.resource.template}
        found = getattr(self, self.kind)
        if isinstance(found, ApprovalSpec | HttpSpec | LlmSpec):
            return found.template
        return found.model_dump(by_alias=True, exclude_none=True) if isinstance(found, Model) else found


def job_containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a JobSpec, or none where it has no such shape."""
    pod = spec.get("template")
    inner = pod.get("spec") if isinstance(pod, dict) else None
    containers = inner.get("containers") if isinstance(inner, dict) else None
    return [item for item in containers if isinstance(item, dict)] if isinstance(containers, list) else []
