//! `jit-notify`: tells approvers, requesters and administrators what happens, through channels of their own.
//!
//! ```text
//!  jitd ══ notices ══► reading ─► channel ─► feeds: webhook, command      every fact, in order for each request
//!  (numbered facts)      ▲       │   └──► boards: chats, mail, pagers  the present state of each request
//!                        │       ▼
//!                   after number ◄─ state (how far each channel is, on the disk)
//! ```
//! - [`reading`]: a channel's connection to `jitd`; [`progress`]: how far a channel is, on the disk
//! - [`reports`]: what receivers took, for the trail
//! - [`follower`]: what every channel has; [`feeds`]: runs a feed; [`boards`]: runs a board; [`bulletins`]: what it tells
//!   administrators; [`backoff`]: when another attempt is made
//! - [`control`]: the questions of an administrator to the running program; [`status`]: how a channel is
//! - [`config`]: the file; tokens and keys are in files of their own (`jit-host`)
//! - [`channel`]: what is configured, and the one place that calls a receiver
//! - [`webhook`], [`command`]: the feeds; [`document`]: the JSON that both carry
//! - [`board`]: the boards; [`present`]: what they show; [`text`]: the words; [`preview`]: the words about a made-up request
//! - [`directory`]: where people are reached whom the configuration does not list
//! - [`http`]: the client of all channels; [`outcome`]: what became of an attempt
//!
//! The trail is the log: what a channel missed is read from it again, so nothing is kept here but how far each channel is
//! and what was exceptional. It decides nothing, and nothing waits for it.

pub mod backoff;
pub mod board;
pub mod boards;
pub mod bulletins;
pub mod channel;
pub mod command;
pub mod config;
pub mod control;
pub mod directory;
pub mod document;
pub mod feeds;
pub mod follower;
pub mod http;
pub mod outcome;
pub mod present;
pub mod preview;
pub mod progress;
pub mod reading;
pub mod reports;
pub mod status;
pub mod text;
pub mod webhook;

#[cfg(test)]
mod schemas;
