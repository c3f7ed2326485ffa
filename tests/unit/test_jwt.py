"""Credentials letter by letter: what a token says, who signed it, and which seeds and accounts are taken."""

import base64
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from heed.bus.auth import accounts
from heed.bus.auth.jwt import (
    NatsKey,
    SubjectPermissions,
    UserSigner,
    encode_token,
    read_credentials,
    render_credentials,
)
from heed.bus.task_credentials import TaskCredentials, task_permissions
from heed.core.effects import AgentRef, TaskWork
from heed.errors import InvalidSettings
from heed.settings import Settings

WORK = TaskWork(AgentRef("demo", "researcher", "u"), "t-1", "work", "job", "s", {}, {}, 60, 600, ("com.x.*",))


def parts(jwt: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, what is signed, and the signature."""
    header, claims, signature = jwt.split(".")

    def decoded(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    return (
        json.loads(decoded(header)),
        json.loads(decoded(claims)),
        f"{header}.{claims}".encode(),
        decoded(signature),
    )


def claims_of(text: str) -> dict[str, Any]:
    return parts(read_credentials(text)[0])[1]


def test_a_token_says_who_says_what_of_whom_and_is_signed() -> None:
    signer = NatsKey.new("account")

    jwt = encode_token(signer, "UABC", "me", {"type": "user"}, now=100, expiry=160)

    header, claims, signed, signature = parts(jwt)
    assert header == {"typ": "JWT", "alg": "ed25519-nkey"}
    said = {
        "iat": 100,
        "exp": 160,
        "iss": signer.public,
        "name": "me",
        "sub": "UABC",
        "nats": {"type": "user"},
    }
    digest = hashlib.sha256(json.dumps(said, separators=(",", ":"), sort_keys=True).encode()).digest()
    assert claims == {**said, "jti": base64.b32encode(digest).decode().rstrip("=")}
    assert "=" not in jwt
    assert signature == signer.sign(signed)


def test_a_token_without_an_end_has_none() -> None:
    assert "exp" not in parts(encode_token(NatsKey.new("account"), "UABC", "me", {}, now=100))[1]


def test_a_user_may_do_what_was_granted_and_nothing_else() -> None:
    key = NatsKey.new("account")
    grants = SubjectPermissions(("a.>", "b"), ("a.c",), ("d.>",), 7)

    claims = claims_of(UserSigner(key).credentials("me", grants, now=100, lifetime=60))

    assert (claims["iat"], claims["exp"], claims["name"], claims["iss"]) == (100, 160, "me", key.public)
    assert claims["sub"].startswith("U")
    assert claims["nats"] == {
        "pub": {"allow": ["a.>", "b"], "deny": ["a.c"]},
        "sub": {"allow": ["d.>"]},
        "subs": 7,
        "data": -1,
        "payload": -1,
        "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
        "type": "user",
        "version": 2,
    }


@pytest.mark.parametrize(
    ("grants", "publish", "subscribe"),
    [
        (SubjectPermissions(), {"deny": [">"]}, {"deny": [">"]}),
        (SubjectPermissions(deny=("x",)), {"deny": [">"]}, {"deny": [">"]}),
        (SubjectPermissions(("a",)), {"allow": ["a"]}, {"deny": [">"]}),
        (SubjectPermissions(subscribe=("a",)), {"deny": [">"]}, {"allow": ["a"]}),
    ],
)
def test_an_empty_grant_allows_nothing(
    grants: SubjectPermissions, publish: dict[str, Any], subscribe: dict[str, Any]
) -> None:
    claims = claims_of(UserSigner(NatsKey.new("account")).credentials("me", grants, now=1, lifetime=None))

    assert (claims["nats"]["pub"], claims["nats"]["sub"]) == (publish, subscribe)
    assert "exp" not in claims


def test_a_signing_key_names_its_account() -> None:
    account, signing = NatsKey.new("account"), NatsKey.new("account")

    def issuer(signer: UserSigner) -> Any:
        return claims_of(signer.credentials("me", SubjectPermissions(), now=1, lifetime=1))["nats"].get(
            "issuer_account"
        )

    assert issuer(UserSigner.of(signing.seed, account.public)) == account.public
    assert issuer(UserSigner.of(account.seed, account.public)) is None
    assert issuer(UserSigner.of(account.seed)) is None


def test_what_cannot_sign_is_refused() -> None:
    seed, account = NatsKey.new("account").seed, NatsKey.new("account").public

    with pytest.raises(InvalidSettings, match=r"^the seed is not an account's; those begin with SA$"):
        UserSigner.of(NatsKey.new("user").seed)
    for wrong in (
        NatsKey.new("user").public,
        account[:-1],
        f"{account}A",
        f"{account[:-1]}1",
        "",
        f"{account}\n",
    ):
        with pytest.raises(
            InvalidSettings, match=r"^the account is no public key of an account; those begin with A$"
        ):
            UserSigner.of(seed, wrong)


@pytest.mark.parametrize("seed", ["", "S", "SA", "SUAM", "x" * 58, "ä"])
def test_what_is_no_seed_is_refused_and_not_shown(seed: str) -> None:
    message = "this is no seed of a NATS key; it begins with S and has 58 characters"
    with pytest.raises(InvalidSettings, match=f"^{re.escape(message)}$"):
        NatsKey.of_seed(seed)


@pytest.mark.parametrize("place", [2, 30, 56])
def test_a_seed_with_a_wrong_character_is_no_other_key(place: int) -> None:
    seed = slip(NatsKey.new("user").seed, place)

    message = "a character of this seed is wrong: its checksum differs; copy it again"
    with pytest.raises(InvalidSettings, match=f"^{re.escape(message)}$"):
        NatsKey.of_seed(seed)


@pytest.mark.parametrize("place", [1, 30, 55])
def test_an_account_with_a_wrong_character_is_no_other_account(place: int) -> None:
    account = slip(NatsKey.new("account").public, place)

    message = "a character of the account is wrong: its checksum differs; copy it again"
    with pytest.raises(InvalidSettings, match=f"^{re.escape(message)}$"):
        UserSigner.of(NatsKey.new("account").seed, account)


def slip(key: str, place: int) -> str:
    """The key with another character at one place."""
    return f"{key[:place]}{'B' if key[place] == 'A' else 'A'}{key[place + 1 :]}"


@pytest.mark.parametrize(("kind", "letter"), [("operator", "O"), ("account", "A"), ("user", "U")])
def test_new_keys_are_of_their_kind_and_each_another(kind: Any, letter: str) -> None:
    one, two = NatsKey.new(kind), NatsKey.new(kind)

    assert one.seed != two.seed
    assert (one.seed[:2], len(one.seed)) == (f"S{letter}", 58)
    assert (one.public[0], len(one.public)) == (letter, 56)
    assert NatsKey.of_seed(f" {one.seed}\n") == one
    assert one.seed not in repr(one)


def test_a_credentials_file_is_read_again() -> None:
    user = NatsKey.new("user")
    text = render_credentials("a.b.c", user)

    assert read_credentials(text) == ("a.b.c", user)
    for cut in ("NATS USER JWT", "USER NKEY SEED"):
        with pytest.raises(
            InvalidSettings,
            match=r"^these are no NATS credentials; write them with `heed credentials` or nsc$",
        ):
            read_credentials(text.replace(cut, ""))


# ── of Jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_may_tell_of_its_task_and_broadcast_what_its_agent_may() -> None:
    grants = task_permissions(WORK)

    assert grants.publish == (
        "heed.tasks.demo.researcher.t-1.dev.heed.task.progress",
        "heed.tasks.demo.researcher.t-1.dev.heed.task.result",
        "heed.events.demo.com.x.*",
    )
    assert grants.deny == accounts.reserved_subjects("demo")
    assert len(grants.subscribe) == 1
    assert grants.subscribe[0].endswith("demo.researcher.t-1.>")
    assert grants.subscriptions == 32


@pytest.mark.parametrize(("timeout", "lifetime"), [(60, 360), (None, 1000)])
def test_credentials_of_a_job_outlive_its_task_a_little(timeout: int | None, lifetime: int) -> None:
    access = TaskCredentials("nats://x", UserSigner(NatsKey.new("account")), 1000)
    work = TaskWork(WORK.agent, "t-1", "work", "job", "s", {}, {}, timeout, 600, None)
    before = int(time.time())

    claims = claims_of(access.credentials(work))

    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] - claims["iat"] == lifetime
    assert claims["name"] == "job demo/researcher/t-1"
    assert claims["nats"]["subs"] == 32
    assert len(claims["nats"]["pub"]["allow"]) == 2


def test_jobs_are_told_the_url_without_a_login_or_their_own() -> None:
    given = Settings(nats_url="nats://u:p@one:4222", credentials_lifetime=7)

    assert TaskCredentials.of(given) == TaskCredentials("nats://one:4222", None, 7)
    assert (
        TaskCredentials.of(Settings(nats_url="nats://u:p@one", task_nats_url="tls://jobs")).url
        == "tls://jobs"
    )


def test_what_signs_for_jobs_is_in_a_file_or_among_the_brokers_keys(tmp_path: Path) -> None:
    account, signing = NatsKey.new("account"), NatsKey.new("account")
    path = tmp_path / "seed"
    path.write_text(f"{signing.seed}\n")
    keys = {accounts.ACCOUNT_SEED: account.seed, accounts.ACCOUNT_PUBLIC: account.public}

    def signer(account: str | None = None, keys: dict[str, str] | None = None) -> UserSigner | None:
        return TaskCredentials.of(Settings(nats_signing_key=str(path), nats_account=account), keys).signer

    assert signer(f" {account.public}\n") == UserSigner(signing, account.public)
    assert signer(" ") == UserSigner(signing)
    assert signer() == UserSigner(signing)
    assert signer(keys=keys) == UserSigner(account)


@pytest.mark.parametrize(
    ("content", "account", "said"),
    [
        (None, None, "HEED_NATS_SIGNING_KEY={path}: FileNotFoundError; give a file with a seed"),
        (b"\xff", None, "HEED_NATS_SIGNING_KEY={path}: UnicodeDecodeError; give a file with a seed"),
        (
            b"S",
            None,
            "HEED_NATS_SIGNING_KEY={path}, HEED_NATS_ACCOUNT: this is no seed of a NATS key; "
            "it begins with S and has 58 characters",
        ),
    ],
)
def test_a_signing_key_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, account: str | None, said: str
) -> None:
    path = tmp_path / "seed"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidSettings) as caught:
        TaskCredentials.of(Settings(nats_signing_key=str(path), nats_account=account))

    assert str(caught.value) == said.format(path=path)
