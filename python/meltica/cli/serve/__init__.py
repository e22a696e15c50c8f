"""`meltica serve`."""
