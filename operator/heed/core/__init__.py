"""The pure core: what an Agent makes of events. No I/O, no clock, no randomness."""
