"""Tests of `soak`."""
