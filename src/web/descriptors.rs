//! How many connections fit the descriptors that the process may have. Without a bound of its own,
//! whoever opens enough connections takes those that polls need, and the ones for files.

use std::fs;

/// Kept for everything that is no client's connection: listeners, targets, files, the runtime.
const KEPT: usize = 28;

/// As many connections as are wanted, or as fit.
pub(super) fn fitting(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    bounded(wanted, &limits)
}

fn bounded(wanted: usize, limits: &str) -> usize {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft.and_then(|soft| soft.parse::<usize>().ok()) {
        Some(soft) => wanted.min(soft.saturating_sub(KEPT)).max(1),
        // There is no limit, or no telling.
        None => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_limit() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             95958                95958                processes \n\
                 Max open files            {soft:<21}524288               files     \n"
            )
        };
        for (text, want) in [
            (limits("1024"), 512),
            (limits("100"), 72),
            (limits("8"), 1),
            (limits("unlimited"), 512),
            (String::new(), 512),
        ] {
            assert_eq!(bounded(512, &text), want, "{text}");
        }
    }
}
