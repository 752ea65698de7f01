//! What the status page is made of: its style, escaped text, and numbers as people read them.

use std::time::Duration;

/// In light or dark, as the reader has it.
pub(super) const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --text: #1c2128; --quiet: #59636e; --line: #d8dee4;
  --link: #0b57d0; --up: #1a7f37; --late: #8a5300; --down: #c21f2b; --head: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --back: #12161c; --text: #e4e8ed; --quiet: #98a2ad;
  --line: #2d343d; --link: #7db3ff; --up: #4cc26b; --late: #e0a43a; --down: #ff7b72; --head: #1a2028; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header { background: var(--head); border-bottom: 1px solid var(--line); padding: .8rem 1.5rem;
  display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; align-items: baseline; }
main { max-width: 76rem; padding: 0 1.5rem 3rem; }
h1 { font-size: 1.15rem; margin: 0; } h1 small { color: var(--quiet); font-weight: 400; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
nav a { margin-right: 1rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1.2rem .35rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .85rem; color: var(--quiet); white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
#targets td:nth-child(-n+2) { min-width: 13rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .87em ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .85rem; margin: 0 0 .3rem; }
.up, .late, .down { overflow-wrap: anywhere; }
.up { color: var(--up); } .late { color: var(--late); } .down { color: var(--down); }
.up::before, .late::before, .down::before { content: '\\25cf\\a0'; }
form { margin: 0 0 .6rem; display: flex; gap: .5rem; align-items: center; max-width: 36rem; }
input { flex: 1; } input, button { font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--line); border-radius: .3rem; padding: .25rem .6rem; }
button { background: var(--head); }
#program { width: auto; } #program th { padding-right: 2rem; }
";

/// Text for HTML, in and out of attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A value in the query of a link.
pub(super) fn escaped_query(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A number with its thousands set apart.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that leaves few digits.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", in_units(bytes, 1024)),
        _ => format!("{:.1} MiB", in_units(bytes, 1_048_576)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
fn in_units(bytes: usize, unit: usize) -> f64 {
    bytes as f64 / unit as f64
}

/// How long ago something was.
pub(super) fn ago(since: Duration) -> String {
    match since.as_secs() {
        0..10 => format!("{:.1} s ago", since.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(
            escaped("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
        assert_eq!(escaped_query("a&b=\"<c>"), "a%26b%3D%22%3Cc%3E");
    }

    #[test]
    fn numbers_for_people() {
        for (number, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), want);
        }
        for (bytes, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1024.0 KiB"),
            (60_000_000, "57.2 MiB"),
        ] {
            assert_eq!(size(bytes), want);
        }
        for (milliseconds, want) in [
            (0, "0.0 s ago"),
            (2_340, "2.3 s ago"),
            (119_999, "119 s ago"),
            (120_000, "2 min ago"),
            (7_200_000, "2 h ago"),
            (200_000_000, "2 d ago"),
        ] {
            assert_eq!(ago(Duration::from_millis(milliseconds)), want);
        }
    }
}
