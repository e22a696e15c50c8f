"""What adapters of live venues share, so that each writes only what its venue does its own way.

| file | what |
|---|---|
| `protocol` | what an adapter's author writes |
| `adapter` | `LiveAdapter`: what the adapter derives from |
| `account` | `LiveAccount`: orders over REST, and what the account's stream missed while it was away |
| `streams` | the two connections: market data with its routes, and the account |
| `session` | the life of a connection as a pure state machine: events in, actions out |
| `connection` | does what a session says, over a websocket |
| `snapshots` | snapshots for books that wait for one |
| `rest` | requests: signed, paced, and what became of those that failed |
| `clock` | the venue's clock, and the pace of requests |
| `..runtime.loop_thread` | the event loop of an adapter, reached from any thread |

`docs/adapters.md` tells how an adapter is written; `adapters/fake/wire.py` is the pattern.
"""
