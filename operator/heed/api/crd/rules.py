"""What the CRDs say beside their schemas: rules in the Kubernetes CEL dialect, and the columns of kubectl get."""

from typing import Final

from heed.api.selectors import LABEL_KEY_PATTERN, MAX_LABEL_KEY_CHARS

FieldRules = dict[str, tuple[tuple[str, str], ...]]  # by the place of the schema: rules and their messages
Column = tuple[str, str, str, int]  # name, type, path, priority

_LABEL: Final = "'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"

AGENT_RULES: Final[FieldRules] = {
    "": (
        (
            f"self.metadata.name.size() <= 63 && self.metadata.name.matches({_LABEL})",
            "metadata.name must be a DNS label (it is a token of NATS subjects): "
            "at most 63 lower-case letters, digits and -",
        ),
    ),
    "spec": (
        (
            "has(self.subscribe) || (has(self.timers) && self.timers.size() > 0)",
            "spec.subscribe: is missing; add it, or give the Agent `timers`",
        ),
        (
            f"!has(self.timers) || self.timers.all(name, name.size() <= 40 && name.matches({_LABEL}))",
            "a timer's name must be at most 40 lower-case letters, digits and -",
        ),
        (
            "self.handlers.all(h, !has(h.start) || h.start.all(s, !has(s.task) || "
            "(has(self.tasks) && s.task in self.tasks)))",
            "spec.handlers[*].start[*].task: names a task that is not in spec.tasks; "
            "add the task, or correct the name",
        ),
        (
            "self.handlers.all(h, !has(h.cancel) || h.cancel.all(s, has(self.tasks) && s.task in self.tasks))",
            "spec.handlers[*].cancel[*].task: names a task that is not in spec.tasks; "
            "add the task, or correct the name",
        ),
        (
            "has(self.worker) || (self.handlers.all(h, !has(h.call)) && (!has(self.tasks) || "
            "self.tasks.all(name, !has(self.tasks[name].function))))",
            "spec.worker: is missing, and a handler or a task names a function; add it, as `heed build` writes it",
        ),
        (
            "self.handlers.all(h, !has(h.call) || !has(h.call.starts) || h.call.starts.all(task, "
            "has(self.tasks) && task in self.tasks))",
            "spec.handlers[*].call.starts: names a task that is not in spec.tasks; add the task, or correct the name",
        ),
        (
            f"!has(self.tasks) || self.tasks.all(name, name.size() <= 40 && name.matches({_LABEL}))",
            "a task's name must be at most 40 lower-case letters, digits and -",
        ),
    ),
    "spec.worker": (
        (
            "!(has(self.template) && has(self.address))",
            "give at most one of `template` and `address`: either Heed keeps the workers, or you do",
        ),
        ("!has(self.replicas) || has(self.template)", "replicas has no meaning without `template`"),
    ),
    "spec.timers{}": (
        (
            "[has(self.cron), has(self.every), has(self.at)].filter(given, given).size() == 1",
            "a timer needs one schedule: give it either `cron`, `every` or `at`",
        ),
        ("!has(self.timeZone) || has(self.cron)", "timeZone has no meaning without `cron`"),
        (
            "self.type == 'dev.heed.timer.fired' || !self.type.startsWith('dev.heed.')",
            "dev.heed.* is reserved; choose a type of your own",
        ),
    ),
    "spec.subscribe[]": (
        (
            "!self.type.startsWith('dev.heed.') && self.type != 'dev.heed'",
            "what Heed itself says comes through the inbox and needs no subscription; "
            "a handler with that `type` gets it",
        ),
    ),
    "spec.tasks{}": (
        (
            "[has(self.job), has(self.wait), has(self.approval), has(self.resource), has(self.function), "
            "has(self.http), has(self.llm)].filter(given, given).size() == 1",
            "a task needs one kind of work: give it a `job`, a `wait`, an `approval`, a `resource`, a `function`, "
            "an `http` or an `llm`",
        ),
        (
            "!(has(self.wait) || has(self.approval)) || !(has(self.retry) || has(self.attemptTimeout) || "
            "has(self.maxConcurrent))",
            "nothing runs in a `wait` or an `approval`: leave out `retry`, `attemptTimeout` and `maxConcurrent`",
        ),
        (
            "!has(self.approval) || self.approval.onTimeout == 'Fail' || has(self.timeout)",
            "an approval whose onTimeout is a choice needs a `timeout`",
        ),
    ),
    "spec.tasks{}.http": (
        (
            "!has(self.body) || "  # json has no type that rules could ask for; the compiler counts it
            "[has(self.body.form), has(self.body.text), has(self.body.bytes)].filter(given, given).size() <= 1",
            "give exactly one of `json`, `form`, `text` and `bytes` to a body",
        ),
    ),
    "spec.tasks{}.http.headers[]": (
        ("has(self.value) != has(self.secretRef)", "give exactly one of `value` and `secretRef`"),
    ),
    "spec.tasks{}.http.reconcile.headers[]": (
        ("has(self.value) != has(self.secretRef)", "give exactly one of `value` and `secretRef`"),
    ),
    "spec.tasks{}.llm.headers[]": (
        ("has(self.value) != has(self.secretRef)", "give exactly one of `value` and `secretRef`"),
    ),
    "spec.tasks{}.llm.messages[]": (
        ("has(self.text) != has(self.parts)", "give exactly one of `text` and `parts` to a message"),
    ),
    "spec.tasks{}.llm.messages[].parts[]": (
        (
            "[has(self.text), has(self.image), has(self.file)].filter(given, given).size() == 1",
            "give exactly one of `text`, `image` and `file` to a part",
        ),
    ),
    "spec.tasks{}.approval": (
        (
            "self.onTimeout == 'Fail' || self.choices.exists(choice, choice.name == self.onTimeout)",
            "onTimeout is neither Fail nor one of the choices",
        ),
    ),
    "spec.tasks{}.retry.reasons[]": (
        (
            "!self.startsWith('Invalid') && !(self in ['Cancelled', 'PolicyViolation', 'UnsupportedKind'])",
            "what fails for this reason is never tried again; leave it out of `reasons`",
        ),
    ),
    "spec.tasks{}.wait": (("has(self.until) != has(self.for)", "give exactly one of `for` and `until`"),),
    "spec.handlers[]": (
        (
            "!self.type.startsWith('dev.heed.timer.') || self.type in ['dev.heed.timer.fired', 'dev.heed.timer.*', "
            "'dev.heed.timer.>']",
            "no timer sends events of this type; there is dev.heed.timer.fired",
        ),
        (
            "!has(self.call) || !(has(self.hold) || has(self.start) && self.start.size() > 0 || "
            "has(self.emit) && self.emit.size() > 0 || has(self.cancel) && self.cancel.size() > 0 || "
            "has(self.end) && self.end)",
            "a handler with `call` says nothing else that it does; its function says it",
        ),
        (
            "!(has(self.end) && self.end && has(self.start) && self.start.size() > 0)",
            "a handler that ends its session cannot start tasks; start them in another handler",
        ),
        (
            "!self.type.startsWith('dev.heed.task.') || self.type in ['dev.heed.task.completed', "
            "'dev.heed.task.failed', 'dev.heed.task.progress', 'dev.heed.task.*', 'dev.heed.task.>']",
            "no task sends events of this type; there are dev.heed.task.completed, .failed and .progress",
        ),
        (
            "!has(self.hold) || !['dev.heed.task.', 'dev.heed.hold.', 'dev.heed.session.'].exists(own, "
            "self.type.startsWith(own))",
            "an event of a task, a hold or a session cannot be held",
        ),
    ),
    "spec.handlers[].start[]": (
        ("has(self.task) != has(self.from)", "give exactly one of `task` and `from` to each item of start"),
    ),
    "spec.handlers[].emit[]": (
        ("has(self.type) != has(self.from)", "give exactly one of `type` and `from` to each item of emit"),
        (
            "!has(self.type) || !self.type.startsWith('dev.heed.')",
            "dev.heed.* is reserved for what Heed itself says; choose a type of your own",
        ),
    ),
}

_SELECTOR: Final[FieldRules] = {
    "spec.agentSelector": (
        (
            f"!has(self.matchLabels) || self.matchLabels.all(key, "
            f"key.size() <= {MAX_LABEL_KEY_CHARS} && key.matches('{LABEL_KEY_PATTERN}'))",
            "the keys of matchLabels must be label keys, such as app or example.com/team",
        ),
    ),
    "spec.agentSelector.matchExpressions[]": (
        (
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "In and NotIn need values, Exists and DoesNotExist must have none",
        ),
    ),
}

_SELECTS_ALL: Final = (
    "(!has(self.agentSelector.matchLabels) || self.agentSelector.matchLabels.size() == 0) && "
    "(!has(self.agentSelector.matchExpressions) || self.agentSelector.matchExpressions.size() == 0)"
)

POLICY_RULES: Final[FieldRules] = {
    **_SELECTOR,
    "spec": (
        (
            f"!(has(self.eventSources) || has(self.deliveries)) || ({_SELECTS_ALL})",
            "eventSources and deliveries are for the whole namespace and need agentSelector: {}; "
            "give them a policy of their own",
        ),
    ),
    "spec.publishers[]": (
        (
            "(has(self.serviceAccount) ? 1 : 0) + (has(self.user) ? 1 : 0) + (has(self.group) ? 1 : 0) == 1",
            "give exactly one of serviceAccount, user and group to each item of publishers",
        ),
    ),
}
GRANT_RULES: Final[FieldRules] = {}
EVENT_TYPE_RULES: Final[FieldRules] = {}

EVENT_SOURCE_RULES: Final[FieldRules] = {
    "spec.verify": (
        (
            "[has(self.hmac), has(self.token), has(self.none)].filter(x, x).size() == 1",
            "give exactly one of `hmac`, `token` and `none`",
        ),
    ),
    "spec.verify.hmac": (
        (
            "self.payload.contains('{body}')",
            "`payload` has to contain {body}: else anything could be sent with a signature that was seen once",
        ),
        (
            "has(self.timestamp) == self.payload.contains('{timestamp}')",
            "`timestamp` and {timestamp} in `payload` belong together: a time that is not signed proves nothing",
        ),
    ),
    "spec.verify.hmac.timestamp": (
        ("has(self.header) != has(self.field)", "give exactly one of `header` and `field`"),
    ),
    "spec.event": (
        (
            "self.type != 'dev.heed' && !self.type.startsWith('dev.heed.')",
            "dev.heed.* is reserved for Heed's own events; choose a type of your own",
        ),
    ),
}
SUBSCRIPTION_RULES: Final[FieldRules] = {
    "": (
        (
            f"self.metadata.name.size() <= 63 && self.metadata.name.matches({_LABEL})",
            "metadata.name must be a DNS label (it is a token of NATS subjects): "
            "at most 63 lower-case letters, digits and -",
        ),
    ),
    "spec.sink.headers[]": (
        ("has(self.value) != has(self.secretRef)", "give exactly one of `value` and `secretRef`"),
    ),
}

AGENT_COLUMNS: Final[tuple[Column, ...]] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 1),
    ("Workers", "string", '.status.conditions[?(@.type=="WorkerReady")].reason', 1),
    ("Suspend", "boolean", ".spec.suspend", 0),
    ("Sessions", "integer", ".status.counts.sessions", 0),
    ("Pending", "integer", ".status.counts.pendingTasks", 0),
    ("Handled", "integer", ".status.totals.handled", 0),
    ("Dead", "integer", ".status.totals.deadLettered", 0),
    ("Ignored", "integer", ".status.totals.ignored", 1),
    ("Waiting", "integer", ".status.counts.waiting", 1),
    ("Queued", "integer", ".status.counts.queuedTasks", 1),
    ("Next tick", "string", ".status.nextTick", 1),
    ("Held", "integer", ".status.counts.held", 1),
    ("Sequence", "integer", ".status.cursor.sequence", 1),
    ("Address", "string", ".status.address.url", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)

EVENT_TYPE_COLUMNS: Final[tuple[Column, ...]] = (
    ("Type", "string", ".spec.type", 0),
    ("Mode", "string", ".spec.mode", 0),
)

ACCEPTED_COLUMNS: Final[tuple[Column, ...]] = (
    ("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Accepted")].reason', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)

EVENT_SOURCE_COLUMNS: Final[tuple[Column, ...]] = (
    ("Path", "string", ".spec.path", 0),
    ("URL", "string", ".status.url", 1),
    *ACCEPTED_COLUMNS,
)

SUBSCRIPTION_COLUMNS: Final[tuple[Column, ...]] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 1),
    ("Sink", "string", ".spec.sink.url", 0),
    ("Lag", "integer", ".status.lag", 0),
    ("Delivered", "integer", ".status.delivered", 0),
    ("Dead", "integer", ".status.deadLettered", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)

# Kubernetes sees no further than the schema, so it does not compare `fields`: the admission policy does, and the
# operator takes no answer of a later generation.
APPROVAL_ANSWER_RULES: Final[FieldRules] = {
    "spec": (("self == oldSelf", "an answer cannot be changed; give another one"),)
}
APPROVAL_ANSWER_COLUMNS: Final[tuple[Column, ...]] = (
    ("Agent", "string", ".spec.agent", 0),
    ("Task", "string", ".spec.task", 0),
    ("Choice", "string", ".spec.choice", 0),
    ("User", "string", ".spec.user", 0),
    ("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Accepted")].reason', 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
