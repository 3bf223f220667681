//! The basic parts of every certificate: a DER element, a hash, a second.
//!
//! It does not know certificates and never fails. Every file of the authority that encodes or reads a certificate calls it.

use aws_lc_rs::digest;
use jiff::Timestamp;

/// A DER element: the tag, the length in its shortest form (X.690 section 10.1), and the parts of the contents.
pub(super) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(length + 10);
    der.push(tag);
    if length < 0x80 {
        der.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let unused = octets.iter().take_while(|octet| **octet == 0).count();
        der.push(0x80 | (octets.len() - unused) as u8);
        der.extend(octets.iter().skip(unused));
    }
    contents.iter().for_each(|part| der.extend_from_slice(part));
    der
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    digest
}

/// The time `second` seconds after 1970, limited to the range of `Timestamp`.
pub(super) fn whole_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The third one is the example in X.690 section 8.1.3.5.
    #[test]
    fn a_length_is_written_in_its_shortest_form() {
        for (length, written) in [(0, &[0][..]), (127, &[127]), (201, &[0x81, 0xc9]), (256, &[0x82, 1, 0])] {
            let contents = vec![7; length];
            let (half, rest) = contents.split_at(length / 2);
            assert_eq!(element(0x30, &[half, rest]), [&[0x30], written, &contents].concat(), "{length}");
        }
    }
}
