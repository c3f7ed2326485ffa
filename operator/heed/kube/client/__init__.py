"""The API server: requests, answers that nest deep, reachability, and who refused."""
