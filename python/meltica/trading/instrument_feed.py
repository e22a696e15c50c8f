"""`InstrumentFeed`: passes the rules of instruments to risk when the venue changes them.

The rules of a provider's start come with its list of instruments. A symbol whose changed rules cannot be read
is not traded any more until they can.
"""

import logging
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from meltica.errors import one_line
from meltica.model.instruments import Instrument
from meltica.trading.readers import Readers

if TYPE_CHECKING:
    from meltica._core import Core, Host, Instance, InstrumentUpdate
    from meltica.trading.desk import Desk

log = logging.getLogger("meltica.trading")

WAITING = 16
"""Events that may wait for the thread. Of a symbol, only the latest update does."""


class InstrumentFeed:
    """The instruments of the symbols that are traded, in all modes."""

    def __init__(self, core: "Core", desk: "Desk") -> None:
        """Creates a feed of no symbol."""
        self._desk = desk
        self._readers = Readers[tuple[str, str]](core, self._add)

    def watch(self, routes: Collection[tuple[str, str]]) -> None:
        """Sets the symbols, as (provider, symbol), in place of the previous ones.

        Raises CapacityError when the core has no room for a symbol.
        """
        self._readers.watch(routes)

    def close(self) -> bool:
        """Stops the feed; returns whether its thread ended in time."""
        return self._readers.close()

    def _add(self, host: "Host", route: tuple[str, str]) -> "Instance":
        provider, symbol = route
        return host.add(
            f"instrument {symbol} of {provider}",
            callbacks={"InstrumentUpdate": partial(self._update, provider)},
            routes=[(provider, "InstrumentUpdate", symbol)],
            capacity=WAITING,
            on_error=partial(self._failed, route),
        )

    def _update(self, provider: str, update: "InstrumentUpdate") -> None:
        instrument = Instrument.from_payload(update.instrument)
        with self._desk.lock:
            before = self._set(provider, instrument.symbol, instrument)
        if before != instrument:
            log.warning("%s changed the rules of %s: %s", provider, instrument.symbol, instrument)

    def _failed(self, route: tuple[str, str], name: str, error: BaseException) -> None:
        provider, symbol = route
        log.error("%s: %s not traded: %s: %s", provider, symbol, name, one_line(error), exc_info=error)
        with self._desk.lock:
            self._set(provider, symbol, None)

    def _set(self, provider: str, symbol: str, instrument: Instrument | None) -> Instrument | None:
        before = None
        for risk in self._desk.risks.values():
            listing = risk.registry.listing(provider, symbol)
            before, listing.instrument = listing.instrument, instrument
        return before
