//! Lines of logs as readers of logfmt take them.
//!
//! The library that writes them escapes as Rust does: `\'`, `\0` and `\u{e9}` are none of JSON's
//! escapes, which readers of logfmt know, and strict ones give up at the first.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Passes lines on, whole ones, with JSON's escapes inside of quotes.
#[derive(Debug)]
pub struct JsonEscapes<W>(pub W);

impl<W: Write> Write for JsonEscapes<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(corrected(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn corrected(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut quoted = false;
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let mut chars = from.chars();
        match (chars.next(), quoted) {
            (Some('\\'), true) => {
                rest = escape(chars.as_str(), &mut out);
                continue;
            }
            (Some('"'), _) => {
                quoted = !quoted;
                out.push('"');
            }
            (Some(other), _) => out.push(other),
            (None, _) => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// Writes the escape that begins behind a backslash; what follows it.
fn escape<'l>(from: &'l str, out: &mut String) -> &'l str {
    let mut chars = from.chars();
    match chars.next() {
        Some('\'') => out.push('\''),
        Some('0') => out.push_str("\\u0000"),
        Some('u') => {
            let code = chars
                .as_str()
                .strip_prefix('{')
                .and_then(|code| code.split_once('}'));
            let found = code.and_then(|(code, rest)| {
                let number = u32::from_str_radix(code, 16).ok()?;
                Some((char::from_u32(number)?, rest))
            });
            if let Some((character, rest)) = found {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
                return rest;
            }
            out.push_str("\\u");
        }
        Some(other) => {
            out.push('\\');
            out.push(other);
        }
        None => out.push('\\'),
    }
    chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_those_of_json() {
        for (line, want) in [
            (r"level=info message=plain", r"level=info message=plain"),
            (r#"m="no such key \'x\'" n=1"#, r#"m="no such key 'x'" n=1"#),
            (r#"m="a \\'b\" \'c" n=\'"#, r#"m="a \\'b\" 'c" n=\'"#),
            (
                r#"m="\0 \u{7f} \u{1f600}\n""#,
                r#"m="\u0000 \u007f \ud83d\ude00\n""#,
            ),
            (r#"m="\u{x} \"#, r#"m="\u{x} \"#),
        ] {
            assert_eq!(corrected(line), want);
        }
    }

    proptest! {
        /// What the library writes of any text is read back by a reader of JSON.
        #[test]
        fn any_text_is_read_back(text in any::<String>()) {
            let line = format!("\"{}\"", text.escape_debug());
            let read: String = serde_json::from_str(&corrected(&line)).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
