"""Who refused a request, read from the API server's words, and which refusals of a Job are final."""

import pytest

from heed.errors import LedgerUnavailable
from heed.kube.client.client import ApiError
from heed.kube.client.refusals import find_denial, refuse_job
from heed.kube.status.reasons import explain_loop_error

POLICY = (
    "jobs.batch \"a-1\" is forbidden: ValidatingAdmissionPolicy 'teams' with binding 'teams-demo' denied request: "
    "a Job needs a team"
)
WEBHOOK = 'admission webhook "validate.kyverno.svc-fail" denied the request: no latest tags'
QUOTA = (
    'jobs.batch "a-1" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, '
    "used: count/jobs.batch=1, limited: count/jobs.batch=1"
)
RIGHTS = 'jobs.batch is forbidden: User "heed" cannot create resource "jobs" in API group "batch"'


@pytest.mark.parametrize(
    ("message", "who", "why"),
    [
        (POLICY, 'ValidatingAdmissionPolicy "teams" (binding "teams-demo")', "a Job needs a team"),
        (
            "x is forbidden: ValidatingAdmissionPolicy 'p' denied request: two\nlines",
            'ValidatingAdmissionPolicy "p"',
            "two\nlines",
        ),
        (
            "x is forbidden: policy 'm' with binding 'b' denied request: no params",
            'MutatingAdmissionPolicy "m" (binding "b")',
            "no params",
        ),
        (WEBHOOK, 'admission webhook "validate.kyverno.svc-fail"', "no latest tags"),
        ('admission webhook "w" denied the request without explanation', 'admission webhook "w"', ""),
    ],
)
def test_a_denial_names_who_denied(message: str, who: str, why: str) -> None:
    refuser = find_denial(ApiError(422, message))

    assert refuser is not None
    assert str(refuser) == who
    assert refuser.why == why


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, QUOTA),
        ApiError(403, RIGHTS),
        ApiError(500, 'Internal error occurred: failed calling webhook "w": no route to host'),
        ApiError(0, "the API server does not answer"),
        ApiError(422, 'Job.batch "a-1" is invalid: spec.template.spec.containers: Required value'),
    ],
)
def test_other_refusals_name_nobody(error: ApiError) -> None:
    assert find_denial(error) is None


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422])
@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            POLICY,
            'refused by ValidatingAdmissionPolicy "teams" (binding "teams-demo"): a Job needs a team',
        ),
        (WEBHOOK, 'refused by admission webhook "validate.kyverno.svc-fail": no latest tags'),
    ],
)
def test_a_denied_job_is_invalid_whatever_the_status_of_the_denial(
    status: int, message: str, said: str
) -> None:
    refused = refuse_job("research", ApiError(status, message))

    assert refused is not None
    assert (refused.reason, refused.message) == ("InvalidJob", f"spec.tasks.research.job: {said}")


@pytest.mark.parametrize("status", [400, 422])
def test_a_job_that_is_malformed_is_invalid(status: int) -> None:
    refused = refuse_job("research", ApiError(status, "no container"))

    assert refused is not None
    assert refused.message == "spec.tasks.research.job: no container"


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, QUOTA),
        ApiError(403, 'admission webhook "hrq.hnc.x-k8s.io" denied the request: exceeded quota: team-a'),
        ApiError(403, RIGHTS),
        ApiError(429, WEBHOOK),
        ApiError(500, 'failed calling webhook "w": no route to host'),
        ApiError(503, WEBHOOK),
        ApiError(0, "the API server does not answer"),
    ],
)
def test_what_may_pass_is_no_end(error: ApiError) -> None:
    assert refuse_job("research", error) is None


def test_a_status_that_a_policy_refuses_does_not_send_people_to_the_crds() -> None:
    error = LedgerUnavailable("422")
    error.__cause__ = ApiError(422, POLICY)

    trouble = explain_loop_error(error)

    assert trouble.reason == "LedgerRefused"
    assert 'change ValidatingAdmissionPolicy "teams"' in trouble.message
    assert "custom resource definitions" not in trouble.message
