//! The messages of remote write 1.0, `prometheus.WriteRequest`, written piece by piece.
//!
//! In come the labels of a series as their message has them, and one sample; out comes a request of
//! bounded size. What is written often is written by hand, so that nothing is copied twice; native
//! histograms and metadata are prost's. Field numbers are those of `remote.proto` and `types.proto`
//! of Prometheus: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::family::FamilyType;
use crate::histogram::native::{NativeHistogram, Side};

/// The value that says that a series has ended: a NaN of its own.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Field 1 of a request and of a series, field 2 of a label, a series and a sample, and so on: the
/// number times eight, and two for what has a length.
const FIRST: u8 = 0x0a;
const SECOND: u8 = 0x12;
const METADATA: u8 = 0x1a;
const HISTOGRAM: u8 = 0x22;
const DOUBLE: u8 = 0x09;
const TIMESTAMP: u8 = 0x10;

/// How much one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimit {
    /// Samples.
    pub samples: usize,
    /// Bytes before they are compressed.
    pub bytes: usize,
}

/// A request in the making. All its samples have one time.
#[derive(Debug)]
pub(super) struct Batch {
    limit: BatchLimit,
    timestamp: i64,
    message: Vec<u8>,
    /// Samples of values.
    pub(super) samples: usize,
    /// What else was written: the ends of series, or metadata.
    others: usize,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample<'v> {
    Number(f64),
    Native(&'v NativeHistogram),
    Stale,
    /// The end of a series of native histograms.
    StaleNative,
}

/// No more fits in.
#[derive(Debug)]
pub(super) struct Full;

impl Batch {
    pub(super) fn new(limit: BatchLimit, timestamp: i64) -> Self {
        Self {
            limit,
            timestamp,
            message: Vec::new(),
            samples: 0,
            others: 0,
        }
    }

    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    fn has_room(&self) -> bool {
        self.samples + self.others < self.limit.samples
    }

    /// Writes a series of one sample. `labels` are parts of its labels' messages, in their order.
    /// One series that is larger than a request may be has one for itself.
    pub(super) fn push(&mut self, labels: &[&[u8]], sample: Sample<'_>) -> Result<(), Full> {
        let labels_size: usize = labels.iter().map(|part| part.len()).sum();
        let histogram = match sample {
            Sample::Number(_) | Sample::Stale => None,
            Sample::Native(native) => Some(Histogram::of(native, self.timestamp)),
            Sample::StaleNative => Some(Histogram::stale(self.timestamp)),
        };
        let timestamp = self.timestamp.cast_unsigned();
        let value_size = histogram.as_ref().map_or_else(
            || 1 + 8 + 1 + encoded_len_varint(timestamp),
            Message::encoded_len,
        );
        let size = labels_size + 1 + encoded_len_varint(value_size as u64) + value_size;
        let whole = 1 + encoded_len_varint(size as u64) + size;
        let is_over = self.message.len() + whole > self.limit.bytes;
        if !self.has_room() || (is_over && !self.message.is_empty()) {
            return Err(Full);
        }
        let out = &mut self.message;
        out.push(FIRST);
        encode_varint(size as u64, out);
        for part in labels {
            out.extend_from_slice(part);
        }
        if let Some(histogram) = histogram {
            out.push(HISTOGRAM);
            encode_varint(value_size as u64, out);
            // Writing to a Vec cannot fail: it grows.
            let _ = histogram.encode(out);
        } else {
            let value = match sample {
                Sample::Number(value) => value,
                _ => f64::from_bits(STALE),
            };
            out.push(SECOND);
            encode_varint(value_size as u64, out);
            out.push(DOUBLE);
            out.extend_from_slice(&value.to_le_bytes());
            out.push(TIMESTAMP);
            encode_varint(timestamp, out);
        }
        match sample {
            Sample::Number(_) | Sample::Native(_) => self.samples += 1,
            Sample::Stale | Sample::StaleNative => self.others += 1,
        }
        Ok(())
    }

    /// Writes what a family is.
    pub(super) fn push_metadata(&mut self, metadata: &Metadata) -> Result<(), Full> {
        let size = metadata.encoded_len();
        let is_over = self.message.len() + size + 10 > self.limit.bytes;
        if !self.has_room() || (is_over && !self.message.is_empty()) {
            return Err(Full);
        }
        self.message.push(METADATA);
        encode_varint(size as u64, &mut self.message);
        // Writing to a Vec cannot fail: it grows.
        let _ = metadata.encode(&mut self.message);
        self.others += 1;
        Ok(())
    }
}

/// Appends the message of a label to those of others.
pub(super) fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let field = |text: &str| 1 + encoded_len_varint(text.len() as u64) + text.len();
    out.push(FIRST);
    encode_varint((field(name) + field(value)) as u64, out);
    for (key, text) in [(FIRST, name), (SECOND, value)] {
        out.push(key);
        encode_varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    /// Written also where it is zero: it is one of two kinds of count.
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

impl Histogram {
    fn of(native: &NativeHistogram, timestamp: i64) -> Self {
        let spans = |side: &Side| {
            let spans = side.spans.iter();
            let span = spans.map(|span| BucketSpan {
                offset: span.offset,
                length: span.length,
            });
            span.collect()
        };
        Self {
            count_int: Some(native.count),
            sum: native.sum,
            schema: native.schema,
            zero_threshold: native.zero_threshold,
            zero_count_int: Some(native.zero_count),
            negative_spans: spans(&native.negative),
            negative_deltas: native.negative.deltas.clone(),
            positive_spans: spans(&native.positive),
            positive_deltas: native.positive.deltas.clone(),
            timestamp,
        }
    }

    fn stale(timestamp: i64) -> Self {
        Self {
            count_int: Some(0),
            zero_count_int: Some(0),
            sum: f64::from_bits(STALE),
            timestamp,
            ..Self::default()
        }
    }
}

/// What a family is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Metadata {
    #[prost(int32, tag = "1")]
    metric_type: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
}

impl Metadata {
    pub(super) fn new(name: &str, family_type: FamilyType, help: &str) -> Self {
        let metric_type = match family_type {
            FamilyType::Unknown => 0,
            FamilyType::Counter => 1,
            FamilyType::Gauge => 2,
            FamilyType::Histogram => 3,
            FamilyType::Summary => 5,
        };
        Self {
            metric_type,
            family: name.to_owned(),
            help: help.to_owned(),
        }
    }

    /// The name of the family.
    pub(super) fn family(&self) -> &str {
        &self.family
    }
}
