"""Deliveries as real senders make them: small payloads in their published shapes, signed as they sign."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

SECRET = b"not-a-secret"


@dataclass(frozen=True, slots=True)
class SentDelivery:
    """A request to a webhook."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def encode(payload: Any) -> bytes:
    """A payload as JSON."""
    return json.dumps(payload).encode()


def sign(payload: bytes, secret: bytes = SECRET, *, encoding: str = "hex") -> str:
    """The HMAC-SHA256 of a payload."""
    found = hmac.new(secret, payload, hashlib.sha256)
    return found.hexdigest() if encoding == "hex" else base64.b64encode(found.digest()).decode()


def from_github(payload: Any, event: str = "issues", id: str = "d-1", secret: bytes = SECRET) -> SentDelivery:
    """A delivery of GitHub's."""
    body = encode(payload)
    return SentDelivery(
        "github",
        body,
        {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": id,
            "X-Hub-Signature-256": f"sha256={sign(body, secret)}",
        },
    )


def from_gitlab(payload: Any, id: str = "i-1", token: str = SECRET.decode()) -> SentDelivery:
    """A delivery of GitLab's."""
    headers = {
        "Content-Type": "application/json",
        "X-Gitlab-Event": "Issue Hook",
        "Idempotency-Key": id,
        "X-Gitlab-Token": token,
    }
    return SentDelivery("gitlab", encode(payload), headers)


def from_slack(payload: Any, at: float, secret: bytes = SECRET) -> SentDelivery:
    """A delivery of Slack's, signed at a time."""
    body, stamp = encode(payload), str(int(at))
    signature = sign(b"v0:" + stamp.encode() + b":" + body, secret)
    headers = {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={signature}",
    }
    return SentDelivery("slack/events", body, headers)


def from_stripe(payload: Any, at: float, secret: bytes = SECRET) -> SentDelivery:
    """A delivery of Stripe's, signed at a time."""
    body, stamp = encode(payload), str(int(at))
    signature = sign(stamp.encode() + b"." + body, secret)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": f"t={stamp},v1={signature},v0={'0' * 64}",
    }
    return SentDelivery("stripe", body, headers)


def from_alertmanager(payload: Any, token: str = SECRET.decode()) -> SentDelivery:
    """A notification of Alertmanager's."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return SentDelivery("alertmanager", encode(payload), headers)


GITHUB_ISSUE: dict[str, Any] = {
    "action": "opened",
    "issue": {"number": 7, "title": "It is broken", "labels": [{"name": "bug"}]},
    "repository": {"id": 1, "full_name": "example/app"},
    "sender": {"login": "ada", "type": "User"},
}
GITLAB_ISSUE: dict[str, Any] = {
    "object_kind": "issue",
    "event_type": "issue",
    "project": {"id": 1, "web_url": "https://gitlab.example/a/b", "path_with_namespace": "a/b"},
    "object_attributes": {"id": 301, "iid": 23, "action": "open", "title": "It is broken"},
}
SLACK_MESSAGE: dict[str, Any] = {
    "token": "deprecated",
    "team_id": "T1",
    "api_app_id": "A1",
    "type": "event_callback",
    "event_id": "Ev1",
    "event_time": 1700000000,
    "event": {"type": "app_mention", "user": "U1", "text": "<@A1> hello", "ts": "1.2", "channel": "C1"},
}
STRIPE_CHARGE: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "api_version": "2026-01-01",
    "created": 1700000000,
    "type": "charge.succeeded",
    "livemode": False,
    "data": {"object": {"id": "ch_1", "object": "charge", "amount": 2000, "currency": "eur"}},
}
ALERT: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="DiskFull"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "heed",
    "groupLabels": {"alertname": "DiskFull"},
    "commonLabels": {"alertname": "DiskFull", "severity": "page"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull", "instance": "a"},
            "annotations": {},
            "startsAt": "2026-01-31T12:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": "f1",
        }
    ],
}
