"""Systematic mutation testing: which one-line changes of the product do the tests notice? See docs/testing.md."""
