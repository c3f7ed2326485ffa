"""Approval links: a page on which who has the link answers one approval, once."""
