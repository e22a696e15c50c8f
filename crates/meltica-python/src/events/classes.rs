//! One class per kind of event.
//!
//! `help()` shows the doc comments, which equal the docstrings of `python/meltica/_core/events.pyi`.

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
        #[pyclass(module = "meltica", name = $name, extends = PyEvent, frozen)]
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

                #[doc = concat!("`", stringify!($number), "` as an exact Decimal.")]
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
                    "`", stringify!($opt), "` as an exact Decimal; None if `", stringify!($opt), "` is None."
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
    /// Example:
    ///
    ///     def on_trade(self, trade: meltica.Trade) -> None:
    ///         self.log.info("%s %s at %s", trade.side, trade.quantity, trade.price)
    PyTrade, "Trade", Trade(t);
    numbers {
        /// Price in quote currency.
        price price_decimal = t.price;
        /// Quantity in base currency.
        quantity quantity_decimal = t.quantity;
    }
    optional {}
    plain {
        /// The venue's id of the trade.
        trade_id: String = t.id.to_string();
    }
    object {
        /// The taker's side; None if the venue does not send it.
        side = |py| optional(py, t.side.map(|side| py_side(py, side)));
    }
}

event_class! {
    /// Last price and top of the book. Fields that the venue did not send are None.
    ///
    /// Example:
    ///
    ///     def on_ticker(self, ticker: meltica.Ticker) -> None:
    ///         if ticker.bid is not None and ticker.ask is not None:
    ///             self.log.info("spread %.2f", ticker.ask - ticker.bid)
    PyTicker, "Ticker", Ticker(t);
    numbers {}
    optional {
        /// Price of the last trade, in quote currency; None if not sent.
        last last_decimal = t.last;
        /// Best bid price, in quote currency; None if not sent.
        bid bid_decimal = t.bid;
        /// Quantity at the best bid, in base currency; None if not sent.
        bid_quantity bid_quantity_decimal = t.bid_quantity;
        /// Best ask price, in quote currency; None if not sent.
        ask ask_decimal = t.ask;
        /// Quantity at the best ask, in base currency; None if not sent.
        ask_quantity ask_quantity_decimal = t.ask_quantity;
        /// Volume of the last 24 hours, in base currency; None if not sent.
        volume_24h volume_24h_decimal = t.volume_24h;
    }
    plain {}
    object {}
}

event_class! {
    /// A candle: prices and volume of one interval.
    PyKlineSummary, "KlineSummary", Kline(k);
    numbers {
        /// First price of the interval, in quote currency.
        open open_decimal = k.open;
        /// Last price of the interval, in quote currency.
        close close_decimal = k.close;
        /// Highest price of the interval, in quote currency.
        high high_decimal = k.high;
        /// Lowest price of the interval, in quote currency.
        low low_decimal = k.low;
        /// Volume of the interval, in base currency.
        volume volume_decimal = k.volume;
    }
    optional {}
    plain {
        /// Start of the interval by the venue's clock, in ns.
        open_time: Nanos = k.open_time;
        /// End of the interval by the venue's clock, in ns.
        close_time: Nanos = k.close_time;
        /// The venue's name of the interval, such as `1m`; None if not sent.
        interval: Option<String> = k.interval.as_ref().map(|t: &ShortText| t.as_str().to_owned());
        /// Whether the candle is final; None if the venue does not say.
        closed: Option<bool> = k.closed;
    }
    object {}
}

event_class! {
    /// A report on one of our orders: the order's state and, if one caused the report, a fill.
    ///
    /// `fee` belongs to the whole order so far. `execution_id`, `liquidity` and the fields that start with `last_` belong
    /// to the fill; they are None in a report without a fill.
    PyExecReport, "ExecReport", Exec(r);
    numbers {
        /// Ordered quantity, in base currency.
        quantity quantity_decimal = r.quantity;
        /// Quantity filled so far, in base currency.
        filled_quantity filled_quantity_decimal = r.filled_quantity;
    }
    optional {
        /// Limit price, in quote currency; None for a market order.
        price price_decimal = r.price;
        /// Quantity still open, in base currency; None if not sent.
        remaining_quantity remaining_quantity_decimal = r.remaining_quantity;
        /// Average price of all fills so far, in quote currency; None without a fill.
        average_price average_price_decimal = r.average_price;
        /// Fee of all fills so far, in `fee_currency`; None if not sent.
        fee fee_decimal = r.fee;
        /// Quantity of the fill, in base currency; None without a fill.
        last_quantity last_quantity_decimal = r.last_quantity;
        /// Price of the fill, in quote currency; None without a fill.
        last_price last_price_decimal = r.last_price;
        /// Fee of the fill, in `last_fee_currency`; None without a fill or if not sent.
        last_fee last_fee_decimal = r.last_fee;
    }
    plain {
        /// Our id of the order.
        client_order_id: String = r.client_order_id.clone();
        /// The venue's id of the order; None while it has not assigned one.
        venue_order_id: Option<String> = r.venue_order_id.clone();
        /// State of the order: `ACK`, `PARTIAL`, `FILLED`, `CANCELLED`, `REJECTED`, `EXPIRED` or `UNKNOWN`.
        state: &'static str = r.state.name();
        /// Type of the order: `Limit` or `Market`.
        order_type: String = r.order_type.clone();
        /// How long the order stays active: `GTC`, `IOC` or `FOK`; None if not sent.
        time_in_force: Option<&'static str> = r.time_in_force.map(TimeInForce::name);
        /// Currency of `fee`; None if not sent.
        fee_currency: Option<String> = r.fee_currency.clone();
        /// Why the order was rejected or ended; None if not sent.
        reason: Option<String> = r.reason.clone();
        /// The venue's id of the fill; None without a fill.
        execution_id: Option<String> = r.execution_id.clone();
        /// Our role in the fill: `maker` or `taker`; None without a fill or if not sent.
        liquidity: Option<&'static str> = r.liquidity.map(Liquidity::name);
        /// Currency of `last_fee`; None without a fill or if not sent.
        last_fee_currency: Option<String> = r.last_fee_currency.clone();
    }
    object {
        /// Side of the order.
        side = |py| py_side(py, r.side);
    }
}

event_class! {
    /// A new or changed instrument.
    PyInstrumentUpdate, "InstrumentUpdate", Instrument(i);
    numbers {}
    optional {}
    plain {}
    object {
        /// The instrument with the keys of the REST API, such as `priceIncrement`. Absent fields have no key.
        instrument = |py| Ok(payload::instrument_to_dict(py, i)?.into_any());
    }
}

event_class! {
    /// A balance of our account; `symbol` is the currency.
    PyBalanceUpdate, "BalanceUpdate", Balance(b);
    numbers {
        /// The whole balance, in the currency `symbol`.
        total total_decimal = b.total;
        /// The part of `total` that open orders do not hold, in the currency `symbol`.
        available available_decimal = b.available;
    }
    optional {}
    plain {}
    object {}
}

event_class! {
    /// A risk check that tripped or cleared.
    PyRiskControl, "RiskControl", Risk(r);
    numbers {}
    optional {}
    plain {
        /// Id of the instance whose order was checked.
        strategy_id: String = r.strategy_id.clone();
        /// `TRIGGERED` or `CLEARED`.
        status: String = r.status.clone();
        /// Explanation in one sentence.
        reason: String = r.reason.clone();
        /// Code of the limit that was breached.
        breach_type: String = r.breach_type.clone();
        /// The values that were checked, by name; empty if there are none.
        metrics: std::collections::BTreeMap<String, String> = r.metrics.iter().cloned().collect();
        /// Whether the kill switch blocks new orders.
        kill_switch_engaged: bool = r.kill_switch_engaged;
        /// Whether the circuit breaker blocks new orders.
        circuit_breaker_open: bool = r.circuit_breaker_open;
    }
    object {}
}

event_class! {
    /// Free-form data from an adapter or another lambda.
    PyExtension, "Extension", Extension(e);
    numbers {}
    optional {}
    plain {
        /// Name of the extension, as in `Lambda.emit(name, payload)`.
        name: String = e.name.clone();
    }
    object {
        /// The data, parsed from JSON at each access.
        payload = |py| crate::convert::json_loads(py, &e.json);
    }
}

event_class! {
    /// A gap in a venue's sequence of book updates: the ids from `expected` up to `seen` are missing.
    PyBookGap, "BookGap", BookGap(g);
    numbers {}
    optional {}
    plain {
        /// The id that should have come next.
        expected: u64 = g.expected;
        /// The id that came instead.
        seen: u64 = g.received;
    }
    object {}
}

event_class! {
    /// A symbol's book is not valid until its next `BookSnapshot`.
    PyMarketStale, "MarketStale", MarketStale(reason);
    numbers {}
    optional {}
    plain {
        /// Why the book is stale.
        ///
        /// - `gap`: updates were lost.
        /// - `crossed`: the best bid reached the best ask.
        /// - `checksum`: the venue's checksum differs from ours.
        /// - `no_snapshot`: no usable snapshot came while updates were waiting for one.
        /// - `overflow`: a number of the venue does not fit the book.
        /// - `disconnected`: the connection was lost.
        reason: &'static str = reason.name();
    }
    object {}
}
