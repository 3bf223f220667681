//! The daemon from outside: real binaries, a real API server, real uids behind the socket.
//!
//! `plane` is the control plane that all tests share, `bastion` one daemon with its people; the other
//! files are rules, a test each. What is faked stands in the test that needs it, with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod a_minute;
mod abuse;
mod agent;
mod architecture;
mod audit;
mod auditing;
mod authority;
mod bastion;
mod callers;
mod certificates;
mod client;
mod closed_pipe;
mod cluster;
mod collecting;
mod console;
mod crash;
mod dial;
mod directory;
mod docs;
mod doctor;
mod doors;
mod entitlements;
mod exact;
mod extend;
mod firstrun;
mod frontend;
mod gateway;
mod gateway_clients;
mod gateway_failures;
mod glass;
mod holder;
mod hostile;
mod identity;
mod impersonation;
mod keycloak;
mod keyring;
mod keys;
mod kubeconfig;
mod kubelet;
mod leftover;
mod less;
mod limits;
mod logged;
mod login;
mod logout;
mod managed;
mod manual;
mod middleman;
mod monitoring;
mod namespaces;
mod notify;
mod offline;
mod oidc;
mod openapi;
mod operations;
mod outage;
mod parts;
mod pasted;
mod plane;
mod playback;
mod plugin;
mod policy;
mod providers;
mod reach;
mod readings;
mod readme;
mod ready;
#[path = "../support/receiver.rs"]
mod receiver;
mod recording;
mod recording_failures;
mod reload;
mod replicas;
#[path = "../support/requested.rs"]
mod requested;
mod requestinfo;
mod restricted;
mod risk;
mod runbooks;
mod scan;
mod scan_ci;
mod scan_nightly;
mod scan_paths;
mod scan_reports;
mod scan_suggest;
#[path = "../support/schema.rs"]
mod schema;
mod schemas;
mod screen;
mod service;
mod session;
mod soak;
mod story;
mod stuck;
mod trail;
mod tutorial;
mod unconstrained;
mod usage;
mod wall;
mod watching;
mod web_sockets;
