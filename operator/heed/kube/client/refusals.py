"""Refusals of the API server: which admission policy or webhook denied a request. Pure.

Only the message says so: a denial's HTTP status is its author's choice (a policy's `reason` is 401, 403, 413 or 422, a
webhook's code anything from 400 on), and a 403 is also a missing right or a full quota.
"""

import re
from dataclasses import dataclass
from typing import Final

from heed.core.tasks.job_contract import REASON_INVALID
from heed.errors import TaskRefused
from heed.kube.client.client import ApiError

# As k8s.io/apiserver words denials: admission/plugin/policy (dispatchers), admission/plugin/webhook/errors.
_POLICY: Final = re.compile(
    r"(?P<kind>(?:Validating|Mutating)AdmissionPolicy|policy) ['\"](?P<name>[^'\"]+)['\"]"
    r"(?: with binding ['\"](?P<binding>[^'\"]+)['\"])? denied request: ?(?P<why>.*)",
    re.DOTALL,
)
_WEBHOOK: Final = re.compile(
    r'admission webhook "(?P<name>[^"]+)" denied the request:?(?: without explanation)? ?(?P<why>.*)',
    re.DOTALL,
)
_QUOTA: Final = "exceeded quota"  # also the words of webhooks that keep quotas of their own


@dataclass(frozen=True, slots=True)
class AdmissionDenial:
    """An admission policy or webhook that denied a request, and why."""

    kind: str
    name: str
    binding: str | None
    why: str

    def __str__(self) -> str:
        binding = f' (binding "{self.binding}")' if self.binding else ""
        return f'{self.kind} "{self.name}"{binding}'


def find_denial(error: ApiError) -> AdmissionDenial | None:
    """The admission policy or webhook that denied a request; None where none did, or it is not named."""
    if error.status < 400:
        return None
    if found := _POLICY.search(error.message):
        kind = "MutatingAdmissionPolicy" if found["kind"] == "policy" else found["kind"]
        return AdmissionDenial(kind, found["name"], found["binding"], found["why"].strip())
    if found := _WEBHOOK.search(error.message):
        return AdmissionDenial("admission webhook", found["name"], None, found["why"].strip())
    return None


def is_quota(error: ApiError) -> bool:
    """Whether a quota is exceeded, a ResourceQuota or one that a webhook keeps: that is transient."""
    return _QUOTA in error.message


def refuse_job(task: str, error: ApiError) -> TaskRefused | None:
    """The TaskRefused for a permanent refusal of a Job; None for a transient one: quota, missing rights, server load.

    A denial in admission is taken for final, whatever status it comes with: it is said of this very Job, which never
    changes. A webhook that could not be asked is no denial (`failed calling webhook`, 500).
    """
    path = f"spec.tasks.{task}.job"
    if error.status == 429 or error.status >= 500 or is_quota(error):
        return None
    if (refuser := find_denial(error)) is not None:
        return TaskRefused(
            REASON_INVALID, f"{path}: refused by {refuser}: {refuser.why or 'without a reason'}"
        )
    return TaskRefused(REASON_INVALID, f"{path}: {error.message}") if error.status in (400, 422) else None
