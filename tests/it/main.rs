//! Tests that need no server of anybody else's. Those against a real Envoy and a real Prometheus
//! are in `tests/e2e`.
#![expect(
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_cmp,
    reason = "a test that does not find what it needs is to fail there"
)]

/// What is asked for besides the stats, and what becomes of it.
mod collectors;
/// Configuration files and tables with mistakes.
mod config;
/// What each format makes of families, and that none loses anything.
mod formats;
/// Cases of captures and golden expositions, one folder each.
mod golden;
/// The import order of modules.
mod layering;
/// Every shipped table loads, describes every capture, and no entry is dead weight.
mod mappings;
/// Polls against an admin interface that misbehaves.
mod poll;
/// Behaviour that users reported of others, with the report's address over each test.
mod regression;
/// Reloads of the running program: what changes, what goes on, and what a mistake does.
mod reload;
/// Scrapes over real sockets.
mod scrape;
mod support;
/// Several targets: none delays another, and each can be asked for alone.
mod targets;
/// TLS, users, headers and rate limit of the web configuration.
mod tls_auth;
