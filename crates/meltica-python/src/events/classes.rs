//! One class per kind of event.
//!
//! `help()` shows the doc comments, which equal the docstrings of `python/meltica/_core/events.pyi` and `account.pyi`.

use super::PyEvent;
use crate::convert::{py_decimal, py_side, value_error};
use crate::payload;
use meltica_core::decimal::Decimal;
use meltica_core::event::{Liquidity, Nanos, Payload, ShortText, TimeInForce};
use pyo3::prelude::*;

/// Defines the class of a kind. A number has two properties: a float, and the exact `Decimal`.
macro_rules! event_class {
    (
        $(#[doc = $doc:literal])*
        $class:ident, $name:literal, $variant:ident($p:ident);
        numbers { $($(#[doc = $number_doc:literal])* $number:ident $exact:ident = $field:expr;)* }
        optional { $($(#[doc = $opt_doc:literal])* $opt:ident $opt_exact:ident = $opt_field:expr;)* }
        plain { $($(#[doc = $plain_doc:literal])* $plain:ident: $type:ty = $value:expr;)* }
        object { $($(#[doc = $object_doc:literal])* $object:ident = |$py:ident| $make:expr;)* }
    ) => {
        $(#[doc = $doc])*
        #[pyclass(module = "meltica", name = $name, extends = PyEvent, frozen, immutable_type)]
        pub struct $class;

        #[pymethods]
        impl $class {
            $(
                $(#[doc = $number_doc])*
                #[getter]
                fn $number(slf: &Bound<'_, Self>) -> PyResult<f64> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    Ok($field.to_f64())
                }

                #[doc = concat!("Decimal: The exact `", stringify!($number), "`.")]
                #[getter]
                fn $exact<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    py_decimal(slf.py(), $field)
                }
            )*
            $(
                $(#[doc = $opt_doc])*
                #[getter]
                fn $opt(slf: &Bound<'_, Self>) -> PyResult<Option<f64>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    Ok($opt_field.map(Decimal::to_f64))
                }

                #[doc = concat!(
                    "Decimal | None: The exact `", stringify!($opt), "`; None if `", stringify!($opt), "` is None."
                )]
                #[getter]
                fn $opt_exact<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    $opt_field.map(|value| py_decimal(slf.py(), value)).transpose()
                }
            )*
            $(
                $(#[doc = $plain_doc])*
                #[getter]
                fn $plain(slf: &Bound<'_, Self>) -> PyResult<$type> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    Ok($value)
                }
            )*
            $(
                $(#[doc = $object_doc])*
                #[getter]
                fn $object<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    let $py = slf.py();
                    $make
                }
            )*
        }
    };
}

fn wrong() -> PyErr {
    value_error("Invariant: the class and the payload of an event agree")
}

fn optional<'py>(py: Python<'py>, value: Option<PyResult<Bound<'py, PyAny>>>) -> PyResult<Bound<'py, PyAny>> {
    value.unwrap_or_else(|| Ok(py.None().into_bound(py)))
}

event_class! {
    /// A public trade.
    ///
    /// Immutable. In a test: `meltica.testing.event("Trade", "BTC-USDT", side="Buy", price="100", quantity="2")`.
    ///
    /// Example:
    ///
    ///     def on_trade(self, trade: meltica.Trade) -> None:
    ///         self.log.info("%s %s at %s", trade.side, trade.quantity, trade.price)
    PyTrade, "Trade", Trade(t);
    numbers {
        /// float: Price in quote currency.
        price price_decimal = t.price;
        /// float: Quantity in base currency.
        quantity quantity_decimal = t.quantity;
    }
    optional {}
    plain {
        /// str | None: The venue's id of the trade; None if the venue does not send it.
        trade_id: Option<String> = t.id.map(|id| id.to_string());
        /// bool: Whether the trade was missed while the connection was lost, and comes after later ones.
        late: bool = t.late;
    }
    object {
        /// meltica.Side | None: The taker's side; None if the venue does not send it.
        side = |py| optional(py, t.side.map(|side| py_side(py, side)));
    }
}

event_class! {
    /// Last price and top of the book. Fields that the venue did not send are None.
    ///
    /// Immutable. In a test: `meltica.testing.event("Ticker", "BTC-USDT", bid="99", ask="101")`.
    ///
    /// Example:
    ///
    ///     def on_ticker(self, ticker: meltica.Ticker) -> None:
    ///         if ticker.bid is not None and ticker.ask is not None:
    ///             self.log.info("spread %.2f", ticker.ask - ticker.bid)
    PyTicker, "Ticker", Ticker(t);
    numbers {}
    optional {
        /// float | None: Price of the last trade, in quote currency; None if not sent.
        last last_decimal = t.last;
        /// float | None: Best bid price, in quote currency; None if not sent.
        bid bid_decimal = t.bid;
        /// float | None: Quantity at the best bid, in base currency; None if not sent.
        bid_quantity bid_quantity_decimal = t.bid_quantity;
        /// float | None: Best ask price, in quote currency; None if not sent.
        ask ask_decimal = t.ask;
        /// float | None: Quantity at the best ask, in base currency; None if not sent.
        ask_quantity ask_quantity_decimal = t.ask_quantity;
        /// float | None: Volume of the last 24 hours, in base currency; None if not sent.
        volume_24h volume_24h_decimal = t.volume_24h;
    }
    plain {}
    object {}
}

event_class! {
    /// A candle: prices and volume of one interval.
    ///
    /// Immutable. In a test, the times are RFC 3339 text: `meltica.testing.event("KlineSummary", "BTC-USDT", open="1",
    /// close="2", high="3", low="1", volume="5", open_time="2025-01-01T00:00:00Z", close_time="2025-01-01T00:01:00Z")`.
    PyKlineSummary, "KlineSummary", Kline(k);
    numbers {
        /// float: First price of the interval, in quote currency.
        open open_decimal = k.open;
        /// float: Last price of the interval, in quote currency.
        close close_decimal = k.close;
        /// float: Highest price of the interval, in quote currency.
        high high_decimal = k.high;
        /// float: Lowest price of the interval, in quote currency.
        low low_decimal = k.low;
        /// float: Volume of the interval, in base currency.
        volume volume_decimal = k.volume;
    }
    optional {}
    plain {
        /// int: Start of the interval by the venue's clock, in ns since 1970-01-01 UTC.
        open_time: Nanos = k.open_time;
        /// int: End of the interval by the venue's clock, in ns since 1970-01-01 UTC.
        close_time: Nanos = k.close_time;
        /// str | None: The venue's name of the interval, such as `1m`; None if not sent.
        interval: Option<String> = k.interval.as_ref().map(|t: &ShortText| t.as_str().to_owned());
        /// bool | None: Whether the candle is final; None if the venue does not say.
        closed: Option<bool> = k.closed;
    }
    object {}
}

event_class! {
    /// A report on an order of the account: the order's state and, if one caused the report, a fill.
    ///
    /// `fee` belongs to the whole order so far. `execution_id`, `liquidity` and the fields that start with `last_`
    /// belong to the fill; they are None in a report without a fill.
    ///
    /// The states, of which four are final:
    ///
    /// - `ACK`: the venue accepted the order.
    /// - `PARTIAL`: filled in part, and still open.
    /// - `FILLED` (final): filled completely.
    /// - `CANCELLED` (final): cancelled; may be filled in part.
    /// - `REJECTED` (final): the venue refused the order.
    /// - `EXPIRED` (final): the remainder expired, as of an IOC or market order.
    /// - `UNKNOWN`: the venue no longer knows an order that was open; a later report replaces this state.
    ///
    /// Adapters and the simulator publish it. A `Lambda` receives callbacks of its orders instead: `on_order_filled`.
    ///
    /// Immutable. In a test: `meltica.testing.event("ExecReport", "BTC-USDT", client_order_id="a1", state="ACK",
    /// side="Buy", order_type="Limit", price="100", quantity="1", filled_quantity="0")`.
    PyExecReport, "ExecReport", Exec(r);
    numbers {
        /// float: Ordered quantity, in base currency.
        quantity quantity_decimal = r.quantity;
        /// float: Quantity filled so far, in base currency.
        filled_quantity filled_quantity_decimal = r.filled_quantity;
    }
    optional {
        /// float | None: Limit price, in quote currency; None for a market order.
        price price_decimal = r.price;
        /// float | None: Quantity still open, in base currency; None if not sent.
        remaining_quantity remaining_quantity_decimal = r.remaining_quantity;
        /// float | None: Average price of all fills so far, in quote currency; None without a fill.
        average_price average_price_decimal = r.average_price;
        /// float | None: Fee of all fills so far, in `fee_currency`; None if not sent.
        fee fee_decimal = r.fee;
        /// float | None: Quantity of the fill, in base currency; None without a fill.
        last_quantity last_quantity_decimal = r.last_quantity;
        /// float | None: Price of the fill, in quote currency; None without a fill.
        last_price last_price_decimal = r.last_price;
        /// float | None: Fee of the fill, in `last_fee_currency`; None without a fill or if not sent.
        last_fee last_fee_decimal = r.last_fee;
    }
    plain {
        /// str: The client's id of the order: 1 to 18 of `0-9` and `a-z` for an order that Meltica sends.
        client_order_id: String = r.client_order_id.clone();
        /// str | None: The venue's id of the order; None while it has not assigned one.
        venue_order_id: Option<String> = r.venue_order_id.clone();
        /// str: One of the states in the class's description; equal to a member of `meltica.adapters.OrderState`.
        state: &'static str = r.state.name();
        /// str: `Limit` or `Market`; equal to a member of `meltica.OrderType`.
        order_type: String = r.order_type.clone();
        /// str | None: `GTC`, `IOC` or `FOK`, as in `meltica.TimeInForce`; None if not sent.
        time_in_force: Option<&'static str> = r.time_in_force.map(TimeInForce::name);
        /// str | None: Currency of `fee`; None if not sent.
        fee_currency: Option<String> = r.fee_currency.clone();
        /// str | None: Code of why the order was rejected, expired or became unknown; None if not sent.
        ///
        /// Meltica's own code is `unknown_to_venue`, in state `UNKNOWN`. All others are the venue's. The simulator has
        /// `invalid_quantity`, `invalid_price`, `tick_size`, `lot_size`, `min_quantity`, `max_quantity`,
        /// `min_notional`, `would_cross`, `unfillable`, `insufficient_funds`, `unknown_account`, `overflow` and
        /// `book_full`.
        reason: Option<String> = r.reason.clone();
        /// str | None: The venue's id of the fill; None without a fill.
        execution_id: Option<String> = r.execution_id.clone();
        /// str | None: `maker` or `taker`, as in `meltica.adapters.Liquidity`; None without a fill or if not sent.
        liquidity: Option<&'static str> = r.liquidity.map(Liquidity::name);
        /// str | None: Currency of `last_fee`; None without a fill or if not sent.
        last_fee_currency: Option<String> = r.last_fee_currency.clone();
    }
    object {
        /// meltica.Side: Side of the order.
        side = |py| py_side(py, r.side);
    }
}

event_class! {
    /// A new or changed instrument.
    ///
    /// Immutable. In a test: `meltica.testing.event("InstrumentUpdate", "BTC-USDT", instrument={"symbol": "BTC-USDT",
    /// "type": "spot", "baseCurrency": "BTC", "quoteCurrency": "USDT", "venue": "FAKE"})`.
    PyInstrumentUpdate, "InstrumentUpdate", Instrument(i);
    numbers {}
    optional {}
    plain {}
    object {
        /// dict[str, Any]: The instrument, with the keys of the REST API (`priceIncrement`); absent fields have none.
        instrument = |py| Ok(payload::instrument_to_dict(py, i)?.into_any());
    }
}

event_class! {
    /// A changed balance of the account; `symbol` is the currency.
    ///
    /// Immutable. In a test: `meltica.testing.event("BalanceUpdate", "USDT", total="10", available="8")`.
    PyBalanceUpdate, "BalanceUpdate", Balance(b);
    numbers {
        /// float: The whole balance, in the currency `symbol`.
        total total_decimal = b.total;
        /// float: The part of `total` that open orders do not hold, in the currency `symbol`.
        available available_decimal = b.available;
    }
    optional {
        /// float | None: Amount of the deposit or withdrawal, negative for a withdrawal; None for any other change.
        change change_decimal = b.transfer.as_ref().map(|transfer| transfer.change);
    }
    plain {
        /// str | None: `deposit` or `withdrawal`; None for any other change.
        reason: Option<&'static str> = b.transfer.as_ref().map(|transfer| transfer.reason.name());
        /// str | None: The venue's id of the deposit or withdrawal; None for any other change.
        transfer_id: Option<String> = b.transfer.as_ref().map(|transfer| transfer.id.clone());
    }
    object {}
}

event_class! {
    /// A risk check that tripped or cleared.
    ///
    /// Immutable. In a test: `meltica.testing.event("RiskControl", "BTC-USDT", strategy_id="a", status="TRIGGERED",
    /// reason="position too large", breach_type="position", kill_switch_engaged=True, circuit_breaker_open=False)`.
    PyRiskControl, "RiskControl", Risk(r);
    numbers {}
    optional {}
    plain {
        /// str: Id of the instance whose order was checked.
        strategy_id: String = r.strategy_id.clone();
        /// str: `TRIGGERED` or `CLEARED`.
        status: String = r.status.clone();
        /// str: Explanation in one sentence.
        reason: String = r.reason.clone();
        /// str: Code of the limit that was breached.
        breach_type: String = r.breach_type.clone();
        /// dict[str, str]: The values that were checked, by name; empty if there are none.
        metrics: std::collections::BTreeMap<String, String> = r.metrics.iter().cloned().collect();
        /// bool: Whether the kill switch blocks new orders.
        kill_switch_engaged: bool = r.kill_switch_engaged;
        /// bool: Whether the circuit breaker blocks new orders.
        circuit_breaker_open: bool = r.circuit_breaker_open;
    }
    object {}
}

event_class! {
    /// Free-form data from an adapter or another lambda.
    ///
    /// Immutable. In a test, `payload` is called `data`: `meltica.testing.event("Extension", "x", name="x", data={})`.
    PyExtension, "Extension", Extension(e);
    numbers {}
    optional {}
    plain {
        /// str: Name of the extension, as in `Lambda.emit(name, payload)`.
        name: String = e.name().to_owned();
    }
    object {
        /// Any: The data, parsed from JSON at each access.
        payload = |py| crate::convert::json_loads(py, e.json());
    }
}

event_class! {
    /// A gap in a venue's sequence of book updates: the ids from `expected` up to `seen` are missing.
    ///
    /// Immutable. In a test: `meltica.testing.event("BookGap", "BTC-USDT", expected=5, seen=8)`.
    PyBookGap, "BookGap", BookGap(g);
    numbers {}
    optional {}
    plain {
        /// int: The id that should have come next.
        expected: u64 = g.expected;
        /// int: The id that came instead.
        seen: u64 = g.received;
    }
    object {}
}

event_class! {
    /// Market data of a symbol is stale: a book until its next `BookSnapshot`, a feed until its next event.
    ///
    /// Immutable. In a test: `meltica.testing.event("MarketStale", "BTC-USDT", reason="gap")`.
    PyMarketStale, "MarketStale", MarketStale(reason);
    numbers {}
    optional {}
    plain {
        /// str: Why the data is stale.
        ///
        /// - `gap`: updates were lost.
        /// - `crossed`: the best bid reached the best ask.
        /// - `checksum`: the venue's checksum differs from ours.
        /// - `no_snapshot`: no usable snapshot came while updates were waiting for one.
        /// - `overflow`: a number of the venue does not fit the book.
        /// - `disconnected`: the connection was lost.
        /// - `silent`: the venue sent nothing for too long.
        /// - `restarted`: the venue's update ids have restarted.
        /// - `undecoded`: changes of the book could not be decoded.
        /// - `left_out`: the instance had no memory for the symbol and missed its earlier events.
        /// - `ticker_crossed`: the best bid of a ticker reached its best ask; its bid and ask are None.
        /// - `ids_restarted`: the venue's ids of trades have restarted, and a few trades were taken for repeated ones.
        /// - `contract_size`: the instrument list changed the size of a contract: quantities in base have the old one.
        reason: &'static str = reason.name();
    }
    object {}
}
