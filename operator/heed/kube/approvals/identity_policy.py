"""The ValidatingAdmissionPolicy that makes the API server vouch for who answers, and whether it did for an answer.

An ApprovalAnswer names its user and groups itself. They are believed only where this policy was in force when it was
made: without it, who may create answers could answer as anybody. So everything here fails closed.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from heed import names
from heed.kube.client.client import ApiError, KubeApi
from heed.util.clock import loop_time

ADMISSION_API: Final = "/apis/admissionregistration.k8s.io/v1"
SETTLING: Final = timedelta(seconds=10)  # until every API server has surely heard of a new policy
REFUSED_GRACE_S: Final = (
    30.0  # seconds in which "forbidden" says nothing: an API server that starts knows no roles
)
EXPRESSIONS: Final = (
    "request.operation != 'CREATE' || object.spec.user == request.userInfo.username",
    "request.operation != 'CREATE' || (has(object.spec.groups) ? object.spec.groups : [])"
    ".all(group, group in request.userInfo.groups)",
    "request.operation != 'CREATE' || request.userInfo.groups"
    ".all(group, has(object.spec.groups) && group in object.spec.groups)",
    "request.operation != 'UPDATE' || object.spec == oldObject.spec",
)
Body = Mapping[str, Any]


class IdentityPolicy:
    """The policy of that name. None: there is none, and no answer is believed.

    As it was read at a time it vouches for all answers that were made before, and for none that may have been made
    since: it could be gone meanwhile.
    """

    def __init__(self, api: KubeApi, name: str | None) -> None:
        self._api, self._name = api, name
        self._found: tuple[Body, Body] | str = (
            "it was not read yet"  # policy and binding, or why there are none
        )
        self._refused_since: float | None = None  # on the loop's clock

    async def read(self) -> None:
        """Read it as it is now. Raises ApiError where the API server does not say, or not for certain."""
        self._found = await self._read()

    def problem(self, made_at: str) -> str | None:
        """Why the API server did not vouch for who made an answer at a time (RFC 3339); None where it did.

        It has to have been read after the answer was made.
        """
        if isinstance(self._found, str):
            return self._found
        return next(find_flaws(*self._found, made_at), None)

    async def _read(self) -> tuple[Body, Body] | str:
        if self._name is None:
            return "HEED_ANSWER_POLICY names no policy; set approvals.enabled=true in the chart's values"
        found: list[Body] = []
        for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
            try:
                found.append((await self._api.get(f"{ADMISSION_API}/{kind}/{self._name}")).body)
            except ApiError as error:
                if error.status != 404 and not self._stays_refused(error):
                    raise
                return f"{kind} {self._name} cannot be read: {error.message}"
        self._refused_since = None
        return found[0], found[1]

    def _stays_refused(self, error: ApiError) -> bool:
        if error.status != 403:
            return False
        if self._refused_since is None:
            self._refused_since = loop_time()
        return loop_time() - self._refused_since >= REFUSED_GRACE_S


def find_flaws(policy: Body, binding: Body, made_at: str) -> Iterator[str]:
    """Why a policy and its binding do not vouch for an answer made at a time (RFC 3339); nothing where they do."""
    name, spec, bound = policy["metadata"]["name"], policy["spec"], binding["spec"]
    if spec.get("failurePolicy", "Fail") != "Fail":
        yield f"the policy {name} lets answers in where it fails; its failurePolicy has to be Fail"
    if spec.get("matchConditions") or spec.get("paramKind"):
        yield f"the policy {name} does not judge every answer; it may have no matchConditions and no paramKind"
    if not _matches_all(spec.get("matchConstraints") or {}):
        yield f"the policy {name} does not match every ApprovalAnswer that is created or updated"
    there = {item.get("expression") for item in spec.get("validations") or ()}
    if not set(EXPRESSIONS) <= there:
        yield f"the policy {name} is not that of this version; install the one of the chart"
    if bound.get("policyName") != name or "Deny" not in (bound.get("validationActions") or ()):
        yield f"the binding {name} does not deny what the policy {name} refuses; give it validationActions: [Deny]"
    if bound.get("paramRef") or _narrows(bound.get("matchResources") or {}):
        yield f"the binding {name} does not hold for all namespaces; it may have no matchResources"
    for body in (policy, binding):
        if "deletionTimestamp" in body["metadata"]:
            yield f"the policy {name} is being deleted"
        if _moment(made_at) < _moment(body["metadata"]["creationTimestamp"]) + SETTLING:
            yield f"the answer is older than the policy {name}, or hardly younger; answer again"


def _matches_all(constraints: Body) -> bool:
    return not _narrows({**constraints, "resourceRules": ()}) and any(
        _has(rule, "apiGroups", names.GROUP)
        and _has(rule, "apiVersions", names.VERSION)
        and _has(rule, "resources", names.APPROVAL_ANSWERS)
        and _has(rule, "operations", "CREATE")
        and _has(rule, "operations", "UPDATE")
        and not rule.get("resourceNames")
        and rule.get("scope", "*") in ("*", "Namespaced")
        for rule in constraints.get("resourceRules") or ()
    )


def _has(rule: Body, member: str, wanted: str) -> bool:
    return bool({"*", wanted} & set(rule.get(member) or ()))


def _narrows(resources: Body) -> bool:
    """Whether selectors or rules leave something out."""
    return any(
        resources.get(member)
        for member in ("namespaceSelector", "objectSelector", "resourceRules", "excludeResourceRules")
    )


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)
