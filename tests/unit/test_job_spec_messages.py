"""What authors read of a `job` whose fields cannot be: place, words and remedy whole, and the bounds of numbers."""

from typing import Any

import pytest

from heed.core.cel.template import compile_template
from heed.core.schema.job_spec import check_job_spec, explain_no_job, lint_job_spec
from tests.builders.tasks import job_spec, spec_with_container, spec_with_pod
from tests.unit.test_job_spec import publishing

POD, MAIN = "j.template.spec", "j.template.spec.containers[0]"
LIST = "write a list: items that begin with `- `"
MAP = "write a map: `name: value`"
QUOTES = "put it in quotes, or write ${string(…)} in a template"
ALONE = "a string that is one ${…} and nothing else keeps the type of its value"
NO_FIELD = "Kubernetes 1.37 has no such field, and an API server that has none refuses the Job"
NO_CONTAINER = "there is no container; a job needs at least one container"
X37, X38 = "x" * 37, "x" * 38


def mistakes(spec: Any) -> list[str]:
    """What makes a Job impossible, before it is rendered."""
    return [str(item) for item in check_job_spec(compile_template(spec).shape, "j")]


def port(value: Any) -> dict[str, Any]:
    return spec_with_container(ports=[{"containerPort": value}])


def variable(value: Any) -> dict[str, Any]:
    return spec_with_container(env=[{"name": "A", "value": value}])


def cpu(value: Any) -> dict[str, Any]:
    return spec_with_container(resources={"limits": {"cpu": value}})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (job_spec(backoff_limit=0), 'j.backoff_limit: there is no such field; did you mean "backoffLimit"?'),
        (
            job_spec(**{"back-offLIMIT": 0}),
            'j.back-offLIMIT: there is no such field; did you mean "backoffLimit"?',
        ),
        (
            spec_with_container(env={"A": "1"}),
            f"{MAIN}.env: is a map, not a list; write a list: `- name: A` with its `value`",
        ),
        (spec_with_container(env="A=1"), f'{MAIN}.env: is a string ("A=1"), not a list; {LIST}'),
        (spec_with_container(command={"a": 1}), f"{MAIN}.command: is a map, not a list; {LIST}"),
        (spec_with_container(ports={"a": 1}), f"{MAIN}.ports: is a map, not a list; {LIST}"),
        (spec_with_container(env=["A=1"]), f'{MAIN}.env[0]: is a string ("A=1"), not a map; {MAP}'),
        (variable(1), f"{MAIN}.env[0].value: is a whole number (1), not a string; {QUOTES}"),
        (variable(2.0), f"{MAIN}.env[0].value: is a whole number (2.0), not a string; {QUOTES}"),
        (variable(1.5), f"{MAIN}.env[0].value: is a number (1.5), not a string; {QUOTES}"),
        (variable(False), f"{MAIN}.env[0].value: is a boolean (false), not a string; {QUOTES}"),
        (variable([1]), f"{MAIN}.env[0].value: is a list, not a string; write a string"),
        (variable({}), f"{MAIN}.env[0].value: is a map, not a string; write a string"),
        (
            spec_with_container(args=["a", None, 7]),
            f"{MAIN}.args[2]: is a whole number (7), not a string; {QUOTES}",
        ),
        (
            port(" 80 "),
            f'{MAIN}.ports[0].containerPort: is a string (" 80 "), not a whole number; '
            "write 80 without quotes, or ${int(…)} in a template",
        ),
        (
            port("-8"),
            f'{MAIN}.ports[0].containerPort: is a string ("-8"), not a whole number; '
            "write -8 without quotes, or ${int(…)} in a template",
        ),
        (
            port("x"),
            f'{MAIN}.ports[0].containerPort: is a string ("x"), not a whole number; write a whole number',
        ),
        (port([]), f"{MAIN}.ports[0].containerPort: is a list, not a whole number; write a whole number"),
        (cpu(True), f"{MAIN}.resources.limits.cpu: is a boolean (true), not a quantity; write a quantity"),
        (cpu([1]), f"{MAIN}.resources.limits.cpu: is a list, not a quantity; write a quantity"),
        (
            spec_with_container(livenessProbe={"httpGet": {"port": 1.5}}),
            f"{MAIN}.livenessProbe.httpGet.port: is a number (1.5), not a whole number or a string; "
            "write a whole number or a string",
        ),
        (
            job_spec(suspend="yes"),
            'j.suspend: is a string ("yes"), not a boolean; write true or false, without quotes',
        ),
        (
            job_spec(suspend=1),
            "j.suspend: is a whole number (1), not a boolean; write true or false, without quotes",
        ),
        (
            job_spec(backoffLimit=2.5),
            "j.backoffLimit: is a number (2.5), not a whole number; write a whole number",
        ),
        (job_spec(template=[]), f"j.template: is a list, not a map; {MAP}"),
        (job_spec(template=X38), f'j.template: is a string ("{X38}"), not a map; {MAP}'),
        (job_spec(template=X38 + "y"), f'j.template: is a string ("{X38}y…), not a map; {MAP}'),
        (spec_with_container(lifecycle=True), f"{MAIN}.lifecycle: is a boolean (true), not a map; {MAP}"),
        (
            job_spec(metadata={"labels": {"t": 1}}),
            f"j.metadata.labels.t: is a whole number (1), not a string; {QUOTES}",
        ),
        (
            job_spec(metadata={"name": "x"}),
            "j.metadata.name: cannot be set; Heed names the Job; set `labels` and `annotations`",
        ),
        (spec_with_container(env=[None]), f"{MAIN}.env[0].name: is missing; add it"),
        (spec_with_container(env=[{"value": "1"}]), f"{MAIN}.env[0].name: is missing; add it"),
        (spec_with_pod(containers=None), f"{POD}.containers: is missing; add it"),
        ({"template": None}, "j.template: is missing; add it"),
        ({"template": {"spec": {}}}, f"{POD}.containers: is missing; add it"),
        ({"template": {}}, f"{POD}.containers: {NO_CONTAINER}"),
        ({"template": {"spec": None}}, f"{POD}.containers: {NO_CONTAINER}"),
        (spec_with_pod(containers=[]), f"{POD}.containers: {NO_CONTAINER}"),
        ("no map", f'j: is a string ("no map"), not a map; {MAP}'),
        ([], f"j: is a list, not a map; {MAP}"),
        (7, f"j: is a whole number (7), not a map; {MAP}"),
        (None, f"{POD}.containers: {NO_CONTAINER}"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_remedy(spec: Any, said: str) -> None:
    assert mistakes(spec) == [said]


def test_all_mistakes_are_told_in_their_order() -> None:
    found = mistakes(spec_with_container(volumeMounts=[{}, {"name": 1}]))

    assert found == [
        f"{MAIN}.volumeMounts[0].mountPath: is missing; add it",
        f"{MAIN}.volumeMounts[0].name: is missing; add it",
        f"{MAIN}.volumeMounts[1].name: is a whole number (1), not a string; {QUOTES}",
        f"{MAIN}.volumeMounts[1].mountPath: is missing; add it",
    ]


@pytest.mark.parametrize(
    ("field", "bits"), [("backoffLimit", 32), ("activeDeadlineSeconds", 64), ("ttlSecondsAfterFinished", 32)]
)
def test_a_number_has_the_bits_of_its_field(field: str, bits: int) -> None:
    most = 2 ** (bits - 1)
    for value in (most - 1, -most, 0, 2.0):
        assert mistakes(job_spec(**{field: value})) == []
    for value in (most, -most - 1):
        assert mistakes(job_spec(**{field: value})) == [
            f"j.{field}: {value} does not fit {bits} bits; write a smaller number"
        ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (job_spec(backoffLimit="${1}0"), f"j.backoffLimit: yields a string, not a whole number; {ALONE}"),
        (job_spec(suspend="${true}!"), f"j.suspend: yields a string, not a boolean; {ALONE}"),
        (
            spec_with_container(command="a ${event.x}"),
            f"{MAIN}.command: yields a string, not a list; {ALONE}",
        ),
        (
            job_spec(backoffLimit="${string(event.n)}"),
            "j.backoffLimit: yields a string, not a whole number; write ${int(…)}",
        ),
        (
            job_spec(backoffLimit="${timestamp(event.n)}"),
            "j.backoffLimit: yields a string, not a whole number; write ${int(…)}",
        ),
        (
            job_spec(backoffLimit="${duration('1s')}"),
            "j.backoffLimit: yields a string, not a whole number; "
            "write ${x.getSeconds()}, which is all of its seconds",
        ),
        (job_spec(suspend="${1}"), "j.suspend: yields a whole number, not a boolean; write ${bool(…)}"),
        (
            spec_with_container(args=["${size(event)}"]),
            f"{MAIN}.args[0]: yields a whole number, not a string; write ${{string(…)}}",
        ),
        (
            spec_with_container(args=["${2u}"]),
            f"{MAIN}.args[0]: yields a whole number, not a string; write ${{string(…)}}",
        ),
        (
            spec_with_container(args=["${1 > 2}"]),
            f"{MAIN}.args[0]: yields a boolean, not a string; write ${{string(…)}}",
        ),
        (
            spec_with_container(args=["${[1]}"]),
            f"{MAIN}.args[0]: yields a list, not a string; write ${{string(…)}}",
        ),
        (
            spec_with_container(command="${{'a': event.b}}"),
            f"{MAIN}.command: yields a map, not a list; let the expression yield a list",
        ),
        (
            spec_with_container(args="${b'a'}"),
            f"{MAIN}.args: yields a string, not a list; let the expression yield a list",
        ),
        (
            job_spec(metadata={"labels": "${[event.x]}"}),
            "j.metadata.labels: yields a list, not a map; let the expression yield a map",
        ),
        (
            cpu("${true}"),
            f"{MAIN}.resources.limits.cpu: yields a boolean, not a quantity; let the expression yield a quantity",
        ),
    ],
)
def test_what_an_expression_yields_has_to_fit_where_it_is_known(spec: Any, said: str) -> None:
    assert mistakes(spec) == [said]


@pytest.mark.parametrize(
    "spec",
    [
        job_spec(backoffLimit="${1.5 * 2.0}"),
        job_spec(backoffLimit="${2u}", suspend="${1 > 2}", template="${event.t}"),
        job_spec(backoffLimit="${event.n}", activeDeadlineSeconds="${null}"),
        spec_with_container(
            args=["${event.n} x", "${b'a'}", "${timestamp(event.x)}", None], command="${[1]}"
        ),
        spec_with_container(
            livenessProbe={"httpGet": {"port": "${'http'}"}}, readinessProbe={"httpGet": {"port": "${80}"}}
        ),
        cpu("${1.5}"),
        cpu(0.5),
        spec_with_pod(containers="${event.containers}"),
        "${event.job}",
    ],
)
def test_what_may_fit_is_let_through(spec: Any) -> None:
    assert mistakes(spec) == []


@pytest.mark.parametrize(
    ("spec", "place", "remedy"),
    [
        (job_spec(backofLimit=0), "j.backofLimit", 'did you mean "backoffLimit"?'),
        (
            spec_with_container(env=[{"name": "A", "valeu": "x"}]),
            f"{MAIN}.env[0].valeu",
            'did you mean "value"?',
        ),
        (job_spec(restartPolicy="x"), "j.restartPolicy", "it belongs into template.spec"),
        (job_spec(image="x"), "j.image", "it belongs into template.spec.containers[]"),
        (job_spec(mountPath="x"), "j.mountPath", "see `kubectl explain job.spec`"),
        (spec_with_pod(command=["x"]), f"{POD}.command", "it belongs into containers[]"),
        (spec_with_pod(requests={}), f"{POD}.requests", "it belongs into resources"),
        (spec_with_container(mountPath="x"), f"{MAIN}.mountPath", "it belongs into volumeMounts[]"),
        (
            spec_with_container(frob=1),
            f"{MAIN}.frob",
            "see `kubectl explain job.spec.template.spec.containers`",
        ),
        (job_spec(frob=1), "j.frob", "see `kubectl explain job.spec`"),
        (
            job_spec(**{"\u017fuspend": True}),
            "j.\u017fuspend",
            'did you mean "suspend"?',
        ),  # a letter that is s in capitals
    ],
)
def test_a_field_that_is_not_known_is_doubted(spec: Any, place: str, remedy: str) -> None:
    assert [str(item) for item in lint_job_spec(spec, "j")] == [f"{place}: {NO_FIELD}; {remedy}"]
    assert mistakes(spec) == []


def test_what_is_certain_is_told_before_what_a_pod_lacks() -> None:
    assert mistakes({"template": {}, "suspend": 1}) == [
        "j.suspend: is a whole number (1), not a boolean; write true or false, without quotes"
    ]
    assert mistakes({"template": {"zzz": 1}}) == [f"{POD}.containers: {NO_CONTAINER}"]


def test_the_end_of_a_task_tells_of_three_mistakes() -> None:
    path = "spec.tasks.work.job"
    few = {"suspend": "x", "completions": "x", "parallelism": "x"}
    said = [
        f'{path}.suspend: is a string ("x"), not a boolean; write true or false, without quotes',
        *(
            f'{path}.{name}: is a string ("x"), not a whole number; write a whole number'
            for name in ("completions", "parallelism")
        ),
    ]

    assert explain_no_job(publishing(job_spec())) is None
    assert explain_no_job(publishing(job_spec(**few))) == "; ".join(said)
    assert explain_no_job(publishing(job_spec(**few, backoffLimit="x"))) == "; ".join(said) + " (and 1 more)"
    assert (
        explain_no_job(publishing(job_spec(**few, backoffLimit="x", podFailurePolicy=1)))
        == "; ".join(said) + " (and 2 more)"
    )
