"""Workers as Deployments: their manifests, credentials and state, and what keeps them."""
