"""Events as the SDKs of CloudEvents send them to NATS: senders made with these SDKs, and what they sent."""
