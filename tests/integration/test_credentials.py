"""Credentials in the hands of those they are for: Heed itself, publishers, observers; and what makes them."""

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from heed import names
from heed.api.manifest.yaml import read_documents
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.auth.accounts import (
    KEY_FILES,
    OPERATOR_CREDS,
    PUBLISHER_CREDS,
    STREAMS_SEED,
    observer_permissions,
)
from heed.bus.auth.jwt import UserSigner, read_credentials
from heed.bus.client.connection import Connection, NotPermitted, connect
from heed.bus.codec.cloudevents import decode
from heed.bus.jetstream import JetStreamBus
from heed.bus.task_credentials import TaskCredentials
from heed.cli.main import main
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import Event, MalformedMessage
from heed.core.tasks.job_contract import broker_environment
from heed.engine.published_results import add_published_result
from heed.errors import InvalidSettings
from heed.settings import Settings
from tests.cluster.controlplane.build import Unavailable, module_binaries
from tests.integration.secured import SecuredBroker, User, event_headers, spying
from tests.integration.waiting import until
from tests.markdown import ROOT, blocks

NOW = "2026-01-31T12:00:00.000000Z"
AGENT = AgentRef("demo", "researcher", "uid")
RESULT = names.task_subject("demo", "researcher", "t-1", names.TASK_RESULT)
END = TaskEnd("t-1", "end-1", NOW, True, result="short", message="lost", published=True)


@pytest.fixture
async def heed(secured: SecuredBroker) -> AsyncIterator[Connection]:
    """Heed's own connection, with the operator's credentials from memory."""
    async with secured.heed() as connection:
        yield connection


@pytest.fixture
async def admin(secured: SecuredBroker, heed: Connection) -> AsyncIterator[User]:
    async with secured.admin() as admin:
        await admin.client.jetstream().purge_stream(names.STREAM)
        await admin.client.jetstream().purge_stream(names.DEAD_STREAM)
        yield admin


async def test_heeds_own_credentials_are_enough_for_all_that_it_does(heed: Connection, admin: User) -> None:
    bus = JetStreamBus(heed)
    event = Event("1", "/shop", "com.example.x", {"n": 1})
    subject, inbox = names.event_subject("demo", event.type), names.inbox_subject("demo", "a", event.type)
    dead = names.dead_subject("demo", "a")

    sequence = await bus.publish(subject, event)
    await bus.publish(inbox, event)
    owed = OutboxMessage(sequence, 0, dead, NOW, letter=DeadLetterCause("TemplateFailed", "broken"))
    document = json.dumps({"specversion": "1.0", "id": "e", "source": "/a", "type": "com.example.y"})
    out = names.event_subject("demo", "com.example.y")
    for look_first in (False, True):
        await bus.publish_owed("letter-1", owed, look_first=look_first)
        await bus.publish_owed(
            "e", OutboxMessage(sequence, 0, out, NOW, event=document), look_first=look_first
        )
    reader = await bus.open([subject, inbox], 0, "2026-01-01T00:00:00Z")
    found = list(await reader.read(10, 5.0))
    while len(found) < 2:  # a read ends with what is there
        found += await reader.read(10, 5.0)
    await reader.reached()
    await reader.close()

    assert [item.subject for item in found] == [subject, inbox]
    assert [item.subject for item in await bus.fetch([sequence]) if item] == [subject]
    assert isinstance(await bus.last(subject), Event)
    assert [item for item, _ in await admin.stored()] == [subject, inbox, out]
    assert [item for item, _ in await admin.stored(names.DEAD_STREAM)] == [dead]


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.DELETE.HEED",
        "$JS.API.STREAM.PURGE.HEED",
        "$JS.API.STREAM.UPDATE.HEED",
        "$JS.API.STREAM.MSG.DELETE.HEED",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.CONSUMER.CREATE.OTHER",
        "$JS.API.STREAM.NAMES",
        "heed.redrive.demo.a.com.example.x",
        "heed.tasks.demo.a.t-1.dev.heed.task.progress",
        "elsewhere",
    ],
)
async def test_heeds_own_credentials_are_good_for_nothing_else(secured: SecuredBroker, subject: str) -> None:
    async with secured.user(secured.keys[OPERATOR_CREDS], names.INBOX_PREFIX) as operator:
        await operator.publish(subject)

        await until(lambda: bool(operator.errors))
        assert "permissions violation for publish" in operator.errors[0].lower()


async def test_a_publisher_publishes_as_ever_and_learns_that_it_is_stored(
    secured: SecuredBroker, admin: User
) -> None:
    subject = names.event_subject("demo", "com.example.x")

    async with secured.user(secured.keys[PUBLISHER_CREDS]) as publisher:
        ack = await publisher.client.jetstream().publish(subject, b"{}", headers={"Nats-Msg-Id": "1"})
        again = await publisher.client.jetstream().publish(subject, b"{}", headers={"Nats-Msg-Id": "1"})
        await publisher.publish(names.event_subject("demo", "dev.heed.task.completed"))
        await publisher.publish(names.inbox_subject("demo", "a", "com.example.x"))
        await until(lambda: len(publisher.errors) == 2)

    assert (ack.stream, again.duplicate) == (names.STREAM, True)
    assert [item for item, _ in await admin.stored()] == [subject]


async def test_an_observer_sees_what_it_may_and_says_nothing(secured: SecuredBroker, admin: User) -> None:
    signer = UserSigner.of(secured.keys[STREAMS_SEED])
    credentials = signer.credentials("board", observer_permissions("demo"), now=int(time.time()), lifetime=60)
    async with secured.user(credentials) as watcher:
        seen = await watcher.client.subscribe("heed.events.demo.>")
        await watcher.client.subscribe("heed.events.other.>")
        await watcher.client.subscribe("_INBOX.>")
        await watcher.publish(names.event_subject("demo", "com.example.x"))
        await until(lambda: len(watcher.errors) == 3)
        async with secured.user(secured.keys[PUBLISHER_CREDS]) as publisher:
            await publisher.request(names.event_subject("other", "com.example.x"), "hidden")
            await publisher.request(names.event_subject("demo", "com.example.x"), "seen")

        assert (await seen.next_msg(5)).data == b'"seen"'

    assert len(await admin.stored()) == 2


async def test_the_latest_published_result_is_the_tasks(heed: Connection, admin: User) -> None:
    bus = JetStreamBus(heed)
    headers = event_headers(names.TASK_RESULT)
    large = {"answer": "x" * 500_000}
    await admin.request(RESULT, {"answer": "a first attempt's"}, headers)
    await admin.request(RESULT, large, headers)

    end = await add_published_result(bus, AGENT, END)

    assert (end.completed, end.result, end.message, end.id) == (True, large, None, "end-1")


async def test_without_a_published_result_the_written_one_counts(heed: Connection, admin: User) -> None:
    assert await add_published_result(JetStreamBus(heed), AGENT, END) is END


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        pytest.param("no event", {}, id="no event"),
        pytest.param({}, event_headers("dev.heed.task.progress"), id="another type"),
        pytest.param({}, {**event_headers(names.TASK_RESULT), "ce-datacontenttype": "image/png"}, id="bytes"),
    ],
)
async def test_a_published_result_that_cannot_be_read_is_a_failure(
    heed: Connection, admin: User, payload: object, headers: dict[str, str]
) -> None:
    await admin.request(RESULT, payload, headers)

    end = await add_published_result(JetStreamBus(heed), AGENT, END)

    assert (end.completed, end.reason, end.result) == (False, "BadResult", None)
    assert "published result" in (end.message or "")


async def test_the_results_of_others_are_not_looked_for(heed: Connection, admin: User) -> None:
    await admin.request(RESULT, "forged", event_headers(names.TASK_RESULT))

    quiet = TaskEnd("t-1", "end-1", NOW, True, result="short")

    assert await add_published_result(JetStreamBus(heed), AGENT, quiet) is quiet
    assert not isinstance(await JetStreamBus(heed).last(RESULT), MalformedMessage)


async def test_credentials_made_by_the_command_work(
    secured: SecuredBroker, admin: User, tmp_path: Path
) -> None:
    seed = tmp_path / "seed"
    seed.write_text(secured.keys["account.seed"])
    arguments = ["credentials", "shop", "-n", "shop", "--publish", "com.example.>", "--key", str(seed)]

    made = CliRunner().invoke(main, arguments)

    assert made.exit_code == 0, made.output
    async with secured.user(made.stdout) as shop:
        await shop.request("heed.events.shop.com.example.x")
        await shop.publish("heed.events.other.com.example.x")
        await until(lambda: bool(shop.errors))
    assert [item for item, _ in await admin.stored()] == ["heed.events.shop.com.example.x"]


def test_keys_made_by_the_command_are_a_secret_as_heed_fills_one() -> None:
    made = CliRunner().invoke(main, ["broker-keys", "--namespace", "there"])

    secret = yaml.safe_load(made.stdout)
    assert secret["kind"] == "Secret"
    assert secret["metadata"] == {"name": "heed-nats-keys", "namespace": "there"}
    assert set(secret["stringData"]) == set(KEY_FILES)


def test_a_secret_of_keys_is_for_kubectl_what_it_is_for_python() -> None:
    # Both are names that Kubernetes allows, and numbers to a reader of YAML in Go.
    made = CliRunner().invoke(main, ["broker-keys", "--name", "25921e05", "--namespace", "08"])

    [secret] = read_documents(made.stdout)
    assert secret.value["metadata"] == {"name": "25921e05", "namespace": "08"}
    assert secret.value == yaml.safe_load(made.stdout)


def test_keys_in_a_folder_are_for_their_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "keys"

    first = CliRunner().invoke(main, ["broker-keys", "--output", str(folder)])
    second = CliRunner().invoke(main, ["broker-keys", "--output", str(folder)])

    assert (first.exit_code, second.exit_code) == (0, 1)
    assert {path.name for path in folder.iterdir()} == set(KEY_FILES)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "content", ["", "nonsense", "SUAIMIS7B7WTNQQF22F5UPLJMLGEU4ZYTBYWQG4DJ43U3MIFETSO3DMYXQ"]
)
def test_a_seed_that_cannot_sign_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    seed = tmp_path / "seed"
    seed.write_text(content)

    with pytest.raises(InvalidSettings) as refused:
        TaskCredentials.of(Settings(nats_signing_key=str(seed)))

    assert "HEED_NATS_SIGNING_KEY" in str(refused.value)
    assert not content or content not in str(refused.value)
    assert content not in repr(refused.value) or not content


def test_jobs_are_told_no_password_that_is_heeds() -> None:
    access = TaskCredentials.of(Settings(nats_url="nats://heed:secret@broker:4222"))

    assert access.url == "nats://broker:4222"
    assert access.signer is None


def test_no_key_shows_its_seed(secured: SecuredBroker) -> None:
    signer: UserSigner = secured.signer

    assert signer.key.seed not in repr(signer)
    assert signer.key.seed not in repr(TaskCredentials(signer=signer))


def test_credentials_of_a_job_live_a_little_longer_than_its_task(secured: SecuredBroker) -> None:
    def lifetime(timeout: int | None) -> int:
        jwt, _ = read_credentials(secured.of_job(spying("demo", timeout=timeout)))
        claims = json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "=="))
        return int(claims["exp"]) - int(claims["iat"])

    assert lifetime(60) == 360
    assert lifetime(None) == 24 * 3600


@pytest.mark.parametrize("language", ["python", "bash"])
async def test_the_programs_in_the_docs_work_with_the_credentials_of_a_job(
    secured: SecuredBroker, admin: User, tmp_path: Path, language: str
) -> None:
    path = os.environ["PATH"]
    if language == "bash":  # built once, for minutes, in which the connection answers its broker
        path = f"{await asyncio.to_thread(nats_command)}:{path}"
    (program,) = blocks((ROOT / "docs" / "progress.md").read_text(), language)
    job = spying("demo", "reporter", "write-1")
    credentials = tmp_path / "nats.creds"
    credentials.write_text(secured.of_job(job))
    contract = broker_environment(job, secured.server.url, str(credentials)) | {"HEED_TASK_ID": job.id}
    interpreter = [sys.executable, "-c"] if language == "python" else ["bash", "-euc"]

    running = await asyncio.create_subprocess_exec(
        *interpreter, program, env={**os.environ, "PATH": path, **contract}
    )
    assert await running.wait() == 0

    said = [decode(*await _raw(admin, place), subject) for place, subject in await _places(admin)]
    assert [item.type for item in said if isinstance(item, Event)] == (
        [names.TASK_PROGRESS]
        if language == "python"
        else [names.TASK_PROGRESS, "com.example.page.written", names.TASK_RESULT]
    )
    assert {item.source for item in said if isinstance(item, Event)} == {"write-1"}


def nats_command() -> Path:
    """The folder of the nats command, built once."""
    packages = {"nats": "github.com/nats-io/natscli/nats"}
    try:
        return module_binaries(Path(__file__).parent / "natscli", packages)["nats"].parent
    except Unavailable as unavailable:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no nats command: {unavailable}")


async def _places(admin: User) -> list[tuple[int, str]]:
    first = (await admin.client.jetstream().stream_info(names.STREAM)).state.first_seq
    return [(first + at, subject) for at, (subject, _) in enumerate(await admin.stored())]


async def _raw(admin: User, place: int) -> tuple[dict[str, str], bytes]:
    message = await admin.client.jetstream().get_msg(names.STREAM, place)
    return dict(message.headers or {}), message.data or b""


async def test_who_may_not_publish_there_is_told_so_at_once_and_goes_on(
    secured: SecuredBroker, admin: User
) -> None:
    settings = Settings(nats_url=secured.server.url)
    connection = await connect(settings, "shop", attempts=3, credentials=secured.keys[PUBLISHER_CREDS])
    bus, event = JetStreamBus(connection), Event("told", "/shop", "com.example.x", {"n": 1})
    try:
        with pytest.raises(NotPermitted, match=r"do not allow to publish on heed\.inbox\.demo"):
            await bus.publish(names.inbox_subject("demo", "a", event.type), event)
        first = await bus.send(names.event_subject("demo", event.type), event)
        again = await bus.send(names.event_subject("demo", event.type), event)
    finally:
        await connection.close()

    assert (first.duplicate, again.duplicate) == (False, True)
    assert len(await admin.stored()) == 1
