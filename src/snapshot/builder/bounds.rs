//! What a poll takes in at the most, whatever the target sends; what is refused is counted.

/// How many stats were not taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// Their name had come before.
    pub(super) repeated: usize,
    /// They were over a limit.
    pub(super) over: usize,
}

/// Bins of a histogram. Samples are whole numbers of 64 bits: that is 90 bins for each of 20 powers
/// of ten, on both sides of zero.
pub(super) const MOST_BINS: usize = 4096;

/// Bounds of a histogram: each is a line for each of its series, and 19 are usual.
pub(super) const MOST_BOUNDS: usize = 1000;

/// Different sets of bounds: there is one for each that the proxy's configuration has.
pub(super) const MOST_BOUND_SETS: usize = 1000;
