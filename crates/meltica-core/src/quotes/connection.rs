//! The connection of a provider: when it last delivered anything, and how late its messages are.

use crate::event::Nanos;

/// The delay of a feed above its least delay of the last 8 s.
///
/// A delay is the received time less the venue's time. The two clocks may differ: only changes count. The least delays
/// are kept by intervals of an eighth of a second, so the memory is constant, and messages may be observed slightly out
/// of order.
#[derive(Debug)]
pub struct FeedLag {
    /// The number of an interval, and the least delay in it.
    least: [(Nanos, Nanos); Self::INTERVALS],
}

impl Default for FeedLag {
    fn default() -> Self {
        Self { least: [(Nanos::MIN, 0); Self::INTERVALS] }
    }
}

impl FeedLag {
    /// The length of an interval.
    const INTERVAL: Nanos = 125_000_000;
    /// The current interval, and those of the last 8 s.
    const INTERVALS: usize = 65;

    /// Takes the times of a message and returns its lag.
    pub fn observe(&mut self, received: Nanos, venue: Nanos) -> Nanos {
        let delay = received.saturating_sub(venue);
        let interval = received.div_euclid(Self::INTERVAL);
        let place = interval.rem_euclid(Self::INTERVALS as Nanos) as usize;
        let slot = &mut self.least[place];
        *slot = if slot.0 == interval { (interval, slot.1.min(delay)) } else { (interval, delay) };
        // An interval that is not within the last 8 s is old, or from before the clock was set back.
        let recent = interval - (Self::INTERVALS as Nanos - 1)..=interval;
        let valid = self.least.iter().filter(|(number, _)| recent.contains(number));
        delay.saturating_sub(valid.map(|(_, least)| *least).min().unwrap_or(delay))
    }
}

/// The connection of one provider, as of the last check.
#[derive(Debug)]
pub struct Connection {
    /// When it delivered anything, at the latest: the time of the check before the one that found it. 0 before the first.
    pub time: Nanos,
    /// The lag of the latest message with a time of the venue.
    pub lag: Option<Nanos>,
    feed: FeedLag,
    delivered: u64,
    checked_at: Nanos,
}

impl Connection {
    /// Returns the connection of a provider that has delivered `delivered` messages so far.
    pub fn new(delivered: u64, now: Nanos) -> Self {
        Self { time: 0, lag: None, feed: FeedLag::default(), delivered, checked_at: now }
    }

    /// Takes the times of a message.
    pub fn observe(&mut self, received: Nanos, venue: Option<Nanos>) {
        if let Some(venue) = venue {
            self.lag = Some(self.feed.observe(received, venue));
        }
    }

    /// Takes the number of messages delivered so far. New ones arrived after the last check, so that is their time.
    pub fn check(&mut self, delivered: u64, now: Nanos) {
        if delivered != self.delivered {
            (self.delivered, self.time) = (delivered, self.checked_at);
        }
        self.checked_at = now;
    }
}
