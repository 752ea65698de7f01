//! One line of an exposition.
//!
//! Text 0.0.4 takes blanks in most places, any comment, and a comma behind the last label;
//! `OpenMetrics` takes exactly what it writes. Of escapes both know three, and any other in a label's
//! value is a mistake: it would be another value to another reader. In HELP it stays as it is.

use super::{Dialect, excerpt};
use crate::names::{is_label_name, is_metric_name};
use crate::snapshot::Amount;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'t> {
    Nothing,
    Help(&'t str, String),
    Type(&'t str, Kind),
    Unit(&'t str, &'t str),
    Sample(Sample<'t>),
    Eof,
}

/// A sample as it is written.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'t> {
    pub(super) name: &'t str,
    pub(super) labels: Vec<(&'t str, String)>,
    pub(super) amount: Amount,
}

/// The types of both formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    StateSet,
    Info,
    Summary,
    Unknown,
}

impl Kind {
    fn of(word: &str, dialect: Dialect) -> Option<Self> {
        let is_openmetrics = dialect == Dialect::OpenMetrics;
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "untyped" if !is_openmetrics => Self::Unknown,
            "unknown" if is_openmetrics => Self::Unknown,
            "gaugehistogram" if is_openmetrics => Self::GaugeHistogram,
            "stateset" if is_openmetrics => Self::StateSet,
            "info" if is_openmetrics => Self::Info,
            _ => return None,
        })
    }
}

/// Reads a line without its end.
pub(super) fn parse(line: &str, dialect: Dialect) -> Result<Line<'_>, String> {
    let mut rest = Rest {
        text: line,
        dialect,
    };
    if dialect == Dialect::Text {
        rest.blanks();
        if rest.text.is_empty() {
            return Ok(Line::Nothing);
        }
    }
    if rest.text.starts_with('#') {
        rest.comment()
    } else {
        rest.sample().map(Line::Sample)
    }
}

/// What of a line is not read yet.
struct Rest<'t> {
    text: &'t str,
    dialect: Dialect,
}

type Read<T> = Result<T, String>;

impl<'t> Rest<'t> {
    fn eat(&mut self, wanted: char) -> bool {
        let rest = self.text.strip_prefix(wanted);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn while_is(&mut self, is: impl Fn(char) -> bool) -> &'t str {
        let end = self.text.find(|character| !is(character));
        let (front, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        self.text = rest;
        front
    }

    /// Passes over blanks, where the format has them.
    fn blanks(&mut self) -> bool {
        self.dialect == Dialect::Text && !self.while_is(is_blank).is_empty()
    }

    /// What stands between two words.
    fn space(&mut self) -> bool {
        match self.dialect {
            Dialect::Text => self.blanks(),
            Dialect::OpenMetrics => self.eat(' '),
        }
    }

    fn word(&mut self) -> &'t str {
        self.while_is(|character| !is_blank(character))
    }

    fn comment(&mut self) -> Read<Line<'t>> {
        self.eat('#');
        let is_openmetrics = self.dialect == Dialect::OpenMetrics;
        if !self.space() && is_openmetrics {
            return Err("a comment of another form".to_owned());
        }
        let keyword = self.word();
        match keyword {
            "HELP" | "TYPE" => {}
            "UNIT" if is_openmetrics => {}
            "EOF" if is_openmetrics && self.text.is_empty() => return Ok(Line::Eof),
            _ if is_openmetrics => return Err("a comment of another form".to_owned()),
            _ => return Ok(Line::Nothing),
        }
        self.space();
        if self.text.starts_with('"') {
            return Err(QUOTED.to_owned());
        }
        let name = self.word();
        if !is_metric_name(name) {
            return Err(format!("'{}' is no metric name", excerpt(name)));
        }
        let spaced = self.space();
        match keyword {
            "HELP" => Ok(Line::Help(name, unescaped_help(self.text, self.dialect))),
            "UNIT" if spaced => Ok(Line::Unit(name, self.last_word()?)),
            "TYPE" if spaced => {
                let word = self.last_word()?;
                let kind = Kind::of(word, self.dialect);
                let kind = kind.ok_or_else(|| format!("'{}' is no type", excerpt(word)))?;
                Ok(Line::Type(name, kind))
            }
            _ => Err(format!("nothing follows the name of {keyword}")),
        }
    }

    fn last_word(&mut self) -> Read<&'t str> {
        let word = self.word();
        self.blanks();
        if self.text.is_empty() {
            Ok(word)
        } else {
            Err("more than one word".to_owned())
        }
    }

    fn sample(&mut self) -> Read<Sample<'t>> {
        if self.text.starts_with('{') {
            return Err(QUOTED.to_owned());
        }
        let name = self
            .while_is(|character| character.is_ascii_alphanumeric() || "_:".contains(character));
        if !is_metric_name(name) {
            return Err("no metric name".to_owned());
        }
        let mut spaced = self.blanks();
        let mut labels = Vec::new();
        if self.eat('{') {
            labels = self.labels()?;
            spaced = self.dialect == Dialect::Text;
            self.blanks();
        }
        if self.dialect == Dialect::OpenMetrics {
            spaced = self.eat(' ');
        }
        if !spaced {
            return Err("no space in front of the value".to_owned());
        }
        let value = self.word();
        let amount = amount(value).ok_or_else(|| format!("'{}' is no number", excerpt(value)))?;
        self.end()?;
        Ok(Sample {
            name,
            labels,
            amount,
        })
    }

    /// Timestamp and exemplar, which are let go.
    fn end(&mut self) -> Read<()> {
        match self.dialect {
            Dialect::Text => {
                self.blanks();
                let timestamp = self.word();
                self.blanks();
                if !timestamp.is_empty() && timestamp.parse::<i64>().is_err() {
                    return Err(format!("'{}' is no timestamp", excerpt(timestamp)));
                }
            }
            Dialect::OpenMetrics => {
                if self.text.starts_with(' ') && !self.text.starts_with(" #") {
                    self.eat(' ');
                    self.timestamp()?;
                }
                if let Some(exemplar) = self.text.strip_prefix(" # {") {
                    self.text = exemplar;
                    self.labels()?;
                    self.eat(' ');
                    let value = self.word();
                    if amount(value).is_none() {
                        return Err("the exemplar has no value".to_owned());
                    }
                    if self.eat(' ') {
                        self.timestamp()?;
                    }
                }
            }
        }
        if self.text.is_empty() {
            Ok(())
        } else {
            Err("something follows the sample".to_owned())
        }
    }

    fn timestamp(&mut self) -> Read<()> {
        let word = self.word();
        match amount(word) {
            Some(seconds) if seconds.as_f64().is_finite() => Ok(()),
            _ => Err(format!("'{}' is no timestamp", excerpt(word))),
        }
    }

    /// Labels up to the closing brace.
    fn labels(&mut self) -> Read<Vec<(&'t str, String)>> {
        let mut labels = Vec::new();
        let mut is_first = true;
        loop {
            self.blanks();
            let may_end = is_first || self.dialect == Dialect::Text;
            if may_end && self.eat('}') {
                return Ok(labels);
            }
            if self.text.starts_with('"') {
                return Err(QUOTED.to_owned());
            }
            let name =
                self.while_is(|character| character.is_ascii_alphanumeric() || character == '_');
            if !is_label_name(name) {
                return Err("a label without a name".to_owned());
            }
            self.blanks();
            if !self.eat('=') {
                return Err("a label without a value".to_owned());
            }
            self.blanks();
            if !self.eat('"') {
                return Err("a label's value without quotes".to_owned());
            }
            labels.push((name, self.quoted()?));
            self.blanks();
            if !self.eat(',') {
                if self.eat('}') {
                    return Ok(labels);
                }
                return Err("labels that do not end".to_owned());
            }
            is_first = false;
        }
    }

    /// A label's value up to the closing quote.
    fn quoted(&mut self) -> Read<String> {
        let mut value = String::new();
        loop {
            value.push_str(self.while_is(|character| !matches!(character, '"' | '\\')));
            if self.eat('"') {
                return Ok(value);
            }
            if !self.eat('\\') {
                return Err("a label's value that does not end".to_owned());
            }
            value.push(if self.eat('n') {
                '\n'
            } else if self.eat('"') {
                '"'
            } else if self.eat('\\') {
                '\\'
            } else {
                return Err("an escape that the format does not have".to_owned());
            });
        }
    }
}

const QUOTED: &str = "names in quotes (UTF-8 names) are not read";

const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn unescaped_help(text: &str, dialect: Dialect) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('\\') => plain.push('\\'),
            Some('"') if dialect == Dialect::OpenMetrics => plain.push('"'),
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    plain
}

/// A number as both formats write it. One that is whole stays so.
pub(super) fn amount(text: &str) -> Option<Amount> {
    /// Up to here every whole double is itself.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let is_digit = |byte: u8| byte.is_ascii_digit();
    if !text.is_empty()
        && text.bytes().all(is_digit)
        && let Ok(whole) = text.parse()
    {
        return Some(Amount::Whole(whole));
    }
    let value: f64 = text.parse().ok()?;
    // A number that no double holds is not infinite.
    if value.is_infinite() && text.bytes().any(is_digit) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not below zero, and not above 2^53"
    )]
    let whole = (value.is_sign_positive() && value <= EXACT && value.fract() == 0.0)
        .then_some(value as u64);
    Some(whole.map_or(Amount::Double(value), Amount::Whole))
}
