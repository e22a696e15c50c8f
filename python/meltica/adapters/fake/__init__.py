"""`fake`: a synthetic market in place of a venue."""
