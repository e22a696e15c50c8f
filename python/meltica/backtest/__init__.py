"""Replays of recordings through lambdas."""
