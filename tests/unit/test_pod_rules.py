"""What policies see of a JobSpec: every image that its pod would pull, and what it would run as."""

from typing import Any

import pytest

from heed.core.policy.pod_rules import find_pod, holds_expression, pod_images, pod_service_accounts


@pytest.mark.parametrize(
    ("spec", "pod"),
    [
        ({"template": {"spec": {"containers": []}}}, {"containers": []}),
        ({}, {}),
        ({"template": None}, {}),
        ({"template": "${input.template}"}, {}),
        ({"template": ["spec"]}, {}),
        ({"template": {}}, {}),
        ({"template": {"spec": None}}, {}),
        ({"template": {"spec": ["containers"]}}, {}),
    ],
)
def test_where_there_is_no_pod_it_is_empty(spec: Any, pod: Any) -> None:
    assert find_pod(spec) == pod


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        ({}, []),
        ({"containers": None, "volumes": None}, []),
        ({"containers": [{"image": "a"}, {"image": "b"}]}, ["a", "b"]),
        ({"containers": ({"image": "a"},)}, ["a"]),
        (
            {
                "volumes": [{"image": {"reference": "d"}}],
                "ephemeralContainers": [{"image": "c"}],
                "containers": [{"image": "b"}],
                "initContainers": [{"image": "a"}],
            },
            ["a", "b", "c", "d"],
        ),
        ({"containers": [{"name": "main"}]}, [None]),
        ({"containers": [None, "x", ["y"]]}, [None, "x", ["y"]]),
        ({"containers": {"image": "a"}}, ["a"]),
        ({"containers": "${input.containers}"}, ["${input.containers}"]),
        ({"volumes": [{"name": "data"}, {"image": None}]}, []),
        ({"volumes": [{"image": {}}, {"image": "x"}, "y"]}, [None, "x", "y"]),
        ({"volumes": {"image": {"reference": "a"}}}, ["a"]),
    ],
)
def test_every_image_is_seen_and_what_is_not_said_is_none(pod: Any, found: list[Any]) -> None:
    assert list(pod_images(pod)) == found


@pytest.mark.parametrize(
    ("pod", "named"),
    [
        ({}, ["default"]),
        ({"serviceAccountName": None, "serviceAccount": ""}, ["default"]),
        ({"serviceAccountName": "a"}, ["a"]),
        ({"serviceAccount": "a"}, ["a"]),
        ({"serviceAccountName": "a", "serviceAccount": "b"}, ["a", "b"]),
        ({"serviceAccountName": ["a"]}, [["a"]]),
        ({"serviceAccountName": 0}, [0]),
    ],
)
def test_a_pod_runs_as_what_either_field_names(pod: Any, named: list[Any]) -> None:
    assert list(pod_service_accounts(pod)) == named


@pytest.mark.parametrize(
    ("value", "holds"),
    [("${a}", True), ("a ${b}", True), ("$(a)", False), ("a", False), (None, False), (["${a}"], False)],
)
def test_a_text_with_an_expression_is_not_known_before(value: Any, holds: bool) -> None:
    assert holds_expression(value) is holds
