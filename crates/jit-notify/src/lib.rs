//! `jit-notify`: tells approvers, requesters and administrators what happens, through channels of their own.
//!
//! ```text
//!  jitd ══ notices ══► feed ─► channel ─► feeds: webhook, command      every fact, in order for each request
//!  (numbered facts)      ▲       │   └──► boards: chats, mail, pagers  the present state of each request
//!                        │       ▼
//!                   after number ◄─ state (how far each channel is, on the disk)
//! ```
//! - [`config`]: the file; [`secret`]: tokens and keys, which are in files of their own
//! - [`channel`]: what is configured, and the one place that calls a receiver
//! - [`webhook`], [`command`]: the feeds; [`document`]: the JSON that both carry
//! - [`board`]: the boards; [`present`]: what they show
//! - [`http`]: the client of all channels; [`outcome`]: what became of an attempt
//!
//! The trail is the log: what a channel missed is read from it again, so nothing is kept here but how far each channel is
//! and what was exceptional. It decides nothing, and nothing waits for it.

pub mod board;
pub mod channel;
pub mod command;
pub mod config;
pub mod document;
pub mod http;
pub mod outcome;
pub mod present;
pub mod secret;
pub mod webhook;
