"""What is written to an Agent: the ledger, conditions, Kubernetes Events."""
