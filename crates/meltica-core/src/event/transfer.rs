//! Deposits and withdrawals.

use crate::decimal::Decimal;

/// A deposit or withdrawal.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// The venue's id.
    pub id: String,
    /// The amount by which the balance changed; negative for a withdrawal.
    pub change: Decimal,
    /// Deposit or withdrawal.
    pub reason: TransferReason,
}

/// Why a balance changed without an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferReason {
    /// Funds arrived.
    Deposit,
    /// Funds left.
    Withdrawal,
}

impl TransferReason {
    /// Returns the reason for a change of this sign.
    pub const fn of(change: i128) -> Self {
        if change < 0 { Self::Withdrawal } else { Self::Deposit }
    }

    /// Returns `deposit` or `withdrawal`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
        }
    }

    /// Returns the reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Deposit, Self::Withdrawal].into_iter().find(|reason| reason.name() == name)
    }
}
