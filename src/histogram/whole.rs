//! Histograms of whole numbers that are counted here, and not by Envoy.
//!
//! Bins are as fine as Envoy's, but hold their upper end and not their lower one, as buckets of
//! Prometheus do: 100 lies in the one from 99 to 100. So a count at a bound of two digits is exact,
//! and at any other one it is that of the next bound below which has two.

use super::{Bin, ten_to};

/// A bin, ordered as the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpTo {
    /// The upper end is `digits * 10^power`; digits are 11 to 100, or 0.
    power: i8,
    digits: u8,
}

/// Numbers in bins, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Bins and how many are in each.
    pub bins: Vec<(UpTo, u64)>,
    /// Numbers are so many powers of ten larger than what they stand for.
    pub shift: u8,
    /// The sum of what they stand for.
    pub sum: f64,
}

impl UpTo {
    /// That of a number.
    pub fn holding(number: u64) -> Self {
        if number == 0 {
            return Self {
                power: i8::MIN,
                digits: 0,
            };
        }
        // 1 lies in the bin from 0.99 on.
        let (mut upper, mut power) = (u128::from(number) * 100, -2);
        while upper > 100 {
            upper = upper.div_ceil(10);
            power += 1;
        }
        Self {
            power,
            digits: u8::try_from(upper).unwrap_or(100),
        }
    }

    /// The upper end: where it is no whole number there is none in the bin.
    fn upper(self) -> u128 {
        let digits = u128::from(self.digits);
        let ten = 10_u128.pow(self.power.unsigned_abs().min(20).into());
        if self.power < 0 {
            digits / ten
        } else {
            digits * ten
        }
    }
}

impl Counted {
    /// Writes the cumulative count at each bound (rising, without `+Inf`) to `out`, which is cleared;
    /// says how many there are in all. Bounds are of what the numbers stand for.
    pub fn buckets(&self, bounds: &[f64], out: &mut Vec<u64>) -> u64 {
        let scale = ten_to(self.shift.into());
        out.clear();
        out.resize(bounds.len(), 0);
        let mut total = 0_u64;
        for (bin, count) in &self.bins {
            total = total.saturating_add(*count);
            let counts = |bound: &f64| bin.upper() <= whole(*bound * scale);
            let first = bounds.iter().position(counts).unwrap_or(bounds.len());
            for place in out.iter_mut().skip(first) {
                *place = place.saturating_add(*count);
            }
        }
        total
    }

    /// The same as bins of Envoy's kind.
    pub fn as_bins(&self) -> Vec<Bin> {
        let of = |(bin, count): &(UpTo, u64)| {
            if bin.digits == 0 {
                return Bin {
                    lower_bound: 0.0,
                    width: 0.0,
                    count: *count,
                };
            }
            let width = ten_to(i32::from(bin.power) - i32::from(self.shift));
            Bin {
                lower_bound: f64::from(bin.digits - 1) * width,
                width,
                count: *count,
            }
        };
        self.bins.iter().map(of).collect()
    }
}

/// The largest whole number that is not above; what misses one by a rounding is that one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is negative is no bound of such numbers, and holds none but 0"
)]
fn whole(bound: f64) -> u128 {
    (bound * (1.0 + 1e-12)).floor() as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::native::{Options, native};
    use crate::histogram::{Generation, Maths, Scale};

    fn counted(numbers: &[u64], shift: u8) -> Counted {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        Counted {
            bins: numbers
                .iter()
                .map(|number| (UpTo::holding(*number), 1))
                .collect(),
            shift,
            sum: 0.0,
        }
    }

    #[test]
    fn counts_are_exact_at_bounds_of_two_digits() {
        for shift in [0, 3, 6] {
            for power in 0..9_u32 {
                for digits in 1..100_u64 {
                    let bound = digits * 10_u64.pow(power);
                    // As a person writes it.
                    let shown: f64 = format!("{bound}e-{shift}").parse().unwrap();
                    for (number, want) in [(bound - 1, 1), (bound, 1), (bound + 1, 0)] {
                        let mut counts = Vec::new();
                        let total = counted(&[number], shift).buckets(&[shown], &mut counts);
                        assert_eq!((counts[0], total), (want, 1), "{number} at {shown}");
                    }
                }
            }
        }
    }

    #[test]
    fn counts_at_any_bound() {
        let numbers = [0, 0, 1, 2, 11, 99, 100, 101, 109, 110, 111, 5000, u64::MAX];
        for (bound, want) in [
            (-1.0, 2),
            (0.0, 2),
            (0.5, 2),
            (1.0, 3),
            (10.9, 4),
            (100.0, 7),
            // Between two bounds of two digits.
            (105.0, 7),
            (110.0, 10),
            (120.0, 11),
            (1e18, 12),
            (2e19, 13),
        ] {
            let mut counts = Vec::new();
            let total = counted(&numbers, 0).buckets(&[bound], &mut counts);
            assert_eq!((counts[0], total), (want, 13), "{bound}");
        }
    }

    #[test]
    fn bins_are_in_order_and_their_middles_near() {
        let numbers = [0, 1, 2, 9, 10, 11, 99, 100, 101, 111, 12_345, u64::MAX];
        let all = numbers.map(UpTo::holding);
        assert!(all.is_sorted());
        assert_eq!(UpTo::holding(101), UpTo::holding(110));
        let maths = Maths {
            generation: Generation::Legacy,
            scale: Scale::Plain,
        };
        for number in numbers {
            let bins = counted(&[number], 3).as_bins();
            let native = native(&bins, maths, &Options::default(), None);
            assert_eq!(native.count, 1);
            #[expect(clippy::cast_precision_loss, reason = "within ten percent")]
            let shown = number as f64 / 1000.0;
            assert!(
                (native.sum - shown).abs() <= shown / 10.0,
                "{number}: {}",
                native.sum
            );
        }
    }
}
