"""Tests of `venue`."""
