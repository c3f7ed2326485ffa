"""Manifests as text: documents, lines, YAML."""
