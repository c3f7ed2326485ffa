"""What the operator writes to an Agent: the ledger, conditions, Kubernetes Events."""
