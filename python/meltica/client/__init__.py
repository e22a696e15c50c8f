"""A typed HTTP client of the control plane."""

from meltica.client.client import ApiError, Client, Unreachable

__all__ = ["ApiError", "Client", "Unreachable"]
