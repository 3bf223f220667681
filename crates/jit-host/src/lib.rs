//! What the programs of a bastion share: [`files`] reads files that only trusted accounts could have written, and writes
//! files whole; [`configuration`] reads a program's own file and says where a mistake is; [`hint`] keeps what to do about an
//! error apart from what is wrong, [`escape`] makes text of others harmless for a terminal, [`placeholder`] finds what an
//! administrator has not filled in yet, [`places`] limits how many
//! connections there are, and [`secret`] reads what no log may show.
//!
//! It knows no cluster and no grant. The daemon and everything that connects to an API server use it.

pub mod configuration;
pub mod escape;
pub mod files;
pub mod hint;
pub mod placeholder;
pub mod places;
pub mod secret;
