"""What has no place above it: tasks and turns of the event loop, terminals, HTTP servers and proxies."""
