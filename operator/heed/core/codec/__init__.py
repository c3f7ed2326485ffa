"""Values as text: canonical JSON, strict JSON, CloudEvents in JSON."""
