"""`heed dead`: dead letters listed, shown, redriven, dropped."""

from heed.cli.dead.commands import dead

__all__ = ["dead"]
