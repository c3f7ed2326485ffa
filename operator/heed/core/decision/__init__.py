"""The decision on one event: a pure function of program, ledger and event."""
