"""`helm upgrade` while events come: none is lost, none is decided twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from heed.core.events import Event
from tests.builders.events import data_of
from tests.e2e.agents import TOCK, counter
from tests.e2e.asking import tick
from tests.e2e.broker import Broker
from tests.e2e.cluster import (
    Cluster,
)
from tests.e2e.conftest import say
from tests.e2e.release import NEXT_TAG, TAG, Release
from tests.statuses import totals

PAUSE = 0.02  # seconds between two events


def ticks(over: threading.Event) -> Iterator[Event]:
    """One after the other, as long as it is not over."""
    for number in itertools.count():
        if over.is_set():
            return
        yield tick(number)


def test_an_upgrade_under_load_loses_nothing(
    cluster: Cluster, release: Release, broker: Broker, namespace: str, pytestconfig: pytest.Config
) -> None:
    # Given an Agent at work
    cluster.apply([counter()], namespace)
    cluster.until_ready("counter", namespace)
    before = {pod["metadata"]["name"] for pod in release.pods()}

    # When all pods are replaced by ones of another image, with events coming all the while
    upgraded = threading.Event()
    with ThreadPoolExecutor(1) as publishing:
        published = publishing.submit(broker.publish, namespace, ticks(upgraded), PAUSE)
        try:
            took = release.upgrade(NEXT_TAG)
        finally:
            upgraded.set()
        events = published.result()
    say(pytestconfig, f"helm upgrade: all pods replaced after {took:.0f} s, with {events} events meanwhile")

    # Then
    after = {pod["metadata"]["name"] for pod in release.pods()}
    assert events > 100
    assert not before & after
    assert {c["image"].rsplit(":")[-1] for p in release.pods() for c in p["spec"]["containers"]} == {NEXT_TAG}
    status = cluster.until(
        "counter", namespace, lambda s: totals(s).get("handled") == events and not s["outbox"]
    )
    assert totals(status) == {"handled": events, "emitted": events}
    assert status["sessions"]["all"]["state"] == {"count": events}
    told = [data_of(event)["tick"] for event in broker.events(namespace, TOCK)]
    assert sorted(told) == list(range(events))

    release.upgrade(TAG)
