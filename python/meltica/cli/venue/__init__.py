"""`meltica venue`."""
