"""The public names. A name that is added or removed here is a change of the public interface."""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import meltica
import meltica.adapters
import meltica.testing

FOR_STRATEGIES = [
    "BalanceUpdate",
    "BookGap",
    "BookSnapshot",
    "CapacityError",
    "CodecError",
    "ConfigError",
    "Event",
    "EventKind",
    "ExecReport",
    "Extension",
    "FeeRates",
    "Fill",
    "Filter",
    "Instrument",
    "InstrumentUpdate",
    "KlineSummary",
    "Lambda",
    "LambdaConfig",
    "LambdaDefinitionError",
    "LambdaError",
    "LambdaLoadError",
    "LambdaStopped",
    "Liquidity",
    "MarketStale",
    "MarketState",
    "MelticaError",
    "Mode",
    "Order",
    "OrderRefused",
    "OrderState",
    "OrderType",
    "OutcomeUnknown",
    "OverflowPolicy",
    "PnlView",
    "PositionView",
    "PriceLevel",
    "ProtocolError",
    "RateLimited",
    "ReplayError",
    "RiskControl",
    "Side",
    "Ticker",
    "TimeInForce",
    "Timer",
    "Trade",
    "TradingStatus",
    "Unauthenticated",
    "VenueError",
    "VenueUnavailable",
    "__version__",
]

FOR_ADAPTERS = [
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

FOR_TESTS = [
    "AccountContract",
    "AdapterContract",
    "Book",
    "ConnectionContract",
    "DataContract",
    "Replayed",
    "Rig",
    "Stage",
    "decode",
    "event",
    "replay",
]

PUBLIC = [(meltica, FOR_STRATEGIES), (meltica.adapters, FOR_ADAPTERS), (meltica.testing, FOR_TESTS)]
MODULES = [module for module, _ in PUBLIC]


@pytest.mark.parametrize(("module", "names"), PUBLIC, ids=lambda value: getattr(value, "__name__", ""))
def test_public_names_are_frozen(module: ModuleType, names: list[str]) -> None:
    assert module.__all__ == names


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_can_be_imported(module: ModuleType) -> None:
    values = {name: getattr(module, name) for name in module.__all__}
    classes = {name: value for name, value in values.items() if isinstance(value, type)}
    assert {name: value.__name__ for name, value in classes.items()} == {name: name for name in classes}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_type_checkers_see_every_public_name(module: ModuleType) -> None:
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert set(module.__all__) <= imported | defined


MEMBERS = [
    "Config",
    "amend",
    "balance",
    "book",
    "book_depth",
    "buy",
    "cancel",
    "cancel_all",
    "close",
    "delivered_at",
    "emit",
    "every",
    "fees",
    "fills",
    "filters",
    "instrument",
    "market",
    "needs",
    "now",
    "on_balance_update",
    "on_book_snapshot",
    "on_extension",
    "on_gap",
    "on_instrument_update",
    "on_kline_summary",
    "on_load",
    "on_order_acknowledged",
    "on_order_amend_rejected",
    "on_order_amended",
    "on_order_cancel_rejected",
    "on_order_cancelled",
    "on_order_expired",
    "on_order_filled",
    "on_order_partial_fill",
    "on_order_rejected",
    "on_order_unknown",
    "on_risk_control",
    "on_save",
    "on_stale",
    "on_start",
    "on_stop",
    "on_ticker",
    "on_trade",
    "on_trading_changed",
    "order",
    "orders",
    "places_orders",
    "pnl",
    "policies",
    "position",
    "sell",
    "trading",
]


def test_the_members_of_a_lambda_are_frozen_and_described() -> None:
    members = [name for name in dir(meltica.Lambda) if not name.startswith("_")]
    assert members == MEMBERS
    methods = {name: getattr(meltica.Lambda, name) for name in members}
    assert [name for name, each in methods.items() if callable(each) and not each.__doc__] == []


def test_the_order_helpers_take_what_they_document() -> None:
    from inspect import signature

    options = (
        "provider=None, time_in_force='GTC', post_only=False, reduce_only=False, expires_in=None, "
        "round=False, tag=None"
    )
    expected = {
        "buy": f"(self, symbol, quantity=None, price=None, *, cost=None, {options})",
        "sell": f"(self, symbol, quantity=None, price=None, *, cost=None, {options})",
        "cancel": "(self, order)",
        "amend": "(self, order, *, price=None, quantity=None)",
        "cancel_all": "(self, symbol=None)",
        "close": "(self, symbol, provider=None)",
        "order": "(self, id)",
        "orders": "(self, symbol=None, tag=None)",
        "fills": "(self, order)",
        "position": "(self, symbol, provider=None)",
        "balance": "(self, currency, provider=None)",
        "fees": "(self, symbol, provider=None)",
        "pnl": "(self)",
        "instrument": "(self, symbol, provider=None)",
    }
    bare: dict[str, str] = {}
    for name in expected:
        shape = signature(getattr(meltica.Lambda, name))
        plain = [each.replace(annotation=each.empty) for each in shape.parameters.values()]
        bare[name] = str(shape.replace(parameters=plain, return_annotation=shape.empty))
    assert bare == expected


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_an_unknown_name_is_an_attribute_error(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module `{module.__name__}` has no attribute 'Nope'"):
        _ = module.Nope
    assert set(dir(module)) == set(module.__all__)


def test_adapters_are_imported_when_they_are_first_used() -> None:
    code = (
        "import sys, meltica.adapters; before = set(sys.modules); meltica.adapters.LiveAdapter;"
        "assert not {'pydantic', 'httpx', 'websockets', 'meltica.adapters.base'} & before;"
        "assert 'meltica.adapters.live.adapter' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["wire", "codec"])
def test_the_example_imports_only_what_an_author_imports(name: str) -> None:
    path = Path(meltica.adapters.__path__[0]) / "fake" / f"{name}.py"
    modules = {
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    own = {module for module in modules if module.startswith("meltica.adapters.fake")}
    assert {module for module in modules - own if module.startswith("meltica")} == {"meltica.adapters"}
