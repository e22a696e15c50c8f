"""Tests of `adapters/live`."""
