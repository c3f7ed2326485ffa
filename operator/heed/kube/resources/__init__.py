"""Tasks as any objects: their kinds, manifests, watches, and the runner."""
