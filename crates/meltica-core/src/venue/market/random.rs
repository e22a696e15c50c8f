//! Random numbers that are identical on every platform: integers, and floats from operations that IEEE 754 rounds
//! exactly.

/// `SplitMix64`.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// Returns the random stream of a seed and a name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(name.bytes().fold(mix(seed.wrapping_add(GAMMA)), |state, byte| {
            mix(state.wrapping_mul(GAMMA).wrapping_add(u64::from(byte) + 1))
        }))
    }

    /// Returns the substream with a number.
    pub fn at(&self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number.wrapping_add(GAMMA))))
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Returns an integer from 0 up to, but not including, `n`.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Returns a number from 0 up to, but not including, 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Returns true with the given probability.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns the number of heads of a fair coin before the first tails.
    #[inline]
    pub fn heads(&mut self) -> i64 {
        i64::from(self.next().trailing_zeros())
    }

    /// Returns an approximately normal deviate (Irwin-Hall): the sum of twelve uniform 16-bit numbers minus its mean.
    /// Its absolute value is at most 6.
    pub fn normal(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.next();
            sum += (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
        }
        (sum as f64 - 6.0 * 65_535.0) / 65_536.0
    }

    /// Returns an exponential deviate with mean 1. Von Neumann's comparison method needs no logarithm: a descending run
    /// that starts with `x` has an odd length with probability exp(-x).
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        let mut whole = 0.0;
        loop {
            let first = self.unit();
            let mut last = first;
            let mut odd = true;
            loop {
                let next = self.unit();
                if next >= last {
                    break;
                }
                last = next;
                odd = !odd;
            }
            if odd {
                return whole + first;
            }
            whole += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviates_have_their_moments() {
        let mut random = Random::new(7, "MOMENTS");
        let n = 200_000;
        let moments = |draw: &mut dyn FnMut() -> f64| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..n {
                let x = draw();
                (sum, squares) = (sum + x, squares + x * x);
            }
            let mean = sum / f64::from(n);
            (mean, squares / f64::from(n) - mean * mean)
        };
        let near = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.02, "mean {mean}, expected {}", expected.0);
            assert!((variance - expected.1).abs() < 0.03, "variance {variance}, expected {}", expected.1);
        };
        near(moments(&mut || random.normal()), (0.0, 1.0));
        near(moments(&mut || random.exponential()), (1.0, 1.0));
        near(moments(&mut || random.unit()), (0.5, 1.0 / 12.0));
        near(moments(&mut || random.below(4) as f64), (1.5, 1.25));
        near(moments(&mut || random.heads() as f64), (1.0, 2.0));
    }

    #[test]
    fn each_seed_and_name_has_its_own_stream() {
        let first = |seed, name| Random::new(seed, name).next();
        let all = [first(1, "BTC-USDT"), first(2, "BTC-USDT"), first(1, "ETH-USDT"), first(1, "BTC-USDC")];
        for (i, a) in all.iter().enumerate() {
            assert!(!all[..i].contains(a), "{all:?}");
        }
        // Pinned: a different stream would change the data of every seed.
        assert_eq!(first(1, "BTC-USDT"), 8_647_971_239_021_585_372);
    }
}
