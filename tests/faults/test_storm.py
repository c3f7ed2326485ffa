"""The storm in a short form. `make faults` is the long one; docs/testing.md says how to read what it finds."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.cluster.controlplane.build import Unavailable
from tests.cluster.helm import Unavailable as NoHelm
from tests.faults.plan import Size
from tests.faults.storm import storm
from tests.nats_server import require_nats_server

SHORT = Size(events=1_500, kills=8, restarts=2)
SEED = int(os.environ.get("HEED_FAULTS_SEED", "2"))


@pytest.mark.cluster
@pytest.mark.slow
def test_nothing_is_lost_and_nothing_made_twice_in_a_storm(tmp_path: Path) -> None:
    require_nats_server()
    try:
        report = asyncio.run(storm(SEED, SHORT, tmp_path, print))
    except (Unavailable, NoHelm) as unavailable:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no control plane or no helm: {unavailable}")
    print(report)

    assert report.findings == []
    assert len(report.kills) >= SHORT.kills
    assert report.outcome["messages published"] == SHORT.events
    assert all(kill.point != "ended by itself" for kill in report.kills)
