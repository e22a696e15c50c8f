"""Paper trading: orders that fill against the live book and trades of a venue, without reaching it."""
