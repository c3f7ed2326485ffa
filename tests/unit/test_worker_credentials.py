"""Credentials of workers: what they may do, for how long, and what signs them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from heed.bus.auth import accounts
from heed.bus.auth.jwt import NatsKey, UserSigner, read_credentials
from heed.bus.worker_credentials import (
    KEYS_WITHOUT_WORKERS,
    WorkerCredentials,
    worker_permissions,
)
from heed.core.effects import AgentRef
from heed.errors import InvalidSettings
from heed.settings import Settings

NOW = 1_700_000_000
AGENT = AgentRef("demo", "researcher", "uid")


def claims_of(credentials: str) -> dict[str, Any]:
    part = read_credentials(credentials)[0].split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_worker_may_answer_take_work_and_tell_of_it_for_its_agent_alone() -> None:
    grants = worker_permissions("demo", "researcher")

    assert grants.publish == (
        "heed.tasks.demo.researcher.*.dev.heed.task.done",
        "heed.tasks.demo.researcher.*.dev.heed.task.progress",
        "heed.tasks.demo.researcher.*.dev.heed.task.turn",
        "heed-transcript.demo.researcher.>",
        "$JS.API.DIRECT.GET.HEED_TRANSCRIPTS.heed-transcript.demo.researcher.>",
        "$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.demo_researcher",
        "$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.demo_researcher_calls",
        "$JS.ACK.HEED_WORK.demo_researcher.>",
        "$JS.ACK.HEED_WORK.demo_researcher_calls.>",
    )
    assert grants.subscribe == (
        "heed-decide.demo.researcher.*",
        "heed-stop.demo.researcher.*",
        "_INBOX.heed-worker.demo.researcher.>",
    )
    assert (grants.subscriptions, grants.replies, grants.reply_lifetime) == (32, 1, 60)


def test_credentials_of_a_worker_say_whose_they_are_and_how_long_they_live() -> None:
    workers = NatsKey.new("account")
    access = WorkerCredentials("nats://x", UserSigner(workers), 100)

    claims = claims_of(access.credentials(AGENT, now=NOW))

    assert (claims["name"], claims["iss"]) == ("worker demo/researcher", workers.public)
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 100)
    assert claims["nats"]["resp"] == {"max": 1, "ttl": 60 * 10**9}
    assert claims["nats"]["subs"] == 32


def test_workers_are_told_the_url_without_a_login_or_that_of_pods() -> None:
    given = Settings(nats_url="nats://u:p@one:4222", worker_credentials_lifetime=7)
    assert WorkerCredentials.of(given) == WorkerCredentials("nats://one:4222", None, 7, None)
    elsewhere = Settings(nats_url="nats://u:p@one", task_nats_url="tls://pods")
    assert WorkerCredentials.of(elsewhere).url == "tls://pods"


def test_what_signs_for_workers_is_among_the_brokers_keys_or_in_a_file(tmp_path: Path) -> None:
    keys, signing, account = accounts.make_broker_keys(NOW), NatsKey.new("account"), NatsKey.new("account")
    path = tmp_path / "seed"
    path.write_text(f"{signing.seed}\n")

    def signer(account: str | None) -> UserSigner | None:
        settings = Settings(nats_worker_signing_key=str(path), nats_worker_account=account)
        return WorkerCredentials.of(settings).signer

    assert WorkerCredentials.of(Settings(), keys).signer == UserSigner.of(keys[accounts.WORKERS_SEED])
    assert WorkerCredentials.of(Settings(), keys).missing is None
    assert signer(None) == UserSigner(signing)
    assert signer(account.public) == UserSigner(signing, account.public)


def test_keys_of_an_earlier_release_say_what_is_to_be_done(tmp_path: Path) -> None:
    keys = dict(accounts.make_broker_keys(NOW))
    del keys[accounts.WORKERS_SEED]
    found = WorkerCredentials.of(Settings(), keys)
    assert (found.signer, found.missing) == (None, KEYS_WITHOUT_WORKERS)
    assert "make new keys" in KEYS_WITHOUT_WORKERS

    path = tmp_path / "workers.seed"
    found = WorkerCredentials.of(Settings(nats_worker_signing_key=str(path)))
    assert found.signer is None
    assert found.missing is not None
    assert found.missing.startswith(f"HEED_NATS_WORKER_SIGNING_KEY={path}: there is no such file")


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seed"
    path.write_text("S")
    with pytest.raises(InvalidSettings, match=r"HEED_NATS_WORKER_SIGNING_KEY=.*, HEED_NATS_WORKER_ACCOUNT: "):
        WorkerCredentials.of(Settings(nats_worker_signing_key=str(path)))
