//! The daemon from outside: real binaries, a real API server, real uids behind the socket.
//!
//! `plane` is the control plane that all tests share, `bastion` one daemon with its people; the other
//! files are rules, a test each. What is faked stands in the test that needs it, with the reason.

mod architecture;
mod certificates;
mod bastion;
mod cluster;
mod plane;
mod story;
mod login;
