"""`PaperFeed`: shows the live market to paper accounts, whose orders fill against it.

Each traded symbol has a reader of its own, on one thread for all. A book that is stale, or no longer watched,
fills nothing until its next update. Times are those of trading's clock, like those of the orders.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from meltica.errors import one_line
from meltica.trading import clock
from meltica.trading.readers import Readers

if TYPE_CHECKING:
    from decimal import Decimal

    from meltica._core import (
        BookSnapshot,
        Core,
        Host,
        Instance,
        InstrumentUpdate,
        MarketStale,
        PriceLevel,
        Trade,
    )
    from meltica.simulator.paper.account import PaperAccount

log = logging.getLogger("meltica.trading")

BOOK_DEPTH = 50
"""Levels per side that paper orders can trade with."""
TRADES = 4096
"""Trades that may wait for the thread. If more do, the oldest are dropped, and fill no paper order."""


class PaperFeed:
    """The market data of paper accounts."""

    def __init__(self, core: "Core", accounts: Mapping[str, "PaperAccount"]) -> None:
        """Creates a feed of no symbol. `accounts` has the paper account of each provider that is watched."""
        self._accounts = accounts
        self._readers = Readers[tuple[str, str]](core, self._add)

    def watch(self, routes: Collection[tuple[str, str]]) -> None:
        """Sets the symbols, as (provider, symbol), in place of the previous ones.

        The instruments of a provider are listed by the caller: most venues publish them only when they
        change. Raises CapacityError when the core has no room for a symbol.
        """
        _, removed = self._readers.watch(routes)
        for provider, symbol in removed:
            account = self._accounts.get(provider)
            if account is not None:  # else its provider was deleted
                account.mark_stale(symbol)

    def close(self) -> bool:
        """Stops the feed; returns whether its thread ended in time."""
        return self._readers.close()

    def _add(self, host: "Host", route: tuple[str, str]) -> "Instance":
        provider, symbol = route
        account = self._accounts[provider]
        callbacks: dict[str, Callable[..., object]] = {
            "BookSnapshot": partial(_book, account),
            "Trade": partial(_trade, account),
            "InstrumentUpdate": partial(_instrument, account),
        }
        return host.add(
            f"paper market of {symbol} at {provider}",
            callbacks=callbacks | {"MarketStale": partial(_stale, account)},
            routes=[(provider, kind, symbol) for kind in callbacks],
            capacity=TRADES,
            book_depth=BOOK_DEPTH,
            on_error=partial(_failed, account, symbol),
        )


def _book(account: "PaperAccount", book: "BookSnapshot") -> None:
    account.book(book.symbol, _levels(book.bids), _levels(book.asks), clock.at(book.received_time))


def _levels(levels: "tuple[PriceLevel, ...]") -> "list[tuple[Decimal, Decimal]]":
    return [(level.price_decimal, level.quantity_decimal) for level in levels]


def _trade(account: "PaperAccount", trade: "Trade") -> None:
    time = clock.at(trade.received_time)
    account.trade(trade.symbol, trade.price_decimal, trade.quantity_decimal, trade.side, time)


def _instrument(account: "PaperAccount", update: "InstrumentUpdate") -> None:
    account.list_instrument(update.instrument)


def _stale(account: "PaperAccount", notice: "MarketStale") -> None:
    account.mark_stale(notice.symbol)


def _failed(account: "PaperAccount", symbol: str, name: str, error: BaseException) -> None:
    log.error("paper market of %s: %s failed: %s", symbol, name, one_line(error), exc_info=error)
    account.mark_stale(symbol)
