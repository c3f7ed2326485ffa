"""The accounts of a broker that comes with Heed: who is in which, and what passes between them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from heed.bus.auth import accounts
from heed.bus.auth.jwt import NatsKey, read_credentials

NOW = 1_700_000_000
ANY_NUMBER = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
}
STREAMS_OF_ANY_SIZE = {
    "mem_storage": -1,
    "disk_storage": -1,
    "streams": -1,
    "consumer": -1,
    "mem_max_stream_bytes": -1,
    "disk_max_stream_bytes": -1,
    "max_bytes_required": False,
}
API = [
    "$JS.API.STREAM.INFO.{}",
    "$JS.API.STREAM.MSG.GET.{}",
    "$JS.API.CONSUMER.CREATE.{}",
    "$JS.API.CONSUMER.INFO.{}.*",
    "$JS.API.CONSUMER.MSG.NEXT.{}.*",
    "$JS.API.CONSUMER.DELETE.{}.*",
]


def claims(jwt: str) -> dict[str, Any]:
    """What a token says."""
    part = jwt.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert found["iat"] == NOW
    return found


class Keys:
    """The keys of a broker, read again."""

    def __init__(self) -> None:
        self.files = accounts.make_broker_keys(NOW)
        text = self.files["auth.conf"]
        begin = r"operator: (\S+)\nsystem_account: (\S+)\nresolver: MEMORY\n"
        shape = begin + r"resolver_preload: \{\n((?:  \S+: \S+\n)*)\}\n"
        found = re.fullmatch(shape, text)
        assert found is not None
        self.operator, self.system = claims(found[1]), found[2]
        lines = [line.split(": ") for line in found[3].splitlines()]
        self.accounts = {name.strip(): claims(jwt) for name, jwt in lines}
        self.by_name = {account["name"]: account for account in self.accounts.values()}

    def user(self, file: str) -> dict[str, Any]:
        jwt, key = read_credentials(self.files[file])
        found = claims(jwt)
        assert found["sub"] == key.public
        assert "exp" not in found
        return found


@pytest.fixture
def keys() -> Keys:
    return Keys()


def test_there_are_as_many_files_as_are_named(keys: Keys) -> None:
    assert set(keys.files) == set(accounts.KEY_FILES)
    assert accounts.KEY_FILES == (
        "auth.conf",
        "account.seed",
        "account.pub",
        "streams.seed",
        "workers.seed",
        "operator.creds",
        "publisher.creds",
        "admin.creds",
        "gateway.creds",
        "subscriptions.creds",
    )


def test_an_operator_vouches_for_its_accounts(keys: Keys) -> None:
    root = keys.operator
    assert (root["name"], root["iss"], root["sub"][0]) == ("heed", root["sub"], "O")
    assert root["nats"] == {"type": "operator", "version": 2, "system_account": keys.system}
    assert list(keys.by_name) == ["SYS", "HEED", "HEED_CLIENTS", "HEED_WORKERS"]
    for subject, account in keys.accounts.items():
        assert (account["sub"], account["iss"], subject[0]) == (subject, root["sub"], "A")
        assert (account["nats"]["type"], account["nats"]["version"]) == ("account", 2)
    assert keys.by_name["SYS"]["sub"] == keys.system


def test_only_the_account_of_the_streams_may_have_some(keys: Keys) -> None:
    assert keys.by_name["SYS"]["nats"]["limits"] == ANY_NUMBER
    assert keys.by_name["HEED"]["nats"]["limits"] == {**ANY_NUMBER, **STREAMS_OF_ANY_SIZE}
    assert keys.by_name["HEED_CLIENTS"]["nats"]["limits"] == ANY_NUMBER


def _passed(keys: Keys, account: str, kind: str) -> list[tuple[str, str | None]]:
    """What an account exports or imports: subjects, with the account that they are imported of."""
    by_key = {found["sub"]: name for name, found in keys.by_name.items()}
    items = keys.by_name[account]["nats"].get(kind, [])
    assert all(item["type"] == "service" for item in items)
    return [(item["subject"], by_key.get(item.get("account"))) for item in items]


def test_clients_may_ask_to_store_messages_and_nothing_else_passes(keys: Keys) -> None:
    assert _passed(keys, "HEED_CLIENTS", "imports") == [("heed.>", "HEED")]
    assert _passed(keys, "HEED_CLIENTS", "exports") == []


def test_workers_may_tell_of_tasks_and_take_work_and_nothing_else_passes(keys: Keys) -> None:
    assert _passed(keys, "HEED_WORKERS", "imports") == [
        ("heed.tasks.*.*.*.dev.heed.task.done", "HEED"),
        ("heed.tasks.*.*.*.dev.heed.task.progress", "HEED"),
        ("heed.tasks.*.*.*.dev.heed.task.turn", "HEED"),
        ("heed-transcript.>", "HEED"),
        ("$JS.API.DIRECT.GET.HEED_TRANSCRIPTS.>", "HEED"),
        ("$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.*", "HEED"),
        ("$JS.ACK.HEED_WORK.>", "HEED"),
    ]
    assert _passed(keys, "HEED_WORKERS", "exports") == [("heed-decide.>", None), ("heed-stop.>", None)]


def test_heed_may_ask_and_stop_workers_and_offers_what_others_use(keys: Keys) -> None:
    assert _passed(keys, "HEED", "imports") == [
        ("heed-decide.>", "HEED_WORKERS"),
        ("heed-stop.>", "HEED_WORKERS"),
    ]
    assert _passed(keys, "HEED", "exports") == [
        ("heed.>", None),
        ("heed-transcript.>", None),
        ("$JS.API.DIRECT.GET.HEED_TRANSCRIPTS.>", None),
        ("$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.*", None),
        ("$JS.ACK.HEED_WORK.>", None),
    ]


def test_only_who_was_let_in_may_use_what_an_account_offers(keys: Keys) -> None:
    for account in keys.by_name.values():
        assert all(item["token_req"] is True for item in account["nats"].get("exports", []))
        for item in account["nats"].get("imports", []):
            activation = claims(item["token"])
            assert (activation["iss"], activation["sub"]) == (item["account"], account["sub"])
            assert activation["nats"] == {
                "type": "activation",
                "version": 2,
                "subject": item["subject"],
                "kind": "service",
            }


def test_a_request_for_work_may_be_answered_more_than_once(keys: Keys) -> None:
    exports = [item for account in keys.by_name.values() for item in account["nats"].get("exports", [])]
    assert {item["subject"]: item["response_type"] for item in exports if "response_type" in item} == {
        "$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.*": "Stream"
    }


def test_seeds_are_those_of_the_accounts(keys: Keys) -> None:
    clients, streams = keys.files["account.seed"], keys.files["streams.seed"]
    assert clients.endswith("\n") and streams.endswith("\n")
    assert NatsKey.of_seed(clients).public == keys.files["account.pub"] == keys.by_name["HEED_CLIENTS"]["sub"]
    assert NatsKey.of_seed(streams).public == keys.by_name["HEED"]["sub"]
    workers = keys.files["workers.seed"]
    assert workers.endswith("\n")
    assert NatsKey.of_seed(workers).public == keys.by_name["HEED_WORKERS"]["sub"]


@pytest.mark.parametrize(
    ("file", "name", "account"),
    [
        ("operator.creds", "heed-operator", "HEED"),
        ("admin.creds", "heed-admin", "HEED"),
        ("publisher.creds", "publisher", "HEED_CLIENTS"),
        ("gateway.creds", "heed-gateway", "HEED_CLIENTS"),
        ("subscriptions.creds", "heed-gateway-subscriptions", "HEED"),
    ],
)
def test_users_belong_to_their_account(keys: Keys, file: str, name: str, account: str) -> None:
    user = keys.user(file)
    assert (user["name"], user["iss"]) == (name, keys.by_name[account]["sub"])


def test_heed_itself_may_do_what_it_does_and_no_more(keys: Keys) -> None:
    nats = keys.user("operator.creds")["nats"]

    assert sorted(nats["pub"]["allow"]) == sorted(
        [
            "heed.events.>",
            "heed.inbox.>",
            "heed-dead.>",
            "heed-decide.>",
            "heed-stop.>",
            "heed-work.>",
            "$JS.API.STREAM.CREATE.HEED_WORK",
            "$JS.API.STREAM.MSG.GET.HEED_WORK",
            "$JS.API.STREAM.PURGE.HEED_WORK",
            "$JS.API.CONSUMER.DURABLE.CREATE.HEED_WORK.*",
            "$JS.API.STREAM.CREATE.HEED_TRANSCRIPTS",
            "$JS.API.STREAM.CREATE.HEED",
            "$JS.API.STREAM.CREATE.HEED_DEAD",
            *(subject.format(stream) for stream in ("HEED", "HEED_DEAD") for subject in API),
        ]
    )
    assert "deny" not in nats["pub"]
    assert nats["sub"] == {"allow": ["_INBOX.heed.>", "heed.tasks.*.*.*.dev.heed.task.done"]}


def test_an_administrator_may_do_everything(keys: Keys) -> None:
    nats = keys.user("admin.creds")["nats"]
    assert (nats["pub"], nats["sub"]) == ({"allow": [">"]}, {"allow": [">"]})


def test_a_publisher_publishes_events_but_not_heeds_own(keys: Keys) -> None:
    nats = keys.user("publisher.creds")["nats"]
    deny = ["heed.events.*.dev.heed.>", "heed.events.*.dev.heed"]
    assert nats["pub"] == {"allow": ["heed.events.*.>"], "deny": deny}
    assert nats["sub"] == {"allow": ["_INBOX.>"]}


def test_the_gateway_publishes_events_to_all_and_to_one_but_not_heeds_own(keys: Keys) -> None:
    nats = keys.user("gateway.creds")["nats"]
    assert nats["pub"] == {
        "allow": ["heed.events.>", "heed.inbox.>"],
        "deny": [
            "heed.events.*.dev.heed.>",
            "heed.events.*.dev.heed",
            "heed.inbox.*.*.dev.heed.>",
            "heed.inbox.*.*.dev.heed",
        ],
    }
    assert nats["sub"] == {"allow": ["_INBOX.heed.>"]}


def test_keys_of_an_earlier_release_get_what_they_lack_from_their_own_account(keys: Keys) -> None:
    assert accounts.add_later_files(keys.files, NOW) == {}

    later = {"gateway.creds": "HEED_CLIENTS", "subscriptions.creds": "HEED"}
    assert later.keys() == accounts.ADDED_FILES == accounts.LATER_FILES - {"workers.seed"}
    for file, account in later.items():
        earlier = {name: text for name, text in keys.files.items() if name != file}
        added = accounts.add_later_files(earlier, NOW)
        assert set(added) == {file}
        jwt, _ = read_credentials(added[file])
        assert claims(jwt)["iss"] == keys.by_name[account]["sub"]


def test_who_delivers_reads_events_and_writes_dead_letters_and_publishes_no_event(keys: Keys) -> None:
    nats = keys.user("subscriptions.creds")["nats"]

    assert sorted(nats["pub"]["allow"]) == sorted(
        [
            "heed-dead.>",
            "$JS.ACK.HEED.>",
            "$JS.API.STREAM.MSG.GET.HEED",
            "$JS.API.CONSUMER.CREATE.HEED.*",
            "$JS.API.CONSUMER.INFO.HEED.*",
            "$JS.API.CONSUMER.LIST.HEED",
            "$JS.API.CONSUMER.MSG.NEXT.HEED.*",
            "$JS.API.CONSUMER.DELETE.HEED.*",
            *(subject.format("HEED_DEAD") for subject in API),
        ]
    )
    assert nats["sub"] == {"allow": ["_INBOX.heed.>"]}


def test_who_may_do_less_is_bound_to_a_namespace_and_types() -> None:
    publisher = accounts.publisher_permissions("demo", "com.example.>")
    assert publisher.publish == ("heed.events.demo.com.example.>",)
    assert publisher.deny == ("heed.events.demo.dev.heed.>", "heed.events.demo.dev.heed")
    assert publisher.subscribe == ("_INBOX.>",)

    observer = accounts.observer_permissions("demo", "com.example.>")
    assert (observer.publish, observer.deny) == ((), ())
    assert observer.subscribe == ("heed.events.demo.com.example.>",)
    assert accounts.observer_permissions().subscribe == ("heed.events.*.>",)
