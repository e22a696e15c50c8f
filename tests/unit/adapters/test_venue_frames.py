"""Recordings in the forms that the venues' frames really have, replayed with the codecs by name."""

import json
import zlib
from pathlib import Path

import pytest

from tests.support.codecs import replayed

NS = 1_767_268_800_000_000_000
"""Receive time of the first line."""


def recording(folder: Path, frames: list[str], form: str = "{ns} {frame}") -> Path:
    """Writes frames, 1 ms apart, in a form of a line; a frame may have a connection or a symbol before it."""
    path = folder / "session.txt"
    times = [NS + i * 1_000_000 for i in range(len(frames))]
    lines = [
        form.format(ns=ns, seconds=f"{ns // 10**9}.{ns % 10**9:09d}", frame=frame)
        for ns, frame in zip(times, frames, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


FORMS = pytest.mark.parametrize("form", ["{ns} {frame}", "{seconds}: {frame}", "{frame}"])


def counts(stats: dict[str, object]) -> tuple[object, ...]:
    """Returns gaps, errors, and checksums verified and failed."""
    return stats["gaps"], stats["errors"], stats["checksums_verified"], stats["checksums_failed"]


# Binance.

BINANCE = [
    '{"result":null,"id":1}',
    '{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"61837.62000000","B":"3.12100000",'
    '"a":"61837.63000000","A":"0.40660000"}}',
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1767268800010,"s":"BTCUSDT","U":157,"u":160,'
    '"b":[["61837.62000000","10.00000000"]],"a":[]}}',
    '{"stream":"ethusdt@depth@100ms","data":{"e":"depthUpdate","E":1767268800010,"s":"ETHUSDT","U":51,"u":53,'
    '"b":[],"a":[["2675.14000000","4.00000000"]]}}',
    'BTCUSDT {"lastUpdateId":158,"bids":[["61837.62000000","9.00000000"],["61837.00000000","1.50000000"]],'
    '"asks":[["61837.63000000","0.40660000"]]}',
    'ETH-USDT {"lastUpdateId":50,"bids":[["2675.10000000","1.00000000"]],'
    '"asks":[["2675.12000000","2.00000000"]]}',
    '{"stream":"ethusdt@depth@100ms","data":{"e":"depthUpdate","E":1767268800110,"s":"ETHUSDT","U":54,"u":54,'
    '"b":[],"a":[["2675.14000000","0.00000000"]]}}',
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1767268800111,"s":"BTCUSDT","t":12345,"p":"61837.63000000",'
    '"q":"0.00100000","T":1767268800110,"m":false,"M":true}}',
    '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1767268800111,"s":"BTCUSDT","a":26129,"p":"61837.62",'
    '"q":"4.70443515","f":27781,"l":27781,"T":1767268800110,"m":true,"M":true}}',
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1767268859999,"s":"BTCUSDT","k":{"t":1767268800000,'
    '"T":1767268859999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"61837.50000000","c":"61837.63000000",'
    '"h":"61840.00000000","l":"61837.00000000","v":"1000.00000000","n":100,"x":true,"q":"1.0000","V":"500",'
    '"Q":"0.500","B":"123456"}}}',
    '{"stream":"btcusdt@ticker","data":{"e":"24hrTicker","E":1767268800120,"s":"BTCUSDT","p":"-0.15","P":"-0.2",'
    '"w":"61800.1","x":"61837","c":"61837.63","Q":"0.001","b":"61837.62","B":"10","a":"61837.63","A":"0.4066",'
    '"o":"62000","h":"62500","l":"61000","v":"10000.5","q":"180000.1","O":0,"C":1767268800000,"F":0,"L":1,"n":2}}',
    '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1767268800130}}',
]
BINANCE_EVENTS = [
    "BTC-USDT bid=61837.62 bid_quantity=3.121 ask=61837.63 ask_quantity=0.4066",
    "BTC-USDT 61837.62x10 61837x1.5|61837.63x0.4066",
    "ETH-USDT 2675.1x1|2675.12x2 2675.14x4",
    "ETH-USDT 2675.1x1|2675.12x2",
    "BTC-USDT 12345 Buy 61837.63 0.001",
    "BTC-USDT 26129 Sell 61837.62 4.70443515",
    "BTC-USDT 61837.5 61840 61837 61837.63 1000 1m closed",
    "BTC-USDT last=61837.63 bid=61837.62 bid_quantity=10 ask=61837.63 ask_quantity=0.4066 volume_24h=10000.5",
]


@pytest.mark.parametrize("form", ["{ns} {frame}", "{seconds}: {frame}"])
def test_binance(tmp_path: Path, form: str) -> None:
    events, stats = replayed(recording(tmp_path, BINANCE, form), "binance")
    assert events == BINANCE_EVENTS
    assert (counts(stats), stats["unmatched"], stats["control"]) == ((0, {}, 0, 0), 0, 2)


def test_raw_streams_of_binance_have_no_envelope(tmp_path: Path) -> None:
    mini = (
        '{"e":"24hrMiniTicker","E":1767268800120,"s":"%s","c":"5.0","o":"4","h":"6","l":"4","v":"7","q":"8"}'
    )
    frames = [
        json.dumps(json.loads(frame)["data"], separators=(",", ":"))
        if frame.startswith('{"stream"')
        else frame
        for frame in BINANCE
    ]
    several = f"[{mini % 'SOLUSDT'},{mini % 'ETHBTC'}]"
    frames += [mini % "SOLUSDT", several, f'{{"stream":"!miniTicker@arr","data":{several}}}']
    events, stats = replayed(recording(tmp_path, frames), "binance")
    small = [f"{symbol} last=5 volume_24h=7" for symbol in ("SOL-USDT", *("SOL-USDT", "ETH-BTC") * 2)]
    assert events == BINANCE_EVENTS + small
    assert counts(stats) == (0, {}, 0, 0)


BINANCE_USDM = [
    '{"e":"depthUpdate","E":1767268800010,"T":1767268800009,"s":"BTCUSDT","U":1570,"u":1600,"pu":1490,'
    '"b":[["61837.60","10.000"]],"a":[["61837.70","0.000"]],"st":1}',
    'BTCUSDT {"lastUpdateId":1580,"E":1767268800011,"T":1767268800010,"bids":[["61837.60","9.000"]],'
    '"asks":[["61837.70","1.000"],["61837.80","5.000"]]}',
    '{"e":"depthUpdate","E":1767268800110,"T":1767268800109,"s":"BTCUSDT","U":1660,"u":1700,"pu":1600,'
    '"b":[["61837.60","8.500"]],"a":[]}',
    '{"e":"aggTrade","E":1767268800111,"a":5933014,"s":"BTCUSDT","p":"61837.80","q":"100","nq":"90","f":100,"l":105,'
    '"T":1767268800110,"m":true}',
    '{"e":"bookTicker","u":1700,"s":"BTCUSDT","b":"61837.60","B":"8.500","a":"61837.80","A":"5.000",'
    '"T":1767268800111,"E":1767268800112}',
    '{"e":"24hrTicker","E":1767268800120,"s":"BTCUSDT","p":"-0.15","P":"-0.2","w":"61800.1","c":"61837.80",'
    '"Q":"0.001","o":"62000","h":"62500","l":"61000","v":"10000.5","q":"180000.1","O":0,"C":0,"F":0,"L":1,"n":2}',
]


def test_binance_usdm_on_connections_of_its_category(tmp_path: Path) -> None:
    path = recording(tmp_path, BINANCE_USDM, "{ns} @usdm-public {frame}")
    events, stats = replayed(path, "binance")
    assert events == [
        "BTC-USDT-PERP 61837.6x10|61837.8x5",
        "BTC-USDT-PERP 61837.6x8.5|61837.8x5",
        "BTC-USDT-PERP 5933014 Sell 61837.8 100",
        "BTC-USDT-PERP bid=61837.6 bid_quantity=8.5 ask=61837.8 ask_quantity=5",
        "BTC-USDT-PERP last=61837.8 volume_24h=10000.5",
    ]
    assert counts(stats) == (0, {}, 0, 0)
    without, stats = replayed(recording(tmp_path, BINANCE_USDM), "binance")
    assert without == [event.replace("-PERP", "") for event in events]


# OKX.


def okx(channel: str, symbol: str, data: str, action: str = "") -> str:
    """Returns a push of a channel."""
    head = f'{{"arg":{{"channel":"{channel}","instId":"{symbol}"}},'
    return head + (f'"action":"{action}",' if action else "") + f'"data":[{data}]}}'


def interleaved(text: str) -> str:
    """Returns the signed checksum of a text."""
    number = zlib.crc32(text.encode())
    return str(number - (1 << 32) if number >> 31 else number)


OKX = [
    '{"id":"1512","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
    '{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"a4d3ae55"}',
    '{"event":"error","code":"60018","msg":"Wrong URL or channel:x","connId":"a4d3ae55"}',
    okx(
        "books",
        "BTC-USDT",
        '{"asks":[["61837.7","0.00613641","0","3"],["61838","2","0","1"]],"bids":[["61837.6","0.5","0","2"]],'
        '"ts":"1767268800004","checksum":'
        + interleaved("61837.6:0.5:61837.7:0.00613641:61838:2")
        + ',"seqId":123456,"prevSeqId":-1}',
        "snapshot",
    ),
    okx(
        "books",
        "W-USDT",
        '{"asks":[["0.2151","637.72","0","3"]],"bids":[["0.215","10","0","2"]],"ts":"1767268800004",'
        '"checksum":0,"seqId":77,"prevSeqId":-1}',
        "snapshot",
    ),
    okx(
        "books",
        "BTC-USDT",
        '{"asks":[["61837.7","0","0","0"]],"bids":[["61837.61","0.00000001","0","1"]],"ts":"1767268800104",'
        '"checksum":'
        + interleaved("61837.61:0.00000001:61838:2:61837.6:0.5")
        + ',"seqId":123460,"prevSeqId":123456}',
        "update",
    ),
    okx(
        "books",
        "BTC-USDT",
        '{"asks":[],"bids":[],"ts":"1767268860104","checksum":0,"seqId":123460,"prevSeqId":123460}',
        "update",
    ),
    okx(
        "books",
        "W-USDT",
        '{"asks":[],"bids":[["0.215","0","0","0"],["0.2149","1e2","0","1"]],"ts":"1767268860104","checksum":0,'
        '"seqId":5,"prevSeqId":77}',
        "update",
    ),
    okx(
        "trades",
        "BTC-USDT",
        '{"instId":"BTC-USDT","tradeId":"130639474","px":"61838","sz":"0.12060306","side":"buy","ts":"1767268800110",'
        '"count":"3","source":"0","seqId":1234}',
    ),
    okx(
        "tickers",
        "W-USDT",
        '{"instType":"SPOT","instId":"W-USDT","last":"0.2149","lastSz":"0.1","askPx":"0.2151","askSz":"637.72",'
        '"bidPx":"","bidSz":"","open24h":"0.2","high24h":"0.3","low24h":"0.1","volCcy24h":"2222","vol24h":"9999.5",'
        '"sodUtc0":"","sodUtc8":"0.2","ts":"1767268800120"}',
    ),
    okx(
        "bbo-tbt",
        "BTC-USDT",
        '{"asks":[["61838","2","0","1"]],"bids":[["61837.61","0.5","0","1"]],"ts":"1767268800121","seqId":123460}',
    ),
    okx(
        "bbo-tbt", "W-USDT", '{"asks":[["0.2151","637.72","0","3"]],"bids":[],"ts":"1767268800121","seqId":5}'
    ),
    '{"arg":{"channel":"instruments","instType":"SWAP"},"data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP",'
    '"baseCcy":"","quoteCcy":"","settleCcy":"USDT","ctVal":"0.01","ctMult":"1","ctValCcy":"BTC","ctType":"linear",'
    '"tickSz":"0.1","lotSz":"0.01","minSz":"0.01","maxLmtSz":"100000000","state":"live","listTime":"1611916828000",'
    '"expTime":""},{"instType":"SWAP","instId":"BTC-USD-SWAP","baseCcy":"","quoteCcy":"","settleCcy":"BTC",'
    '"ctVal":"100","ctMult":"1","ctValCcy":"USD","ctType":"inverse","tickSz":"0.1","lotSz":"1","minSz":"1",'
    '"state":"live"}]}',
    okx(
        "books",
        "BTC-USDT-SWAP",
        '{"asks":[["61840","6.92","0","3"]],"bids":[["61839.9","100","0","2"]],"ts":"1767268800204","checksum":'
        + interleaved("61839.9:100:61840:6.92")
        + ',"seqId":9,"prevSeqId":-1}',
        "snapshot",
    ),
    okx(
        "trades",
        "BTC-USDT-SWAP",
        '{"instId":"BTC-USDT-SWAP","tradeId":"5","px":"61840","sz":"0.5","side":"buy","ts":"1767268800110"}',
    ),
    "pong",
]
OKX_EVENTS = [
    "BTC-USDT 61837.6x0.5|61837.7x0.00613641 61838x2",
    "W-USDT 0.215x10|0.2151x637.72",
    "BTC-USDT 61837.61x0.00000001 61837.6x0.5|61838x2",
    "W-USDT 0.2149x100|0.2151x637.72",
    "BTC-USDT 130639474 Buy 61838 0.12060306",
    "W-USDT last=0.2149 ask=0.2151 ask_quantity=637.72 volume_24h=9999.5",
    "BTC-USDT bid=61837.61 bid_quantity=0.5 ask=61838 ask_quantity=2",
    "W-USDT ask=0.2151 ask_quantity=637.72",
    "BTC-USDT-SWAP 61839.9x1|61840x0.0692",
    "BTC-USDT-SWAP 5 Buy 61840 0.005",
]


@FORMS
def test_okx(tmp_path: Path, form: str) -> None:
    events, stats = replayed(recording(tmp_path, OKX, form), "okx")
    assert events == OKX_EVENTS
    assert (counts(stats), stats["unmatched"], stats["control"]) == ((0, {}, 3, 0), 0, 4)


def test_inverse_contracts_of_okx_are_refused(tmp_path: Path) -> None:
    trade = okx("trades", "BTC-USD-SWAP", '{"instId":"BTC-USD-SWAP","tradeId":"5","px":"61840","sz":"1"}')
    events, stats = replayed(recording(tmp_path, [*OKX, trade]), "okx")
    assert (events, stats["errors"]) == (OKX_EVENTS, {"inverse_contract": 1})


# Bybit.

BYBIT = [
    '{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"1","op":"subscribe"}',
    '{"success":true,"ret_msg":"pong","conn_id":"2324d924","req_id":"","op":"ping"}',
    '{"topic":"orderbook.50.BTCUSDT","ts":1767268800006,"type":"snapshot","data":{"s":"BTCUSDT",'
    '"b":[["61837.60","0.500000"]],"a":[["61837.70","0.006136"],["61838.00","2"]],"u":18521288,"seq":7961638724},'
    '"cts":1767268800001}',
    '{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1767268800026,"data":{"s":"BTCUSDT","b":[],'
    '"a":[["61837.90","1.5"],["61837.70","0"],["70000.00","0"]],"u":18521289,"seq":7961638725},"cts":1767268800020}',
    '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1767268800030,"data":[{"T":1767268800029,"s":"BTCUSDT",'
    '"S":"Sell","v":"0.001","p":"61837.60","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,'
    '"RPI":false,"seq":1},{"T":1767268800029,"s":"BTCUSDT","S":"Buy","v":"0.002","p":"61837.90","L":"PlusTick",'
    '"i":"2290000000061666327","BT":false}]}',
    '{"topic":"kline.5.BTCUSDT","data":[{"start":1767268800000,"end":1767269099999,"interval":"5","open":"61837.5",'
    '"close":"61837.9","high":"61840","low":"61837","volume":"2.081","turnover":"34666.4005","confirm":false,'
    '"timestamp":1767268800031}],"ts":1767268800031,"type":"snapshot"}',
    '{"topic":"tickers.BTCUSDT","ts":1767268800040,"type":"snapshot","cs":2588407389,"data":{"symbol":"BTCUSDT",'
    '"lastPrice":"61837.90","highPrice24h":"62500","lowPrice24h":"61000","prevPrice24h":"62000",'
    '"volume24h":"6780.866843","turnover24h":"141946527.22907118","price24hPcnt":"0.0196","usdIndexPrice":""}}',
    '{"topic":"orderbook.50.BTCUSDT","ts":1767268801006,"type":"snapshot","data":{"s":"BTCUSDT",'
    '"b":[["61830.00","1"]],"a":[["61831.00","1"]],"u":1,"seq":1},"cts":1767268801001}',
    '{"topic":"orderbook.50.BTCUSDT","ts":1767268801026,"type":"delta","data":{"s":"BTCUSDT",'
    '"b":[["61830.00","3"]],"a":[],"u":2,"seq":2},"cts":1767268801021}',
    '{"topic":"orderbook.1.BTCUSDT","ts":1767268801036,"type":"snapshot","data":{"s":"BTCUSDT",'
    '"b":[["61830.00","3.000000"]],"a":[["61831.00","1"]],"u":2,"seq":2},"cts":1767268801031}',
    '{"success":false,"ret_msg":"error:handler not found,topic:orderbook.500.X","op":"subscribe"}',
]
BYBIT_EVENTS = [
    "{} 61837.6x0.5|61837.7x0.006136 61838x2",
    "{} 61837.6x0.5|61837.9x1.5 61838x2",
    "{} 20f43950-d8dd-5b31-9112-a178eb6023af Sell 61837.6 0.001",
    "{} 2290000000061666327 Buy 61837.9 0.002",
    "{} 61837.5 61840 61837 61837.9 2.081 5m open",
    "{} last=61837.9 volume_24h=6780.866843",
    "{} 61830x1|61831x1",
    "{} 61830x3|61831x1",
    "{} bid=61830 bid_quantity=3 ask=61831 ask_quantity=1",
]


@pytest.mark.parametrize(
    ("form", "symbol"),
    [
        ("{ns} {frame}", "BTC-USDT"),
        ("{seconds}: {frame}", "BTC-USDT"),
        ("{frame}", "BTC-USDT"),
        ("{ns} @spot {frame}", "BTC-USDT"),
        ("{ns} @linear-2 {frame}", "BTC-USDT-PERP"),
    ],
)
def test_bybit(tmp_path: Path, form: str, symbol: str) -> None:
    events, stats = replayed(recording(tmp_path, BYBIT, form), "bybit")
    assert events == [event.format(symbol) for event in BYBIT_EVENTS]
    assert (counts(stats), stats["unmatched"], stats["control"]) == ((0, {}, 0, 0), 0, 3)
