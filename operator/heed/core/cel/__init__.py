"""Expressions and templates in CEL: parsing, evaluation, cost, and messages about them."""
