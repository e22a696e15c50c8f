"""`meltica replay`."""
