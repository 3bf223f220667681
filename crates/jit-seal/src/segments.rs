//! A recording that grows: files of age one after the other, each behind a line with its length.
//!
//! ```text
//!  age 312
//!  <312 bytes: a file of age>
//!  age 289
//!  …
//! ```
//! age seals in chunks of 64 KiB, so a single file would keep the last minutes of a quiet session in memory, where a gateway that
//! is killed loses them. Here each piece that was written is a file of its own, and can be opened as soon as it is there. Lengths
//! and times of what was printed can be seen from outside. With the tools of a distribution:
//! `while read -r _ length; do head -c "$length" | age -d -i key.txt; done < SESSION.cast.age`.

use std::io::{self, BufRead, ErrorKind, Read};

use crate::{Identity, Recipient, SealError, open, seal};

/// The longest segment that is read, in bytes: what is sealed at once is much shorter.
pub const LONGEST_SEGMENT: usize = 1 << 20;

/// What is sealed at once, in bytes.
const PIECE: usize = LONGEST_SEGMENT / 2;

/// One segment with these bytes, or several if they are many.
///
/// # Errors
/// [`SealError`].
pub fn segment(recipients: &[Recipient], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut segments = Vec::new();
    for piece in plain.chunks(PIECE) {
        let file = seal(recipients, piece)?;
        segments.extend_from_slice(format!("age {}\n", file.len()).as_bytes());
        segments.extend_from_slice(&file);
    }
    Ok(segments)
}

/// Opens segment after segment. One at the end that is not whole is what the gateway was writing when it was killed, and is left
/// out.
pub struct Segments<'a, R> {
    input: R,
    identities: &'a [Identity],
    plain: io::Cursor<Vec<u8>>,
    number: u64,
}

impl<'a, R: BufRead> Segments<'a, R> {
    /// Opens with whichever of the identities is a recipient.
    pub fn new(input: R, identities: &'a [Identity]) -> Self {
        Self { input, identities, plain: io::Cursor::default(), number: 0 }
    }

    /// The next segment; none at the end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.number = self.number.saturating_add(1);
        let number = self.number;
        let fault = |why: String| io::Error::new(ErrorKind::InvalidData, format!("segment {number}: {why}"));
        let mut line = Vec::new();
        // `age ` and at most seven digits.
        self.input.by_ref().take(12).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return if line.len() < 12 { Ok(None) } else { Err(fault("it has no length".to_owned())) };
        }
        let digits = str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("age "));
        let length = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        let length = length.and_then(|digits| digits.parse().ok()).filter(|length| *length <= LONGEST_SEGMENT);
        let length = length.ok_or_else(|| fault("it has no length".to_owned()))?;
        let mut sealed = Vec::new();
        self.input.by_ref().take(length as u64).read_to_end(&mut sealed)?;
        if sealed.len() < length {
            return Ok(None);
        }
        open(self.identities, &sealed).map(Some).map_err(|error| fault(error.to_string()))
    }
}

impl<R: BufRead> Read for Segments<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.plain.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.next()? {
                Some(plain) => self.plain = io::Cursor::new(plain),
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(identities: &[Identity], sealed: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Segments::new(sealed, identities).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Cut anywhere, what was whole is read, and nothing else.
    #[test]
    fn segments_are_read_as_far_as_they_are_whole() {
        let identities = [Identity::generate().unwrap()];
        let recipients = [identities[0].recipient().clone()];
        let (one, two) = (segment(&recipients, b"one\n").unwrap(), segment(&recipients, b"two\n").unwrap());
        let all = [&one[..], &two].concat();
        assert_eq!(read(&identities, &all).unwrap(), "one\ntwo\n");
        for end in 0..all.len() {
            let expected = if end < one.len() { "" } else { "one\n" };
            assert_eq!(read(&identities, &all[..end]).unwrap(), expected, "{end}");
        }
        assert_eq!(segment(&recipients, b"").unwrap(), b"");
    }

    #[test]
    fn long_pieces_become_several_segments() {
        let identities = [Identity::generate().unwrap()];
        let recipients = [identities[0].recipient().clone()];
        let long = "0123456789abcde\n".repeat(LONGEST_SEGMENT / 10);
        assert!(read(&identities, &segment(&recipients, long.as_bytes()).unwrap()).unwrap() == long);
    }

    #[test]
    fn what_is_no_segment_is_an_error() {
        let identities = [Identity::generate().unwrap()];
        let recipients = [identities[0].recipient().clone()];
        let good = segment(&recipients, b"x").unwrap();
        let others = segment(&[Identity::generate().unwrap().recipient().clone()], b"x").unwrap();
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (bad, why) in [
            (&b"{\"version\": 2}\n"[..], "it has no length"),
            (b"age 99999999\n", "it has no length"),
            (b"age 1048577\n", "it has no length"),
            (b"age +5\n12345", "it has no length"),
            (b"age 5\n12345", "it is no file of age"),
            (&others, "it is sealed for others"),
            (&changed, "it was changed"),
        ] {
            let error = read(&identities, &[&good, bad].concat()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("segment 2: {why}")), "{error}");
        }
    }
}
