"""Tests of heed.sdk: Agents in Python."""
