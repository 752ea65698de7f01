//! The lives of a target, told apart from poll to poll: when its process started, and since when
//! its counters and histograms count.
//!
//! What goes in is what each poll shows anyway: `server.uptime`, `server.hot_restart_generation` and
//! how many counters stand lower than before. How each kind of new beginning looks, measured on
//! Envoy 1.36 and 1.40:
//!
//! | | uptime | generation | counters | histograms |
//! |---|---|---|---|---|
//! | restart | starts anew | as of a first start | from 0 | from 0 |
//! | hot restart | goes on; while both processes live, the old one's is added | one more | from 0, but for what the old process counts until it ends | from 0 |
//! | end of the old process | falls to its own | same | go on | go on |
//! | `/reset_counters` | goes on | same | from 0 | go on |
//!
//! So an uptime that falls is no restart by itself. A process that started since the last poll is no
//! older than that poll, and that is what is asked of it besides.

use std::time::Duration;

/// A new beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beginning {
    /// Another process that knows nothing of the one before.
    Restart,
    /// Another process that took over from the one before.
    HotRestart,
    /// The same process, told to count anew.
    CountersReset,
}

impl Beginning {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Restart, Self::HotRestart, Self::CountersReset];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::HotRestart => "hot_restart",
            Self::CountersReset => "counters_reset",
        }
    }
}

/// What one poll shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// When the poll ended, since 1970.
    pub(super) now: Duration,
    /// Seconds, some seconds old.
    pub(super) uptime: Option<u64>,
    pub(super) generation: Option<u64>,
    /// Counters that were above 0 before, and those of them that stand lower now.
    pub(super) counted: usize,
    pub(super) fell: usize,
}

impl Signs {
    /// Most of what counted counts anew. Fewer are clusters that were taken away and added again.
    fn most_counters_fell(&self) -> bool {
        self.fell > 0 && self.fell * 2 >= self.counted
    }
}

/// Since when the stats of a target count, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// When its first process started that others took over from.
    pub process: f64,
    /// Since when counters count.
    pub counters: f64,
    /// Since when histograms count.
    pub histograms: f64,
}

/// What is known of a target's lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lives {
    before: Option<Signs>,
    start: Option<Start>,
    /// Whether the last poll saw something begin.
    began: bool,
}

impl Lives {
    pub(super) fn start(&self) -> Option<Start> {
        self.start
    }

    /// Takes the signs of a poll; says what began anew since the one before.
    pub(super) fn see(&mut self, signs: Signs) -> Option<Beginning> {
        let before = self.before.replace(signs);
        let found = before.and_then(|before| beginning(&before, &signs));
        // What began since the last poll has counted since then at the most, which makes no rate
        // larger than it was.
        let earliest = before.map_or(0.0, |before| before.now.as_secs_f64());
        let start = self.start.or_else(|| made_out(&signs));
        self.start = match found {
            // The uptime is some seconds old, so that the start would wander from poll to poll: the
            // first one holds.
            None => start,
            Some(Beginning::Restart) => made_out(&signs),
            Some(Beginning::HotRestart) => start.map(|start| Start {
                counters: if signs.fell > 0 {
                    earliest
                } else {
                    start.counters
                },
                histograms: earliest,
                ..start
            }),
            Some(Beginning::CountersReset) => start.map(|start| Start {
                counters: earliest,
                ..start
            }),
        };
        // The requests of one poll may reach two processes, counters the old one and gauges the new
        // one: then the counters of the next poll belong to what was seen already.
        let is_aftermath = self.began && found == Some(Beginning::CountersReset);
        self.began = found.is_some();
        found.filter(|_| !is_aftermath)
    }
}

/// The start that the uptime tells.
fn made_out(signs: &Signs) -> Option<Start> {
    let uptime = Duration::from_secs(signs.uptime?);
    let start = signs.now.saturating_sub(uptime).as_secs_f64();
    Some(Start {
        process: start,
        counters: start,
        histograms: start,
    })
}

fn beginning(before: &Signs, now: &Signs) -> Option<Beginning> {
    if let Some((old, new)) = before.generation.zip(now.generation)
        && old != new
    {
        let is_next = new > old;
        return Some(if is_next {
            Beginning::HotRestart
        } else {
            Beginning::Restart
        });
    }
    if let Some((old, new)) = before.uptime.zip(now.uptime) {
        let between = now.now.saturating_sub(before.now).as_secs();
        // With a second for rounding.
        let is_young = new <= between + 1;
        if is_young && (new < old || now.fell > 0) {
            return Some(Beginning::Restart);
        }
    }
    let reset = now.most_counters_fell();
    reset.then_some(Beginning::CountersReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Beginning::{CountersReset, HotRestart, Restart};

    /// Time, uptime, generation, counters above 0, those that fell.
    type Poll = (u64, Option<u64>, Option<u64>, usize, usize);

    fn signs((now, uptime, generation, counted, fell): Poll) -> Signs {
        Signs {
            now: Duration::from_secs(now),
            uptime,
            generation,
            counted,
            fell,
        }
    }

    /// Polls, each with what is to be found at it.
    #[track_caller]
    fn check(what: &str, polls: &[(Poll, Option<Beginning>)]) -> Option<Start> {
        let mut lives = Lives::default();
        for (poll, want) in polls {
            assert_eq!(lives.see(signs(*poll)), *want, "{what} at {}", poll.0);
        }
        lives.start()
    }

    fn start(process: f64, counters: f64, histograms: f64) -> Start {
        Start {
            process,
            counters,
            histograms,
        }
    }

    #[test]
    fn nothing_begins() {
        let (one, two) = (Some(1), Some(2));
        let start_of_first = start(900.0, 900.0, 900.0);
        let got = check(
            "an uptime that is some seconds old",
            &[
                ((1000, Some(100), one, 0, 0), None),
                ((1004, Some(100), one, 50, 0), None),
                ((1005, Some(105), one, 50, 0), None),
                ((1100, Some(199), one, 50, 0), None),
            ],
        );
        assert_eq!(got, Some(start_of_first));
        let got = check(
            "some clusters are added again",
            &[
                ((1000, Some(100), one, 0, 0), None),
                ((1005, Some(105), one, 50, 24), None),
            ],
        );
        assert_eq!(got, Some(start_of_first));
        let got = check(
            "a clock that is set back",
            &[
                ((1000, Some(100), one, 0, 0), None),
                ((905, Some(5), one, 50, 0), None),
                ((910, Some(10), one, 50, 0), None),
            ],
        );
        assert_eq!(got, Some(start_of_first));
        let got = check(
            "a proxy that just started",
            &[
                ((1000, Some(0), one, 0, 0), None),
                ((1005, Some(0), one, 50, 0), None),
                ((1010, Some(5), one, 50, 0), None),
            ],
        );
        assert_eq!(got, Some(start(1000.0, 1000.0, 1000.0)));
        // As measured: the old process' uptime is added while it lives.
        let got = check(
            "the old process of a hot restart ends",
            &[
                ((1000, Some(805), two, 0, 0), None),
                ((1005, Some(815), two, 50, 0), None),
                ((1010, Some(410), two, 50, 0), None),
                ((1015, Some(415), two, 50, 0), None),
            ],
        );
        assert_eq!(got, Some(start(195.0, 195.0, 195.0)));
        let got = check(
            "nothing of the server is read",
            &[
                ((1000, None, None, 0, 0), None),
                ((1005, None, None, 50, 0), None),
            ],
        );
        assert_eq!(got, None);
    }

    #[test]
    fn restarts() {
        let one = Some(1);
        let got = check(
            "between two polls",
            &[
                ((1000, Some(100), one, 0, 0), None),
                ((1005, Some(0), one, 50, 30), Some(Restart)),
                ((1010, Some(5), one, 50, 0), None),
            ],
        );
        assert_eq!(got, Some(start(1005.0, 1005.0, 1005.0)));
        let got = check(
            "an idle proxy, whose counters stand as they stood",
            &[
                ((1000, Some(100), None, 0, 0), None),
                ((1005, Some(2), None, 50, 0), Some(Restart)),
            ],
        );
        assert_eq!(got, Some(start(1003.0, 1003.0, 1003.0)));
        check(
            "longer up than it was when it was last seen",
            &[
                ((1000, Some(10), one, 0, 0), None),
                ((1060, Some(30), one, 50, 10), Some(Restart)),
            ],
        );
        let got = check(
            "after a hot restart",
            &[
                ((1000, Some(100), Some(3), 0, 0), None),
                ((1060, Some(500), one, 50, 10), Some(Restart)),
            ],
        );
        assert_eq!(got, Some(start(560.0, 560.0, 560.0)));
        check(
            "twice",
            &[
                ((1000, Some(100), one, 0, 0), None),
                ((1005, Some(1), one, 50, 30), Some(Restart)),
                ((1010, Some(0), one, 50, 30), Some(Restart)),
            ],
        );
    }

    #[test]
    fn hot_restarts() {
        let (one, two) = (Some(1), Some(2));
        let got = check(
            "as measured",
            &[
                ((1000, Some(400), one, 0, 0), None),
                ((1005, Some(805), two, 59, 25), Some(HotRestart)),
                ((1010, Some(815), two, 60, 0), None),
                ((1015, Some(415), two, 60, 0), None),
            ],
        );
        assert_eq!(got, Some(start(600.0, 1000.0, 1000.0)));
        let got = check(
            "a poll that reached both processes",
            &[
                ((1000, Some(400), one, 0, 0), None),
                ((1005, Some(805), two, 59, 0), Some(HotRestart)),
                ((1010, Some(815), two, 60, 40), None),
                ((1015, Some(820), two, 60, 0), None),
            ],
        );
        assert_eq!(got, Some(start(600.0, 1005.0, 1000.0)));
        // The first flush of statistics was not over: all that was counted is handed over.
        let got = check(
            "counters that go on",
            &[
                ((1000, Some(4), one, 0, 0), None),
                ((1005, Some(13), two, 59, 0), Some(HotRestart)),
                ((1010, Some(14), two, 59, 0), None),
            ],
        );
        assert_eq!(got, Some(start(996.0, 996.0, 1000.0)));
    }

    #[test]
    fn resets_of_counters() {
        let one = Some(1);
        let got = check(
            "of the same process",
            &[
                ((1000, Some(100), one, 0, 0), None),
                ((1005, Some(105), one, 60, 60), Some(CountersReset)),
                ((1010, Some(110), one, 60, 0), None),
                ((1015, Some(115), one, 60, 59), Some(CountersReset)),
            ],
        );
        assert_eq!(got, Some(start(900.0, 1010.0, 900.0)));
        let got = check(
            "nothing of the server is read",
            &[
                ((1000, None, None, 0, 0), None),
                ((1005, None, None, 3, 3), Some(CountersReset)),
            ],
        );
        assert_eq!(got, None);
    }
}
