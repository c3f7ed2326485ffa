"""Calls by HTTP: requests of `http` tasks, sent to no address that is refused, and what their answers mean."""
