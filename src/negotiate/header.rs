//! The grammar that `Accept` and `Accept-Encoding` share: a list of names, each with parameters.
//!
//! In come the values of a header's lines, as bytes; out come the alternatives in the order of the
//! client, each with its weight. It follows RFC 9110, sections 5.6 and 12.4.2, quoted strings
//! included, and forgives what clients are known to send: spaces around `=`, a weight without its
//! zero (`q=.2`), parameters without a value. An alternative that cannot be read is left out, the
//! others stay. What is read of one header is bounded. Nothing here knows a format or an encoding.
//!
//! It is our own, as crates that read media types (`mediatype`) read no codings and no bytes that
//! are no text, and `headers-accept` gives up the whole header for one bad alternative, such as the
//! lone star that Java sends.

/// Bytes of all lines of one header that are read. Prometheus sends less than 400.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// Alternatives of one header that are read. Browsers send up to 8.
pub(super) const MAX_ALTERNATIVES: usize = 64;

/// The weight of an alternative that names none, in thousandths.
const FULL_WEIGHT: u16 = 1000;

/// One of the things that a client would take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alternative<'h> {
    name: &'h [u8],
    parameters: Vec<(&'h [u8], Vec<u8>)>,
    weight: u16,
}

impl<'h> Alternative<'h> {
    /// A media range, or a coding, in the case of the client.
    pub(super) fn name(&self) -> &'h [u8] {
        self.name
    }

    /// The value of a parameter, without quotes; of the first where a name comes twice.
    pub(super) fn parameter(&self, name: &str) -> Option<&[u8]> {
        find(&self.parameters, name)
    }

    /// The weight in thousandths; zero excludes.
    pub(super) fn weight(&self) -> u16 {
        self.weight
    }
}

fn find<'p>(parameters: &'p [(&[u8], Vec<u8>)], name: &str) -> Option<&'p [u8]> {
    parameters
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.as_slice())
}

/// The alternatives of a header. Several lines are one list.
pub(super) fn alternatives<'h>(lines: impl IntoIterator<Item = &'h [u8]>) -> Vec<Alternative<'h>> {
    let mut found = Vec::new();
    let mut left = MAX_BYTES;
    for line in lines {
        let mut reader = Reader {
            rest: within(line, left),
        };
        left = left.saturating_sub(line.len());
        while !reader.rest.is_empty() && found.len() < MAX_ALTERNATIVES {
            found.extend(reader.alternative());
            reader.take_while(|byte| byte != b',');
            reader.take(b',');
        }
    }
    found
}

/// What of a line is read. An alternative that is cut goes as a whole: its end may exclude it.
fn within(line: &[u8], left: usize) -> &[u8] {
    match line.split_at_checked(left) {
        None | Some((_, [])) => line,
        Some((start, _)) => {
            let comma = start.iter().rposition(|byte| *byte == b',');
            start.split_at(comma.unwrap_or(0)).0
        }
    }
}

/// What of a line is not read yet.
struct Reader<'h> {
    rest: &'h [u8],
}

impl<'h> Reader<'h> {
    /// Reads an alternative up to its comma; none where it is empty or cannot be read.
    fn alternative(&mut self) -> Option<Alternative<'h>> {
        self.skip_space();
        let name = self.take_while(|byte| byte == b'/' || is_token(byte));
        self.skip_space();
        let mut parameters = Vec::new();
        while self.take(b';') {
            self.skip_space();
            let key = self.take_while(is_token);
            self.skip_space();
            if self.take(b'=') {
                parameters.push((key, self.value()?));
                self.skip_space();
            }
        }
        if name.is_empty() || self.rest.first().is_some_and(|byte| *byte != b',') {
            return None;
        }
        let weight = match find(&parameters, "q") {
            Some(text) => weight(text)?,
            None => FULL_WEIGHT,
        };
        Some(Alternative {
            name,
            parameters,
            weight,
        })
    }

    /// A parameter's value; none where its quote is not closed.
    fn value(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        if !self.take(b'"') {
            let bare = self.take_while(|byte| !matches!(byte, b',' | b';'));
            return Some(bare.trim_ascii_end().to_vec());
        }
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(value),
                b'\\' => value.push(self.next()?),
                byte => value.push(byte),
            }
        }
    }

    fn skip_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'h [u8] {
        let end = self.rest.iter().position(|byte| !fits(*byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.rest.first() == Some(&wanted);
        if found {
            self.next();
        }
        found
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

/// Whether a byte may stand in a token: RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A weight in thousandths; none where it is no number from 0 to 1. Digits past the third round
/// up, so that no weight but zero excludes.
fn weight(text: &[u8]) -> Option<u16> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let whole = match whole {
        b"" if fraction.is_empty() => return None,
        b"" | b"0" => 0,
        b"1" => FULL_WEIGHT,
        _ => return None,
    };
    let digits = fraction.iter().map(|digit| u16::from(digit - b'0'));
    let thousandths = digits
        .chain([0; 3])
        .take(3)
        .fold(0, |sum, digit| sum * 10 + digit);
    let more = fraction.iter().skip(3).any(|digit| *digit != b'0');
    let weight = whole + thousandths + u16::from(more);
    (weight <= FULL_WEIGHT).then_some(weight)
}
