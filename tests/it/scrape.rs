//! Scrapes over real sockets: what is answered, who is cut off, and how it stops.
//!
//! Clients write bytes, so that what a client library would never send is sent too.

/// The subcommand that asks whether an exporter serves.
mod health;
/// Clients that send slowly, too much, or what is no request.
mod hostile;
/// Clients that read slowly, or are too many.
mod limits;
/// What each request gets.
mod requests;
/// Stopping.
mod shutdown;
/// Addresses and what binds to them.
mod sockets;
