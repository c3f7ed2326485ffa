"""Tasks as Jobs: manifests, the runner, pods, outcomes, credentials."""
