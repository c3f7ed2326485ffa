"""Time in the ledger: what is due and when, and the event that says so."""
