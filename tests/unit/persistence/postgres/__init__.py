"""Tests of `persistence/postgres`."""
