"""Recordings of realistic frames of Kraken and Coinbase, whose books have no numbers, replayed by name."""

import zlib
from pathlib import Path

from tests.support.codecs import replayed
from tests.unit.adapters.test_venue_frames import FORMS, counts, recording

# Kraken.


def checksum(digits: str) -> str:
    """Returns the checksum of digits, which spaces may separate."""
    return str(zlib.crc32(digits.replace(" ", "").encode()))


def kraken(channel: str, kind: str, data: str) -> str:
    """Returns a push of a channel."""
    return f'{{"channel":"{channel}","type":"{kind}","data":[{data}]}}'


KRAKEN_BOOK = (
    '{"symbol":"BTC/USD","bids":[{"price":45283.5,"qty":0.10000000},{"price":45281.0,"qty":1.54582015}],'
    '"asks":[{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953}],"checksum":'
)
KRAKEN = [
    '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2",'
    '"connection_id":13834774380200032777}]}',
    '{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},'
    '"success":true,"time_in":"2026-01-01T12:00:00.000001Z","time_out":"2026-01-01T12:00:00.000002Z","req_id":1}',
    '{"method":"subscribe","error":"Currency pair not supported X/Y","success":false,"req_id":1}',
    '{"channel":"instrument","type":"snapshot","data":{"assets":[{"id":"USD","status":"enabled","precision":4}],'
    '"pairs":[{"symbol":"BTC/USD","base":"BTC","quote":"USD","status":"online","qty_precision":8,'
    '"qty_increment":0.00000001,"price_precision":1,"cost_precision":5,"marginable":true,"has_index":true,'
    '"cost_min":0.50,"margin_initial":0.20,"price_increment":0.1,"qty_min":0.00010000}]}}',
    '{"channel":"heartbeat"}',
    kraken(
        "book",
        "snapshot",
        KRAKEN_BOOK
        + checksum("452852 100000 452864 154571953 452835 10000000 452810 154582015")
        + ',"timestamp":"2026-01-01T12:00:00.100000Z"}',
    ),
    kraken(
        "book",
        "snapshot",
        '{"symbol":"SHIB/EUR","bids":[{"price":0.00001234,"qty":100.50000}],'
        '"asks":[{"price":0.00001240,"qty":7.00000}],"checksum":'
        + checksum("1240 700000 1234 10050000")
        + ',"timestamp":"2026-01-01T12:00:00.100000Z"}',
    ),
    kraken(
        "book",
        "update",
        '{"symbol":"BTC/USD","bids":[{"price":45283.5,"qty":0.00000000},{"price":45282.0,"qty":2.00000000}],'
        '"asks":[{"price":45284.0,"qty":0.50000000}],"checksum":'
        + checksum("452840 50000000 452852 100000 452864 154571953 452820 200000000 452810 154582015")
        + ',"timestamp":"2026-01-01T12:00:00.200000Z"}',
    ),
    kraken(
        "ticker",
        "snapshot",
        '{"symbol":"BTC/USD","bid":45282.0,"bid_qty":2.00000000,"ask":45284.0,"ask_qty":0.50000000,'
        '"last":45283.5,"volume":3000.10000000,"vwap":45200.1,"low":44000.0,"high":46000.0,"change":-10.0,'
        '"change_pct":-0.02}',
    ),
    kraken(
        "trade",
        "update",
        '{"symbol":"BTC/USD","side":"sell","price":45283.5,"qty":0.10000000,"ord_type":"limit","trade_id":4665846,'
        '"timestamp":"2026-01-01T12:00:00.199999Z"},{"symbol":"SHIB/EUR","side":"buy","price":0.00001240,'
        '"qty":1e5,"ord_type":"market","trade_id":4665847,"timestamp":"2026-01-01T12:00:00.199999123Z"}',
    ),
    '{"method":"pong","req_id":5,"time_in":"2026-01-01T12:00:00.000001Z","time_out":"2026-01-01T12:00:01.000002Z"}',
]
KRAKEN_EVENTS = [
    "BTC-USD 45283.5x0.1 45281x1.54582015|45285.2x0.001 45286.4x1.54571953",
    "SHIB-EUR 0.00001234x100.5|0.0000124x7",
    "BTC-USD 45282x2 45281x1.54582015|45284x0.5 45285.2x0.001 45286.4x1.54571953",
    "BTC-USD last=45283.5 bid=45282 bid_quantity=2 ask=45284 ask_quantity=0.5 volume_24h=3000.1",
    "BTC-USD 4665846 Sell 45283.5 0.1",
    "SHIB-EUR 4665847 Buy 0.0000124 100000",
]


@FORMS
def test_kraken(tmp_path: Path, form: str) -> None:
    events, stats = replayed(recording(tmp_path, KRAKEN, form), "kraken")
    assert events == KRAKEN_EVENTS
    assert counts(stats) == (0, {}, 3, 0)
    assert (stats["unmatched"], stats["control"]) == (0, 5)


# Coinbase.


def coinbase(channel: str, number: int, events: str) -> str:
    """Returns a frame of a channel."""
    head = f'{{"channel":"{channel}","client_id":"","timestamp":"2026-01-01T12:00:00.{number:09d}Z"'
    return f'{head},"sequence_num":{number},"events":[{events}]}}'


def level2(kind: str, product: str, *levels: str) -> str:
    """Returns an event of levels, each `<side> <price> <quantity>`."""
    at = "2026-01-01T11:59:59.999999Z"
    rows = [
        f'{{"side":"{side}","event_time":"{at}","price_level":"{price}","new_quantity":"{quantity}"}}'
        for side, price, quantity in (level.split() for level in levels)
    ]
    return f'{{"type":"{kind}","product_id":"{product}","updates":[{",".join(rows)}]}}'


COINBASE = [
    coinbase(
        "l2_data",
        0,
        level2("snapshot", "BTC-USD", "bid 68900.00 1.50000000", "bid 68899.5 0.75", "offer 68901.00 0.5"),
    ),
    coinbase(
        "subscriptions", 1, '{"subscriptions":{"level2":["BTC-USD","T-USD"],"heartbeats":["heartbeats"]}}'
    ),
    coinbase("l2_data", 2, level2("snapshot", "T-USD", "bid 0.01615 100", "offer 0.01616 50.5")),
    coinbase(
        "heartbeats", 3, '{"current_time":"2026-01-01 12:00:00.0 +0000 UTC m=+1.1","heartbeat_counter":"9"}'
    ),
    coinbase(
        "l2_data",
        4,
        level2("update", "BTC-USD", "offer 68901.00 0", "offer 68902.00 3")
        + ","
        + level2("update", "T-USD", "bid 0.01615 0.00000000", "bid 0.01614 7"),
    ),
    coinbase(
        "market_trades",
        5,
        '{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"12345","price":"68902","size":"0.001",'
        '"time":"2026-01-01T11:59:59.5Z","side":"BUY"},{"product_id":"T-USD","trade_id":"7","price":"0.01614",'
        '"size":"1","time":"2026-01-01T11:59:59Z","side":"SELL"}]}',
    ),
    coinbase(
        "ticker",
        6,
        '{"type":"update","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"68902",'
        '"volume_24_h":"15328.1","low_24_h":"67500","high_24_h":"69200","low_52_w":"25000","high_52_w":"73800",'
        '"price_percent_chg_24_h":"","best_bid":"68900","best_bid_quantity":"1.5","best_ask":"68902",'
        '"best_ask_quantity":"3"}]}',
    ),
    '{"type":"error","message":"failure to subscribe"}',
]
COINBASE_EVENTS = [
    "BTC-USD 68900x1.5 68899.5x0.75|68901x0.5",
    "T-USD 0.01615x100|0.01616x50.5",
    "BTC-USD 68900x1.5 68899.5x0.75|68902x3",
    "T-USD 0.01614x7|0.01616x50.5",
    "BTC-USD 12345 68902 0.001",
    "T-USD 7 0.01614 1",
    "BTC-USD last=68902 bid=68900 bid_quantity=1.5 ask=68902 ask_quantity=3 volume_24h=15328.1",
]


@FORMS
def test_coinbase(tmp_path: Path, form: str) -> None:
    events, stats = replayed(recording(tmp_path, COINBASE, form), "coinbase")
    assert events == COINBASE_EVENTS
    assert (counts(stats), stats["unmatched"], stats["control"]) == ((0, {}, 0, 0), 0, 3)


def test_a_lost_frame_of_coinbase_makes_all_books_of_the_connection_stale(tmp_path: Path) -> None:
    """Also when the lost frame was a heartbeat: no frame says whose it was."""
    for lost in (3, 5):
        frames = [frame for i, frame in enumerate(COINBASE) if i != lost]
        events, stats = replayed(recording(tmp_path, frames), "coinbase")
        notices = [event for event in events if "Gap" in event or "Stale" in event]
        assert {event.split()[0] for event in notices} == {"BTC-USD", "T-USD"}
        assert stats["frame_gaps"] == 1
