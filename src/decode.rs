//! The only code that knows the JSON of the admin interface.
//!
//! An answer is read once, front to back, and each stat is handed on as it is met; no document is
//! built, and a name is borrowed from the body unless it holds an escape. What is not of Envoy's
//! shape is an [`Error`] that says what was expected and at which byte. Whole numbers are exact up
//! to 2^64-1; anything else in a number's place is an error, since a rounded number would be wrong.

mod certs;
mod clusters;
mod documents;
mod objects;
mod readers;
mod stream;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess};

use crate::histogram::Bin;

use readers::{Array, By, Collect, MapReader, Reader, Text, ValueSeed, needed, once};

pub use certs::{Certificate, CertificateKind, certificates};
pub use clusters::{Cluster, ClusterStream, Health, Host, HostStat, Limits, Locality, Priority};
pub use documents::{
    FoundEndpoint, Listener, ServerInfo, endpoints, listeners, memory, server_info, version,
};
pub use objects::{HistogramStream, Kind as HistogramKind, Taker};
pub use stream::StatStream;

/// How much of the body an error shows.
const EXCERPT: usize = 80;

/// An answer that is not what Envoy sends.
#[derive(Debug, thiserror::Error)]
#[error("byte {byte}: {reason}; the text there is {excerpt:?}")]
pub struct Error {
    /// Where, from 0 on.
    pub byte: usize,
    /// What was expected.
    pub reason: String,
    /// The body around that place.
    pub excerpt: String,
}

/// The value of a stat that is not a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of a counter or gauge.
    Number(u64),
    /// Of a text readout.
    Text(&'a str),
}

/// A histogram as `histogram_buckets=detailed` shows it.
#[derive(Clone, Copy, Debug)]
pub struct DetailedHistogram<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bins since the start of the proxy, lowest first.
    pub bins: &'a [Bin],
    /// Percent and value of each percentile over the same time.
    pub percentiles: &'a [(f64, Option<f64>)],
}

/// Reads counters, gauges and text readouts; histograms in the same answer are passed over.
pub fn stats(body: &[u8], on_stat: impl FnMut(&str, Value<'_>)) -> Result<(), Error> {
    read(
        body,
        &mut Stat {
            on_stat,
            histograms: Skip,
        },
    )
}

/// Reads histograms in their detailed form; other stats in the same answer are passed over.
pub fn histograms(
    body: &[u8],
    on_histogram: impl FnMut(&DetailedHistogram<'_>),
) -> Result<(), Error> {
    read(
        body,
        &mut Stat {
            on_stat: |_: &str, _: Value<'_>| {},
            histograms: Detailed {
                on_histogram,
                percents: Vec::new(),
                bins: Vec::new(),
                values: Vec::new(),
                percentiles: Vec::new(),
            },
        },
    )
}

/// Reads the bounds of histograms from the answer with cumulative buckets; other stats in the same
/// answer are passed over.
pub fn histogram_bounds(body: &[u8], on_histogram: impl FnMut(&str, &[f64])) -> Result<(), Error> {
    read(
        body,
        &mut Stat {
            on_stat: |_: &str, _: Value<'_>| {},
            histograms: Cumulative {
                on_histogram,
                buckets: Vec::new(),
                bounds: Vec::new(),
            },
        },
    )
}

/// Reads `{"stats":[...]}` to its end.
fn read<'de>(body: &'de [u8], stat: &mut impl Reader<'de>) -> Result<(), Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    Envelope(stat)
        .read(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| placed(body, &error))
}

/// Turns line and column into a byte, and shows what stands there.
pub(crate) fn placed(body: &[u8], error: &serde_json::Error) -> Error {
    let line_start = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let byte = (line_start + error.column().saturating_sub(1)).min(body.len());
    let start = byte.saturating_sub(EXCERPT / 2);
    let end = (start + EXCERPT).min(body.len());
    let text = error.to_string();
    let reason = match text.rfind(" at line ") {
        Some(place) => text.split_at(place).0.to_owned(),
        None => text,
    };
    Error {
        byte,
        reason,
        excerpt: String::from_utf8_lossy(body.get(start..end).unwrap_or_default()).into_owned(),
    }
}

/// The whole answer.
struct Envelope<'r, R>(&'r mut R);

impl<'de, R: Reader<'de>> MapReader<'de> for Envelope<'_, R> {
    const SHAPE: &'static str = "an object with the key \"stats\"";

    fn read_map<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key_seed(Text)? {
            if key == "stats" {
                once(&mut seen, "stats")?;
                map.next_value_seed(By(&mut Array(&mut *self.0)))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        needed(seen, "stats")
    }
}

/// One stat, or the object that holds all histograms.
struct Stat<S, H> {
    on_stat: S,
    histograms: H,
}

impl<'de, S, H> MapReader<'de> for Stat<S, H>
where
    S: FnMut(&str, Value<'_>),
    H: Reader<'de>,
{
    const SHAPE: &'static str = "an object with \"name\" and \"value\", or with \"histograms\"";

    fn read_map<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut name = None;
        let mut value = None;
        let mut histograms = false;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "name" => {
                    once(&mut name.is_some(), "name")?;
                    name = Some(map.next_value_seed(Text)?);
                }
                "value" => {
                    once(&mut value.is_some(), "value")?;
                    value = Some(map.next_value_seed(ValueSeed)?);
                }
                "histograms" => {
                    once(&mut histograms, "histograms")?;
                    map.next_value_seed(By(&mut self.histograms))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if histograms && name.is_none() && value.is_none() {
            return Ok(());
        }
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        let value = value.ok_or_else(|| A::Error::missing_field("value"))?;
        (self.on_stat)(&name, value.as_value());
        Ok(())
    }
}

/// Passes over anything.
struct Skip;

impl<'de> Reader<'de> for Skip {
    fn read<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(drop)
    }
}

/// `{"supported_percentiles":[...],"details":[...]}`; the vectors are reused for each histogram.
struct Detailed<F> {
    on_histogram: F,
    percents: Vec<f64>,
    bins: Vec<Bin>,
    values: Vec<Option<f64>>,
    percentiles: Vec<(f64, Option<f64>)>,
}

impl<'de, F: FnMut(&DetailedHistogram<'_>)> MapReader<'de> for Detailed<F> {
    const SHAPE: &'static str = "an object with histograms in their detailed form";

    fn read_map<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "supported_percentiles" => self.percents = map.next_value()?,
                "details" => {
                    once(&mut seen, "details")?;
                    map.next_value_seed(By(&mut Array(&mut Detail(&mut *self))))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        needed(seen, "details")
    }
}

/// One histogram of the detailed form.
struct Detail<'r, F>(&'r mut Detailed<F>);

impl<'de, F: FnMut(&DetailedHistogram<'_>)> MapReader<'de> for Detail<'_, F> {
    const SHAPE: &'static str = "a histogram with \"name\", \"totals\" and \"percentiles\"";

    fn read_map<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let all = &mut *self.0;
        all.values.clear();
        let mut name = None;
        let mut totals = false;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "name" => {
                    once(&mut name.is_some(), "name")?;
                    name = Some(map.next_value_seed(Text)?);
                }
                "totals" => {
                    once(&mut totals, "totals")?;
                    map.next_value_seed(Collect::<WireBin, _>::new(&mut all.bins))?;
                }
                "percentiles" => {
                    map.next_value_seed(Collect::<WirePercentile, _>::new(&mut all.values))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        needed(totals, "totals")?;
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        let pairs = all.percents.iter().copied().zip(all.values.iter().copied());
        all.percentiles.clear();
        all.percentiles.extend(pairs);
        (all.on_histogram)(&DetailedHistogram {
            name: &name,
            bins: &all.bins,
            percentiles: &all.percentiles,
        });
        Ok(())
    }
}

/// `[{"name":...,"buckets":[{"upper_bound":...},...]},...]`.
struct Cumulative<F> {
    on_histogram: F,
    buckets: Vec<f64>,
    bounds: Vec<f64>,
}

impl<'de, F: FnMut(&str, &[f64])> Reader<'de> for Cumulative<F> {
    fn read<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        Array(&mut Buckets(self)).read(deserializer)
    }
}

/// One histogram of the cumulative form.
struct Buckets<'r, F>(&'r mut Cumulative<F>);

impl<'de, F: FnMut(&str, &[f64])> MapReader<'de> for Buckets<'_, F> {
    const SHAPE: &'static str = "a histogram with \"name\" and \"buckets\"";

    fn read_map<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let all = &mut *self.0;
        let mut name = None;
        let mut seen = false;
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "name" => {
                    once(&mut name.is_some(), "name")?;
                    name = Some(map.next_value_seed(Text)?);
                }
                "buckets" => {
                    once(&mut seen, "buckets")?;
                    map.next_value_seed(Collect::<WireBound, _>::new(&mut all.buckets))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        needed(seen, "buckets")?;
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        all.bounds.clear();
        all.bounds
            .extend(all.buckets.iter().filter(|bound| bound.is_finite()));
        all.bounds.sort_by(f64::total_cmp);
        all.bounds.dedup();
        (all.on_histogram)(&name, &all.bounds);
        Ok(())
    }
}

#[derive(Deserialize)]
struct WireBin {
    lower_bound: f64,
    width: f64,
    count: u64,
}

impl From<WireBin> for Bin {
    fn from(wire: WireBin) -> Self {
        Self {
            lower_bound: wire.lower_bound,
            width: wire.width,
            count: wire.count,
        }
    }
}

#[derive(Deserialize)]
struct WirePercentile {
    cumulative: Option<f64>,
}

impl From<WirePercentile> for Option<f64> {
    fn from(wire: WirePercentile) -> Self {
        wire.cumulative
    }
}

#[derive(Deserialize)]
struct WireBound {
    upper_bound: f64,
}

impl From<WireBound> for f64 {
    fn from(wire: WireBound) -> Self {
        wire.upper_bound
    }
}

#[cfg(test)]
mod tests;
