//! Text for people: escaping for terminals, times, lengths, colours, and the name of this program.
//!
//! It prints nothing. Text of the daemon or of another person reaches a terminal only through [`safe`]. Everything that
//! produces messages uses it.

use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use jit_core::grant::Phase;
pub(crate) use jit_host::escape::escaped as safe;

static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// Sets the command that started this program, for hints.
pub(crate) fn called_as(name: &'static str) {
    let _ = PROGRAM.set(name);
}

/// `jit-login`, or `kubectl jit` if it was started as kubectl's plugin.
pub(crate) fn program() -> &'static str {
    PROGRAM.get().copied().unwrap_or("jit-login")
}

/// `text` in a style, which is removed if the output is not a terminal.
pub(crate) fn paint(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const RED: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
pub(crate) const GREEN: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
pub(crate) const YELLOW: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
pub(crate) const CYAN: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));

/// The colour of a phase.
pub(crate) fn phase_style(phase: Phase) -> Style {
    match phase {
        Phase::Live => GREEN,
        Phase::Pending | Phase::Approved | Phase::Collecting => YELLOW,
        Phase::Denied => RED,
        Phase::Ending | Phase::Withdrawn | Phase::Lapsed | Phase::Ended => DIM,
    }
}

/// [`safe`] for names, which have no reason to contain other characters than ASCII: a letter that only looks like another
/// one is escaped.
pub(crate) fn safe_name(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_graphic());
    if plain { text.to_owned() } else { format!("{} (not plain letters)", text.escape_default()) }
}

/// `text` in lines of at most `width` characters, indented by two. A longer word is not split.
pub(crate) fn folded(text: &str, width: usize) -> String {
    hanging("  ", text, 2, width)
}

/// `text` behind `heading`, in lines of at most `width` characters, the second and all others indented by `indent`. A longer
/// word is not split. Colours take no room.
pub(crate) fn hanging(heading: &str, text: &str, indent: usize, width: usize) -> String {
    let mut folded = heading.to_owned();
    let mut column = heading.chars().count();
    for (number, word) in text.split(' ').enumerate() {
        let length = anstream::adapter::strip_str(word).map(|part| part.chars().count()).sum::<usize>();
        if number > 0 && column + 1 + length <= width {
            folded.push(' ');
            column += 1;
        } else if number > 0 {
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        folded.push_str(word);
        column += length;
    }
    folded
}

/// `1h05m`, `58m`, `3m20s`, `42s`; from ten minutes on rounded to the minute.
pub(crate) fn length(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let seconds = if seconds >= 570 { (seconds + 30) / 60 * 60 } else { seconds };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest}s"),
        (0, minutes, rest) if minutes < 10 && rest > 0 => format!("{minutes}m{rest:02}s"),
        (0, minutes, _) => format!("{minutes}m"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) if hours < 48 => format!("{hours}h{minutes:02}m"),
        (hours, _, _) => format!("{}d", hours / 24),
    }
}

/// Seconds from now to `at`; negative if it is in the past.
pub(crate) fn seconds_to(at: Timestamp) -> i64 {
    at.duration_since(crate::now()).as_secs()
}

/// `in 58m`, or `58m ago`.
pub(crate) fn until(at: Timestamp) -> String {
    match seconds_to(at) {
        left if left >= 0 => format!("in {}", length(left)),
        past => format!("{} ago", length(-past)),
    }
}

/// `58m ago`.
pub(crate) fn ago(at: Timestamp) -> String {
    format!("{} ago", length(-seconds_to(at)))
}

/// The time of day in the host's time zone, with the zone, and with the date if it is not today.
pub(crate) fn clock(at: Timestamp) -> String {
    let (then, now) = (at.to_zoned(TimeZone::system()), crate::now().to_zoned(TimeZone::system()));
    let pattern = if then.date() == now.date() { "%H:%M:%S %Z" } else { "%Y-%m-%d %H:%M:%S %Z" };
    then.strftime(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_looks_like_another_is_flagged() {
        assert_eq!(safe_name("alice"), "alice");
        assert_eq!(safe_name("\u{430}lice"), "\\u{430}lice (not plain letters)");
    }

    #[test]
    fn a_line_is_folded_between_words() {
        assert_eq!(folded("the queue is stuck", 12), "  the queue\n  is stuck");
        assert_eq!(folded("a-very-long-word is", 8), "  a-very-long-word\n  is");
        assert_eq!(folded("", 8), "  ");
        assert_eq!(
            hanging("why  ", &paint("the queue is stuck", RED), 5, 14),
            format!("why  {RED}the queue\n     is stuck{RED:#}")
        );
    }

    #[test]
    fn lengths_are_short() {
        let shown = |seconds| length(seconds);
        assert_eq!(
            (shown(42), shown(200), shown(900), shown(3900)),
            ("42s".into(), "3m20s".into(), "15m".into(), "1h05m".into())
        );
        assert_eq!((shown(-5), shown(899), shown(3599)), ("0s".into(), "15m".into(), "1h".into()));
    }
}
