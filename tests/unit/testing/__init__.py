"""Tests of `meltica.testing`."""
