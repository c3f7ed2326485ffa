"""The same error looks the same, and ends with the same code, whichever command meets it."""

import pytest
from click.testing import CliRunner

from heed.cli.main import main

PUBLISH, DEAD = ("publish", "a.b"), ("dead", "list")
DEV = ("dev", "-f", "examples/research", "--dir")


@pytest.mark.parametrize(
    ("variables", "options", "commands", "message"),
    [
        (
            {"HEED_BATCH": "x"},
            (),
            (PUBLISH, DEAD, (*DEV, "STATE"), ("operator",)),
            "HEED_BATCH='x': not a whole number; give digits only",
        ),
        (
            {},
            ("--nats", "http://127.0.0.1:1"),
            (PUBLISH, DEAD, (*DEV, "STATE")),
            "--nats, address 1: http:// is not spoken by a NATS server; write nats://, tls://, ws:// or wss://",
        ),
        ({}, ("-n", "Bad"), (PUBLISH, DEAD), "--namespace 'Bad': not a Kubernetes name; use a-z, 0-9 and -"),
        (
            {},
            ("-f", "none.yaml"),
            (PUBLISH, ("validate",), ("simulate", "-"), ("dev",)),
            "none.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_one_shape_and_one_code(
    variables: dict[str, str],
    options: tuple[str, ...],
    commands: tuple[tuple[str, ...], ...],
    message: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    state = str(tmp_path_factory.mktemp("state"))
    for command in commands:
        words = [state if word == "STATE" else word for word in (*command, *options)]

        result = CliRunner().invoke(main, words, env={"HEED_NATS_URL": None, **variables}, input="")

        errors = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
        assert (errors, result.exit_code) == ([message], 2), words


def test_a_broker_that_is_not_there_is_told_alike_with_what_to_start_first() -> None:
    told = {
        CliRunner().invoke(main, [*words, "--nats", "nats://127.0.0.1:9"]).stderr for words in (PUBLISH, DEAD)
    }

    (message,) = told
    assert message.startswith("cannot connect to nats://127.0.0.1:9") and "start `heed dev`, or" in message


def test_without_a_cluster_the_operator_says_so_in_one_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = str(tmp_path_factory.mktemp("none") / "config")

    result = CliRunner().invoke(main, ["operator"], env={"KUBECONFIG": missing})

    assert result.stderr.startswith("no cluster to talk to: ")
    assert len(result.stderr.splitlines()) == 1
