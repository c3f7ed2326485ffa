"""`helm upgrade` while events come: none is lost, none is decided twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.agents import TOCK, counter
from tests.e2e.asking import tick
from tests.e2e.broker import Broker
from tests.e2e.cluster import Cluster, totals
from tests.e2e.conftest import say
from tests.e2e.release import NEXT_TAG, TAG, Release

EVENTS = 1500
PAUSE = 0.02  # seconds between two: the load outlasts the upgrade


def test_an_upgrade_under_load_loses_nothing(
    cluster: Cluster, release: Release, broker: Broker, namespace: str, pytestconfig: pytest.Config
) -> None:
    # Given an Agent at work
    cluster.apply([counter()], namespace)
    cluster.until_ready("counter", namespace)
    before = {pod["metadata"]["name"] for pod in release.pods()}

    # When all pods are replaced by ones of another image meanwhile, and back
    with ThreadPoolExecutor(1) as publishing:
        published = publishing.submit(broker.publish, namespace, [tick(n) for n in range(EVENTS)], PAUSE)
        took = release.upgrade(NEXT_TAG)
        loaded = not published.done()
        published.result()
    say(pytestconfig, f"helm upgrade: all pods replaced after {took:.0f} s")

    # Then
    after = {pod["metadata"]["name"] for pod in release.pods()}
    assert loaded, "the events were all published before the upgrade was over"
    assert not before & after
    assert {c["image"].rsplit(":")[-1] for p in release.pods() for c in p["spec"]["containers"]} == {NEXT_TAG}
    status = cluster.until(
        "counter", namespace, lambda s: totals(s).get("handled") == EVENTS and not s["outbox"]
    )
    assert totals(status) == {"handled": EVENTS, "emitted": EVENTS}
    assert status["sessions"]["all"]["state"] == {"count": EVENTS}
    told = [event.data["tick"] for event in broker.events(namespace, TOCK)]  # type: ignore[index]
    assert sorted(told) == list(range(EVENTS))  # type: ignore[type-var]

    release.upgrade(TAG)
