//! Scrapes over real sockets.
