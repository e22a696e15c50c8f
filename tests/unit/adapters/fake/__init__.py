"""Tests of `adapters/fake`."""
