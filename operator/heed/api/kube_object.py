"""What objects of the API server share: the metadata that matters here, the condition Accepted, and how one is read."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from heed.api.conditions import Condition
from heed.api.validation import check_kind, explain_error
from heed.errors import InvalidManifest


class ObjectMeta(BaseModel):
    """The part of Kubernetes' object metadata that matters here."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: Annotated[str, Field(min_length=1)]
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    creation_timestamp: str = ""


class KubeObject(BaseModel):
    """An object with a name."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)

    metadata: ObjectMeta


class AcceptedStatus(BaseModel):
    """The status: whether the operator accepts the object."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    observed_generation: Annotated[int, Field(description="The generation the operator last looked at.")] = 0
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Accepted says whether it counts, and if not, why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


K = TypeVar("K", bound=KubeObject)


def parse_object(document: Mapping[str, Any], model: type[K], kind: str) -> K:
    """The object of a manifest. Raises InvalidManifest."""
    check_kind(document, kind)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [explain_error(item, model) for item in error.errors(include_url=False)]
        raise InvalidManifest(problems) from None
