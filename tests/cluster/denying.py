"""Admission policies of others, in the way: real ValidatingAdmissionPolicies that deny what Heed wants to write."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from heed.kube.api import JSON, Api, ApiError
from tests.cluster.watchless import Watchless

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_numbers = itertools.count(1)


@asynccontextmanager
async def denying(
    watchless: Watchless, resource: tuple[str, str], validation: Mapping[str, Any], probe: tuple[str, Any]
) -> AsyncIterator[str]:
    """A policy for a resource (group, name) of the namespace, from when it is in force. Yields its name.

    `probe`: the path and object of a create (dry run) that it denies; None as object: a merge patch of nothing.
    """
    name = f"deny-{next(_numbers)}-{watchless.namespace}"
    policies, bindings = (
        f"{ADMISSION}/validatingadmissionpolicies",
        f"{ADMISSION}/validatingadmissionpolicybindings",
    )
    await watchless.api.create(policies, _policy(name, resource, validation))
    await watchless.api.create(bindings, _binding(name, watchless.namespace))
    try:
        await watchless.until(lambda: _denies(watchless.api, name, probe), f"policy {name} to be in force")
        yield name
    finally:
        await watchless.api.delete(f"{bindings}/{name}")
        await watchless.api.delete(f"{policies}/{name}")


async def _denies(api: Api, name: str, probe: tuple[str, Any]) -> bool:
    path, body = probe
    try:
        if body is None:
            await api.merge(f"{path}?dryRun=All", {"metadata": {"labels": {"probe": "x"}}})
        else:
            await api._request("POST", path, query={"dryRun": "All"}, body=body, content_type=JSON)
    except ApiError as error:
        return name in error.message
    return False


def _policy(name: str, resource: tuple[str, str], validation: Mapping[str, Any]) -> dict[str, Any]:
    group, plural = resource
    rule = {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": [plural],
        "operations": ["CREATE", "UPDATE"],
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [dict(validation)],
        },
    }


def _binding(name: str, namespace: str) -> dict[str, Any]:
    there = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": there},
        },
    }
