"""Processes under limits of the kernel: costly decisions are made in them, and manifests judged."""
