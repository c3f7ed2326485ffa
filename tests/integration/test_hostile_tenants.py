"""What a Job with credentials of its own tries against everybody else, and what refuses it: a real server in JWT mode.

The attacker is the Job `look-1` of the Agent `spy` in the namespace `mallory`, which may emit `com.mallory.>`. The
victims are Agents of the namespace `alice`, other Agents and tasks of its own namespace, and Heed.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
import pytest

from heed import names
from heed.bus.auth import accounts
from heed.bus.auth.jwt import NatsKey, SubjectPermissions, UserSigner, encode_token, read_credentials
from heed.bus.jetstream import JetStreamBus, message_id
from heed.core.events import Event
from tests.integration.secured import SecuredBroker, User, event_headers, spying
from tests.integration.waiting import until

MALLORY = spying("mallory", publish=("com.mallory.>",))
EVENT = "com.mallory.seen"
OWN_EVENTS = names.event_subject("mallory", EVENT)
OWN_PROGRESS = names.task_subject("mallory", "spy", "look-1", names.TASK_PROGRESS)
OWN_RESULT = names.task_subject("mallory", "spy", "look-1", names.TASK_RESULT)
PREFIX = names.task_inbox("mallory", "spy", "look-1")


@pytest.fixture
async def admin(secured: SecuredBroker) -> AsyncIterator[User]:
    """Whoever sees everything, on streams that Heed made and that are empty."""
    async with secured.heed(), secured.admin() as admin:
        await admin.client.jetstream().purge_stream(names.STREAM)
        yield admin


@pytest.fixture
async def mallory(secured: SecuredBroker, admin: User) -> AsyncIterator[User]:
    async with secured.user(secured.of_job(MALLORY), PREFIX) as user:
        yield user


async def test_a_job_may_publish_progress_a_result_and_the_events_of_its_agent(
    mallory: User, admin: User
) -> None:
    for subject in (OWN_PROGRESS, OWN_RESULT, OWN_EVENTS):
        reply = await mallory.request(subject, {"a": 1})
        assert json.loads(reply.data)["stream"] == names.STREAM

    assert [subject for subject, _ in await admin.stored()] == [OWN_PROGRESS, OWN_RESULT, OWN_EVENTS]
    assert not mallory.errors


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param("heed.events.alice.com.example.x", id="event of another namespace"),
        pytest.param("heed.events.alice.com.mallory.seen", id="allowed type in another namespace"),
        pytest.param("heed.events.mallory.com.example.x", id="type that its Agent may not emit"),
        pytest.param("heed.events.mallory.dev.heed.task.completed", id="reserved type as an event"),
        pytest.param("heed.inbox.alice.victim.com.mallory.seen", id="inbox in another namespace"),
        pytest.param("heed.inbox.mallory.other.com.mallory.seen", id="inbox of another Agent"),
        pytest.param("heed.inbox.mallory.spy.dev.heed.task.completed", id="its own end"),
        pytest.param("heed.inbox.alice.victim.dev.heed.task.completed", id="end of a task of others"),
        pytest.param("heed.redrive.alice.victim.com.mallory.seen", id="redrive"),
        pytest.param("heed.timers.alice.victim.t", id="timer"),
        pytest.param("heed-dead.alice.victim", id="dead letter"),
        pytest.param("heed-dead.alice.victim.redriven", id="mark of a redrive"),
        pytest.param("heed.tasks.alice.victim.look-1.dev.heed.task.progress", id="task of others"),
        pytest.param("heed.tasks.mallory.spy.look-2.dev.heed.task.progress", id="other task of its Agent"),
        pytest.param("heed.tasks.mallory.spy.look-2.dev.heed.task.result", id="result of another task"),
        pytest.param("heed.tasks.mallory.spy.look-1.dev.heed.task.completed", id="other type of its task"),
        pytest.param("heed.anything", id="subject that nobody reads"),
        pytest.param("$JS.API.INFO", id="JetStream: account"),
        pytest.param("$JS.API.STREAM.INFO.HEED", id="JetStream: look"),
        pytest.param("$JS.API.STREAM.PURGE.HEED", id="JetStream: purge"),
        pytest.param("$JS.API.STREAM.DELETE.HEED", id="JetStream: delete"),
        pytest.param("$JS.API.STREAM.UPDATE.HEED", id="JetStream: change"),
        pytest.param("$JS.API.STREAM.MSG.GET.HEED", id="JetStream: read"),
        pytest.param("$JS.API.DIRECT.GET.HEED", id="JetStream: read from a replica"),
        pytest.param("$JS.API.CONSUMER.CREATE.HEED", id="JetStream: consumer"),
        pytest.param("$JS.ACK.HEED.c.1.1.1.1.1", id="JetStream: acknowledge"),
        pytest.param("$SYS.REQ.SERVER.PING", id="system: servers"),
        pytest.param("$SYS.REQ.USER.INFO", id="system: user"),
        pytest.param("$SYS.REQ.ACCOUNT.PING.CONNZ", id="system: connections"),
        pytest.param("_INBOX.heed.abc", id="Heed's replies"),
        pytest.param("_INBOX.abc", id="replies of publishers"),
        pytest.param("_INBOX.heed-task.mallory.spy.look-2.abc", id="replies of another Job"),
        pytest.param("_R_.abcdef.1", id="replies between accounts"),
        pytest.param("_GR_.abcdef.1.x", id="replies between clusters"),
    ],
)
async def test_the_server_refuses_to_let_it_publish(mallory: User, admin: User, subject: str) -> None:
    await mallory.publish(subject, {"forged": True}, event_headers(EVENT))

    await until(lambda: bool(mallory.errors))
    assert f'permissions violation for publish to "{subject.lower()}"' in mallory.errors[0].lower()
    assert await admin.stored() == []
    assert await admin.stored(names.DEAD_STREAM) == []


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "heed.>",
        "heed.events.alice.>",
        "heed.events.mallory.>",
        "heed.inbox.mallory.spy.>",
        OWN_PROGRESS,
        "heed-dead.>",
        "_INBOX.>",
        "_INBOX.heed.>",
        "_INBOX.heed-task.>",
        "_INBOX.heed-task.mallory.spy.look-2.>",
        "$JS.>",
        "$SYS.>",
        "_R_.>",
    ],
)
async def test_the_server_refuses_to_let_it_listen(mallory: User, admin: User, subject: str) -> None:
    heard = []

    async def hear(message: object) -> None:
        heard.append(message)

    await mallory.client.subscribe(subject, cb=hear)
    await mallory.client.flush()
    await admin.request("heed.events.alice.com.example.x", "secret")
    await admin.request("heed.inbox.mallory.spy.com.example.x", "secret")

    await until(lambda: bool(mallory.errors))
    assert f'permissions violation for subscription to "{subject.lower()}"' in mallory.errors[0].lower()
    await mallory.client.flush()
    assert not heard


@pytest.mark.parametrize(
    "reply",
    [
        "heed.inbox.alice.victim.com.example.x",
        "heed.inbox.mallory.spy.dev.heed.task.completed",
        "heed.events.alice.com.example.x",
        "heed.tasks.alice.victim.look-1.dev.heed.task.result",
        "heed.redrive.alice.victim.com.example.x",
        "heed-dead.alice.victim",
        "heed-dead.mallory.spy",
        "heed.tasks.mallory.spy.look-2.dev.heed.task.result",
        "_INBOX.heed.abc",
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="stored"),
        pytest.param({"Nats-Expected-Stream": "ELSEWHERE"}, id="refused"),
        pytest.param({"Nats-Expected-Last-Msg-Id": "x"}, id="refused with words"),
    ],
)
async def test_the_confirmation_of_a_message_goes_nowhere_else(
    mallory: User, admin: User, reply: str, headers: dict[str, str]
) -> None:
    await mallory.request(OWN_EVENTS, "before")

    await mallory.publish(OWN_EVENTS, "now", headers, reply=reply)

    await mallory.request(OWN_EVENTS, "after")
    expected = ["before", "after"] if headers else ["before", "now", "after"]
    stored = await admin.stored()
    assert [(subject, json.loads(payload)) for subject, payload in stored] == [
        (OWN_EVENTS, text) for text in expected
    ]
    assert await admin.stored(names.DEAD_STREAM) == []


def test_in_the_account_of_the_streams_nobody_has_a_user_but_heed_and_who_runs_it(
    secured: SecuredBroker,
) -> None:
    streams = {_account(secured.keys[name]) for name in (accounts.OPERATOR_CREDS, accounts.ADMIN_CREDS)}
    others = [
        secured.keys[accounts.PUBLISHER_CREDS],
        secured.of_job(MALLORY),
        secured.minted(accounts.publisher_permissions()),
    ]

    assert len(streams) == 1
    assert not streams & {_account(credentials) for credentials in others}


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        pytest.param({"Nats-Rollup": "all"}, "rollup not permitted", id="delete the stream"),
        pytest.param({"Nats-Rollup": "sub"}, "rollup not permitted", id="delete a subject"),
        pytest.param({"Nats-TTL": "1s"}, "per-message ttl is disabled", id="vanish unread"),
        pytest.param(
            {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "heed.inbox.alice.victim.com.x"},
            "schedules is disabled",
            id="have the server publish elsewhere",
        ),
        pytest.param(
            {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"}, "atomic publish is disabled", id="batch"
        ),
        pytest.param({"Nats-Incr": "1"}, "counter", id="counter"),
        pytest.param({"Nats-Expected-Stream": "HEED_DEAD"}, "does not match", id="other stream"),
        pytest.param({"Nats-Expected-Last-Sequence": "999"}, "wrong last sequence", id="condition"),
    ],
)
async def test_headers_that_mean_something_to_the_server_are_refused(
    mallory: User, admin: User, headers: dict[str, str], refusal: str
) -> None:
    await admin.request("heed.events.alice.com.example.x", "kept")

    reply = await mallory.request(OWN_EVENTS, "now", headers)

    assert refusal in json.loads(reply.data)["error"]["description"].lower()
    assert [subject for subject, _ in await admin.stored()] == ["heed.events.alice.com.example.x"]


@pytest.mark.parametrize("destination", ["heed.inbox.alice.victim.com.example.x", "heed.events.alice.com.x"])
async def test_a_trace_goes_nowhere_that_it_may_not_publish_itself(
    mallory: User, admin: User, destination: str
) -> None:
    await mallory.publish(OWN_EVENTS, "now", {"Nats-Trace-Dest": destination})

    await mallory.request(OWN_EVENTS, "after")
    assert {subject for subject, _ in await admin.stored()} == {OWN_EVENTS}


async def test_a_message_id_that_somebody_took_does_not_stop_heed(
    secured: SecuredBroker, mallory: User, admin: User
) -> None:
    """Ids count in the whole stream, for everybody: the server would drop the second message."""
    event, subject = Event("e-1", "/heed", "com.example.x", {"n": 1}), "heed.inbox.alice.victim.com.example.x"
    await mallory.request(OWN_EVENTS, "mine", {"Nats-Msg-Id": message_id(subject, event)})

    async with secured.heed() as connection:
        await JetStreamBus(connection).publish(subject, event)

    assert [stored for stored, _ in await admin.stored()] == [OWN_EVENTS, subject]


async def test_a_message_that_is_too_large_is_refused(mallory: User, admin: User) -> None:
    with pytest.raises(nats.errors.MaxPayloadError):
        await mallory.request(OWN_EVENTS, "x" * mallory.client.max_payload)

    assert await admin.stored() == []


async def test_it_may_not_listen_in_too_many_ways(mallory: User) -> None:
    for number in range(40):
        await mallory.client.subscribe(f"{PREFIX}.{number}")
    await until(lambda: mallory.client.is_closed)
    assert "maximum subscriptions exceeded" in str(mallory.client.last_error)


async def test_credentials_that_expire_end_the_connection_and_make_no_other_one(
    secured: SecuredBroker,
) -> None:
    async with secured.heed():
        brief = secured.minted(SubjectPermissions((OWN_EVENTS,), (), ("_INBOX.>",)), lifetime=2)
        async with secured.user(brief) as user:
            await user.request(OWN_EVENTS, "now")
            await until(lambda: user.client.is_closed)
            assert "authentication expired" in str(user.client.last_error)

        # A token counts until the end of its last second; who comes within it is sent away at once.
        await until(lambda: _is_refused(secured, brief))


async def _is_refused(secured: SecuredBroker, credentials: str) -> bool:
    try:
        async with secured.user(credentials):
            return False
    except (nats.errors.Error, OSError):
        return True


def _forged(secured: SecuredBroker, how: str) -> str:
    """Credentials that somebody made who has no account's key."""
    now = int(time.time())
    grants = SubjectPermissions((">",), (), (">",))
    mine = NatsKey.new("account")
    if how == "own account":
        return UserSigner(mine).credentials("me", grants, now=now, lifetime=600)
    if how == "own key, claimed to be of the clients' account":
        return UserSigner(mine, secured.signer.key.public).credentials("me", grants, now=now, lifetime=600)
    if how == "clients' key, claimed to be of the streams' account":
        streams = _issuer(secured.keys[accounts.OPERATOR_CREDS])
        return UserSigner(secured.signer.key, streams).credentials("me", grants, now=now, lifetime=600)
    good = secured.of_job(MALLORY)
    jwt, _user = read_credentials(good)
    if how == "another user's seed":
        return good.replace(read_credentials(good)[1].seed, NatsKey.new("user").seed)
    head, claims, signature = jwt.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed["nats"]["pub"] = {"allow": [">"]}
    body = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    return good.replace(jwt, f"{head}.{body}.{signature}")


def _claims(credentials: str) -> dict[str, Any]:
    claims = read_credentials(credentials)[0].split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return found


def _issuer(credentials: str) -> str:
    return str(_claims(credentials)["iss"])


def _account(credentials: str) -> str:
    """The account that a user belongs to: the one named, or else whose key has signed."""
    claims = _claims(credentials)
    return str(claims["nats"].get("issuer_account") or claims["iss"])


@pytest.mark.parametrize(
    "how",
    [
        "own account",
        "own key, claimed to be of the clients' account",
        "clients' key, claimed to be of the streams' account",
        "another user's seed",
        "more permissions",
    ],
)
async def test_forged_credentials_are_refused(secured: SecuredBroker, how: str) -> None:
    with pytest.raises((nats.errors.Error, OSError)):
        async with secured.user(_forged(secured, how)):
            pass


async def test_without_credentials_nobody_gets_in(secured: SecuredBroker) -> None:
    with pytest.raises((nats.errors.Error, OSError)):
        async with secured.user(None):
            pass


async def test_what_signs_jobs_reads_nothing_and_deletes_nothing(secured: SecuredBroker, admin: User) -> None:
    """The worst that a stolen account.seed can do is to publish: the streams are another account's."""
    await admin.request("heed.events.alice.com.example.x", "kept")

    async with secured.user(secured.minted(SubjectPermissions((">",), (), (">",)))) as thief:
        for subject in (
            "$JS.API.STREAM.PURGE.HEED",
            "$JS.API.STREAM.INFO.HEED",
            "$JS.API.STREAM.MSG.GET.HEED",
        ):
            refused = json.loads((await thief.request(subject)).data)["error"]
            assert refused["description"] == "JetStream not enabled for account"
        heard = await thief.client.subscribe("heed.>")
        await thief.client.flush()
        await admin.request("heed.events.alice.com.example.x", "kept")
        with pytest.raises((nats.errors.TimeoutError, asyncio.TimeoutError)):
            await heard.next_msg(timeout=0.5)

    assert len(await admin.stored()) == 2


def test_a_token_says_who_signed_it() -> None:
    account, user = NatsKey.new("account"), NatsKey.new("user")

    claims = json.loads(
        base64.urlsafe_b64decode(
            encode_token(account, user.public, "u", {}, now=7, expiry=9).split(".")[1] + "=="
        )
    )

    assert (claims["iss"], claims["sub"], claims["iat"], claims["exp"]) == (account.public, user.public, 7, 9)
