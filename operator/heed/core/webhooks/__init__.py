"""Webhooks: EventSources compiled, deliveries verified, and the events that they become. Pure."""
