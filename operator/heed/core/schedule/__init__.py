"""Schedules: cron expressions, intervals and instants, when their ticks are due, and which of them are fired late."""
