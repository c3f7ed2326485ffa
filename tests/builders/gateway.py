"""EventSources and Subscriptions as tests need them: a keyword for all that one may want to say."""

from typing import Any

from heed import names
from heed.api.event_source import EventSource, parse_event_source
from heed.api.subscription import EventSubscription, parse_subscription

SIGNED: dict[str, Any] = {
    "hmac": {
        "header": "X-Hub-Signature-256",
        "prefix": "sha256=",
        "secretRef": {"name": "webhook", "key": "secret"},
    }
}


def event_source_document(
    name: str = "hook", namespace: str = "default", created: str = "", **spec: Any
) -> dict[str, Any]:
    """The manifest of an EventSource that believes everything, with members of its spec replaced."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.EVENT_SOURCE,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "creationTimestamp": created,
        },
        "spec": {
            "path": name,
            "verify": {"none": {}},
            "event": {"type": "com.example.hooked"},
            **spec,
        },
    }


def make_event_source(name: str = "hook", namespace: str = "default", **spec: Any) -> EventSource:
    """An EventSource."""
    return parse_event_source(event_source_document(name, namespace, **spec))


def subscription_document(
    name: str = "orders",
    namespace: str = "default",
    url: str = "http://sink.shop.svc/events",
    uid: str = "uid-orders",
    **spec: Any,
) -> dict[str, Any]:
    """The manifest of a Subscription to com.example.order.*, with members of its spec replaced."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SUBSCRIPTION,
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "generation": 1},
        "spec": {"types": ["com.example.order.*"], "sink": {"url": url}, **spec},
    }


def make_subscription(name: str = "orders", namespace: str = "default", **spec: Any) -> EventSubscription:
    """A Subscription."""
    return parse_subscription(subscription_document(name, namespace, **spec))
