"""Manifests compiled to programs: validation, authorization, lint, admission."""
