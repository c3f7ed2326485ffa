"""The admission webhook: server, review processes, certificates."""
