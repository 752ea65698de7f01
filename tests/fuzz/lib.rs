//! What is fuzzed, for the programs in `fuzz_targets`. The tests of the package run the same over
//! the corpus.

#[path = "../it/support/prom.rs"]
pub mod prom;
pub mod targets;
