//! PEM (RFC 7468) that leaves no trace: private keys are read and written in memory that is wiped, each in a single
//! allocation, because a buffer that grows would leave copies in freed memory.
//!
//! It refuses a text that it does not understand completely, and does not interpret the contents. Keys, the authority and
//! its store call it.

use ::pem::{EncodeConfig, LineEnding, Pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What is wrong with a text that contains an unreadable block.
pub(super) const DAMAGED: &str = "is damaged PEM";

/// Certificates are written with Unix line endings.
const FORM: EncodeConfig = EncodeConfig::new().set_line_ending(LineEnding::LF);

/// One block of a text.
pub(super) struct Block<'a> {
    /// `CERTIFICATE`, `PRIVATE KEY`, …
    pub(super) tag: &'a str,
    /// The decoded contents.
    pub(super) contents: Zeroizing<Vec<u8>>,
}

/// All blocks of a text; text between them is ignored. None if one is damaged.
pub(super) fn blocks(text: &str) -> Option<Vec<Block<'_>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (tag, after) = after.split_once(DASHES)?;
        let (body, after) = after.split_once(END)?;
        rest = after.strip_prefix(tag)?.strip_prefix(DASHES)?;
        found.push(Block { tag, contents: decoded(body)? });
    }
    Some(found)
}

/// A certificate as PEM.
pub(super) fn certificate(der: &[u8]) -> String {
    ::pem::encode_config(&Pem::new("CERTIFICATE", der), FORM)
}

/// A certificate request as PEM.
pub(super) fn request(der: &[u8]) -> String {
    ::pem::encode_config(&Pem::new("CERTIFICATE REQUEST", der), FORM)
}

/// Certificates in PEM, in their order.
pub(super) fn chain(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| certificate(der)).collect()
}

/// The certificates in a text, in DER; the text can contain a private key too. None if a block is damaged.
pub(super) fn certificates(text: &str) -> Option<Vec<Vec<u8>>> {
    let blocks = blocks(text)?;
    Some(blocks.iter().filter(|block| block.tag == "CERTIFICATE").map(|block| block.contents.to_vec()).collect())
}

/// A private key in PKCS#8 DER as PEM.
pub(super) fn private_key(der: &[u8]) -> Option<Zeroizing<String>> {
    let mut encoded = Zeroizing::new(vec![0; der.len().div_ceil(3) * 4]);
    STANDARD.encode_slice(der, &mut encoded).ok()?;
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / LINE + 64));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in encoded.chunks(LINE) {
        text.push_str(str::from_utf8(line).ok()?);
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    Some(text)
}

fn decoded(body: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(body.len()));
    encoded.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut contents = Zeroizing::new(vec![0; encoded.len()]);
    let length = STANDARD.decode_slice(&*encoded, &mut contents).ok()?;
    contents.truncate(length);
    Some(contents)
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Characters per line (RFC 7468 section 2).
const LINE: usize = 64;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_the_pem_library_writes_it() {
        for length in [1, 2, 3, 47, 48, 49, 138] {
            let der: Vec<u8> = (0..length).collect();
            let written = private_key(&der).unwrap();
            assert_eq!(*written, ::pem::encode_config(&Pem::new("PRIVATE KEY", der.clone()), FORM));
            let blocks = blocks(&written).unwrap();
            assert_eq!((blocks.len(), blocks[0].tag, &**blocks[0].contents), (1, "PRIVATE KEY", &*der));
        }
    }

    #[test]
    fn a_damaged_block_is_not_ignored() {
        let good = private_key(&[7; 99]).unwrap();
        assert_eq!(blocks(&format!("words\n{}more\n{}", *good, *good)).unwrap().len(), 2);
        assert_eq!(blocks("no block at all").unwrap().len(), 0);
        for bad in [
            good.replace("END PRIVATE", "END PUBLIC"),
            good.replace("-----END", "----END"),
            good.replace("Bwc", "B!c"),
            good.replace("KEY-----\nBwc", "KEY-----\nProc-Type: 4\n\nBwc"),
            good[..good.len() - 3].to_owned(),
            format!("{}{}", &good[..60], *good),
        ] {
            assert!(blocks(&bad).is_none(), "{bad}");
        }
    }
}
