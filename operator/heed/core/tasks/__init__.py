"""Tasks: what is started, and the contract with the Job that does it."""
