"""Agents on a laptop: ledger, task runner and broker without a cluster."""
