"""Subscriptions: which events are delivered by HTTP, where they may go, and what an answer means. Pure."""
