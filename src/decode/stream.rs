//! Reads counters, gauges and text readouts while their answer is still arriving, so that no whole
//! answer is ever held: half a million stats are 60 MB of JSON, of which this keeps one stat.
//!
//! Envoy writes one form only, `{"name":"...","value":123}`, which is recognized as it stands. A stat
//! in any other form, with an escape in its name for one, is handed to the JSON reader by itself; an
//! answer that is not of this kind at all is kept and read whole. Both give what reading the whole
//! answer gives, mistakes included; a test compares them on any bytes and any cuts.

use super::{Error, Value, stats};

const START: &[u8] = b"{\"stats\":[";
const NAME: &[u8] = b"{\"name\":\"";
const VALUE: &[u8] = b",\"value\":";

/// How much of an answer an error shows.
const EXCERPT: usize = 80;

/// How much of an answer is held at most. A stat of Envoy's is held until it is whole, and of an
/// answer in another form, a capture that was edited for one, everything.
pub(super) const MOST_HELD: usize = 32 * 1024 * 1024;

/// What an answer is that would be held beyond that.
pub(super) const TOO_MUCH: &str = "more than 32 MiB that are not in the form that Envoy writes";

/// An answer under way.
#[derive(Debug, Default)]
pub struct StatStream {
    state: State,
    /// What has come and is not read yet.
    rest: Vec<u8>,
    /// How much was read before that.
    read: usize,
    /// With how much to read it is worth another look: twice what did not do the last time, so that
    /// an answer that comes byte by byte is not looked through with each byte.
    enough: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing is read yet.
    #[default]
    Start,
    /// A stat comes, or the end of the list when it is the first.
    Stat { first: bool },
    /// A comma comes, or the end of the list.
    Behind,
    /// The list is read.
    End,
    /// Everything is kept, to be read whole behind this text.
    Whole(&'static str),
}

/// What became of the bytes at hand.
enum Step {
    /// So many are read.
    Read(usize),
    /// More must come first.
    Wait,
}

impl StatStream {
    /// Takes the next piece of the answer.
    pub fn feed(
        &mut self,
        piece: &[u8],
        mut on_stat: impl FnMut(&str, Value<'_>),
    ) -> Result<(), Error> {
        if !self.rest.is_empty() && self.rest.len() + piece.len() < self.enough.min(MOST_HELD) {
            self.rest.extend_from_slice(piece);
            return Ok(());
        }
        let mut piece = piece;
        // First what the last piece broke off within: most often this piece has the end of one stat,
        // and then all else is read where it is.
        let end_of_stat = memchr::memchr(b'}', piece).map_or(piece.len(), |at| at + 1);
        for most in [end_of_stat, usize::MAX] {
            if self.rest.is_empty() {
                break;
            }
            let (more, behind) = piece.split_at(most.min(piece.len()));
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(more);
            let read = self.advance(&rest, &mut on_stat)?;
            rest.drain(..read);
            self.rest = rest;
            piece = behind;
        }
        let read = self.advance(piece, &mut on_stat)?;
        let left = piece.get(read..).unwrap_or_default();
        self.rest.extend_from_slice(left);
        if self.rest.len() > MOST_HELD {
            return Err(self.error(&self.rest, 0, TOO_MUCH));
        }
        self.enough = self.rest.len() * 2;
        Ok(())
    }

    /// Takes the end of the answer.
    pub fn finish(self, on_stat: impl FnMut(&str, Value<'_>)) -> Result<(), Error> {
        let front = match self.state {
            State::Start => "",
            State::Whole(front) => front,
            State::Stat { .. } | State::Behind => "{\"stats\":[",
            State::End => "{\"stats\":[]",
        };
        if self.state == State::Behind {
            return Err(self.error(&self.rest, 0, "EOF while parsing a list"));
        }
        self.read_by_itself(front, &self.rest, "", on_stat)
    }

    fn advance(
        &mut self,
        bytes: &[u8],
        on_stat: &mut impl FnMut(&str, Value<'_>),
    ) -> Result<usize, Error> {
        let begun = self.read;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest, on_stat)? {
                Step::Read(count) => {
                    at += count;
                    self.read = begun + at;
                }
                Step::Wait => break,
            }
        }
        Ok(at)
    }

    fn step(
        &mut self,
        rest: &[u8],
        on_stat: &mut impl FnMut(&str, Value<'_>),
    ) -> Result<Step, Error> {
        match self.state {
            State::Start => {
                if rest.starts_with(START) {
                    self.state = State::Stat { first: true };
                    return Ok(Step::Read(START.len()));
                }
                if !START.starts_with(rest) {
                    self.state = State::Whole("");
                    // What is no object from its first byte on will not be one.
                    let first = rest.iter().find(|byte| !is_space(**byte));
                    if first.is_some_and(|byte| *byte != b'{') {
                        self.read_by_itself("", rest, "", on_stat)?;
                    }
                }
                Ok(Step::Wait)
            }
            State::Stat { first } => self.stat(rest, first, on_stat),
            State::Behind => match rest.first() {
                Some(b',') => {
                    self.state = State::Stat { first: false };
                    Ok(Step::Read(1))
                }
                Some(b']') => {
                    self.state = State::End;
                    Ok(Step::Read(1))
                }
                Some(byte) if is_space(*byte) => Ok(Step::Read(1)),
                _ => Err(self.error(rest, 0, "expected `,` or `]`")),
            },
            State::End => {
                self.state = State::Whole("{\"stats\":[]");
                Ok(Step::Wait)
            }
            State::Whole(_) => Ok(Step::Wait),
        }
    }

    fn stat(
        &mut self,
        rest: &[u8],
        first: bool,
        on_stat: &mut impl FnMut(&str, Value<'_>),
    ) -> Result<Step, Error> {
        if let Some((name, value, length)) = plain_stat(rest) {
            on_stat(name, Value::Number(value));
            self.state = State::Behind;
            return Ok(Step::Read(length));
        }
        match rest.first() {
            Some(b'{') => {}
            Some(b']') if first => {
                self.state = State::End;
                return Ok(Step::Read(1));
            }
            Some(b']') => return Err(self.error(rest, 0, "trailing comma")),
            Some(byte) if is_space(*byte) => return Ok(Step::Read(1)),
            _ => {
                self.state = State::Whole("{\"stats\":[");
                return Ok(Step::Wait);
            }
        }
        let Some(length) = object_length(rest) else {
            return Ok(Step::Wait);
        };
        let object = rest.get(..length).unwrap_or_default();
        self.read_by_itself("{\"stats\":[", object, "]}", on_stat)?;
        self.state = State::Behind;
        Ok(Step::Read(length))
    }

    /// Reads a part of the answer as if it stood alone.
    fn read_by_itself(
        &self,
        front: &str,
        part: &[u8],
        back: &str,
        on_stat: impl FnMut(&str, Value<'_>),
    ) -> Result<(), Error> {
        let whole = [front.as_bytes(), part, back.as_bytes()].concat();
        stats(&whole, on_stat).map_err(|error| {
            let at = error.byte.saturating_sub(front.len()).min(part.len());
            self.error(part, at, &error.reason)
        })
    }

    fn error(&self, rest: &[u8], at: usize, reason: &str) -> Error {
        Error {
            byte: self.read + at,
            reason: reason.to_owned(),
            excerpt: excerpt_of(rest, at),
        }
    }
}

/// Whether JSON takes it for a space. A form feed, which ASCII has among them, is none.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// What stands around a place.
pub(super) fn excerpt_of(text: &[u8], at: usize) -> String {
    let start = at.saturating_sub(EXCERPT / 2);
    let end = (start + EXCERPT).min(text.len());
    String::from_utf8_lossy(text.get(start..end).unwrap_or_default()).into_owned()
}

/// Name, value and length of a stat in the one form that Envoy writes; nothing at anything else, and
/// where the stat has not come whole.
fn plain_stat(rest: &[u8]) -> Option<(&str, u64, usize)> {
    let behind = rest.strip_prefix(NAME)?;
    let length = memchr::memchr2(b'"', b'\\', behind)?;
    let (name, behind) = behind.split_at_checked(length)?;
    let digits = behind.strip_prefix(b"\"")?.strip_prefix(VALUE)?;
    let mut value: u64 = 0;
    let mut count = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        count += 1;
    }
    let (number, behind) = digits.split_at_checked(count)?;
    let is_number = count == 1 || (count > 1 && !number.starts_with(b"0"));
    if !is_number || !behind.starts_with(b"}") {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    if name.bytes().any(|byte| byte < b' ') {
        return None;
    }
    Some((name, value, rest.len() - behind.len() + 1))
}

/// How long the JSON object at the start is, as far as its quotes and braces tell.
pub(super) fn object_length(rest: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(String, String)>, Result<(), usize>);

    fn text(value: Value<'_>) -> String {
        match value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => format!("{text:?}"),
        }
    }

    fn whole(body: &[u8]) -> Read {
        let mut got = Vec::new();
        let result = stats(body, |name, value| got.push((name.to_owned(), text(value))));
        (got, result.map_err(|error| error.byte))
    }

    fn streamed(body: &[u8], cuts: &[usize]) -> Read {
        let mut got = Vec::new();
        let mut stream = StatStream::default();
        let mut at = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.sort_unstable();
        for cut in cuts.into_iter().chain([body.len()]) {
            let piece = &body[at..cut.max(at)];
            at = cut.max(at);
            let fed = stream.feed(piece, |name, value| {
                got.push((name.to_owned(), text(value)));
            });
            if let Err(error) = fed {
                return (got, Err(error.byte));
            }
        }
        let result = stream.finish(|name, value| got.push((name.to_owned(), text(value))));
        (got, result.map_err(|error| error.byte))
    }

    /// What can be read is read alike; what cannot is refused by both.
    #[track_caller]
    fn check(body: &[u8], cuts: &[usize]) {
        let (want, ended) = whole(body);
        let (got, streamed_end) = streamed(body, cuts);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(
            streamed_end.is_ok(),
            ended.is_ok(),
            "{shown}: {ended:?} {streamed_end:?}"
        );
        if ended.is_ok() {
            assert_eq!(got, want, "{shown}");
        }
    }

    #[test]
    fn every_cut_of_every_form() {
        for body in [
            r#"{"stats":[]}"#,
            r#"{"stats":[{"name":"a","value":1}]}"#,
            r#"{"stats":[{"name":"a.b","value":18446744073709551615},{"name":"c\"\u00e9","value":0},{"name":"t","value":"x{]\\\""}]}"#,
            r#"{"stats":[{"value":3,"name":"a"},{"name":"b","value":2,"more":[{}]}],"other":{"a":[]}}"#,
            "{\"stats\": [ {\"name\":\"a\",\"value\":1} , {\"name\":\"b\",\"value\":2} ] } \n",
            r#"{"other":1,"stats":[{"name":"a","value":1}]}"#,
            r#"{"stats":[{"name":"a","value":1},{"histograms":{"details":[{"name":"h"}]}}]}"#,
        ] {
            assert!(whole(body.as_bytes()).1.is_ok(), "{body}");
            for cut in 0..=body.len() {
                check(body.as_bytes(), &[cut]);
                check(body.as_bytes(), &[cut, cut + 1, cut + 2]);
                // Broken off there.
                check(&body.as_bytes()[..cut], &[cut / 2]);
            }
            let each: Vec<usize> = (0..body.len()).collect();
            check(body.as_bytes(), &each);
        }
    }

    #[test]
    fn mistakes_have_their_byte() {
        for (body, byte) in [
            ("<html>", 0),
            (
                r#"{"stats":[{"name":"a","value":1}{"name":"b","value":1}]}"#,
                32,
            ),
            (r#"{"stats":[{"name":"a","value":1},]}"#, 33),
            (
                r#"{"stats":[{"name":"a","value":1},{"name":"b","value":-1}]}"#,
                54,
            ),
            (
                r#"{"stats":[{"name":"a","value":18446744073709551616}]}"#,
                49,
            ),
            (r#"{"stats":[{"name":"a","value":01}]}"#, 31),
            (r#"{"stats":[{"name":"a","value":1}]}}"#, 34),
            (r#"{"stats":[{"name":"a","value":1}"#, 32),
        ] {
            for cuts in [vec![], vec![5, 12, 31]] {
                let (_, result) = streamed(body.as_bytes(), &cuts);
                let got = result.expect_err(body);
                assert!(got.abs_diff(byte) <= 1, "{body}: {got}");
            }
        }
    }

    #[test]
    fn spaces_are_those_of_json() {
        for space in ["\x0c", "\x0b", "\u{a0}", " ", "\t", "\r", "\n"] {
            check(format!("{{\"stats\":[{space}]}}").as_bytes(), &[]);
            let stat = r#"{"name":"a","value":1}"#;
            check(
                format!("{{\"stats\":[{stat}{space},{space}{stat}{space}]}}").as_bytes(),
                &[12],
            );
        }
    }

    /// Looked through with each byte, this would take hours.
    #[test]
    fn a_long_stat_that_comes_byte_by_byte() {
        let name = "n".repeat(1 << 20);
        let body = format!("{{\"stats\":[{{\"name\":\"{name}\",\"value\":7}}]}}");
        let mut got = Vec::new();
        let mut stream = StatStream::default();
        for byte in body.as_bytes().chunks(1) {
            let take = |name: &str, value: Value<'_>| got.push((name.len(), text(value)));
            stream.feed(byte, take).unwrap();
        }
        let take = |name: &str, value: Value<'_>| got.push((name.len(), text(value)));
        stream.finish(take).unwrap();
        assert_eq!(got, [(name.len(), "7".to_owned())]);
    }

    #[test]
    fn what_does_not_end_is_not_held() {
        for front in ["{\"stats\":[{\"name\":\"", "{\"other\":\""] {
            let mut stream = StatStream::default();
            let take = |_: &str, _: Value<'_>| panic!("there is no stat");
            stream.feed(front.as_bytes(), take).unwrap();
            let piece = vec![b'n'; 1 << 20];
            let held = (0..40)
                .take_while(|_| stream.feed(&piece, take).is_ok())
                .count();
            assert_eq!(held, (MOST_HELD >> 20) - 1, "{front}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_at_once() {
        for front in ["<html>", " \n<", "[", "7", "nul"] {
            let mut stream = StatStream::default();
            let take = |_: &str, _: Value<'_>| panic!("there is no stat");
            let error = stream.feed(front.as_bytes(), take).unwrap_err();
            assert!(error.byte < 4, "{front}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_when_whole(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(r#"{"name":"a.b","value":7}"#.to_owned()),
                    Just(",".to_owned()),
                    Just("]}".to_owned()),
                    Just(r#"{"name":"q\"","value":"t"}"#.to_owned()),
                    "[ \\[\\]{}\",:a\\\\0-9]{0,4}",
                ],
                0..12,
            ),
            front in prop_oneof![3 => Just("{\"stats\":["), 1 => Just("")],
            cuts in proptest::collection::vec(0_usize..400, 0..4),
        ) {
            let body = format!("{front}{}", parts.concat());
            check(body.as_bytes(), &cuts);
        }

        #[test]
        fn control_bytes_and_bad_utf8_are_refused_alike(
            bytes in proptest::collection::vec(any::<u8>(), 0..12),
            cut in 0_usize..60,
        ) {
            let body = [&b"{\"stats\":[{\"name\":\""[..], &bytes, b"\",\"value\":1}]}"].concat();
            check(&body, &[cut]);
        }
    }
}
