//! The rate limit of the web configuration: a token bucket that all requests share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Time after which one more request may come.
    pub(super) interval: Duration,
    /// Requests that may come at once.
    pub(super) burst: u32,
}

/// What is left of a rate.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<Option<Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Limiter {
    /// Whether a request may be answered now. Another rate starts with a full bucket.
    pub(super) fn allows(&self, rate: Rate, now: Instant) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(rate.burst);
        let mut bucket = held.filter(|bucket| bucket.rate == rate).unwrap_or(Bucket {
            rate,
            tokens: full,
            filled: now,
        });
        let passed = now.saturating_duration_since(bucket.filled);
        let more = passed.as_secs_f64() / rate.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + more).min(full);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        *held = Some(bucket);
        allowed
    }
}

/// Reads an interval as Go has it: numbers with units as in `1m30s` or `1.5h`, or a bare number of
/// nanoseconds.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration like 500ms, 1s or 1m30s");
    if let Ok(nanoseconds) = text.parse() {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, after) = rest.split_at(digits.ok_or_else(wrong)?);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = after.split_at(letters.unwrap_or(after.len()));
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        for (text, want) in [
            ("1s", Some(1_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("2us", Some(2_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1000", Some(1_000)),
            ("-1s", None),
            ("", None),
            ("+", None),
            ("s", None),
            ("1", Some(1)),
            ("1d", None),
            ("1s2", None),
            ("1..5s", None),
            ("soon", None),
            ("99999999999999999999999h", None),
        ] {
            let have = parse_interval(text).ok().map(|have| have.as_nanos());
            assert_eq!(have, want, "{text:?}");
        }
    }

    #[test]
    fn a_bucket_is_emptied_and_filled_again() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let rate = Rate {
            interval: Duration::from_secs(1),
            burst: 2,
        };
        for (after, want) in [
            (0, true),
            (0, true),
            (0, false),
            (900, false),
            (1000, true),
            (1000, false),
            (60_000, true),
            (60_000, true),
            (60_000, false),
        ] {
            let now = start + Duration::from_millis(after);
            assert_eq!(limiter.allows(rate, now), want, "{after} ms");
        }
        let never = Rate { burst: 0, ..rate };
        assert!(!limiter.allows(never, start + Duration::from_hours(1)));
        assert!(
            limiter.allows(rate, start + Duration::from_hours(1)),
            "another rate is full"
        );
    }
}
