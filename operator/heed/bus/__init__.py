"""Events on NATS JetStream: the CloudEvents binding, the streams, reading from a cursor, and publishing."""
