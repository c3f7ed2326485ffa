"""Subscriptions: events delivered to HTTP endpoints, at least once."""
