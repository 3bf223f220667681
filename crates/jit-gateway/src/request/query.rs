//! The query of a request for many objects: is it a watch, and does a field selector name one of them?
//!
//! The rules are those of Go's `url.ParseQuery` and of Kubernetes' conversion of `ListOptions`, of which the first value of
//! each key counts. The query itself is sent on as it came; what the two could read differently is refused.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::Refused;

/// What a query says about a request for many objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    pub(super) is_watch: bool,
    /// The name of a field selector `metadata.name=NAME`.
    pub(super) name: Option<String>,
}

impl ListOptions {
    /// Reads what `NewRequestInfo` reads.
    ///
    /// # Errors
    /// [`Refused`] for values on which it is not certain what the API server makes of them.
    pub(super) fn read(query: &str) -> Result<Self, Refused> {
        let unclear = || Refused::malformed("the query is not UTF-8");
        let first = |key: &str| -> Result<Option<String>, Refused> {
            let value = pairs(query).find(|(found, _)| found == key.as_bytes());
            value.map(|(_, value)| String::from_utf8(value).map_err(|_| unclear())).transpose()
        };
        let is_watch = match first("watch")? {
            None => false,
            // Go folds more than ASCII in one place and not in another.
            Some(value) if !value.is_ascii() => {
                return Err(Refused::malformed("the value of `watch` in the query is neither `true` nor `false`"));
            }
            Some(value) => is_true(&value),
        };
        // If one of the options cannot be decoded, no selector counts.
        let mut is_decoded = true;
        for number in ["timeoutSeconds", "limit"] {
            is_decoded &= first(number)?.is_none_or(|value| value.parse::<i64>().is_ok());
        }
        let name = first("fieldSelector")?.filter(|_| is_decoded).and_then(|selector| named(&selector));
        let labels = first("labelSelector")?;
        // An invalid selector of labels is another option that cannot be decoded. The API server answers such a request
        // with 400, so nobody misses one that is unusual and refused here.
        if name.is_some() && labels.is_some_and(|labels| !are_plain(&labels)) {
            return Err(Refused::malformed(
                "next to a field selector for `metadata.name` only label selectors of the form `KEY`, `!KEY`, `KEY=VALUE` \
                 and `KEY!=VALUE` are served",
            ));
        }
        Ok(Self { is_watch, name })
    }
}

/// Whether Kubernetes takes a value for true: everything but `0` and `false` in any case
/// (`runtime.Convert_Slice_string_To_bool`).
pub(crate) fn is_true(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// The values of a key, in their order; bytes that are no UTF-8 are replaced.
pub(crate) fn values(query: &str, key: &str) -> Vec<String> {
    let values = pairs(query).filter(|(found, _)| found == key.as_bytes());
    values.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
}

/// Would Go's `url.ParseQuery` leave out nothing of it?
pub(super) fn is_well_formed(query: &str) -> bool {
    !query.contains(';') && is_percent_encoded(query)
}

/// Do two hexadecimal digits follow each `%`?
pub(super) fn is_percent_encoded(text: &str) -> bool {
    let two_digits =
        |rest: &str| rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    text.split('%').skip(1).all(two_digits)
}

/// Keys and values, decoded.
fn pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let decoded = |text: &str| -> Vec<u8> {
        let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
        percent_decode(spaced.as_bytes()).collect()
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

/// The name that a field selector requires (`fields.ParseSelector`, then `RequiresExactMatch("metadata.name")`); none for a
/// selector that is invalid, or a name that could not stand in a path.
fn named(selector: &str) -> Option<String> {
    let mut terms: Vec<&str> = terms(selector).into_iter().filter(|term| !term.is_empty()).collect();
    // The terms are sorted before the first that matches is taken.
    terms.sort_unstable();
    let mut name = None;
    for term in terms {
        let split = term.char_indices().find_map(|(at, _)| {
            let (field, rest) = term.split_at_checked(at)?;
            Some((field, operator(rest)?, rest))
        });
        let (field, operator, rest) = split?;
        let value = unescaped(rest.strip_prefix(operator)?)?;
        if operator != "!=" && field == "metadata.name" && name.is_none() {
            name = Some(value);
        }
    }
    name.filter(|name| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']))
}

/// The operator at the beginning of a text.
fn operator(text: &str) -> Option<&'static str> {
    ["!=", "==", "="].into_iter().find(|operator| text.starts_with(operator))
}

/// The terms of a field selector: commas part them, unless a backslash stands before.
fn terms(selector: &str) -> Vec<&str> {
    let mut is_escaped = false;
    let split = |c: char| {
        let ends = !is_escaped && c == ',';
        is_escaped = !is_escaped && c == '\\';
        ends
    };
    selector.split(split).collect()
}

/// The value of a term without its backslashes; none if it is invalid.
fn unescaped(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => plain.push(characters.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

/// Is a label selector certainly valid (`labels.Parse`)? Sets and comparisons are not tried.
fn are_plain(selector: &str) -> bool {
    selector.is_empty() || selector.split(',').all(is_plain)
}

fn is_plain(term: &str) -> bool {
    if let Some(key) = term.strip_prefix('!') {
        return is_label_key(key);
    }
    match term.split_once('=') {
        None => is_label_key(term),
        Some((key, value)) => {
            let value = if key.ends_with('!') { value } else { value.strip_prefix('=').unwrap_or(value) };
            is_label_key(key.strip_suffix('!').unwrap_or(key)) && (value.is_empty() || is_label_name(value))
        }
    }
}

/// `[PREFIX/]NAME` (`content.IsLabelKey`).
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_word = |word: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !word.is_empty() && word.bytes().all(is_inner) && !word.starts_with('-') && !word.ends_with('-')
    };
    is_label_name(name) && prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_word))
}

/// At most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_label_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = [name.bytes().next(), name.bytes().last()];
    name.len() <= 63
        && name.bytes().all(is_inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}
