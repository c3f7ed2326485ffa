"""Webhooks: EventSources served at /v1/hooks/<namespace>/<path>."""
