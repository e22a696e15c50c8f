"""Strategies that come with Meltica."""
