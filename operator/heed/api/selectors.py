"""Label selectors, as Kubernetes has them (metav1.LabelSelector): read strictly, since a wrong one selects nothing."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from heed.api.fields import Model

MAX_MATCH_LABELS: Final = 32
MAX_REQUIREMENT_VALUES: Final = 64
MAX_LABEL_KEY_CHARS: Final = 317  # a prefix of 253 characters, a slash, a name of 63
LABEL_KEY_PATTERN: Final = (
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE_PATTERN: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

LabelKey = Annotated[str, Field(pattern=LABEL_KEY_PATTERN, min_length=1, max_length=MAX_LABEL_KEY_CHARS)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE_PATTERN, max_length=63)]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


class Requirement(Model):
    """One requirement of a selector (metav1.LabelSelectorRequirement)."""

    key: Annotated[LabelKey, Field(description="The label.")]
    operator: Annotated[Operator, Field(description="In, NotIn, Exists or DoesNotExist.")]
    values: list[LabelValue] = Field(
        default_factory=list, max_length=MAX_REQUIREMENT_VALUES, description="What In and NotIn compare with."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError("needs values with In and NotIn, and has none with Exists and DoesNotExist")
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; as in Kubernetes, NotIn holds where the label is absent."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class LabelSelector(Model):
    """Selects by label (metav1.LabelSelector); an empty one selects everything."""

    match_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=MAX_MATCH_LABELS, description="Labels that all must be there."
    )
    match_expressions: list[Requirement] = Field(
        default_factory=list, max_length=MAX_MATCH_LABELS, description="Conditions that all must hold."
    )

    @property
    def selects_all(self) -> bool:
        """Whether it names nothing, and so selects whatever the labels are."""
        return not self.match_labels and not self.match_expressions

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            item.matches(labels) for item in self.match_expressions
        )
