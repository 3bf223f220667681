//! Seals what is recorded today, so that whoever is root tomorrow cannot read it: files of age, version 1
//! (<https://c2sp.org/age>), for X25519 recipients.
//!
//! ```text
//!  plain ─► payload key ─► chunks of 64 KiB, ChaCha20-Poly1305          file: a few bytes up to some 100 KiB, in memory
//!  file key (random) ─► payload key, key of the header's HMAC
//!     └──► for each recipient: X25519 with a key made for it ─► a stanza of the header
//!  segments: `age LENGTH`, a file, `age LENGTH`, a file …               a recording, which grows by whole files
//! ```
//! Why not the crate `age`: it has more than a hundred crates below it, among them translations, embedded files and a second
//! implementation of each primitive, in the process that faces what a pod prints. What is used of it here are two pages over
//! the primitives of aws-lc-rs, which the tests compare with the program `age` of the distribution, both ways.
//!
//! It reads no file and no clock. `jit-gateway` seals, and `jitd audit play` opens.

mod file;
mod key;
mod segments;

pub use file::{OpenError, SealError, open, seal};
pub use key::{Identity, KeyError, Recipient, identities};
pub use segments::{LONGEST_SEGMENT, Segments, segment};
