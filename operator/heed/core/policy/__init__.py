"""What policies and grants permit."""
