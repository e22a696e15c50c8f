//! What the operator of a synthetic market does: deposits, other fees, and simulated faults on demand.

use super::lookup::{self, framed, pair, raise};
use super::run::{Guard, Locked, State};
use super::setup;
use crate::convert::{decimal, value_error};
use crate::simulator::input::{config_error_of, named, refused};
use meltica_core::event::Nanos;
use meltica_core::venue::market::{
    FeeCurrency, LostAnswers, Outlet, ReportFaults, RequestKind, SimulatedVenue,
};
use meltica_core::venue::{AssetId, FeeAsset, OrderId, Reject};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// The kinds of requests that change something.
const KINDS: [(&str, RequestKind); 3] =
    [("submit", RequestKind::Submit), ("cancel", RequestKind::Cancel), ("amend", RequestKind::Amend)];

pub fn request_kind(name: &str) -> PyResult<RequestKind> {
    named("kind", name, &KINDS)
}

/// The operator of a `SyntheticMarket`: deposits and withdrawals, fees, and simulated faults on demand.
///
/// Methods without an `account` use the first one.
#[pyclass(module = "meltica._core", name = "VenueOperator", frozen, immutable_type)]
pub struct PyVenueOperator {
    state: Arc<Locked>,
}

fn asset_of(state: &State, currency: &str) -> PyResult<AssetId> {
    let assets = state.venue.market().assets();
    let found = assets.iter().find(|(name, _)| name == currency).map(|(_, asset)| *asset);
    found.ok_or_else(|| value_error(format!("currency: expected one of the symbols, saw {currency:?}")))
}

impl PyVenueOperator {
    pub fn new(state: Arc<Locked>) -> Self {
        Self { state }
    }

    fn state(&self, py: Python<'_>) -> Guard<'_> {
        self.state.lock_attached(py)
    }

    fn act<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut SimulatedVenue, &mut dyn Outlet) -> R + Send,
    ) -> R {
        py.detach(|| self.state.lock().execute(act))
    }
}

#[pymethods]
impl PyVenueOperator {
    /// Deposits an amount into an account, or withdraws a negative one; returns the venue's id of the transfer.
    ///
    /// The balance is published with the transfer. Raises `OrderRefused` with `insufficient_funds` if less is available.
    #[pyo3(signature = (currency, amount, *, account = None))]
    fn transfer(
        &self,
        py: Python<'_>,
        currency: &str,
        amount: &Bound<'_, PyAny>,
        account: Option<&str>,
    ) -> PyResult<String> {
        let amount = decimal(amount)?;
        let (account, asset) = {
            let state = self.state(py);
            (lookup::account(&state, account)?, asset_of(&state, currency)?)
        };
        let id = self.act(py, |venue, outlet| venue.market_mut().transfer(account, asset, amount, outlet));
        id.map(|id| id.to_string()).map_err(|reject| match reject {
            Reject::InsufficientFunds { .. } => {
                let text = format!("expected {amount} of {currency} available, saw less");
                refused(py, reject.code(), text)
            }
            _ => value_error(format!("amount: expected one that fits {currency}, saw {amount}")),
        })
    }

    /// Changes the fee rates of later trades, also of open orders; a negative rate is a rebate.
    ///
    /// `currency` is `quote`, `base`, `received`, or a currency of the symbols with its `price` in quote. In a trade of
    /// that currency, or of an account with too little of it, the fee is charged in what was received.
    ///
    /// Raises `ConfigError` for values that do not fit, or when an account cannot pay the new fees of its open orders.
    #[pyo3(signature = (maker, taker, currency = "quote", price = None))]
    fn set_fees(
        &self,
        py: Python<'_>,
        maker: &Bound<'_, PyAny>,
        taker: &Bound<'_, PyAny>,
        currency: &str,
        price: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (maker, taker) = (decimal(maker)?, decimal(taker)?);
        let fault = |text: String| config_error_of(py, "SyntheticMarket", vec![text]);
        let price = price.map(decimal).transpose()?;
        let fees = match (currency, price) {
            ("quote", None) => FeeCurrency::Traded(FeeAsset::Quote),
            ("base", None) => FeeCurrency::Traded(FeeAsset::Base),
            ("received", None) => FeeCurrency::Traded(FeeAsset::Received),
            ("quote" | "base" | "received", Some(_)) => {
                return Err(fault(format!("price: expected none for fees in {currency}, saw one")));
            }
            (_, None) => return Err(fault(format!("price: expected that of {currency} in quote, saw none"))),
            (_, Some(price)) => FeeCurrency::Other(asset_of(&self.state(py), currency)?, price),
        };
        let set = self.act(py, |venue, outlet| venue.market_mut().set_fees(maker, taker, fees, outlet));
        set.map_err(|faults| config_error_of(py, "SyntheticMarket", faults.0))
    }

    /// Cancels an open order of an account by the venue's id. Raises `OrderRefused` if the order is not open.
    #[pyo3(signature = (symbol, venue_order_id, *, account = None))]
    fn cancel(
        &self,
        py: Python<'_>,
        symbol: &str,
        venue_order_id: &str,
        account: Option<&str>,
    ) -> PyResult<()> {
        let (account, index) = {
            let state = self.state(py);
            (lookup::account(&state, account)?, pair(&state, symbol)?)
        };
        let order = OrderId(venue_order_id.parse().unwrap_or(0));
        let cancelled = self
            .act(py, |venue, outlet| venue.market_mut().cancel_venue_order(account, index, order, outlet));
        cancelled.map_err(|refusal| raise(py, &refusal))
    }

    /// Forgets an order: it leaves the book without a report, and queries no longer find it.
    ///
    /// Its fills remain. Raises `OrderRefused` if the order is unknown.
    #[pyo3(signature = (client_order_id, *, account = None))]
    fn forget(&self, py: Python<'_>, client_order_id: &str, account: Option<&str>) -> PyResult<()> {
        let account = lookup::account(&self.state(py), account)?;
        let forgotten =
            self.act(py, |venue, outlet| venue.market_mut().forget(account, client_order_id, outlet));
        forgotten.map_err(|refusal| raise(py, &refusal))
    }

    /// Publishes the balance before the last one again, with its time; returns False if there was none.
    #[pyo3(signature = (currency, *, account = None))]
    fn resend_older_balance(&self, py: Python<'_>, currency: &str, account: Option<&str>) -> PyResult<bool> {
        let (account, asset) = {
            let state = self.state(py);
            (lookup::account(&state, account)?, asset_of(&state, currency)?)
        };
        Ok(self.act(py, |venue, outlet| venue.market_mut().resend_older_balance(account, asset, outlet)))
    }

    /// Loses the reports and balances of all accounts from now on, or publishes them again.
    fn mute(&self, py: Python<'_>, muted: bool) {
        self.act(py, |venue, outlet| venue.mute(muted, outlet));
    }

    /// Starts or ends faults of reports; None changes nothing.
    ///
    /// - `withhold_fills`: new fills are neither reported nor listed; at the end of the fault they are listed.
    /// - `fills_after_end`: a fill that leaves its order open is reported after the end of the order, or of the fault.
    #[pyo3(signature = (*, withhold_fills = None, fills_after_end = None))]
    fn set_report_faults(&self, py: Python<'_>, withhold_fills: Option<bool>, fills_after_end: Option<bool>) {
        self.act(py, |venue, outlet| {
            let now = venue.market().report_faults();
            let faults = ReportFaults {
                withhold_fills: withhold_fills.unwrap_or(now.withhold_fills),
                fills_after_end: fills_after_end.unwrap_or(now.fills_after_end),
            };
            venue.market_mut().set_report_faults(faults, outlet);
        });
    }

    /// Loses the answers to the next `count` requests of a kind: `submit`, `cancel` or `amend`.
    ///
    /// The venue carries them out after `carried_out_after` virtual ns, at most 10 s, or never for None.
    ///
    /// Raises `ConfigError` for another delay.
    #[pyo3(signature = (kind, count = 1, carried_out_after = None))]
    fn lose_answers(
        &self,
        py: Python<'_>,
        kind: &str,
        count: u32,
        carried_out_after: Option<Nanos>,
    ) -> PyResult<()> {
        let (kind, lost) = (request_kind(kind)?, LostAnswers { count, carried_out_after });
        let set = self.state(py).venue.lose_answers(kind, lost);
        set.map_err(|faults| config_error_of(py, "SyntheticMarket", faults.0))
    }

    /// Cuts all connections for `duration` virtual ns, or for as long as the behavior says.
    #[pyo3(signature = (duration = None))]
    fn disconnect(&self, py: Python<'_>, duration: Option<Nanos>) -> PyResult<()> {
        if duration.is_some_and(|duration| duration < 0) {
            return Err(value_error("expected a duration of 0 or more"));
        }
        self.act(py, |venue, outlet| {
            let duration = duration.unwrap_or(venue.behavior().disconnect_for);
            venue.disconnect(duration, outlet);
        });
        Ok(())
    }

    /// Changes fault settings (times in ns). Raises `ConfigError`; the behavior is then unchanged.
    fn set_behavior(&self, py: Python<'_>, changes: &Bound<'_, PyDict>) -> PyResult<()> {
        let behavior = setup::changed(self.state(py).venue.behavior(), changes)?;
        let set = self.act(py, |venue, outlet| venue.set_behavior(behavior, outlet));
        set.map_err(|faults| config_error_of(py, "SyntheticMarket", faults.0))
    }

    /// Pauses or resumes the background traders; clock, candles and accounts go on.
    fn rest(&self, py: Python<'_>, resting: bool) {
        self.act(py, |venue, _| venue.pause_background(resting));
    }

    /// Drops the next depth frames of a symbol. Raises `ValueError` for a market with a producer.
    #[pyo3(signature = (symbol, frames = 1))]
    fn skip_depth(&self, py: Python<'_>, symbol: &str, frames: u32) -> PyResult<()> {
        let mut state = self.state(py);
        let pair = pair(&state, symbol)?;
        let (_, wire, _) = framed(&mut state)?;
        wire.skip_depth(pair, frames);
        Ok(())
    }

    /// The current faults: `muted`, `withhold_fills`, `fills_after_end`, and `lost_answers` by kind.
    #[getter]
    fn faults<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.state(py);
        let ReportFaults { withhold_fills, fills_after_end } = state.venue.market().report_faults();
        let out = PyDict::new(py);
        out.set_item("muted", state.venue.is_muted())?;
        out.set_item("withhold_fills", withhold_fills)?;
        out.set_item("fills_after_end", fills_after_end)?;
        let lost = PyDict::new(py);
        for (name, kind) in KINDS {
            lost.set_item(name, state.venue.lost_answers(kind).count)?;
        }
        out.set_item("lost_answers", lost)?;
        Ok(out)
    }
}
