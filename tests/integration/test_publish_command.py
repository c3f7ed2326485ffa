"""`heed publish`: sends what it was told, and says what to do where it cannot."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import nats
import pytest
import yaml
from click.testing import CliRunner, Result

from heed import names
from heed.api.manifest.yaml import read_documents
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.cli.publish import publish
from heed.core.events import Event, Received
from heed.settings import Settings
from tests.nats_server import NatsServer

TYPE = "com.example.question.asked"
Run = Callable[..., Result]


@pytest.fixture
def run(nats_server: NatsServer, namespace: str) -> Run:
    """Runs the command against the shared server, whose streams exist, in a namespace of the test's own."""

    async def prepare() -> None:
        settings = Settings(nats_url=nats_server.url)
        connection = await connect(settings, "test", attempts=3)
        await ensure_streams(connection, settings.stream)
        await connection.close()

    asyncio.run(prepare())

    def invoke(*arguments: str, input: str | None = None, nats: str = nats_server.url) -> Result:
        environment = {"HEED_NATS_URL": nats, "HEED_NAMESPACE": None}
        return CliRunner().invoke(publish, [*arguments, "-n", namespace], input=input, env=environment)

    return invoke


@pytest.fixture
def arrived(nats_server: NatsServer, namespace: str) -> Callable[[], list[Received]]:
    """Reads what arrived in the test's namespace."""

    async def read() -> list[Received]:
        connection = await connect(Settings(nats_url=nats_server.url), "test", attempts=3)
        subjects = [names.event_subject(namespace, ">"), names.inbox_subject(namespace, "*", ">")]
        reader = await JetStreamBus(connection).open(subjects, 0, "1970-01-01T00:00:00Z")
        result: list[Received] = []
        while more := await reader.read(100, 0.1):
            result += more
        await reader.close()
        await connection.close()
        return result

    return lambda: asyncio.run(read())


def event_of(arrived: list[Received]) -> Event:
    """The only event."""
    [only] = arrived
    assert isinstance(only.event, Event)
    return only.event


def test_an_event_is_sent_with_all_that_was_said(run: Run, arrived: Callable[[], list[Received]]) -> None:
    options = ["--correlation", "flow", "--causation", "0", "--id", "1", "--source", "/me", "--subject", "s"]
    result = run(TYPE, "--data", '{"topic": "tides"}', *options, "--ext", "a=b=c", "--ext", "empty=")

    assert result.exit_code == 0, result.output
    event = event_of(arrived())
    assert (event.id, event.source, event.type, event.subject) == ("1", "/me", TYPE, "s")
    assert event.data == {"topic": "tides"}
    assert event.datacontenttype == "application/json"
    assert event.extensions == {"correlationid": "flow", "causationid": "0", "a": "b=c", "empty": ""}
    assert event.time is not None


def test_only_a_type_is_needed(run: Run, arrived: Callable[[], list[Received]], namespace: str) -> None:
    result = run(TYPE)

    assert result.exit_code == 0, result.output
    event = event_of(arrived())
    assert event.source == "/heed/cli"
    assert event.data is None
    assert f"published {TYPE} {event.id} on heed.events.{namespace}.{TYPE} as HEED " in result.output


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_programs_are_told_where_the_event_is(
    run: Run, arrived: Callable[[], list[Received]], namespace: str, form: str
) -> None:
    result = run(TYPE, "--to", "researcher", "--id", "1", "-o", form)

    said = json.loads(result.output) if form == "json" else yaml.safe_load(result.output)
    [message] = arrived()
    assert said == {
        "id": "1",
        "stream": "HEED",
        "sequence": message.sequence,
        "subject": f"heed.inbox.{namespace}.researcher.{TYPE}",
        "duplicate": False,
    }


def test_an_id_that_kubectl_would_take_for_a_number_is_quoted(run: Run) -> None:
    [said] = read_documents(run(TYPE, "--id", "25921e05", "-o", "yaml").output)

    assert said.value["id"] == "25921e05"


def test_data_come_from_a_file_or_standard_input(
    run: Run, arrived: Callable[[], list[Received]], tmp_path: Path
) -> None:
    path = tmp_path / "data.json"
    path.write_text('{"from": "file"}')

    assert run(TYPE, "--data", f"@{path}").exit_code == 0
    assert run(TYPE, "--data", "-", input='"from stdin"').exit_code == 0
    assert run(TYPE, "--data", "plain", "--content-type", "text/plain").exit_code == 0

    data = [item.event.data for item in arrived() if isinstance(item.event, Event)]
    assert data == [{"from": "file"}, "from stdin", "plain"]


def test_the_broker_drops_a_repeated_id_unless_told_otherwise(
    run: Run, arrived: Callable[[], list[Received]]
) -> None:
    results = [run(TYPE, "--id", "1", option) for option in ("--msg-id", "--msg-id", "--no-msg-id")]

    assert [result.exit_code for result in results] == [0, 0, 0]
    assert [result.output.split()[0] for result in results] == ["published", "dropped", "published"]
    first, _ = arrived()
    assert f"HEED {first.sequence} is {TYPE} 1 of the same source already" in results[1].output
    assert json.loads(run(TYPE, "--id", "1", "-o", "json").output)["duplicate"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a b"], "type 'a b' cannot be a subject"),
        (
            ["dev.heed.task.completed"],
            "dev.heed.* is reserved for what Heed itself says; choose a type of your",
        ),
        (["a.>"], "cannot be a subject"),
        (
            [TYPE, "--data", "{topic: tides}"],
            "not JSON: Expecting property name enclosed in double quotes, line 1, column 2; in a shell, put single",
        ),
        ([TYPE, "--data", '{"a":\n1,\n}'], "line 3, column 1"),
        (
            [TYPE, "--nats", "http://127.0.0.1:1"],
            "--nats, address 1: http:// is not spoken by a NATS server; write nats://",
        ),
        ([TYPE, "--data", "[9223372036854775808]"], "send it as a string"),
        ([TYPE, "--data", "@/does/not/exist"], "name a file that can be read"),
        ([TYPE, "--id", ""], "Attribute 'id' must not be None or empty"),
        ([TYPE, "--ext", "Bad=1"], "write name=value"),
        ([TYPE, "--ext", "none"], "write name=value"),
        ([TYPE, "--to", "a.b"], "--to 'a.b': not a Kubernetes name"),
        ([TYPE, "--correlation", "x" * 1025], "1024 are allowed"),
        ([TYPE, "-n", "Not A Namespace"], "not a Kubernetes name"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_sent(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(publish, arguments, env={"HEED_NATS_URL": "nats://127.0.0.1:1"})

    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_help_names_the_variable_that_says_where_the_broker_is() -> None:
    assert "HEED_NATS_URL" in CliRunner().invoke(publish, ["--help"]).output


def test_an_end_of_a_task_may_be_sent_to_one_agent(run: Run) -> None:
    assert run("dev.heed.task.completed", "--to", "researcher").exit_code == 0


def test_a_payload_beyond_the_brokers_limit_is_an_error_of_the_call(run: Run) -> None:
    result = run(TYPE, "--data", "-", input=json.dumps("x" * 1_100_000))

    assert result.exit_code == 2
    assert "send a reference to the data instead" in " ".join(result.output.split())


def test_a_broker_that_is_away_is_told_with_a_remedy(run: Run) -> None:
    result = run(TYPE, nats="nats://user:secret@127.0.0.1:1")

    assert result.exit_code == 1
    assert "cannot connect to nats://127.0.0.1:1" in result.output
    assert "start `heed dev`" in result.output
    assert "secret" not in result.output


def test_a_broker_without_streams_is_told_with_a_remedy(own_server: NatsServer, run: Run) -> None:
    result = run(TYPE, "--id", str(uuid4()), nats=own_server.url)

    assert result.exit_code == 1
    assert "start `heed dev` or the operator first" in result.output


@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
def test_an_event_can_be_checked_against_types_before_it_is_sent(
    run: Run, arrived: Callable[[], list[Received]], tmp_path: Path, mode: str
) -> None:
    # Given a type among files, which names no namespace, and another one of elsewhere
    schema = {"required": ["topic"], "properties": {"topic": {"type": "string"}}}
    types = [
        {"metadata": {"name": "asked"}, "spec": {"type": TYPE, "mode": mode, "schema": schema}},
        {
            "metadata": {"name": "any", "namespace": "elsewhere"},
            "spec": {"type": TYPE, "schema": {"not": {}}},
        },
    ]
    whole = [{"apiVersion": names.API_VERSION, "kind": "EventType", **item} for item in types]
    (tmp_path / "types.yaml").write_text(yaml.safe_dump_all(whole))

    # When an event fits, it is sent; what does not fit is refused, or only told where the type warns.
    assert run(TYPE, "--data", '{"topic": "x"}', "-f", str(tmp_path)).exit_code == 0
    result = run(TYPE, "--data", '{"topic": 7}', "-f", str(tmp_path))
    assert result.exit_code == (1 if mode == "Enforce" else 0)
    assert "data.topic: is a number, not string" in result.stderr
    assert len(arrived()) == (1 if mode == "Enforce" else 2)


def test_types_that_cannot_be_used_are_an_error_of_the_call(run: Run, tmp_path: Path) -> None:
    (tmp_path / "types.yaml").write_text(
        "apiVersion: heed.dev/v1alpha1\nkind: EventType\nmetadata: {name: asked}\n"
        f"spec: {{type: {TYPE}, schema: {{type: strnig}}}}\n"
    )
    for path in (tmp_path, tmp_path / "missing.yaml"):
        result = run(TYPE, "-f", str(path))
        assert result.exit_code == 2
        assert "strnig" in result.output or "missing.yaml" in result.output


def test_a_stream_of_somebody_elses_that_takes_the_event_is_named(own_server: NatsServer, run: Run) -> None:
    # Given a broker where some other stream takes what is meant for Heed's
    async def prepare() -> None:
        client = await nats.connect(own_server.url)
        await client.jetstream().add_stream(name="ORDERS", subjects=["heed.events.>"])
        await client.close()

    asyncio.run(prepare())

    # When an event is published, twice
    first, again = (run(TYPE, "--id", "1", nats=own_server.url) for _ in range(2))

    # Then what is said is what the broker said
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.stdout.endswith(" as ORDERS 1\n")
    assert "ORDERS 1 is" in again.stdout
    assert "warning: stream ORDERS takes heed.events." in first.stderr
    assert json.loads(run(TYPE, "-o", "json", nats=own_server.url).stdout)["stream"] == "ORDERS"
