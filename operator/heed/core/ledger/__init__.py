"""The ledger as a value: sessions, tasks and effects owed, the dedup window, what is deferred, and headroom."""
