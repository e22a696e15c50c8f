"""Notifications: consumers of the outbox that report to the operator, and a heartbeat."""
