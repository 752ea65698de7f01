//! Content negotiation of a scrape: which format and which encoding the client is answered in.
//!
//! In come the values of `Accept` and `Accept-Encoding`, as bytes, in any number and state; out
//! comes an [`Answer`], always: a client that takes nothing we have gets the text format as it is,
//! since an exporter that answers 406 is a target that is down. It follows RFC 9110, section 12:
//! the most specific range that fits a format decides about it, the highest weight wins, and zero
//! excludes. No I/O, no HTTP types.
//!
//! Clients are written against the negotiation of Prometheus' Go library (`expfmt.Negotiate` of
//! prometheus/common 0.55 to 0.70), so where the RFC leaves a choice this module makes the same:
//! of formats with one weight, the one that the client lists first; named formats before those
//! that only a wildcard allows; parameters that mean nothing to us, `charset` among them, are
//! passed over; names are escaped as asked. It differs where that library is lax:
//!
//! - it takes what is excluded with `q=0`, knows no wildcards and reads the first header line only;
//! - it takes `OpenMetrics` without a version for 0.0.1, while the standard's default is 1.0.0;
//! - it says `escaping=underscores` also to clients that never heard of escaping, and answers with
//!   the escaping of an alternative that it did not choose.

mod header;

use std::cmp::Reverse;

use header::{Alternative, alternatives};

/// The request headers that a scrape's answer depends on: the value of `Vary`.
pub const VARY: &str = "Accept, Accept-Encoding";

/// What a scrape is answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The format of the body.
    pub format: Format,
    /// How names are escaped, where the client asked for a way.
    pub escaping: Option<Escaping>,
    /// How the body is compressed.
    pub encoding: Encoding,
}

impl Answer {
    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        self.format.content_type(self.escaping)
    }
}

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// `OpenMetrics` 0.0.1, the draft of it: what Prometheus 2.5 to 2.33 ask for. Its body is that
    /// of 1.0.0.
    OpenMetricsDraft,
    /// Messages `MetricFamily`, each with its length before it.
    Protobuf,
}

macro_rules! with_escaping {
    ($escaping:expr, $base:literal) => {
        match $escaping {
            None => $base,
            Some(Escaping::AllowUtf8) => concat!($base, "; escaping=allow-utf-8"),
            Some(Escaping::Underscores) => concat!($base, "; escaping=underscores"),
            Some(Escaping::Values) => concat!($base, "; escaping=values"),
        }
    };
}

impl Format {
    /// What a wildcard chooses from, best first. Text, as it is what people and simple clients can
    /// read; protobuf last, as nobody reads it by accident.
    const PREFERENCE: [Self; 4] = [
        Self::Text,
        Self::OpenMetrics,
        Self::OpenMetricsDraft,
        Self::Protobuf,
    ];

    /// The value of `Content-Type`.
    pub const fn content_type(self, escaping: Option<Escaping>) -> &'static str {
        match self {
            Self::Text => with_escaping!(escaping, "text/plain; version=0.0.4; charset=utf-8"),
            Self::OpenMetrics => with_escaping!(
                escaping,
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            ),
            Self::OpenMetricsDraft => with_escaping!(
                escaping,
                "application/openmetrics-text; version=0.0.1; charset=utf-8"
            ),
            Self::Protobuf => with_escaping!(
                escaping,
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            ),
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::OpenMetrics | Self::OpenMetricsDraft => "application/openmetrics-text",
            Self::Protobuf => "application/vnd.google.protobuf",
        }
    }

    /// The range of all media types that begin as this one.
    const fn type_range(self) -> &'static str {
        match self {
            Self::Text => "text/*",
            Self::OpenMetrics | Self::OpenMetricsDraft | Self::Protobuf => "application/*",
        }
    }

    /// The parameters that tell it from other formats of its media type. Text 1.0.0, for which
    /// Prometheus 3 asks too, is text 0.0.4 with quoted names; we have none, and do not offer it.
    const fn parameters(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Text => &[("version", "0.0.4")],
            Self::OpenMetrics => &[("version", "1.0.0")],
            Self::OpenMetricsDraft => &[("version", "0.0.1")],
            Self::Protobuf => &[
                ("proto", "io.prometheus.client.MetricFamily"),
                ("encoding", "delimited"),
            ],
        }
    }

    /// How closely an alternative describes this format, if it does.
    fn closeness(self, asked: &Alternative<'_>) -> Option<Closeness> {
        let is = |name: &str| asked.name().eq_ignore_ascii_case(name.as_bytes());
        // Java's HttpURLConnection has always sent a lone star among its ranges.
        if is("*/*") || is("*") {
            return Some(Closeness::Anything);
        }
        if is(self.type_range()) {
            return Some(Closeness::Type);
        }
        if !is(self.media_type()) {
            return None;
        }
        let mut closeness = Closeness::Exact;
        for (name, value) in self.parameters() {
            match asked.parameter(name) {
                Some(given) if given == value.as_bytes() => {}
                Some(_) => return None,
                None => closeness = Closeness::MediaType,
            }
        }
        // Protobuf without its parameters may be any message: a wish for it is not a wish for
        // ours, but who refuses it refuses ours too.
        let vague = self == Self::Protobuf && closeness == Closeness::MediaType;
        (!vague || asked.weight() == 0).then_some(closeness)
    }

    /// What decides about this format: its place in the list, and itself.
    fn decided_by<'a, 'h>(
        self,
        asked: &'a [Alternative<'h>],
    ) -> Option<(Closeness, usize, &'a Alternative<'h>)> {
        let places = asked.iter().enumerate();
        places
            .filter_map(|(place, asked)| Some((self.closeness(asked)?, place, asked)))
            .min_by_key(|(closeness, _, asked)| Reverse((*closeness, asked.weight())))
    }
}

/// How closely a media range describes a format, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// `*/*`.
    Anything,
    /// `text/*`.
    Type,
    /// `text/plain`.
    MediaType,
    /// `text/plain;version=0.0.4`.
    Exact,
}

/// How names that older clients cannot read are written. All our names are such that none of these
/// changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// As they are.
    AllowUtf8,
    /// With an underscore for every other character.
    Underscores,
    /// With the code points of other characters.
    Values,
}

impl Escaping {
    /// The way that an alternative asks for. Ways we do not know are passed over.
    fn asked(alternative: &Alternative<'_>) -> Option<Self> {
        match alternative.parameter("escaping")? {
            b"allow-utf-8" => Some(Self::AllowUtf8),
            // The way `dots` doubles the underscores of every name. A series has one name in every
            // format, so we say what we do instead.
            b"underscores" | b"dots" => Some(Self::Underscores),
            b"values" => Some(Self::Values),
            _ => None,
        }
    }
}

/// A compression of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// None.
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Encoding {
    /// What is chosen at one weight: zstd takes half the time of gzip, for a smaller body.
    const PREFERENCE: [Self; 3] = [Self::Zstd, Self::Gzip, Self::Identity];

    /// The value of `Content-Encoding`; none for a body as it is.
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// What clients call it.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Identity => &["identity"],
            // RFC 9110, section 8.4.1.3: x-gzip is the same.
            Self::Gzip => &["gzip", "x-gzip"],
            Self::Zstd => &["zstd"],
        }
    }

    /// The weight that the client gives it, by its name or else by the star.
    fn weight(self, asked: &[Alternative<'_>]) -> Option<u16> {
        let highest = |names: &[&str]| {
            let is_named = |asked: &&Alternative<'_>| {
                let mut names = names.iter();
                names.any(|name| asked.name().eq_ignore_ascii_case(name.as_bytes()))
            };
            asked.iter().filter(is_named).map(Alternative::weight).max()
        };
        highest(self.names()).or_else(|| highest(&["*"]))
    }
}

/// Answers a scrape with the given values of `Accept` and `Accept-Encoding`, one for each header
/// line; none where the header is absent. Without `Accept` the answer is text, without
/// `Accept-Encoding` the body stays as it is. Of each header the first 8 KiB and the first 64
/// alternatives count.
pub fn negotiate<'h>(
    accept: impl IntoIterator<Item = &'h [u8]>,
    accept_encoding: impl IntoIterator<Item = &'h [u8]>,
) -> Answer {
    let (format, escaping) = choose_format(&alternatives(accept));
    Answer {
        format,
        escaping,
        encoding: choose_encoding(&alternatives(accept_encoding)),
    }
}

fn choose_format(asked: &[Alternative<'_>]) -> (Format, Option<Escaping>) {
    let offers = Format::PREFERENCE.into_iter().filter_map(|format| {
        let (closeness, place, decisive) = format.decided_by(asked)?;
        // Where wildcards allow several, not the wildcard's place counts but our preference.
        let place = (closeness >= Closeness::MediaType).then_some(place);
        let rank = (Reverse(decisive.weight()), place.unwrap_or(usize::MAX));
        (decisive.weight() > 0).then_some((rank, format, decisive))
    });
    let best = offers.min_by_key(|(rank, ..)| *rank);
    best.map_or((Format::Text, None), |(_, format, decisive)| {
        (format, Escaping::asked(decisive))
    })
}

fn choose_encoding(asked: &[Alternative<'_>]) -> Encoding {
    let offers = Encoding::PREFERENCE.into_iter().filter_map(|encoding| {
        let weight = encoding.weight(asked).filter(|weight| *weight > 0)?;
        Some((Reverse(weight), encoding))
    });
    let best = offers.min_by_key(|(weight, _)| *weight);
    best.map_or(Encoding::Identity, |(_, encoding)| encoding)
}

#[cfg(test)]
mod tests;
