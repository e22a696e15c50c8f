"""Metrics of trading: orders, fills, refusals, commits, accounts. A gateway that does not trade has none."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from meltica._core import Metrics
from meltica.model.enums import OrderState
from meltica.telemetry.families import Histograms, Rows, counter, gauge, histogram
from meltica.telemetry.registry import Reading, Source
from meltica.trading.faults import FaultKind
from meltica.trading.risk.rules import Rule

if TYPE_CHECKING:
    from meltica.gateway.trading import GatewayTrading
    from meltica.gateway.trading_runtime import TradingRuntime


_Numbers = list[tuple[tuple[str, ...], float]]


def trading_metrics(trading: "GatewayTrading") -> Source:
    """Returns the collector of trading."""

    def source() -> Reading:
        runtime = trading.runtime
        return lambda: () if runtime is None else (*_metrics(runtime), *_risk(runtime))

    return source


def _metrics(runtime: "TradingRuntime") -> Iterator[Metrics]:
    read = _read(runtime)
    yield gauge(
        "meltica_trading_open_orders", "Orders that have not ended.", ("provider", "mode", "state"), read.open
    )
    labels = ("provider", "mode")
    text = "Age of the oldest order whose state at the venue is unknown, since its request; 0 without one."
    yield gauge("meltica_trading_unknown_oldest_seconds", text, labels, read.unknown)
    yield gauge("meltica_trading_faults", "Faults of trading, as in readiness.", ("kind",), read.faults)
    yield counter(
        "meltica_trading_order_reports",
        "Changes of orders that were reported to their lambdas, by the state of the order.",
        ("mode", "state"),
        read.reports,
    )
    yield counter("meltica_trading_fills", "Fills of orders of lambdas.", ("mode",), read.fills)
    yield counter(
        "meltica_trading_refusals",
        "Orders and amendments that risk refused.",
        ("mode", "rule"),
        read.refusals,
    )
    yield counter("meltica_trading_commits", "Commits of changes of trading.", (), read.commits)
    yield counter("meltica_trading_commit_seconds", "Time that the commits took.", (), read.commit_seconds)
    yield histogram(
        "meltica_trading_step_duration_seconds",
        "Time between two steps of orders.",
        ("provider", "mode", "step"),
        read.steps,
    )
    yield histogram(
        "meltica_trading_order_duration_seconds",
        "Time from the receipt of an event to the acknowledgement of the order that its callback requested.",
        ("lambda", "mode"),
        read.orders,
    )
    yield gauge(
        "meltica_trading_account_reconciled",
        "1 while an account is reconciled; at 0 its orders are not sent.",
        ("provider", "mode"),
        read.reconciled,
    )
    yield gauge(
        "meltica_trading_difference",
        "The part of the balance of the venue that nothing explains.",
        ("provider", "mode", "currency"),
        read.differences,
    )


def _risk(runtime: "TradingRuntime") -> Iterator[Metrics]:
    """Yields the metrics of scopes that cost no walk through their positions."""
    labels = ("mode", "scope", "name")
    halted, profits, used, limits = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    with runtime.desk.lock.reading:
        for mode, risk in runtime.risks.items():
            for scope, state in risk.registry.scopes.items():
                key = (mode.value, scope.kind.value, scope.name)
                halted.append((key, state.halt is not None))
                if (profit := state.loss.profit) is not None:
                    profits.append((key, float(profit)))
                if (most := state.limits.max_open_orders) is not None:
                    used.append(((*key, Rule.OPEN_ORDERS.value), state.open_orders))
                    limits.append(((*key, Rule.OPEN_ORDERS.value), most))
                if (loss := state.limits.max_daily_loss) is not None:
                    used.append(((*key, Rule.DAILY_LOSS.value), float(state.loss.daily_loss)))
                    limits.append(((*key, Rule.DAILY_LOSS.value), float(loss)))
    yield gauge("meltica_risk_halted", "1 while a scope is halted.", labels, halted)
    yield gauge("meltica_risk_profit", "Profit of a scope at its latest valuation.", labels, profits)
    yield gauge("meltica_risk_used", "What is used of a limit.", (*labels, "rule"), used)
    yield gauge("meltica_risk_limit", "The limit.", (*labels, "rule"), limits)


class _Reading:
    """The rows of one scrape."""

    open: Rows = ()
    unknown: Rows = ()
    faults: Rows = ()
    reports: Rows = ()
    fills: Rows = ()
    refusals: Rows = ()
    commits: Rows = ()
    commit_seconds: Rows = ()
    steps: Histograms = ()
    orders: Histograms = ()
    reconciled: Rows = ()
    differences: Rows = ()


def _read(runtime: "TradingRuntime") -> _Reading:
    desk, read = runtime.desk, _Reading()
    with desk.lock.reading:
        records = [each.record for each in desk.open_machines()]
        now, oldest = desk.clock(), dict[tuple[str, ...], int]()
        read.open = list(
            Counter((each.provider, each.owner.mode.value, each.state.value) for each in records).items()
        )
        for each in records:
            if each.state is OrderState.UNKNOWN:
                key = (each.provider, each.owner.mode.value)
                oldest[key] = max(oldest.get(key, 0), now - each.intent_at)
        read.unknown = [
            ((provider, mode.value), oldest.get((provider, mode.value), 0) / 1e9)
            for provider, mode in desk.accounts.keys()  # noqa: SIM118
        ]
        pending = desk.pending
        read.steps, read.orders = list(desk.latencies.steps()), list(desk.latencies.orders())
        read.reports = [((mode.value, state.value), n) for (mode, state), n in pending.reports.items()]
        read.fills = [((mode.value,), pending.fills[mode]) for mode in desk.risks]
        read.refusals = [
            ((mode.value, rule), n)
            for mode, risk in desk.risks.items()
            for rule, n in risk.events.refused.items()
        ]
        read.reconciled = [
            ((provider, mode.value), desk.accounts.link(provider, mode).ready)
            for provider, mode in desk.accounts.keys()  # noqa: SIM118
        ]
        read.differences = [
            ((each.provider, mode.value, each.currency), float(each.amount))
            for mode, balances in desk.accounts.balances.items()
            for each in balances.faults
        ]
    kinds = Counter(each.kind for each in runtime.trading.faults())
    read.faults = [((kind.value,), kinds[kind]) for kind in FaultKind]
    count, seconds = runtime.trading.commits
    read.commits, read.commit_seconds = [((), count)], [((), seconds)]
    return read
