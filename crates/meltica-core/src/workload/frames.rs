//! Generated frames of a Binance combined stream: one symbol, whose book changes near its best prices.

/// Twenty frames, shuffled for each round: 40 % trades, 20 % book tickers, 20 % day tickers, 20 % diffs.
const DECK: [u8; 20] = *b"ttttttttbbbbkkkkdddd";
const DECKS: usize = 500;
/// Levels per side of the snapshot; `DIFF_LEVELS` is that of each diff.
const SNAPSHOT_LEVELS: u64 = 1000;
const DIFF_LEVELS: usize = 10;
/// The initial mid price, in ticks of 0.01.
pub const MID: u64 = 6_183_764;

/// Returns 10,002 frames, the same on each call: a diff and a snapshot that synchronise the book, then the mix.
pub fn mix() -> Vec<Vec<u8>> {
    let mut market = Market::default();
    let mut frames = vec![market.diff(), market.snapshot()];
    for _ in 0..DECKS {
        let mut deck = DECK;
        for i in (1..deck.len()).rev() {
            deck.swap(i, market.random.below(i as u64 + 1) as usize);
        }
        frames.extend(deck.iter().map(|card| match card {
            b't' => market.trade(),
            b'b' => market.book_ticker(),
            b'k' => market.day_ticker(),
            _ => market.diff(),
        }));
    }
    frames.into_iter().map(String::into_bytes).collect()
}

/// The generator splitmix64 by Sebastiano Vigna.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn quantity(&mut self) -> String {
        format!("{}.{:05}000", self.below(4), self.below(99_999) + 1)
    }
}

struct Market {
    random: Random,
    /// The mid price in ticks of 0.01. The best bid and ask are one tick from it.
    mid: u64,
    trade: u64,
    update: u64,
    /// The last update id of the last diff.
    diffed: u64,
}

impl Default for Market {
    fn default() -> Self {
        let update = 50_093_239_189;
        Self { random: Random(7), mid: MID, trade: 3_735_683_259, update, diffed: update }
    }
}

impl Market {
    fn time(&self) -> u64 {
        1_723_161_255_000 + self.trade % 1_000_000
    }

    fn trade(&mut self) -> String {
        self.trade += 1;
        let (id, time, sold) = (self.trade, self.time(), self.random.below(2) == 0);
        let price = price(if sold { self.mid - 1 } else { self.mid + 1 });
        let quantity = self.random.quantity();
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":{id},"p":"{price}","q":"{quantity}","T":{time},"m":{sold},"M":true}}}}"#
        )
    }

    fn book_ticker(&mut self) -> String {
        self.update += 1 + self.random.below(5);
        let (id, bid, ask) = (self.update, price(self.mid - 1), price(self.mid + 1));
        let (bids, asks) = (self.random.quantity(), self.random.quantity());
        format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{id},"s":"BTCUSDT","b":"{bid}","B":"{bids}","a":"{ask}","A":"{asks}"}}}}"#
        )
    }

    fn day_ticker(&mut self) -> String {
        let (time, trade, open) = (self.time(), self.trade, price(MID - 123_456));
        let [high, low, mean] = [200_000, 7, 100_000].map(|above| price(MID - 150_000 + above));
        let [bid, ask, last] = [self.mid - 1, self.mid + 1, self.mid + 1].map(price);
        let [bids, asks, size] = [(); 3].map(|()| self.random.quantity());
        let (first, n, since) = (trade - 1_815_023, 1_815_024, time - 86_400_000);
        let volume = self.random.below(100_000_000);
        format!(
            r#"{{"stream":"btcusdt@ticker","data":{{"e":"24hrTicker","E":{time},"s":"BTCUSDT","p":"1234.56000000","P":"2.037","w":"{mean}","x":"{open}","c":"{last}","Q":"{size}","b":"{bid}","B":"{bids}","a":"{ask}","A":"{asks}","o":"{open}","h":"{high}","l":"{low}","v":"34567.{volume:08}","q":"2123456789.12345678","O":{since},"C":{time},"F":{first},"L":{trade},"n":{n}}}}}"#
        )
    }

    fn snapshot(&mut self) -> String {
        let (id, mid) = (self.diffed, self.mid);
        let mut side = |price_at: &dyn Fn(u64) -> u64| {
            let offsets = 1..=SNAPSHOT_LEVELS;
            list(offsets.map(|offset| level(price_at(offset), &self.random.quantity())))
        };
        let (bids, asks) = (side(&|offset| mid - offset), side(&|offset| mid + offset));
        format!(r#"{{"lastUpdateId":{id},"bids":{bids},"asks":{asks}}}"#)
    }

    /// Returns a diff. The mid price moves by at most one tick; levels at and near the best prices change.
    fn diff(&mut self) -> String {
        let before = self.mid;
        self.mid = before + self.random.below(3) - 1;
        self.update += 1 + self.random.below(20);
        let (bids, asks) = (self.changes(false, self.mid < before), self.changes(true, self.mid > before));
        let (time, first, last) = (self.time(), self.diffed + 1, self.update);
        self.diffed = last;
        format!(
            r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{time},"s":"BTCUSDT","U":{first},"u":{last},"b":{bids},"a":{asks}}}}}"#
        )
    }

    /// Returns the changes of one side, best price first. A level that the mid price has reached is removed.
    fn changes(&mut self, asks: bool, taken: bool) -> String {
        let mut offset = u64::from(!taken);
        list((0..DIFF_LEVELS).map(|_| {
            let at = if asks { self.mid + offset } else { self.mid - offset };
            let gone = offset == 0 || (offset > 1 && self.random.below(4) == 0);
            offset += if offset == 0 { 1 } else { 1 + self.random.below(4) };
            if gone { level(at, "0.00000000") } else { level(at, &self.random.quantity()) }
        }))
    }
}

fn price(ticks: u64) -> String {
    format!("{}.{:02}000000", ticks / 100, ticks % 100)
}

fn level(ticks: u64, quantity: &str) -> String {
    format!(r#"["{}","{quantity}"]"#, price(ticks))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}
