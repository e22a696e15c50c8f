"""Draws the market of the fake venue as SVG: candles, volume, spread and depth.

`nox -s chart` runs it. A provider `fake` runs in this process, and a lambda writes down what it publishes.
A market is its seed's: the speed it runs at changes nothing, and the same arguments give the same bytes.
"""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import click

import meltica
from meltica._core import Core
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.errors import MelticaError
from meltica.lambdas.instances import add_instance
from meltica.validation.units import parse_duration

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
TICK = 0.01
DEEPEST = 25
"""Range of the depth chart, in basis points from the middle price."""
WHOLE = 50
"""One of so many books counts for the depth."""
PROVIDER = "fake"


@dataclass
class Recording:
    """The events of a market."""

    trades: list[meltica.Trade] = field(default_factory=list[meltica.Trade])
    candles: list[meltica.KlineSummary] = field(default_factory=list[meltica.KlineSummary])
    spreads: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Venue time in ns and spread in ticks, after each change of the book."""
    depth: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Basis point -> sum of quantities: -1 is the first one of bids, 1 the first one of asks."""

    def mean_depth(self) -> dict[int, float]:
        """Returns the mean quantity within each basis point."""
        books = -(-len(self.spreads) // WHOLE)
        return {at: self.depth[at] / books for at in range(-DEEPEST, DEEPEST + 1) if at}

    def per_second(self) -> tuple[float, float]:
        """Returns the mean number of trades per second, and its variance divided by the mean."""
        counts = Counter(moment(trade) // SECOND for trade in self.trades)
        seconds = range(nanos(START) // SECOND, max(counts) + 1)
        mean = len(self.trades) / len(seconds)
        variance = sum((counts[second] - mean) ** 2 for second in seconds) / len(seconds)
        return mean, variance / mean


class Recorder(meltica.Lambda):
    """Records its events."""

    book_depth = 1000

    def __init__(self) -> None:
        self.recording = Recording()

    def on_trade(self, trade: meltica.Trade) -> None:
        """Records a trade."""
        self.recording.trades.append(trade)

    def on_kline_summary(self, kline: meltica.KlineSummary) -> None:
        """Records a candle."""
        self.recording.candles.append(kline)

    def on_book_snapshot(self, book: meltica.BookSnapshot) -> None:
        """Records the spread, and the depth of some books."""
        bid, ask, seen = book.best_bid, book.best_ask, self.recording
        assert bid is not None
        assert ask is not None
        if len(seen.spreads) % WHOLE == 0:
            middle = (bid.price + ask.price) / 2
            for side, levels in ((-1, book.bids), (1, book.asks)):
                for price, quantity in levels:
                    seen.depth[side * (1 + int(abs(price / middle - 1) * 1e4))] += quantity
        seen.spreads.append((moment(book), round((ask.price - bid.price) / TICK)))


def record(symbol: str, seed: int, duration: timedelta, speed: float | None) -> Recording:
    """Runs a market to its end and returns its events; a speed of None runs it as fast as possible."""
    settings: dict[str, object] = {"rate": "max"} if speed is None else {"speed": speed}
    adapter = FakeAdapter.configure(
        {
            **settings,
            "symbols": [symbol],
            "seed": seed,
            "start": START,
            "duration": duration,
            "book_snapshot_interval": 0,
        }
    )
    core = Core()
    host = core.host("shared", clock="event")
    kinds = ("Trade", "BookSnapshot", "KlineSummary")
    scope = {PROVIDER: [symbol]}
    recorder = add_instance(
        host, Recorder, id="recorder", scope=scope, policies=dict.fromkeys(kinds, "block")
    )
    recorder.start()
    producer = core.producer(PROVIDER)
    adapter.start({PROVIDER: producer})
    thread = threading.Thread(target=adapter.run)
    thread.start()
    thread.join()
    while not producer.drain(1):
        pass
    recorder.stop()
    host.stop()
    core.close()
    return cast(Recorder, recorder.subject).recording


# The drawing. Colours are classes, so that a dark page can have others.

STYLE = """
text{font:11px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#59636e}
.page{fill:#fff}.head{font-size:15px;font-weight:600;fill:#1f2328}.name{fill:#1f2328}
.grid{stroke:#d9dfe5;stroke-width:1;fill:none}
.up path,.up rect{stroke:#0f7b5f}.up rect{fill:#fff}
.down path,.down rect{stroke:#c2353f}.down rect{fill:#c2353f}
.bids{fill:#0f7b5f}.asks{fill:#c2353f}.rise{fill:#0f7b5f}.fall{fill:#c2353f}
.range{fill:#b9c6d6}.median{stroke:#2b5c9e;stroke-width:2;fill:none}
@media (prefers-color-scheme:dark){
text{fill:#9198a1}.page{fill:#0d1117}.head,.name{fill:#f0f6fc}.grid{stroke:#262c36}
.up path,.up rect{stroke:#3fb68b}.up rect{fill:#0d1117}
.down path,.down rect{stroke:#f0706c}.down rect{fill:#f0706c}
.bids,.rise{fill:#3fb68b}.asks,.fall{fill:#f0706c}.range{fill:#3b4654}.median{stroke:#79b0f5}}
"""
WIDTH, HEIGHT, LEFT, RIGHT = 960, 760, 16, 884


@dataclass(frozen=True)
class Panel:
    """A part of the page with an axis of values."""

    top: float
    bottom: float
    least: float
    most: float

    def y(self, value: float) -> float:
        """Returns the coordinate of a value."""
        return self.bottom - (value - self.least) / (self.most - self.least) * (self.bottom - self.top)

    def name(self, text: str) -> str:
        """Returns the title of the chart."""
        return f'<text class="name" x="{LEFT}" y="{self.top - 7:g}">{text}</text>'

    def axis(self, values: Sequence[float], texts: Sequence[str]) -> Iterator[str]:
        """Returns grid lines with their labels."""
        for value, text in zip(values, texts, strict=True):
            y = self.y(value)
            yield f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
            yield f'<text x="{RIGHT + 8}" y="{y + 4:.1f}">{text}</text>'


def draw(symbol: str, seed: int, seen: Recording) -> str:
    """Returns the chart of a recording as an SVG document."""
    base = symbol.partition("-")[0]
    minutes = [(candle.open_time - nanos(START)) // MINUTE for candle in seen.candles]
    width = (RIGHT - LEFT) / (minutes[-1] + 1)
    middles = [LEFT + (minute + 0.5) * width for minute in minutes]
    title = f"{symbol} of the fake venue, seed {seed}: {minutes[-1] + 1} minutes, a candle each"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{title}</title>",
        f"<style>{STYLE.strip()}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text class="head" x="{LEFT}" y="28">{title}</text>',
        f'<text x="{LEFT}" y="47">{summary(seen)}</text>',
        *_candles(seen.candles, middles, width),
        *_volumes(base, seen.candles, middles, width),
        *_spreads(seen.spreads, minutes[-1] + 1, width),
        *_depth(base, seen.mean_depth()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def summary(seen: Recording) -> str:
    """Returns the figures of a recording."""
    ticks = sorted(spread for _, spread in seen.spreads)
    mean, clustering = seen.per_second()
    depth = seen.mean_depth()
    spread = ", ".join(str(part(ticks, share)) for share in (0.5, 0.75, 0.9))
    return (
        f"Spread in ticks, median, 75 %, 90 %: {spread}."
        f" Trades a second: {mean:.1f}, variance over mean {clustering:.1f}."
        f" Asks per basis point, first, tenth, twentieth: {depth[1]:.1f}, {depth[10]:.1f}, {depth[20]:.1f}."
    )


def _candles(
    candles: Sequence[meltica.KlineSummary], middles: Sequence[float], width: float
) -> Iterator[str]:
    lowest, highest = min(candle.low for candle in candles), max(candle.high for candle in candles)
    margin = (highest - lowest) * 0.04 or TICK
    panel = Panel(64, 322, lowest - margin, highest + margin)
    values = scale(panel.least, panel.most)
    yield from panel.axis(values, [f"{value:,.2f}" for value in values])
    body = round(width * 0.6, 1)
    for candle, x in zip(candles, middles, strict=True):
        rose = candle.close >= candle.open
        upper, lower = panel.y(max(candle.open, candle.close)), panel.y(min(candle.open, candle.close))
        high, low = panel.y(candle.high), panel.y(candle.low)
        told = (
            f"{clock(candle.open_time)} open {candle.open_decimal} high {candle.high_decimal}"
            f" low {candle.low_decimal} close {candle.close_decimal} volume {candle.volume_decimal}"
        )
        yield (
            f'<g class="{"up" if rose else "down"}"><title>{told}</title>'
            f'<path d="M{x:.1f} {high:.1f}V{upper:.1f}M{x:.1f} {lower:.1f}V{low:.1f}"/>'
            f'<rect x="{x - body / 2:.1f}" y="{upper:.1f}" width="{body}"'
            f' height="{max(lower - upper, 0.5):.1f}"/></g>'
        )


def _volumes(
    base: str, candles: Sequence[meltica.KlineSummary], middles: Sequence[float], width: float
) -> Iterator[str]:
    panel = Panel(352, 420, 0, max(candle.volume for candle in candles) or 1)
    yield panel.name(f"Volume, {base} a minute")
    values = scale(0, panel.most, 3)
    yield from panel.axis(values, [f"{value:,g}" for value in values])
    body = round(width * 0.6, 1)
    for candle, x in zip(candles, middles, strict=True):
        y, colour = panel.y(candle.volume), "rise" if candle.close >= candle.open else "fall"
        yield (
            f'<rect class="{colour}" x="{x - body / 2:.1f}" y="{y:.1f}" width="{body}"'
            f' height="{panel.bottom - y:.1f}"/>'
        )


def _spreads(spreads: Sequence[tuple[int, int]], minutes: int, width: float) -> Iterator[str]:
    by_minute: defaultdict[int, list[int]] = defaultdict(list)
    for time, ticks in spreads:
        by_minute[(time - nanos(START)) // MINUTE].append(ticks)
    rows = [(minute, sorted(by_minute[minute])) for minute in range(minutes) if by_minute[minute]]
    most = max(3, math.ceil(max(math.log10(part(ticks, 0.9)) for _, ticks in rows)))
    panel = Panel(450, 518, 0, most)
    yield panel.name("Spread, ticks of 0.01, after each change: median and 90 % of a minute")
    yield from panel.axis(range(most + 1), [f"{10**power:,}" for power in range(most + 1)])
    line = ""
    for minute, ticks in rows:
        x, median, high = LEFT + minute * width, part(ticks, 0.5), part(ticks, 0.9)
        top, bottom = panel.y(math.log10(high)), panel.y(math.log10(median))
        if high > median:
            yield (
                f'<rect class="range" x="{x:.1f}" y="{top:.1f}" width="{width - 1:.1f}"'
                f' height="{bottom - top:.1f}"/>'
            )
        line += f"M{x:.1f} {bottom:.1f}h{width - 1:.1f}"
    yield f'<path class="median" d="{line}"/>'
    for minute in range(0, minutes + 1, max(1, minutes // 6)):
        x, time = LEFT + minute * width, nanos(START) + minute * MINUTE
        anchor = "start" if minute == 0 else "middle"
        yield f'<text x="{x:.1f}" y="536" text-anchor="{anchor}">{clock(time)}</text>'


def _depth(base: str, depth: dict[int, float]) -> Iterator[str]:
    panel = Panel(574, 722, 0, max(depth.values()) * 1.05)
    yield panel.name(f"Mean depth by distance from the middle, {base} within each basis point: bids, asks")
    values = scale(0, panel.most, 4)
    yield from panel.axis(values, [f"{value:,g}" for value in values])
    width = (RIGHT - LEFT) / (2 * DEEPEST)
    for at, quantity in depth.items():
        x = LEFT + (at + DEEPEST - (at > 0)) * width
        y = panel.y(quantity)
        yield (
            f'<rect class="{"bids" if at < 0 else "asks"}" x="{x + 1:.1f}" y="{y:.1f}"'
            f' width="{width - 2:.1f}" height="{panel.bottom - y:.1f}"/>'
        )
    for at in range(-DEEPEST, DEEPEST + 1, 5):
        anchor = {-DEEPEST: "start", DEEPEST: "end"}.get(at, "middle")
        x = LEFT + (at + DEEPEST) * width
        yield f'<text x="{x:.1f}" y="740" text-anchor="{anchor}">{f"{abs(at)} bp" if at else "middle"}</text>'


def scale(least: float, most: float, about: int = 6) -> list[float]:
    """Returns round values within a range."""
    rough = (most - least) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
    first, last = math.ceil(least / step - 1e-9), math.floor(most / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def part(ordered: Sequence[int], share: float) -> int:
    """Returns a quantile of values."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def moment(event: meltica.Event) -> int:
    """Returns the venue time of an event, in ns."""
    assert event.venue_time is not None
    return event.venue_time


def clock(time: int) -> str:
    """Returns hours and minutes."""
    return f"{datetime.fromtimestamp(time // SECOND, UTC):%H:%M}"


def nanos(time: datetime) -> int:
    """Returns a time in ns."""
    return int(time.timestamp()) * SECOND


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--symbol", default="BTC-USDT", show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--duration", default="1h", show_default=True, help="Of the venue's time, at least 2m.")
@click.option("--speed", type=float, default=100, show_default=True, help="The venue's seconds in one.")
@click.option("--at-once", is_flag=True, help="Wait for nothing instead.")
def main(path: Path, symbol: str, seed: int, duration: str, speed: float, *, at_once: bool) -> None:
    """Run a market, draw it to PATH, and print its figures."""
    try:
        seen = record(symbol, seed, parse_duration(duration), None if at_once else speed)
    except (MelticaError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    if len(seen.candles) < 2:
        raise click.UsageError(f"--duration: expected at least 2m, so that there are candles, saw {duration}")
    path.write_text(draw(symbol, seed, seen))
    click.echo(f"{path}: {len(seen.trades):,} trades, {len(seen.spreads):,} books\n{summary(seen)}")


if __name__ == "__main__":
    main()
