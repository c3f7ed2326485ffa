"""What policies ask of a JobSpec and of the pod in it: which images it would pull, and what it would run as."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

DEFAULT_SERVICE_ACCOUNT: Final = "default"  # what Kubernetes runs a pod as that names none


def glob_matches(glob: str, text: str) -> bool:
    """Whether a text matches a glob in which only * means something: any characters, none and / among them.

    Takes time in proportion to the lengths, whatever the texts are: the first place where a part fits is the best.
    """
    first, *rest = glob.split("*")
    if not rest:
        return glob == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def find_pod(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod of a JobSpec; an empty one where there is none."""
    template = spec.get("template")
    pod = template.get("spec") if isinstance(template, Mapping) else None
    return pod if isinstance(pod, Mapping) else {}


def pod_images(pod: Mapping[str, Any]) -> Iterator[Any]:
    """What a pod would pull: the images of containers of every sort, and of volumes. None where one is not said."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in _items(pod.get(field)):
            yield container.get("image") if isinstance(container, Mapping) else container
    for volume in _items(pod.get("volumes")):
        if not isinstance(volume, Mapping):
            yield volume
        elif (image := volume.get("image")) is not None:
            yield image.get("reference") if isinstance(image, Mapping) else image


def _items(value: Any) -> Sequence[Any]:
    """The items of a list; what is no list counts as an item of which nothing is known."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def pod_service_accounts(pod: Mapping[str, Any]) -> Iterator[Any]:
    """What a pod would run as. `serviceAccount` is the old name of the field, which Kubernetes still takes."""
    named = [
        value
        for field in ("serviceAccountName", "serviceAccount")
        if (value := pod.get(field)) not in (None, "")
    ]
    yield from named or [DEFAULT_SERVICE_ACCOUNT]


def holds_expression(value: Any) -> bool:
    """Whether a value of a template is not known before it is rendered."""
    return isinstance(value, str) and "${" in value
