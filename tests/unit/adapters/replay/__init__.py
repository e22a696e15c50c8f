"""Tests of `adapters/replay`."""
