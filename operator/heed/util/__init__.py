"""What has no place above it: clocks, backoff, tasks and turns of the event loop, terminals, HTTP."""
