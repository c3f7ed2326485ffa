"""Tasks as child processes on this machine."""
