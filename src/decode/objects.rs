//! Reads histograms while their answer is still arriving, one by one: 15,000 of them are 8 MB of
//! JSON in the detailed form and 18 MB in the cumulative one.
//!
//! Such an answer is a head, a list of objects, and an end. Each object is read as if it stood alone
//! between that head and an end, by the same reader that reads whole answers; what does not look like
//! this is kept and read whole.

use super::stream::{MOST_HELD, TOO_MUCH, excerpt_of, is_space, object_length};
use super::{DetailedHistogram, Error, histogram_bounds, histograms};

/// A head longer than this is none.
const LONGEST_HEAD: usize = 64 * 1024;

/// Which histograms come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With their bins.
    Detailed,
    /// With cumulative buckets.
    Cumulative,
}

impl Kind {
    /// What the head ends with.
    const fn marker(self) -> &'static [u8] {
        match self {
            Self::Detailed => b"\"details\":[",
            Self::Cumulative => b"\"histograms\":[",
        }
    }

    /// What stands behind the list.
    const fn end(self) -> &'static [u8] {
        match self {
            Self::Detailed => b"]}}]}",
            Self::Cumulative => b"]}]}",
        }
    }
}

/// Takes histograms as they are read.
pub trait Taker {
    /// One with its bins.
    fn detailed(&mut self, histogram: &DetailedHistogram<'_>);
    /// The bounds of one.
    fn bounds(&mut self, name: &str, bounds: &[f64]);
}

/// An answer under way.
#[derive(Debug)]
pub struct HistogramStream {
    kind: Kind,
    state: State,
    head: Vec<u8>,
    /// What has come and is not read yet.
    rest: Vec<u8>,
    /// How much was read before that.
    read: usize,
    /// With how much to read it is worth another look, as in a stream of stats.
    enough: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The head is not whole yet.
    Head,
    /// An object comes, or the end of the list when it is the first.
    Object { first: bool },
    /// A comma comes, or the end of the list.
    Behind,
    /// The rest is kept, to be read behind the head.
    Rest,
}

impl HistogramStream {
    /// Nothing has come yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Head,
            head: Vec::new(),
            rest: Vec::new(),
            read: 0,
            enough: 0,
        }
    }

    /// Takes the next piece of the answer.
    pub fn feed(&mut self, piece: &[u8], taker: &mut impl Taker) -> Result<(), Error> {
        self.rest.extend_from_slice(piece);
        if self.rest.len() < self.enough.min(MOST_HELD) {
            return Ok(());
        }
        if self.state == State::Head {
            self.find_head();
        }
        let mut rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
            match self.step(left, taker)? {
                Some(count) => {
                    at += count;
                    self.read += count;
                }
                None => break,
            }
        }
        rest.drain(..at);
        self.rest = rest;
        if self.rest.len() > MOST_HELD {
            return Err(self.error(&self.rest, 0, TOO_MUCH));
        }
        self.enough = self.rest.len() * 2;
        Ok(())
    }

    /// Takes the end of the answer.
    pub fn finish(self, taker: &mut impl Taker) -> Result<(), Error> {
        if self.state == State::Behind {
            return Err(self.error(&self.rest, 0, "EOF while parsing a list"));
        }
        self.read_behind_head(&self.rest, b"", taker)
    }

    fn find_head(&mut self) {
        let marker = self.kind.marker();
        if let Some(at) = memchr::memmem::find(&self.rest, marker) {
            let end = at + marker.len();
            self.head = self.rest.drain(..end).collect();
            self.read = end;
            self.state = State::Object { first: true };
        } else if self.rest.len() > LONGEST_HEAD {
            self.state = State::Rest;
        }
    }

    /// Reads what comes next and says how much that was; nothing when more must come first.
    fn step(&mut self, left: &[u8], taker: &mut impl Taker) -> Result<Option<usize>, Error> {
        match (self.state, left.first()) {
            (State::Object { .. }, Some(b'{')) => {
                let length = objects_length(left);
                if length == 0 {
                    return Ok(None);
                }
                let objects = left.get(..length).unwrap_or_default();
                self.read_behind_head(objects, self.kind.end(), taker)?;
                self.state = State::Behind;
                Ok(Some(length))
            }
            (State::Object { first: false }, Some(b']')) => {
                Err(self.error(left, 0, "trailing comma"))
            }
            (State::Behind, Some(b',')) => {
                self.state = State::Object { first: false };
                Ok(Some(1))
            }
            (State::Object { .. } | State::Behind, Some(b']')) => {
                // The end of the list, and all behind it.
                self.state = State::Rest;
                Ok(None)
            }
            (State::Object { .. } | State::Behind, Some(byte)) if is_space(*byte) => Ok(Some(1)),
            (State::Behind, _) => Err(self.error(left, 0, "expected `,` or `]`")),
            (State::Object { .. }, _) => {
                self.state = State::Rest;
                Ok(None)
            }
            (State::Head | State::Rest, _) => Ok(None),
        }
    }

    fn read_behind_head(
        &self,
        part: &[u8],
        end: &[u8],
        taker: &mut impl Taker,
    ) -> Result<(), Error> {
        let whole = [&self.head, part, end].concat();
        let read = match self.kind {
            Kind::Detailed => histograms(&whole, |histogram| taker.detailed(histogram)),
            Kind::Cumulative => histogram_bounds(&whole, |name, bounds| taker.bounds(name, bounds)),
        };
        read.map_err(|error| match error.byte.checked_sub(self.head.len()) {
            Some(at) => self.error(part, at.min(part.len()), &error.reason),
            None => error,
        })
    }

    fn error(&self, part: &[u8], at: usize, reason: &str) -> Error {
        Error {
            byte: self.read + at,
            reason: reason.to_owned(),
            excerpt: excerpt_of(part, at),
        }
    }
}

/// How long the whole objects at the start are, with the commas between them. Read together they
/// cost one head.
fn objects_length(left: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let start = if end == 0 { 0 } else { end + 1 };
        let next = left.get(start..).filter(|next| next.starts_with(b"{"));
        match next.and_then(object_length) {
            Some(length) => end = start + length,
            None => return end,
        }
        if left.get(end) != Some(&b',') {
            return end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Seen(Vec<String>);

    impl Taker for Seen {
        fn detailed(&mut self, histogram: &DetailedHistogram<'_>) {
            self.0.push(format!("{histogram:?}"));
        }

        fn bounds(&mut self, name: &str, bounds: &[f64]) {
            self.0.push(format!("{name} {bounds:?}"));
        }
    }

    fn whole(kind: Kind, body: &[u8]) -> (Seen, bool) {
        let mut seen = Seen::default();
        let result = match kind {
            Kind::Detailed => histograms(body, |histogram| seen.detailed(histogram)),
            Kind::Cumulative => histogram_bounds(body, |name, bounds| seen.bounds(name, bounds)),
        };
        (seen, result.is_ok())
    }

    fn streamed(kind: Kind, body: &[u8], piece: usize) -> (Seen, bool) {
        let mut seen = Seen::default();
        let mut stream = HistogramStream::new(kind);
        for piece in body.chunks(piece) {
            if stream.feed(piece, &mut seen).is_err() {
                return (seen, false);
            }
        }
        let ended = stream.finish(&mut seen).is_ok();
        (seen, ended)
    }

    #[test]
    fn every_cut_gives_what_the_whole_gives() {
        let detailed = r#"{"stats":[{"histograms":{"supported_percentiles":[0,99.5],"details":[{"name":"a\"]}","totals":[{"lower_bound":1,"width":0.1,"count":4}],"intervals":[],"percentiles":[{"cumulative":1.05,"interval":null},{"cumulative":1.09,"interval":null}]},{"name":"b","totals":[],"intervals":[],"percentiles":[{"cumulative":null,"interval":null},{"cumulative":null,"interval":null}]}]}}]}"#;
        let cumulative = r#"{"stats":[{"histograms":[{"name":"a","buckets":[{"upper_bound":0.5,"interval":0,"cumulative":0},{"upper_bound":1,"interval":0,"cumulative":0}]},{"name":"b","buckets":[]}]}]}"#;
        let empty = r#"{"stats":[{"histograms":{"supported_percentiles":[],"details":[]}}]}"#;
        for (kind, body) in [
            (Kind::Detailed, detailed),
            (Kind::Cumulative, cumulative),
            (Kind::Detailed, empty),
            (Kind::Detailed, r#"{"stats":[]}"#),
            (Kind::Cumulative, r#"{"stats":[]}"#),
            (Kind::Detailed, "<html>"),
            (
                Kind::Detailed,
                r#"{"stats":[{"histograms":{"details":[5]}}]}"#,
            ),
            (
                Kind::Cumulative,
                r#"{"stats":[{"histograms":[{"name":"a"},]}]}"#,
            ),
        ] {
            let (want, is_good) = whole(kind, body.as_bytes());
            for piece in 1..=body.len() {
                let (got, ended) = streamed(kind, body.as_bytes(), piece);
                assert_eq!(ended, is_good, "{body} in pieces of {piece}");
                assert!(!is_good || got == want, "{body} in pieces of {piece}");
            }
            for end in 0..body.len() {
                let broken = &body.as_bytes()[..end];
                assert!(!streamed(kind, broken, 7).1, "{body} up to {end}");
            }
        }
    }

    /// Looked through with each byte, this would take hours.
    #[test]
    fn a_long_histogram_that_comes_byte_by_byte() {
        let buckets = vec![r#"{"upper_bound":0.5,"interval":0,"cumulative":0}"#; 20_000].join(",");
        let body =
            format!(r#"{{"stats":[{{"histograms":[{{"name":"a","buckets":[{buckets}]}}]}}]}}"#);
        let (got, ended) = streamed(Kind::Cumulative, body.as_bytes(), 1);
        assert!(ended);
        assert_eq!(got, whole(Kind::Cumulative, body.as_bytes()).0);
    }

    #[test]
    fn a_mistake_has_its_byte() {
        let body =
            r#"{"stats":[{"histograms":[{"name":"a","buckets":[]},{"name":"b","buckets":5}]}]}"#;
        let mut stream = HistogramStream::new(Kind::Cumulative);
        let error = stream
            .feed(body.as_bytes(), &mut Seen::default())
            .unwrap_err();
        let near = body.as_bytes()[error.byte - 1..=error.byte + 1].contains(&b'5');
        assert!(near, "{error}");
    }
}
