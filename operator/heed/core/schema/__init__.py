"""JSON Schemas of event types, and what data and Jobs have to look like."""
