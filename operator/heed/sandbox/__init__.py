"""Sandboxed worker processes, under kernel limits of CPU time and memory, for costly decisions and reviews."""
