"""Which Agents run, with which generation, policies and event types; their Jobs resynced."""
