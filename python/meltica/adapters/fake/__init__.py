"""Fake: a synthetic market instead of a venue."""
