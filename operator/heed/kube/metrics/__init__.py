"""Metrics: what is counted, and the page."""
