"""The client of the API server: requests, deeply nested JSON, reachability, and refusals."""
