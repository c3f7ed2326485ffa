"""Accounts, users and their permissions on a NATS server in JWT mode."""
