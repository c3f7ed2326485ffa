"""The gateway: HTTP in front of the stream, for what speaks no NATS."""
