"""The cluster's side of the ports: the ledger in the status subresource, tasks as Jobs, Agents watched with kopf."""
