"""What the adapters of live venues share. An adapter writes only what its venue does differently.

| file | content |
|---|---|
| `protocol` | `VenueProtocol`: the methods that an adapter's author writes |
| `adapter` | `LiveAdapter`: the base class of an adapter |
| `streams` | the two connections: market data with its routes, and the account |
| `session` | one connection as a pure state machine: events in, actions out |
| `connection` | the websocket that executes a session's actions |
| `snapshots` | requests for the snapshots of books |
| `account` | `LiveAccount`: orders over REST, and reconciliation after a reconnect |
| `order_tracker` | the bookkeeping of an account's orders, without I/O |
| `rest` | REST requests: signed, rate-limited, with the outcome of those that failed |
| `clock` | the venue's clock, and the rate limit |

`docs/adapters.md` is the guide, `adapters/fake/wire.py` the example.
"""
