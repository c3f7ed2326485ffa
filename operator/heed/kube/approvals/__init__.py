"""Answers to approvals in a cluster: whose they are, and what becomes of them."""
