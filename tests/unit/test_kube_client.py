"""What is asked of an API server, and what its refusals say."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.client.client import METADATA_ONLY, ApiError, KubeApi
from tests.unit.apiserver import ApiServer

CLAIM = "/api/v1/namespaces/demo/configmaps/it"


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        ({"reason": "Forbidden", "message": "not you"}, "Forbidden", "not you"),
        ({"message": "not you"}, "", "not you"),
        ({"reason": "Forbidden"}, "Forbidden", "{'reason': 'Forbidden'}"),
    ],
)
async def test_a_refusal_has_the_reason_and_the_message_of_its_body(
    server: ApiServer, body: dict[str, Any], reason: str, message: str
) -> None:
    server.refuse = lambda method, path: (403, body)

    with pytest.raises(ApiError) as refused:
        await server.connect(KubeApi).get(CLAIM)

    assert (refused.value.status, refused.value.reason, refused.value.message) == (403, reason, message)


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (None, {"propagationPolicy": "Background"}),
        ("uid-of-it", {"propagationPolicy": "Background", "preconditions": {"uid": "uid-of-it"}}),
    ],
)
async def test_a_deletion_is_of_one_object_where_its_uid_is_known(
    server: ApiServer, uid: str | None, expected: dict[str, Any]
) -> None:
    server.add(CLAIM)

    await server.connect(KubeApi).delete(CLAIM, uid)

    assert server.bodies == [expected]


async def test_each_request_says_what_it_is_and_what_it_accepts(server: ApiServer) -> None:
    server.add(CLAIM)
    api, all_of_them = server.connect(KubeApi), CLAIM.rpartition("/")[0]

    await api.get(CLAIM)
    await api.list(all_of_them, accept=METADATA_ONLY)
    await api.create(all_of_them, {"metadata": {"name": "other"}})
    await api.merge(CLAIM, {"data": {}})
    await api.delete(CLAIM)

    json = "application/json"
    assert server.media == [
        (json, json),
        (METADATA_ONLY, json),
        (json, json),
        (json, "application/merge-patch+json"),
        (json, json),
    ]
