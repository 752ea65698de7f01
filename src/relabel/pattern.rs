//! Regexes in Go's syntax, compiled with the regex crate.
//!
//! Both come from RE2, but one text can mean two things: to Go, `\d`, `\w`, `\s` and `\b` know
//! ASCII only, a `[` or `&&` inside a class is itself, so is a `{` that counts nothing, and `\<`
//! is a plain character; it has `\Q...\E` and octal numbers. Turning off the crate's Unicode mode
//! would also turn off `.` for whole characters and the case of letters beyond ASCII. So a text is
//! written anew in the crate's terms, from the grammar at
//! <https://pkg.go.dev/regexp/syntax>, and all that could be read otherwise as `\x{..}`.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled regex. Go allows a thousand repetitions; those of a `.` need half of it.
const SIZE_LIMIT: usize = 4 << 20;

/// The most that Go lets a `{n,m}` count.
const MOST_REPEATS: u32 = 1000;

/// Names in front of which a group's own name stands: Go's may start with a digit.
const NAME_PREFIX: char = '_';

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Compiles `text` so that it has to match as a whole.
pub(super) fn compile(text: &str) -> Result<Regex, String> {
    // The anchors are put around the text and not around its meaning, as in Prometheus: `a)|(b`
    // compiles, and matches what starts with an a or ends with a b.
    let anchored = format!("^(?s:{text})$");
    RegexBuilder::new(&translate(&anchored)?)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| reason(&error))
}

/// The name of a group as it was written, from that in the compiled regex.
pub(super) fn written_name(group: &str) -> Option<&str> {
    group.strip_prefix(NAME_PREFIX)
}

fn reason(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "too large once compiled".to_owned();
    }
    let text = error.to_string();
    // The library draws the regex with a caret under the place; its last line is the reason.
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn translate(text: &str) -> Result<String, String> {
    let mut translator = Translator {
        rest: text,
        out: String::with_capacity(text.len() * 2),
    };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut repeated = false;
        while let Some(next) = self.next() {
            let was_repeated = std::mem::take(&mut repeated);
            match next {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    self.out.push(next);
                    repeated = true;
                }
                '{' => match counts(self.rest) {
                    Some((range, rest)) => {
                        self.out.push('{');
                        self.out.push_str(&range?);
                        self.rest = rest;
                        repeated = true;
                    }
                    None => self.literal('{'),
                },
                other => self.out.push(other),
            }
            if repeated {
                if was_repeated {
                    return Err("repetition of a repetition".to_owned());
                }
                if self.take("?") {
                    self.out.push('?');
                }
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take(&mut self, prefix: &str) -> bool {
        let after = self.rest.strip_prefix(prefix);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn literal(&mut self, character: char) {
        push_literal(&mut self.out, u32::from(character));
    }

    /// Behind a `(`.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.take("?P<") || self.take("?<") {
            self.out.push_str("?P<");
            self.out.push(NAME_PREFIX);
        } else if self.take("?") {
            self.out.push('?');
            loop {
                match self.next() {
                    Some(end @ (':' | ')')) => {
                        self.out.push(end);
                        break;
                    }
                    Some(flag @ ('i' | 'm' | 's' | 'U' | '-')) => self.out.push(flag),
                    _ => return Err("unknown kind of group".to_owned()),
                }
            }
        }
        Ok(())
    }

    /// Behind a `\` outside a class.
    fn escape(&mut self) -> Result<(), String> {
        if self.take("Q") {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            quoted.chars().for_each(|quoted| self.literal(quoted));
        } else if self.take("b") {
            self.out.push_str(r"(?-u:\b)");
        } else if self.take("B") {
            self.out.push_str(r"(?-u:\B)");
        } else if self.take("A") {
            self.out.push_str(r"\A");
        } else if self.take("z") {
            self.out.push_str(r"\z");
        } else if !self.named_set()? {
            let code = self.escaped_character()?;
            push_literal(&mut self.out, code);
        }
        Ok(())
    }

    /// Behind a `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.take("]") {
            first = false;
            if self.posix_class()? {
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, rest);
                if self.named_set()? {
                    continue;
                }
                self.rest = before;
            }
            let low = self.class_character()?;
            push_literal(&mut self.out, low);
            // In front of the end a `-` is itself.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take("-");
                self.out.push('-');
                let high = self.class_character()?;
                push_literal(&mut self.out, high);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` and its kind, inside a class.
    fn posix_class(&mut self) -> Result<bool, String> {
        let Some((name, rest)) = self
            .rest
            .strip_prefix("[:")
            .and_then(|inside| inside.split_once(":]"))
        else {
            return Ok(false);
        };
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err("unknown class of characters".to_owned());
        }
        self.rest = rest;
        let _ = write!(self.out, "[:{name}:]");
        Ok(true)
    }

    /// Behind a `\`: the sets of characters that have a letter, in and out of a class.
    fn named_set(&mut self) -> Result<bool, String> {
        for (letter, set) in [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("s", r"[\t\n\f\r ]"),
            ("S", r"[^\t\n\f\r ]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
        ] {
            if self.take(letter) {
                self.out.push_str(set);
                return Ok(true);
            }
        }
        let mut negated = if self.take("p") {
            false
        } else if self.take("P") {
            true
        } else {
            return Ok(false);
        };
        let missing = || "unknown class of characters".to_owned();
        let mut one = [0; 4];
        let mut name = match self.next().ok_or_else(missing)? {
            '{' => {
                let (name, rest) = self.rest.split_once('}').ok_or_else(missing)?;
                self.rest = rest;
                name
            }
            letter => &*letter.encode_utf8(&mut one),
        };
        if let Some(rest) = name.strip_prefix('^') {
            name = rest;
            negated = !negated;
        }
        let letter = if negated { 'P' } else { 'p' };
        let _ = write!(self.out, "\\{letter}{{{name}}}");
        Ok(true)
    }

    fn class_character(&mut self) -> Result<u32, String> {
        match self.next() {
            Some('\\') => self.escaped_character(),
            Some(other) => Ok(u32::from(other)),
            None => Err("unclosed character class".to_owned()),
        }
    }

    /// Behind a `\`: one character.
    fn escaped_character(&mut self) -> Result<u32, String> {
        let unknown = || "unknown escape".to_owned();
        Ok(match self.next().ok_or_else(unknown)? {
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            'x' => self.hexadecimal().ok_or_else(unknown)?,
            first @ '0'..='7' => {
                // One digit that is not zero would be a reference to a group, which RE2 lacks.
                let is_octal = |next: char| next.is_digit(8);
                if first != '0' && !self.rest.starts_with(is_octal) {
                    return Err("unknown escape".to_owned());
                }
                let mut code = first.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    if let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8))
                    {
                        self.next();
                        code = code * 8 + digit;
                    }
                }
                code
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => u32::from(other),
            _ => return Err(unknown()),
        })
    }

    /// Behind a `\x`: two digits, or any number in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(inside) => inside.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        self.rest = rest;
        let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok()?;
        (are_digits && code <= u32::from(char::MAX)).then_some(code)
    }
}

fn push_literal(out: &mut String, code: u32) {
    match char::from_u32(code) {
        Some(plain) if plain.is_ascii_alphanumeric() || !plain.is_ascii() => out.push(plain),
        _ => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{code:x}}}");
        }
    }
}

/// Behind a `{`: what is left of `{n}`, `{n,}` or `{n,m}`, and what follows; nothing if it is none
/// of them, and then the brace is a plain character.
fn counts(text: &str) -> Option<(Result<String, String>, &str)> {
    let (range, rest) = text.split_once('}')?;
    let (low, high) = match range.split_once(',') {
        Some((low, high)) => (low, (!high.is_empty()).then_some(high)),
        None => (range, None),
    };
    let is_count = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    if !is_count(low) || !high.is_none_or(is_count) {
        return None;
    }
    let is_small = |text: &str| text.parse::<u32>().is_ok_and(|n| n <= MOST_REPEATS);
    let checked = if is_small(low) && high.is_none_or(is_small) {
        Ok(format!("{range}}}"))
    } else {
        Err(format!("more than {MOST_REPEATS} repetitions"))
    };
    Some((checked, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_mean_what_they_mean_to_go() {
        for (regex, matching, other) in [
            ("", &[""][..], &["a", "\n"][..]),
            ("a|ab", &["a", "ab"], &["abc", "ba"]),
            (".*", &["", "a\nb", "\u{e9}"], &[]),
            (".", &["a", "\u{65e5}"], &["ab"]),
            // Anchors stand around the text.
            ("a)|(b", &["ax", "xb"], &["xa", "bx"]),
            // Classes of ASCII.
            (r"\d", &["4"], &["\u{663}"]),
            (r"\D", &["\u{663}"], &["4"]),
            (r"\w", &["a", "_", "0"], &["\u{e9}", "-"]),
            (r"\W", &["\u{e9}", "-"], &["a"]),
            (r"\s", &[" ", "\n"], &["\u{a0}", "\u{b}"]),
            (r"\S", &["a", "\u{a0}"], &[" "]),
            (r"[\w.]+", &["a.b"], &["\u{e9}"]),
            (r"[^\W]", &["a"], &["\u{e9}"]),
            (r"[[:alpha:]_]+", &["a_b"], &["\u{e9}", "1"]),
            (r"[[:^alpha:]]+", &["1", "\u{e9}"], &["a"]),
            (r"[[:space:]]", &["\u{b}"], &["a"]),
            // A word ends before a letter that is not of ASCII.
            ("a\\b\u{e9}", &["a\u{e9}"], &[]),
            ("a\\B\u{e9}", &[], &["a\u{e9}"]),
            (r"a\b.*", &["a", "a-b"], &["ab"]),
            (r"a\B.*", &["ab"], &["a", "a-b"]),
            // Case beyond ASCII.
            ("(?i)\u{e9}K", &["\u{c9}k", "\u{e9}\u{212a}"], &["ek"]),
            // Classes hold what stands in them.
            ("[a[]", &["a", "["], &["b"]),
            ("[[a]", &["a", "["], &["b"]),
            ("[[:a]+", &["[:a"], &["b"]),
            ("[]a]", &["]", "a"], &["["]),
            ("[^]a]", &["b", "["], &["]", "a"]),
            ("[a&&b]", &["a", "&", "b"], &["c"]),
            ("[a~~b]", &["a", "~", "b"], &["c"]),
            ("[+--]", &["+", ",", "-"], &["."]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[-a]", &["a", "-"], &["b"]),
            (r"[a\-z]", &["a", "-", "z"], &["b"]),
            (r"[\]\\]", &["]", "\\"], &["["]),
            (r"[\x41-\x{43}\101]", &["A", "C"], &["D"]),
            ("[a-c-e]", &["b", "-", "e"], &["d"]),
            // Braces that count nothing.
            ("a{", &["a{"], &["a"]),
            ("a{,2}", &["a{,2}"], &["aa"]),
            ("{a}", &["{a}"], &["a"]),
            ("a{01}", &["a{01}"], &["a"]),
            ("a{2}", &["aa"], &["a"]),
            ("a{2,}", &["aa", "aaa"], &["a"]),
            ("a{0,1}?", &["", "a"], &["aa"]),
            ("}]", &["}]"], &[]),
            // Escapes.
            (r"\<\>\_\-\ \%", &["<>_- %"], &[]),
            (r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]),
            (r"\101\0\x42\x{43}", &["A\0BC"], &[]),
            (r"\t\v", &["\t\u{b}"], &[]),
            (r"\pL\p{Greek}\p{^L}\PL", &["a\u{3b1}1-"], &["1\u{3b1}1-"]),
            (r"[\pN\p{^L}]", &["1", "-"], &["a"]),
            (r"\Aa\z", &["a"], &["a\n"]),
            ("(?m)a$\n^b", &["a\nb"], &[]),
            ("(?U)a+?", &["aa"], &[]),
            (r"(?i:A)(?-s:.)", &["ab"], &["a\n"]),
            ("(?:^a)*", &["", "a"], &["aa"]),
        ] {
            let compiled = compile(regex).unwrap_or_else(|error| panic!("{regex:?}: {error}"));
            for text in matching {
                assert!(compiled.is_match(text), "{regex:?} matches {text:?}");
            }
            for text in other {
                assert!(
                    !compiled.is_match(text),
                    "{regex:?} does not match {text:?}"
                );
            }
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (regex, want) in [
            ("(", "unclosed group"),
            (")", "unopened group"),
            ("[a", "unclosed character class"),
            ("[]", "unclosed character class"),
            ("*", "repetition operator missing expression"),
            ("a**", "repetition of a repetition"),
            ("a{2}{3}", "repetition of a repetition"),
            ("a*??", "repetition of a repetition"),
            ("a{1001}", "more than 1000 repetitions"),
            ("a{99999999999}", "more than 1000 repetitions"),
            ("(?=a)", "unknown kind of group"),
            ("(?x) a", "unknown kind of group"),
            ("(?<=a)", "invalid capture group character"),
            (r"(a)\1", "unknown escape"),
            (r"\8", "unknown escape"),
            (r"\C", "unknown escape"),
            (r"\u0041", "unknown escape"),
            (r"\x4", "unknown escape"),
            (r"\x{110000}", "unknown escape"),
            (r"\x{}", "unknown escape"),
            ("\\", "unclosed group"),
            (r"\Qa", "unclosed group"),
            (r"[\b]", "unknown escape"),
            (r"[a-\d]", "unknown escape"),
            ("[[:nope:]]", "unknown class of characters"),
            (r"\p{L", "unknown class of characters"),
        ] {
            match compile(regex) {
                Ok(_) => panic!("{regex:?} compiles"),
                Err(reason) => assert_eq!(reason, want, "{regex:?}"),
            }
        }
    }

    #[test]
    fn size_is_bounded() {
        assert!(compile(".{1000}").is_ok());
        let error = compile(r"(\pL{1000}){1000}").unwrap_err();
        assert_eq!(error, "too large once compiled");
    }
}
