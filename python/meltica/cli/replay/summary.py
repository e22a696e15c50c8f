"""Tables for the terminal: the report of a replay and the ledger of a venue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def show(report: Mapping[str, Any]) -> None:
    """Prints a report of `Replay.report`."""
    from rich.console import Console

    console = Console()
    console.print(_totals(report))
    console.print(_lambdas(report))
    console.print(_stages(report))
    for bad in report["bad_frames"][:3]:
        console.print(f"bad frame: {bad['error']}: {bad['frame'][:80]}", markup=False, highlight=False)
    for row in report["unused"]["sample"][:3]:
        console.print(f"ignored frame: {row['frame'][:80]}", markup=False, highlight=False)


def show_ledger(ledger: Mapping[str, Any]) -> None:
    """Prints a venue's ledger, with a row for each currency."""
    from rich.console import Console

    accounts = ledger["accounts"]
    table = _table("Ledger", "currency", *(row["name"] for row in accounts), "outside", "fees", "sum")
    totals = [{balance["currency"]: balance["total"] for balance in row["balances"]} for row in accounts]
    for currency, total in ledger["sums"].items():
        parts = (*totals, ledger["outside"], ledger["fees"])
        table.add_row(currency, *(part.get(currency, "0") for part in parts), total)
    console = Console()
    console.print(table)
    orders = ", ".join(f"{row['name']} {len(row['openOrders']):,}" for row in accounts)
    console.print(f"open orders: {orders}; fills: {ledger['fills']:,}", markup=False, highlight=False)


def duration(ns: float) -> str:
    """Returns a duration with a unit that fits: `412 ns`, `3.1 us`, `12 ms`, `4.2 s`."""
    for unit, size in (("ns", 1.0), ("us", 1e3), ("ms", 1e6)):
        if ns < size * 1000:
            value = ns / size
            return f"{value:.0f} {unit}" if value >= 100 or size == 1 else f"{value:.3g} {unit}"
    return f"{ns / 1e9:,.3g} s"


def counts(values: Mapping[str, int]) -> str:
    """Returns `a 1, b 2`, or `none`."""
    return ", ".join(f"{name} {n:,}" for name, n in values.items()) or "none"


def _table(title: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i and column not in ("events", "") else "left")
    return table


def _totals(report: Mapping[str, Any]) -> "Table":
    seconds = report["seconds"]
    rate = f", {report['frames'] / seconds:,.0f} per second" if seconds > 0 else ""
    table = _table(f"Replay: {report['status'].replace('_', ' ')}", "", "")
    table.show_header = False
    table.add_row("frames", f"{report['frames']:,} ({report['bytes']:,} bytes) in {seconds:.2f} s{rate}")
    table.add_row("events", counts(report["events"]))
    table.add_row("gaps", f"{report['gaps']:,}")
    table.add_row("stale books", counts(report["stale_books"]))
    if report["stale_at_end"]:
        table.add_row("stale at the end", ", ".join(report["stale_at_end"]))
    if report["unsynced_books"] or report["never_synced"]:
        never = f"; never synced: {', '.join(report['never_synced'])}" if report["never_synced"] else ""
        table.add_row("books without a valid snapshot", f"{report['unsynced_books']:,}{never}")
    if any(report["checksums"].values()):
        table.add_row("checksums", counts(report["checksums"]))
    if report["unverified"]:
        table.add_row("unverified checksums", counts(report["unverified"]))
    if report["checksum_faults"]:
        faults = (f"{symbol} {fault}" for symbol, fault in report["checksum_faults"].items())
        table.add_row("faults of checksums", ", ".join(faults))
    if any(report["restarts"].values()):
        table.add_row("restarted numbers", counts(report["restarts"]))
    for key in ("late_trades", "crossed_tickers"):
        if report[key]:
            table.add_row(key.replace("_", " "), f"{report[key]:,}")
    table.add_row("frame errors", counts(report["frame_errors"]))
    if report["unknown_enums"]:
        table.add_row("unknown enum values", f"{report['unknown_enums']:,}")
    unused = {key.replace("_", " "): n for key, n in report["unused"].items() if key != "sample" and n}
    table.add_row("not used", counts(unused))
    table.add_row("dropped", counts(report["drops"]))
    return table


def _lambdas(report: Mapping[str, Any]) -> "Table":
    table = _table("Lambdas", "id", "state", "events", "errors", "slow")
    for row in report["lambdas"]:
        delivered = counts(row["delivered"])
        table.add_row(row["id"], row["state"], delivered, f"{row['errors']:,}", f"{row['slow_callbacks']:,}")
    return table


def _stages(report: Mapping[str, Any]) -> "Table":
    table = _table("Latencies", "stage", "count", "p50", "p99", "max")

    def add(name: str, summary: Mapping[str, int]) -> None:
        if summary["count"]:
            times = (duration(summary[key]) for key in ("p50", "p99", "max"))
            table.add_row(name, f"{summary['count']:,}", *times)

    for name, provider in report["providers"].items():
        add(f"{name}: received -> dispatched", provider["decode_ns"])
    for row in report["lambdas"]:
        add(f"{row['id']}: dispatched -> delivered", row["latency_ns"])
        add(f"{row['id']}: delivered -> returned", row["callback_ns"])
    return table
