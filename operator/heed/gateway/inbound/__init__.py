"""CloudEvents over HTTP in: who sends, whether they may, and what becomes of it."""
