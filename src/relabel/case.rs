//! Letters to lower and upper case as Go's `strings.ToLower` and `strings.ToUpper` turn them.
//!
//! Go maps each character to one character. The standard library here follows Unicode's full
//! mapping: a sharp s becomes `SS`, a capital sigma at the end of a word becomes the final sigma,
//! and ligatures fall apart. So that a rule gives the same value in both places, characters are
//! mapped one by one, and those with no mapping to a single character stay.

/// `text` in lower case.
pub(super) fn lower(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            // I with a dot: the only character whose full lower case is longer than its simple one.
            '\u{130}' => 'i',
            other => only(other.to_lowercase()).unwrap_or(other),
        })
        .collect()
}

/// `text` in upper case.
pub(super) fn upper(text: &str) -> String {
    text.chars()
        .map(|character| {
            only(character.to_uppercase())
                .or_else(|| title_of_iota(character))
                .unwrap_or(character)
        })
        .collect()
}

fn only(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}

/// Greek letters with an iota below have two letters as full upper case, and their title case as
/// simple upper case.
fn title_of_iota(character: char) -> Option<char> {
    let above = match character {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => return None,
    };
    char::from_u32(u32::from(character) + above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_mapped_one_to_one() {
        for (text, low, up) in [
            ("", "", ""),
            ("aB-1", "ab-1", "AB-1"),
            ("\u{c9}\u{e9}", "\u{e9}\u{e9}", "\u{c9}\u{c9}"),
            // Sigma, at the end of a word too.
            ("\u{39f}\u{3a3}", "\u{3bf}\u{3c3}", "\u{39f}\u{3a3}"),
            ("\u{3c2}", "\u{3c2}", "\u{3a3}"),
            // Sharp s, a ligature, and I with a dot.
            ("\u{df}", "\u{df}", "\u{df}"),
            ("\u{fb01}", "\u{fb01}", "\u{fb01}"),
            ("\u{130}", "i", "\u{130}"),
            ("\u{131}\u{17f}", "\u{131}\u{17f}", "IS"),
            // Iota below.
            ("\u{1f80}\u{1fb3}", "\u{1f80}\u{1fb3}", "\u{1f88}\u{1fbc}"),
            ("\u{1f88}", "\u{1f80}", "\u{1f88}"),
        ] {
            assert_eq!(lower(text), low, "{text:?}");
            assert_eq!(upper(text), up, "{text:?}");
        }
    }
}
