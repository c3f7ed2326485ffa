"""`heed credentials` without a broker: what a user may do, for how long, and what is refused."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from heed.bus.auth.accounts import reserved_subjects
from heed.bus.auth.jwt import NatsKey, read_credentials
from heed.bus.worker_credentials import worker_permissions
from tests.unit.cli import heed

ACCOUNT = NatsKey.new("account")
PUBLISHER = ("shop", "-n", "shop", "--publish", "com.example.order.>")


def heed_credentials(
    *arguments: str, seed: str | bytes = ACCOUNT.seed, env: dict[str, str] | None = None
) -> Result:
    """The command, given the seed on standard input."""
    return heed("credentials", *arguments, stdin=seed, env=env)


def claims_of(result: Result) -> dict[str, Any]:
    """The claims of the JWT that was printed."""
    assert result.exit_code == 0, result.output
    jwt, _ = read_credentials(result.stdout)
    body = jwt.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


# ── what a user may do ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_publisher_may_publish_its_events_and_hear_what_became_of_them() -> None:
    claims = claims_of(heed_credentials(*PUBLISHER))

    assert claims["name"] == "shop"
    assert claims["nats"]["pub"]["allow"] == ["heed.events.shop.com.example.order.>"]
    assert claims["nats"]["pub"]["deny"] == list(reserved_subjects("shop"))
    assert claims["nats"]["sub"]["allow"] == ["_INBOX.>"]


def test_an_observer_sees_events_and_has_no_inbox() -> None:
    claims = claims_of(heed_credentials("board", "-n", "shop", "--subscribe", "com.example.>"))

    assert claims["nats"]["sub"]["allow"] == ["heed.events.shop.com.example.>"]
    assert "allow" not in claims["nats"]["pub"]


def test_replies_may_come_to_an_inbox_of_its_own() -> None:
    claims = claims_of(heed_credentials(*PUBLISHER, "--inbox", "_INBOX_shop"))

    assert claims["nats"]["sub"]["allow"] == ["_INBOX_shop.>"]


def test_a_worker_may_do_what_its_agents_code_does() -> None:
    nats = claims_of(heed_credentials("w", "-n", "shop", "--worker", "clerk"))["nats"]

    wanted = worker_permissions("shop", "clerk")
    assert nats["pub"] == {"allow": list(wanted.publish)}
    assert nats["sub"] == {"allow": list(wanted.subscribe)}
    assert (nats["resp"]["max"], nats["subs"]) == (wanted.replies, wanted.subscriptions)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--worker", "clerk"), "--worker clerk: of which namespace? give --namespace"),
        (("-n", "shop", "--worker", "*"), "--worker *: no Agent has such a name"),
        (("-n", "shop", "--worker", "a.b"), "--worker a.b: no Agent has such a name"),
        (("-n", "*", "--worker", "clerk"), "--namespace *: no namespace has such a name"),
        (("-n", "shop", "--worker", "clerk", "--publish", "x"), "leave out --publish and --subscribe"),
        (("-n", "shop", "--worker", "clerk", "--subscribe", "x"), "leave out --publish and --subscribe"),
    ],
)
def test_a_worker_is_one_agents(arguments: tuple[str, ...], said: str) -> None:
    result = heed_credentials("w", *arguments)

    assert result.exit_code != 0
    assert said in result.output


def test_without_a_namespace_patterns_are_whole_subjects() -> None:
    claims = claims_of(heed_credentials("audit", "--subscribe", "heed.events.>"))

    assert claims["nats"]["sub"]["allow"] == ["heed.events.>"]


@pytest.mark.parametrize(
    ("duration", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)]
)
def test_credentials_live_as_long_as_they_are_asked_to(duration: str, seconds: int) -> None:
    claims = claims_of(heed_credentials(*PUBLISHER, "--lifetime", duration))

    assert claims["exp"] - claims["iat"] == seconds


def test_a_signing_key_signs_for_the_account_that_is_named() -> None:
    signing = NatsKey.new("account")

    claims = claims_of(
        heed_credentials(*PUBLISHER, seed=signing.seed, env={"HEED_NATS_ACCOUNT": f" {ACCOUNT.public}\n"})
    )

    assert claims["iss"] == signing.public
    assert claims["nats"]["issuer_account"] == ACCOUNT.public


def test_the_key_may_be_a_file(tmp_path: Path) -> None:
    seed = tmp_path / "account.seed"
    seed.write_text(ACCOUNT.seed + os.linesep)

    assert claims_of(heed_credentials(*PUBLISHER, "--key", str(seed), seed=""))["iss"] == ACCOUNT.public


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["shop", "-n", "shop"],
            "nothing is allowed yet; give --publish PATTERN, --subscribe PATTERN or --worker AGENT",
        ),
        (["shop", "-n", "Shop", "--publish", "a"], "--namespace Shop: no namespace has such a name"),
        (["shop", "-n", "a.>", "--publish", "a"], "--namespace a.>: no namespace has such a name"),
        (
            ["shop", "-n", "shop", "--publish", "a..b"],
            "a..b: is no pattern; write com.example.order.* or com.example.>",
        ),
        (
            ["shop", "-n", "shop", "--publish", "a", "--subscribe", "a.>.b"],
            "a.>.b: is no pattern; write com.example.order.* or com.example.>",
        ),
        ([*PUBLISHER, "--lifetime", "0s"], "--lifetime 0s: write 90s, 15m, 12h or 30d"),
        ([*PUBLISHER, "--lifetime", "1h30m"], "--lifetime 1h30m: write 90s, 15m, 12h or 30d"),
        ([*PUBLISHER, "--lifetime", "-1d"], "--lifetime -1d: write 90s, 15m, 12h or 30d"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(arguments: list[str], message: str) -> None:
    result = heed_credentials(*arguments)

    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message + "\n")


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ("", "--key: this is no seed of a NATS key; it begins with S and has 58 characters"),
        (ACCOUNT.public, "--key: this is no seed of a NATS key; it begins with S and has 58 characters"),
        (NatsKey.new("user").seed, "--key: the seed is not an account's; those begin with SA"),
        (b"\xff\xfe", "--key: the file is no text; give the seed of an account"),
    ],
    ids=["empty", "a public key", "of a user", "no text"],
)
def test_a_key_that_can_sign_nothing_is_refused_without_being_shown(seed: str | bytes, message: str) -> None:
    result = heed_credentials(*PUBLISHER, seed=seed)

    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message + "\n")
