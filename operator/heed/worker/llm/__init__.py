"""Turns of `llm` tasks: the model is called, and what it said is in the transcript before anything comes of it."""
