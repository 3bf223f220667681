//! placeholder
mod cluster;
