"""`heed simulate`: scenarios, and what comes of them."""

from heed.cli.simulate.command import simulate

__all__ = ["simulate"]
