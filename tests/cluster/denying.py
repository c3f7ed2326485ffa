"""Admission policies of others, in the way: real ValidatingAdmissionPolicies that deny what Heed wants to write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.cluster.controlplane.api import Api, ApiError
from tests.cluster.controlplane.waiting import eventually
from tests.patience import PATIENCE

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_numbers = itertools.count(1)


@contextmanager
def denying(
    api: Api, namespace: str, resource: str, validation: Mapping[str, Any], probe: tuple[str, str, Any]
) -> Iterator[str]:
    """A policy for a resource (`group/name`) of a namespace, from when it is in force. Yields its name. Blocking.

    `probe` is a request that it denies: method, path and body.
    """
    name = f"deny-{next(_numbers)}-{namespace}"
    policies, bindings = (
        f"{ADMISSION}/{kind}" for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    )
    api.post(policies, _policy(name, resource, validation))
    api.post(bindings, _binding(name, namespace))
    try:
        eventually(lambda: _denies(api, name, probe), PATIENCE, what=f"policy {name} to be in force")
        yield name
    finally:
        api.delete(f"{bindings}/{name}")
        api.delete(f"{policies}/{name}")
        eventually(lambda: not _denies(api, name, probe), PATIENCE, what=f"policy {name} to be gone")


def _denies(api: Api, name: str, probe: tuple[str, str, Any]) -> bool:
    method, path, body = probe
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        api.request(method, f"{path}?dryRun=All", body, kind)
    except ApiError as error:
        return name in str(error)
    return False


def _policy(name: str, resource: str, validation: Mapping[str, Any]) -> dict[str, Any]:
    group, _, plural = resource.partition("/")
    rule = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": [plural],
        "operations": ["CREATE", "UPDATE"],
    }
    constraints = {"resourceRules": [rule]}
    spec = {"failurePolicy": "Fail", "matchConstraints": constraints, "validations": [dict(validation)]}
    return {"metadata": {"name": name}, "spec": spec}


def _binding(name: str, namespace: str) -> dict[str, Any]:
    there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    spec = {"policyName": name, "validationActions": ["Deny"], "matchResources": there}
    return {"metadata": {"name": name}, "spec": spec}
