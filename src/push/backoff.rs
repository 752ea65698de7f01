//! How long to wait before the next attempt: twice as long each time up to a limit, at random
//! between half of that and all of it, so that many who failed together do not come back together.
//! Where the other side says when, it is that.

use std::time::{Duration, SystemTime};

use ring::rand::{SecureRandom as _, SystemRandom};

/// The longest time that the other side may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// Times between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    next: Duration,
    limit: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, limit: Duration) -> Self {
        Self { next: first, limit }
    }

    /// The time to wait now; `asked` is what the other side said.
    pub(super) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let most = self.next.min(self.limit);
        self.next = most.saturating_mul(2);
        if let Some(asked) = asked {
            return asked.min(LONGEST_ASKED);
        }
        let mut random = [0; 4];
        // Without random numbers it waits the longest.
        let share = match SystemRandom::new().fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        most.mul_f64(0.5 + share / 2.0)
    }
}

/// The time that a header `Retry-After` says: seconds, or a point in time.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_vary() {
        let (first, limit) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, limit);
        let mut most = first;
        for _ in 0..20 {
            let wait = backoff.wait(None);
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
            most = (most * 2).min(limit);
        }
        let waits: Vec<_> = (0..20).map(|_| backoff.wait(None)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
        assert_eq!(
            backoff.wait(Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(backoff.wait(Some(Duration::MAX)), LONGEST_ASKED);
    }

    #[test]
    fn what_the_other_side_asks_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, want) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let want = want.map(Duration::from_secs);
            assert_eq!(retry_after(text, now), want, "{text:?}");
        }
    }
}
