//! One file of age, whole in memory.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use zeroize::Zeroizing;

use crate::{Identity, Recipient};

const VERSION: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const WRAP: &[u8] = b"age-encryption.org/v1/X25519";

/// What a chunk has before it is sealed, in bytes; the last one may have less.
const CHUNK: usize = 64 * 1024;

/// What a chunk grows by.
const TAG: usize = 16;

/// Stanzas that are looked at: more than anybody configures.
const MOST_STANZAS: usize = 64;

/// The system has no random numbers, or refuses a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be sealed: the system has no random numbers, or a recipient's key is of low order")]
pub struct SealError;

/// Why a file cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It has another form.
    #[error("it is no file of age, version 1")]
    Form,
    /// None of the identities is one of its recipients.
    #[error("it is sealed for others: no identity opens it")]
    Others,
    /// It was changed after it was sealed.
    #[error("it was changed after it was sealed")]
    Changed,
}

/// Seals for each of the recipients.
///
/// # Errors
/// [`SealError`].
pub fn seal(recipients: &[Recipient], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let file_key = random::<16>()?;
    let mut sealed = VERSION.as_bytes().to_vec();
    for recipient in recipients {
        let ephemeral = Identity::generate()?;
        let share = ephemeral.recipient().bytes();
        let wrap = wrap_key(&ephemeral, recipient.bytes(), share, recipient.bytes()).ok_or(SealError)?;
        let mut wrapped = file_key.to_vec();
        // The key is used once.
        seal_chunk(&wrap, [0; 12], &mut wrapped).ok_or(SealError)?;
        sealed.extend_from_slice(format!("{STANZA}{}\n{}\n", BASE64.encode(share), BASE64.encode(wrapped)).as_bytes());
    }
    sealed.extend_from_slice(b"---");
    let mac = hmac::sign(&header_key(&file_key).ok_or(SealError)?, &sealed);
    sealed.extend_from_slice(format!(" {}\n", BASE64.encode(mac)).as_bytes());
    let nonce = random::<16>()?;
    sealed.extend_from_slice(nonce.as_slice());
    let key = payload_key(&file_key, nonce.as_slice()).ok_or(SealError)?;
    let mut chunks = plain.chunks(CHUNK).peekable();
    let mut number = 0;
    loop {
        // Nothing is sealed as one empty chunk.
        let mut chunk = chunks.next().unwrap_or_default().to_vec();
        let is_last = chunks.peek().is_none();
        seal_chunk(&key, chunk_nonce(number, is_last), &mut chunk).ok_or(SealError)?;
        sealed.extend_from_slice(&chunk);
        if is_last {
            return Ok(sealed);
        }
        number += 1;
    }
}

/// Opens a file with whichever of the identities is its recipient.
///
/// # Errors
/// [`OpenError`]; nothing of it is returned then.
pub fn open(identities: &[Identity], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut header = Header { left: sealed };
    if header.line().ok_or(OpenError::Form)? != VERSION.trim_end() {
        return Err(OpenError::Form);
    }
    let mut file_key = None;
    let mut stanzas = 0;
    let mac = loop {
        let line = header.line().ok_or(OpenError::Form)?;
        if let Some(mac) = line.strip_prefix("--- ") {
            break mac;
        }
        stanzas += 1;
        if !line.starts_with("-> ") || stanzas > MOST_STANZAS {
            return Err(OpenError::Form);
        }
        let body = header.body().ok_or(OpenError::Form)?;
        if let Some(share) = line.strip_prefix(STANZA)
            && file_key.is_none()
        {
            let share = decoded::<32>(share).ok_or(OpenError::Form)?;
            let wrapped: [u8; 32] = body.as_slice().try_into().map_err(|_| OpenError::Form)?;
            file_key = identities.iter().find_map(|identity| unwrapped(identity, &share, &wrapped));
        }
    };
    let file_key = file_key.ok_or(OpenError::Others)?;
    let mac = decoded::<32>(mac).ok_or(OpenError::Form)?;
    let payload = header.left;
    // Up to the three hyphens.
    let whole = sealed.len().saturating_sub(payload.len());
    let authenticated = whole.checked_sub(" \n".len() + 43).and_then(|end| sealed.get(..end)).ok_or(OpenError::Form)?;
    hmac::verify(&header_key(&file_key).ok_or(OpenError::Changed)?, authenticated, &mac)
        .map_err(|_| OpenError::Changed)?;
    let (nonce, payload) = payload.split_at_checked(16).ok_or(OpenError::Changed)?;
    let key = payload_key(&file_key, nonce).ok_or(OpenError::Changed)?;
    let mut chunks = payload.chunks(CHUNK + TAG).peekable();
    let mut plain = Vec::with_capacity(payload.len());
    let mut number = 0;
    while let Some(chunk) = chunks.next() {
        let is_last = chunks.peek().is_none();
        let mut chunk = chunk.to_vec();
        let nonce = Nonce::assume_unique_for_key(chunk_nonce(number, is_last));
        let opened = key.open_in_place(nonce, Aad::empty(), &mut chunk).map_err(|_| OpenError::Changed)?;
        // Only an empty file ends with an empty chunk.
        if opened.is_empty() && number > 0 {
            return Err(OpenError::Changed);
        }
        plain.extend_from_slice(opened);
        number += 1;
    }
    if number == 0 { Err(OpenError::Changed) } else { Ok(plain) }
}

/// The header of a file, line by line.
struct Header<'a> {
    left: &'a [u8],
}

impl<'a> Header<'a> {
    fn line(&mut self) -> Option<&'a str> {
        let end = self.left.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.left.split_at_checked(end)?;
        self.left = rest.get(1..)?;
        str::from_utf8(line).ok()
    }

    /// The body of a stanza: lines of 64 characters, and a shorter one at the end.
    fn body(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            body.extend(BASE64.decode(line).ok()?);
            match line.len() {
                64 => {}
                0..64 => return Some(body),
                _ => return None,
            }
        }
    }
}

fn unwrapped(identity: &Identity, share: &[u8; 32], wrapped: &[u8; 32]) -> Option<Zeroizing<[u8; 16]>> {
    let wrap = wrap_key(identity, share, share, identity.recipient().bytes())?;
    let mut wrapped = Zeroizing::new(*wrapped);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let opened = wrap.open_in_place(nonce, Aad::empty(), wrapped.as_mut_slice()).ok()?;
    Some(Zeroizing::new((&*opened).try_into().ok()?))
}

/// The key that wraps the file key, from what `own` and `other` agree on.
fn wrap_key(own: &Identity, other: &[u8; 32], share: &[u8; 32], recipient: &[u8; 32]) -> Option<LessSafeKey> {
    let secret = own.agree(other)?;
    cipher(derived(secret.as_slice(), &[share.as_slice(), recipient].concat(), WRAP)?.as_slice())
}

fn header_key(file_key: &Zeroizing<[u8; 16]>) -> Option<hmac::Key> {
    Some(hmac::Key::new(hmac::HMAC_SHA256, derived(file_key.as_slice(), &[], b"header")?.as_slice()))
}

fn payload_key(file_key: &Zeroizing<[u8; 16]>, nonce: &[u8]) -> Option<LessSafeKey> {
    cipher(derived(file_key.as_slice(), nonce, b"payload")?.as_slice())
}

fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?))
}

/// HKDF-SHA-256.
fn derived(secret: &[u8], salt: &[u8], label: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    derived.expand(&[label], hkdf::HKDF_SHA256).ok()?.fill(key.as_mut_slice()).ok()?;
    Some(key)
}

fn seal_chunk(key: &LessSafeKey, nonce: [u8; 12], chunk: &mut Vec<u8>) -> Option<()> {
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), chunk).ok()
}

/// The number of a chunk, and whether it is the last one.
fn chunk_nonce(number: u64, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (place, byte) in nonce.iter_mut().skip(3).zip(number.to_be_bytes()) {
        *place = byte;
    }
    let [.., last] = &mut nonce;
    *last = u8::from(is_last);
    nonce
}

fn decoded<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

fn random<const LENGTH: usize>() -> Result<Zeroizing<[u8; LENGTH]>, SealError> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| SealError)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identities;

    fn keys(number: usize) -> (Vec<Identity>, Vec<Recipient>) {
        let identities: Vec<_> = (0..number).map(|_| Identity::generate().unwrap()).collect();
        let recipients = identities.iter().map(|identity| identity.recipient().clone()).collect();
        (identities, recipients)
    }

    /// Sealed by `age` 1.1.1 for two recipients: what it wrote is opened with either key.
    #[test]
    fn a_file_of_age_is_opened() {
        let sealed = include_bytes!("tests/hello.age");
        for identity in [include_str!("tests/identity.txt"), include_str!("tests/other.txt")] {
            let plain = open(&identities(identity).unwrap(), sealed).unwrap();
            assert_eq!(plain, b"hello from age\n");
        }
        assert_eq!(open(&keys(2).0, sealed), Err(OpenError::Others));
    }

    /// Around every length at which another chunk begins.
    #[test]
    fn each_recipient_opens_what_was_sealed() {
        let (identities, recipients) = keys(2);
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let sealed = seal(&recipients, &plain).unwrap();
            assert_ne!(sealed, seal(&recipients, &plain).unwrap(), "keys are made anew");
            for identity in &identities {
                assert!(open(std::slice::from_ref(identity), &sealed) == Ok(plain.clone()), "{length}");
            }
            assert_eq!(open(&keys(1).0, &sealed), Err(OpenError::Others));
        }
    }

    /// No byte of a file can be changed, no end cut off, no chunk left out or moved.
    #[test]
    fn what_was_changed_is_not_opened() {
        let (identities, recipients) = keys(1);
        let sealed = seal(&recipients, b"what a person saw").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&identities, &changed).is_err(), "byte {at}");
            assert!(open(&identities, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert!(open(&identities, &[&sealed[..], b"x"].concat()).is_err());
        let long = seal(&recipients, &vec![7; 3 * CHUNK]).unwrap();
        let begin = long.len() - 3 * (CHUNK + TAG);
        let (header, chunks) = long.split_at(begin);
        let chunks: Vec<&[u8]> = chunks.chunks(CHUNK + TAG).collect();
        for order in [&[0, 1][..], &[0, 2], &[1, 0, 2], &[2]] {
            let chunks: Vec<u8> = order.iter().flat_map(|chunk| chunks[*chunk].to_vec()).collect();
            assert_eq!(open(&identities, &[header, &chunks].concat()), Err(OpenError::Changed), "{order:?}");
        }
    }

    /// A recipient of low order would have a secret that everybody knows.
    #[test]
    fn nothing_is_sealed_for_a_key_of_low_order() {
        let (identities, _) = keys(1);
        assert!(identities[0].agree(&[0; 32]).is_none());
    }

    proptest! {
        /// Whatever bytes come, they are refused without a panic.
        #[test]
        fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (identities, recipients) = keys(1);
            prop_assert!(open(&identities, &bytes).is_err());
            let mut sealed = seal(&recipients, b"x").unwrap();
            sealed.splice(22.., bytes);
            prop_assert!(open(&identities, &sealed).is_err());
        }
    }
}
