"""Strategies that come with Meltica, one module each; written as users write theirs."""
