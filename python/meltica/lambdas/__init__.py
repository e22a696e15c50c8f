"""Strategies: the base class, their configs, and what runs them."""
