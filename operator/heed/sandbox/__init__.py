"""Costly decisions, in processes under limits of the kernel."""
