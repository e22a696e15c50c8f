//! Notices: reports that market data of a symbol is not valid.

use super::{Kind, Payload, StaleReason};

/// The subject of a notice. A later notice replaces an earlier one of the same symbol in a queue only if both have the
/// same subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Notice {
    /// A hole in the sequence of a book.
    Gap,
    /// A stale book.
    StaleBook,
    /// A stale ticker.
    StaleTicker,
    /// Trades that were missed, although the connection was not lost.
    StaleTrades,
    /// A stale feed: every kind of market data of the symbol.
    StaleFeed,
}

impl Notice {
    /// Returns the subject of a notice, or `None` if the payload is that of another kind.
    pub const fn of(payload: &Payload) -> Option<Self> {
        match payload {
            Payload::BookGap(_) => Some(Self::Gap),
            Payload::MarketStale(reason) => Some(reason.subject()),
            _ => None,
        }
    }

    /// Returns the kind of the notice's events.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Gap => Kind::BookGap,
            Self::StaleBook | Self::StaleTicker | Self::StaleTrades | Self::StaleFeed => Kind::MarketStale,
        }
    }

    /// Returns the kinds of market data whose subscribers receive the notice.
    pub const fn concerns(self) -> &'static [Kind] {
        match self {
            Self::Gap | Self::StaleBook => &[Kind::BookSnapshot],
            Self::StaleTicker => &[Kind::Ticker],
            Self::StaleTrades => &[Kind::Trade],
            Self::StaleFeed => &[Kind::BookSnapshot, Kind::Trade, Kind::Ticker],
        }
    }
}

impl StaleReason {
    /// Returns the subject of a notice with this reason.
    pub const fn subject(self) -> Notice {
        match self {
            Self::Disconnected | Self::Silent | Self::LeftOut | Self::ContractSize => Notice::StaleFeed,
            Self::TickerCrossed => Notice::StaleTicker,
            Self::IdsRestarted => Notice::StaleTrades,
            _ => Notice::StaleBook,
        }
    }
}

impl Kind {
    /// Returns the notices that subscribers of the kind receive.
    pub const fn notices(self) -> &'static [Notice] {
        match self {
            Self::BookSnapshot => &[Notice::Gap, Notice::StaleBook, Notice::StaleFeed],
            Self::Trade => &[Notice::StaleTrades, Notice::StaleFeed],
            Self::Ticker => &[Notice::StaleTicker, Notice::StaleFeed],
            _ => &[],
        }
    }
}
