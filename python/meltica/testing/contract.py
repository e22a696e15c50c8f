"""`AdapterContract`: all tests that an adapter passes."""

from meltica.testing.account import AccountContract
from meltica.testing.connection import ConnectionContract
from meltica.testing.data import DataContract


class AdapterContract(DataContract, ConnectionContract, AccountContract):
    """Every test of the contract: market data, connections, and the account."""
