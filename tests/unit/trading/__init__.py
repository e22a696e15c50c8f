"""Tests of `trading`."""
