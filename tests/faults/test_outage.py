"""A server that is away for a while: the operator stays, says what is wrong, and goes on by itself."""

import pytest

from tests.faults.outage import run

SECONDS = 25.0  # more than it takes until a condition is written, and the lease is lost


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(
    ("server", "probe"), [("nats", "not connected to NATS"), ("apiserver", "the API server has not answered")]
)
def test_an_outage_is_told_and_survived(server: str, probe: str) -> None:
    report = run(server, SECONDS, print)

    assert report.same_process
    assert any(probe in text for text in report.probe)
    if server == "nats":
        assert any(text.startswith("BrokerUnavailable") for text in report.conditions)
    assert report.log_lines, "the log said something"
    assert max(report.log_lines.values()) < SECONDS, "and did not repeat itself all the time"
    assert report.memory_most < report.memory_before * 1.5 + 50
