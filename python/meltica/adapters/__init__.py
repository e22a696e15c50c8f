"""Adapters of venues: everything that the author of an adapter imports.

    from meltica.adapters import Ack, AdapterSettings, Codec, LiveAdapter, NewOrder, VenueMessage

    class MyAdapter(LiveAdapter):
        identifier = "mine"
        ...

- An adapter: `LiveAdapter` (for a venue with websocket and REST, see `VenueProtocol`) or `Adapter`, with
  `AdapterSettings` or, for frames that a codec decodes, `FeedSettings`.
- Market data: a `Codec` of `Message`, `Field` and `Levels`, or `Producer.publish`.
- Trading: `LiveAccount`, the values of orders, and the errors that `Account` raises.

`docs/adapters.md` is the guide, `adapters/fake/wire.py` the example. A name is loaded when it is first used,
so importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.adapters.base import Adapter, Route
    from meltica.adapters.codec import (
        NEWEST_LEVEL,
        Chain,
        Checksum,
        Codec,
        Convert,
        Envelope,
        Field,
        Levels,
        Match,
        Message,
        Part,
        Range,
        Row,
        SymbolRule,
        Unnumbered,
        absent,
        decimal,
        equals,
        flag,
        ident,
        names,
        one_of,
        part,
        prefix,
        present,
        text,
        time,
        whole,
    )
    from meltica.adapters.live.account import LiveAccount
    from meltica.adapters.live.adapter import LiveAdapter
    from meltica.adapters.live.protocol import VenueMessage, VenueProtocol
    from meltica.adapters.live.rest import ErrorBody, ErrorTable, Request, RestClient, WrongClock
    from meltica.adapters.live.session import Ack, Timing
    from meltica.errors import (
        ConfigError,
        MelticaError,
        OrderRefused,
        OutcomeUnknown,
        ProtocolError,
        RateLimited,
        Unauthenticated,
        VenueError,
        VenueUnavailable,
    )
    from meltica.model.account import Account, AccountCapabilities, CancelAllScope, LastCheck, unchecked
    from meltica.model.balances import Balance, Transfer
    from meltica.model.enums import (
        VENUE_STATES,
        EventKind,
        Liquidity,
        OrderState,
        OrderType,
        Side,
        TimeInForce,
    )
    from meltica.model.fills import Fill, FillMark
    from meltica.model.orders import NewOrder, OrderSnapshot
    from meltica.runtime.loop_thread import LoopThread
    from meltica.validation.section import AdapterSettings, FeedSettings

__all__ = [
    "NEWEST_LEVEL",
    "VENUE_STATES",
    "Account",
    "AccountCapabilities",
    "Ack",
    "Adapter",
    "AdapterSettings",
    "Balance",
    "CancelAllScope",
    "Chain",
    "Checksum",
    "Codec",
    "ConfigError",
    "Convert",
    "Envelope",
    "ErrorBody",
    "ErrorTable",
    "EventKind",
    "FeedSettings",
    "Field",
    "Fill",
    "FillMark",
    "LastCheck",
    "Levels",
    "Liquidity",
    "LiveAccount",
    "LiveAdapter",
    "LoopThread",
    "Match",
    "MelticaError",
    "Message",
    "NewOrder",
    "OrderRefused",
    "OrderSnapshot",
    "OrderState",
    "OrderType",
    "OutcomeUnknown",
    "Part",
    "Producer",
    "ProtocolError",
    "Range",
    "RateLimited",
    "Request",
    "RestClient",
    "Route",
    "Row",
    "Side",
    "SymbolRule",
    "TimeInForce",
    "Timing",
    "Transfer",
    "Unauthenticated",
    "Unnumbered",
    "VenueError",
    "VenueMessage",
    "VenueProtocol",
    "VenueUnavailable",
    "WrongClock",
    "absent",
    "decimal",
    "equals",
    "flag",
    "ident",
    "names",
    "one_of",
    "part",
    "prefix",
    "present",
    "text",
    "time",
    "unchecked",
    "whole",
]

_MODULES = {
    "meltica._core": ("Producer",),
    "meltica.adapters.base": (
        "Adapter",
        "Route",
    ),
    "meltica.adapters.codec": (
        "NEWEST_LEVEL",
        "Chain",
        "Checksum",
        "Codec",
        "Convert",
        "Envelope",
        "Field",
        "Levels",
        "Match",
        "Message",
        "Part",
        "Range",
        "Row",
        "SymbolRule",
        "Unnumbered",
        "absent",
        "decimal",
        "equals",
        "flag",
        "ident",
        "names",
        "one_of",
        "part",
        "prefix",
        "present",
        "text",
        "time",
        "whole",
    ),
    "meltica.adapters.live.account": ("LiveAccount",),
    "meltica.adapters.live.adapter": ("LiveAdapter",),
    "meltica.adapters.live.protocol": (
        "VenueMessage",
        "VenueProtocol",
    ),
    "meltica.adapters.live.rest": (
        "ErrorBody",
        "ErrorTable",
        "Request",
        "RestClient",
        "WrongClock",
    ),
    "meltica.adapters.live.session": (
        "Ack",
        "Timing",
    ),
    "meltica.errors": (
        "ConfigError",
        "MelticaError",
        "OrderRefused",
        "OutcomeUnknown",
        "ProtocolError",
        "RateLimited",
        "Unauthenticated",
        "VenueError",
        "VenueUnavailable",
    ),
    "meltica.model.account": (
        "Account",
        "AccountCapabilities",
        "CancelAllScope",
        "LastCheck",
        "unchecked",
    ),
    "meltica.model.balances": ("Balance", "Transfer"),
    "meltica.model.enums": (
        "VENUE_STATES",
        "EventKind",
        "Liquidity",
        "OrderState",
        "OrderType",
        "Side",
        "TimeInForce",
    ),
    "meltica.model.fills": ("Fill", "FillMark"),
    "meltica.model.orders": (
        "NewOrder",
        "OrderSnapshot",
    ),
    "meltica.runtime.loop_thread": ("LoopThread",),
    "meltica.validation.section": ("AdapterSettings", "FeedSettings"),
}
_MODULE_OF = {name: module for module, exported in _MODULES.items() for name in exported}


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module `meltica.adapters` has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
