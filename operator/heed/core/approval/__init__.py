"""Approvals: what people are asked, who may answer, and what becomes of an answer."""
