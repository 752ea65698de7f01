//! A bridge from Envoy's admin statistics to Prometheus.
//!
//! A poller reads the stats of a proxy as JSON, a declarative table maps each to a typed, described
//! and labelled series, and scrapes are answered from the last poll:
//!
//! ```text
//!            poll: one task a target, one request at a time
//!                               |
//!  Envoy -- transport -> decode -> snapshot builder -> snapshot -- watch --> exposition -> web -> Prometheus
//!                          |            |   |
//!                     histogram         |   mapping (only for names that are new)
//!                                     names
//! ```
//!
//! | module | what comes in | what goes out |
//! |---|---|---|
//! | [`stat`], [`names`], [`family`], [`secret`] | text | the nouns, and the grammar of names and labels |
//! | [`histogram`] | Envoy's log-linear bins | count, sum, cumulative buckets |
//! | [`sockets`] | what the kernel says over netlink | TCP sockets, one by one |
//! | [`work`] | a function | its result, from a thread for such work |
//! | [`demand`] | a reader who asks, a timer | when to poll |
//! | [`yaml`] | YAML text | typed values, or every mistake with its place |
//! | [`secret`] | a password | the same, not to be shown |
//! | [`logfmt`] | lines of the log | the same, as strict readers take them |
//! | [`files`] | paths | bounded contents, and whether they have changed |
//! | [`negotiate`] | `Accept`, `Accept-Encoding` | format and encoding of a scrape |
//! | [`relabel`] | the labels of a series | the same relabeled, or nothing |
//! | [`decode`] | JSON of the admin interface | stats, one by one |
//! | [`mapping`] | a stat name | family, labels, HELP, unit |
//! | [`snapshot`] | stats of one poll | families and series, immutable and shared |
//! | [`exposition`] | snapshots, own metrics | the bytes of a scrape, made once and shared |
//! | [`foreign`] | an exposition of somebody else's | its families, or why they are none |
//! | [`telemetry`] | what happened | own metrics |
//! | [`transport`], [`demo`] | a request | an answer, bounded in time and size |
//! | [`collectors`] | answers besides the stats | what they say that the stats do not |
//! | [`poll`], [`capture`] | a transport | snapshots on a schedule; files |
//! | [`merge`] | expositions on this machine | snapshots that may stand beside ours |
//! | [`web`], [`status`], [`explain`] | HTTP requests; a name | responses; text for people |
//! | [`push`] | snapshots, as they come | requests to a Pushgateway and by remote write |
//! | [`config`], [`cli`], [`app`] | flags, environment, files | a running program |
//!
//! A module imports only from those above it in this order: nouns, histogram and relabel,
//! decode, mapping, snapshot, exposition, foreign, telemetry, transport, collectors, poll and
//! merge, web and push, config, cli, app. A test holds that.
//!
//! # Invariants
//!
//! - A scrape never waits for a target unless the poll interval is zero, never mixes two polls of
//!   one target, and never holds up a poll.
//! - The same answers and the same configuration give the same bytes.
//! - A series has the same name in every format, and none is left out of one.
//! - No series comes twice, a family has one TYPE and one HELP, and its series stand together;
//!   labels are sorted by name; buckets do not fall and `+Inf` equals the count.
//! - A reload that fails changes nothing but the reload metrics.
//! - Every stat that came in is exported, or counted as dropped with its reason.
//! - Nothing that a client sends chooses an address that is connected to.

#![forbid(unsafe_code)]

pub mod app;
pub mod capture;
pub mod cli;
pub mod collectors;
pub mod config;
pub mod coverage;
pub mod decode;
pub mod demand;
pub mod demo;
pub mod explain;
pub mod exposition;
pub mod family;
pub mod files;
pub mod foreign;
pub mod histogram;
pub mod logfmt;
pub mod mapping;
pub mod merge;
pub mod names;
pub mod negotiate;
pub mod poll;
pub mod push;
pub mod relabel;
pub mod secret;
pub mod snapshot;
pub mod sockets;
pub mod stat;
pub mod status;
pub mod telemetry;
pub mod transport;
pub mod web;
pub mod work;
pub mod yaml;
