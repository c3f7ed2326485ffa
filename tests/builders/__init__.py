"""What tests are given: plain functions with defaults, so that a test names only what matters to it."""
