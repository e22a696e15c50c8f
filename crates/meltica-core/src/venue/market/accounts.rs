//! Requests of accounts.

use super::machine::Market;
use super::orders::{Refusal, Request, UserFill, UserOrder};
use super::sink::Sink;
use crate::decimal::Decimal;
use crate::event::{Nanos, OrderState};
use crate::venue::increments::exact;
use crate::venue::{AccountId, AssetId, Balance, Command, NewOrder, OrderId, Reject};

impl Market {
    /// Opens an account without funds.
    pub fn open_account(&mut self) -> AccountId {
        self.ledger.open(true)
    }

    /// Returns the assets, sorted by name.
    pub fn assets(&self) -> &[(String, AssetId)] {
        &self.assets
    }

    /// Returns an asset's number of digits after the point.
    pub fn scale(&self, asset: AssetId) -> u8 {
        self.ledger.scale(asset)
    }

    /// Returns an amount of an asset as a decimal.
    pub fn money(&self, asset: AssetId, amount: i128) -> Decimal {
        exact(amount, self.ledger.scale(asset))
    }

    /// Deposits funds into an account.
    ///
    /// # Errors
    /// [`Reject::Overflow`] for an amount that is negative, too large, or finer than the asset's smallest unit;
    /// [`Reject::UnknownAccount`].
    pub fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Decimal) -> Result<(), Reject> {
        let units = amount.normalize().rescale(self.ledger.scale(asset)).ok_or(Reject::Overflow)?;
        self.ledger.transfer(AccountId::OUTSIDE, account, asset, units.mantissa())?;
        self.reporter.balance(account, asset, self.ledger.balance(account, asset), self.now);
        Ok(())
    }

    /// Returns the balances of an account.
    pub fn balances(&self, account: AccountId) -> impl Iterator<Item = (&str, AssetId, Balance)> {
        let balance = move |asset| self.ledger.balance(account, asset);
        self.assets.iter().map(move |(name, asset)| (name.as_str(), *asset, balance(*asset)))
    }

    /// Returns a balance of an account.
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.ledger.balance(account, asset)
    }

    /// Returns an account's open orders, oldest first.
    pub fn open_orders(&self, account: AccountId) -> impl Iterator<Item = &UserOrder> {
        self.orders.of(account)
    }

    /// Returns the fills of all accounts with a number above `number`, of the venue's last 1,048,576 fills. Withheld
    /// fills are left out.
    pub fn fills_since(&self, number: u64) -> impl Iterator<Item = &UserFill> {
        self.orders.fills_since(number)
    }

    /// Returns the number of fills so far; the two sides of a trade are two fills.
    pub fn fills(&self) -> u64 {
        self.orders.fills()
    }

    /// Returns an order of an account: open, or one of the venue's last 100,000 closed orders.
    pub fn order(&self, account: AccountId, client_order_id: &str) -> Option<&UserOrder> {
        self.orders.find(account, client_order_id)
    }

    /// Returns the orders of an account that changed at `time` or later.
    pub fn orders_since(&self, account: AccountId, time: Nanos) -> impl Iterator<Item = &UserOrder> {
        self.orders.changed_since(account, time)
    }

    /// Refuses a client order id that an open order has. Such a refusal is not reported, because a report with that id
    /// would seem to concern the open order.
    fn check_id(&self, account: AccountId, client_order_id: &str) -> Result<(), Refusal> {
        if client_order_id.is_empty() {
            return Ok(());
        }
        match self.orders.find_open(account, client_order_id) {
            Some(_) => Err(Refusal::DuplicateId(client_order_id.to_owned())),
            None => Ok(()),
        }
    }

    /// Submits an order of an account at the current virtual time. A refused order is reported as rejected.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn submit(
        &mut self,
        account: AccountId,
        pair: usize,
        request: &Request,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<OrderId, Refusal> {
        let order = UserOrder::new(account, pair, request, self.now);
        let Request { client_order_id, side, quantity, kind } = request;
        self.check_id(account, client_order_id)?;
        let tag = self.orders.insert(order);
        let (side, quantity, kind) = (*side, *quantity, *kind);
        let command = Command::New(NewOrder { side, quantity, kind, account, self_trade: None, tag });
        match self.step(pair, command, sink) {
            Ok(order) => Ok(order.expect("Invariant: a new order is accepted or refused")),
            Err(reject) => {
                let text = self.pairs[pair].engine.explain(&self.ledger, &command, reject);
                let reason = Some(text.clone().into());
                if let Some(order) = self.orders.end(tag, OrderState::Rejected, self.now, reason) {
                    self.reporter.order(sink, &self.pairs[pair], self.now, order, None);
                }
                Err(Refusal::Engine(reject, text))
            }
        }
    }

    /// Refuses an order of an account as a simulated fault, and reports the order as rejected.
    pub fn refuse(
        &mut self,
        account: AccountId,
        pair: usize,
        request: &Request,
        sink: &mut (impl Sink + ?Sized),
    ) -> Refusal {
        if let Err(refusal) = self.check_id(account, &request.client_order_id) {
            return refusal;
        }
        let order = UserOrder::new(account, pair, request, self.now);
        let order = self.orders.refuse(order, Refusal::Injected.to_string());
        self.reporter.order(sink, &self.pairs[pair], self.now, order, None);
        Refusal::Injected
    }

    /// Cancels an open order of an account.
    ///
    /// # Errors
    /// [`Refusal::UnknownOrder`].
    pub fn cancel(
        &mut self,
        account: AccountId,
        client_order_id: &str,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), Refusal> {
        self.change(account, client_order_id, Command::Cancel, sink)
    }

    /// Amends price, total quantity, or both of an open order of an account.
    ///
    /// # Errors
    /// The reason for the refusal; the order is unchanged.
    pub fn amend(
        &mut self,
        account: AccountId,
        client_order_id: &str,
        price: Option<i64>,
        quantity: Option<i64>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), Refusal> {
        self.change(account, client_order_id, |order| Command::Amend { order, price, quantity }, sink)
    }

    fn change(
        &mut self,
        account: AccountId,
        client_order_id: &str,
        command: impl FnOnce(OrderId) -> Command,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), Refusal> {
        let open = self
            .orders
            .find_open(account, client_order_id)
            .and_then(|order| Some((order.pair, order.order?)));
        let Some((pair, order)) = open else {
            return Err(Refusal::UnknownOrder(client_order_id.to_owned()));
        };
        let command = command(order);
        self.step(pair, command, sink).map(|_| ()).map_err(|reject| {
            Refusal::Engine(reject, self.pairs[pair].engine.explain(&self.ledger, &command, reject))
        })
    }
}
