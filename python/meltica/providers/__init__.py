"""Providers: configured adapters, started, supervised, and subscribed to the routes of running instances."""
