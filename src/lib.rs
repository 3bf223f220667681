//! placeholder
pub mod api;
pub mod cluster;
pub mod ca;
pub mod grant;
pub mod trail;
pub mod config;
pub mod people;
pub mod client;
pub mod broker;
pub mod sweep;
pub mod metrics;
pub mod manifest;
pub mod service;
