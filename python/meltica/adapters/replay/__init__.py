"""Replay: recorded sessions instead of a venue."""
