"""Replays recordings through lambdas."""
