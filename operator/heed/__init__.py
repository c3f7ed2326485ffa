"""Heed: event-driven agents on Kubernetes."""

__version__ = "0.1.0"
