"""The connection to the broker, its streams, and what is read from them by sequence."""
