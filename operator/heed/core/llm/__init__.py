"""Language models: requests and answers of both APIs, budgets, and the loop of turns between model and tools."""
