"""The controller: reconciles Agents with their generation, policies and event types, and resyncs their Jobs."""
