"""CloudEvents, dead letters and redrives as NATS messages; subject patterns."""
