"""The rules that read the market: price band, market orders, stale and lagging data."""

from decimal import Decimal

from meltica.model.enums import TimeInForce
from meltica.trading.risk.rules import Rule
from tests.support.risk import BTC, BUY, SECOND, SELL, refused, world

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def test_the_price_band_is_around_the_reference_and_never_seeded_by_the_order() -> None:
    w = world({"priceBandPercent": 1})
    w.hold(10)
    for side in (BUY, SELL):
        w.approve(w.request(side, 1, 101))
        w.approve(w.request(side, 1, 99))
        assert "nearest valid: 101.00" in str(refused(w, w.request(side, 1, "101.01"), Rule.PRICE_BAND))
        assert "nearest valid: 99.00" in str(refused(w, w.request(side, 1, "98.99"), Rule.PRICE_BAND))
    del w.market.quotes["p", BTC]
    refused(w, w.request(BUY, 1, 5000), Rule.NO_REFERENCE)
    refused(w, w.request(BUY, 1, 5000), Rule.NO_REFERENCE)


def test_a_market_order_is_a_limit_at_the_edge_of_the_band() -> None:
    w = world({"priceBandPercent": "0.555"}, fee_rate="0.01")
    w.hold(10)
    bought = w.approve(w.request(BUY, 1, None))
    assert (bought.limit_price, bought.time_in_force) == (Decimal("100.55"), IOC)
    assert w.risk.registry.listing("p", BTC).quote.held == Decimal("100.55") * Decimal("1.01")
    sold = w.approve(w.request(SELL, 1, None, time_in_force=FOK))
    assert (sold.limit_price, sold.time_in_force) == (Decimal("99.45"), FOK)
    w.market.depths["p", BTC] = Decimal("0.9999")
    refused(w, w.request(BUY, 1, None), Rule.BOOK_DEPTH)
    del w.market.depths["p", BTC]
    refused(w, w.request(SELL, 1, None, reduce_only=True), Rule.BOOK_DEPTH)
    w = world()
    refused(w, w.request(BUY, 1, None), Rule.PRICE_BAND)


def test_a_market_without_data_is_stale_and_an_illiquid_one_with_a_live_connection_is_not() -> None:
    w = world({"staleMarketSeconds": 5})
    w.hold(1)
    quote = w.market.quotes["p", BTC]
    w.now += 60 * SECOND
    error = refused(w, w.request(), Rule.MARKET_STALE)
    assert (error.seen, error.limit) == (60_000, 5_000)
    w.approve(w.request(SELL, reduce_only=True))
    quote.of_book, quote.connection_time = True, w.now - 5 * SECOND
    w.approve(w.request())
    # A frozen socket delivers nothing of any symbol.
    w.now += 1
    refused(w, w.request(), Rule.MARKET_STALE)
    quote.of_book, quote.connection_time = False, w.now
    refused(w, w.request(), Rule.MARKET_STALE)
    quote.top_time = w.now
    w.approve(w.request())


def test_a_lagging_feed_refuses_orders_that_would_rest() -> None:
    w = world({"maxFeedLag": "100ms", "priceBandPercent": 1})
    w.hold(1)
    quote = w.market.quotes["p", BTC]
    refused(w, w.request(), Rule.FEED_LAG)
    quote.lag = 100_000_000
    w.approve(w.request())
    quote.lag += 1_000_000
    error = refused(w, w.request(), Rule.FEED_LAG)
    assert (error.seen, error.limit) == (101, 100)
    w.approve(w.request(time_in_force=IOC))
    w.approve(w.request(price=None))
    w.approve(w.request(SELL, reduce_only=True))


def test_a_priced_reduction_needs_no_fresh_reference_and_one_without_a_price_does() -> None:
    w = world({"staleMarketSeconds": 5, "priceBandPercent": 1})
    w.hold(10)
    refused(w, w.request(SELL, 1, 90, reduce_only=True), Rule.PRICE_BAND)
    quote = w.market.quotes["p", BTC]
    w.now += 60 * SECOND
    refused(w, w.request(SELL, 1, None, reduce_only=True), Rule.MARKET_STALE)
    w.approve(w.request(SELL, 1, 90, reduce_only=True))
    quote.bid = quote.ask = None
    quote.crossed = True
    error = refused(w, w.request(SELL, 1, None, reduce_only=True), Rule.NO_REFERENCE)
    assert "crossed" in str(error)
    order = w.order(w.approve(w.request(SELL, 1, 90, reduce_only=True)))
    w.risk.approve_amendment(order, w.market, w.now, price=Decimal(80))
    del w.market.quotes["p", BTC]
    refused(w, w.request(SELL, 1, None, reduce_only=True), Rule.NO_REFERENCE)
    w.approve(w.request(SELL, 1, 90, reduce_only=True))
    refused(w, w.request(SELL, 1, 90), Rule.NO_REFERENCE)
