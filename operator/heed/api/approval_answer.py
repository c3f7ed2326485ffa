"""The `ApprovalAnswer` custom resource, v1alpha1: what somebody answers to an approval that waits.

Who that is, is the word of the API server: an admission policy takes no answer whose `user` and `groups` are not those
of the one who sends it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from heed.api.fields import DNS_LABEL_PATTERN, MAX_LABEL_CHARS, Label, Model
from heed.api.kube_object import AcceptedStatus
from heed.api.status import FreeMap
from heed.api.validation import explain_error
from heed.errors import InvalidManifest

MAX_USER_CHARS: Final = 1024
MAX_GROUPS: Final = 256
MAX_GROUP_CHARS: Final = 256
MAX_COMMENT_CHARS: Final = 4096


class ApprovalAnswerSpec(Model):
    """An answer. It cannot be changed."""

    agent: Annotated[
        str,
        Field(
            pattern=DNS_LABEL_PATTERN,
            min_length=1,
            max_length=63,
            description="The Agent of this namespace that asks.",
        ),
    ]
    task: Annotated[
        str,
        Field(
            pattern=DNS_LABEL_PATTERN,
            min_length=1,
            max_length=MAX_LABEL_CHARS + 17,
            description="The id of the approval, as the Agent's status has it.",
        ),
    ]
    choice: Annotated[Label, Field(description="The name of one of its choices.")]
    fields: Annotated[
        FreeMap, Field(description="What the approval asks to be filled in.", default_factory=dict)
    ]
    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARS, description="For people.")] = ""
    user: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_USER_CHARS,
            description="Who answers: the user name of its creator, or it is not admitted.",
        ),
    ]
    groups: Annotated[
        list[Annotated[str, Field(max_length=MAX_GROUP_CHARS)]],
        Field(
            default_factory=list,
            max_length=MAX_GROUPS,
            description="All groups of its creator, no more and no fewer, or it is not admitted.",
        ),
    ]


class AnswerMeta(BaseModel):
    """The part of the object's metadata that the operator reads."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: str
    namespace: str
    uid: str
    generation: int
    creation_timestamp: str


class ApprovalAnswer(BaseModel):
    """An ApprovalAnswer: what somebody answers to an approval; `heed answer` makes one."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    metadata: AnswerMeta
    spec: ApprovalAnswerSpec


class ApprovalAnswerStatus(AcceptedStatus):
    """The status: whether it is the answer that counts, and if not, why."""


def parse_answer(body: Mapping[str, Any]) -> ApprovalAnswer:
    """The answer in an object. Raises InvalidManifest."""
    try:
        return ApprovalAnswer.model_validate(body)
    except ValidationError as error:
        raise InvalidManifest(
            [explain_error(item, ApprovalAnswer) for item in error.errors(include_url=False)]
        ) from None
