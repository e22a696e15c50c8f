"""Adapters of venues: `from meltica.adapters import ...` is all that an adapter's author imports."""
