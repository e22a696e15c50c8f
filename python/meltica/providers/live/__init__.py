"""What adapters of live venues share, so that each writes only what its venue does its own way.

| file | what |
|---|---|
| `adapter` | `LiveAdapter`: what a venue's adapter derives from; the loop on the thread of `run` |
| `account` | `LiveAccount`: orders over REST, and what the account's stream missed while it was away |
| `session` | the life of a connection as a pure state machine: events in, actions out |
| `connection` | does what a session says, over a websocket |
| `rest` | requests: signed, paced, and what became of those that failed |
| `clock` | the venue's clock, and the pace of requests |
| `books` | snapshots for books that wait for one |

`docs/adapters.md` tells how an adapter is written; `providers/fake/wire.py` is the pattern.
"""
