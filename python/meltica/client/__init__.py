"""A typed HTTP client of the control plane."""

from meltica.client.client import ApiError, Client, ModuleRefused, Unreachable

__all__ = ["ApiError", "Client", "ModuleRefused", "Unreachable"]
