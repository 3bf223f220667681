//! Text of others on a terminal: control characters, and characters that nobody sees, are escaped.
//!
//! Whatever a daemon, a pod or another person wrote reaches a terminal only through this module. It prints nothing.

use std::fmt::Write as _;

/// `text` with control characters and invisible characters as `\u{001b}`.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) {
            shown.push(c);
        } else {
            let _ = write!(shown, "\\u{{{:04x}}}", u32::from(c));
        }
    }
    shown
}

/// Whether a terminal shows this character, spaces included, and does nothing else.
#[must_use]
pub fn is_visible(c: char) -> bool {
    !c.is_control() && !is_invisible(c)
}

/// Characters that change the direction of the text or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escaped("a\u{1b}[31mb\nc\u{202e}d\u{9b}"), "a\\u{001b}[31mb\\u{000a}c\\u{202e}d\\u{009b}");
        assert_eq!(escaped("Größe ✓"), "Größe ✓");
    }
}
