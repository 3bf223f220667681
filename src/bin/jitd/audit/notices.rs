//! `jitd audit notices`: which texts `jit-notify` reported that people were told, by their hashes.
//!
//! The trail has no text. Whoever has one, from a chat or a mailbox, compares its hash.

use std::path::{Path, PathBuf};

use clap::Args;
use jitd::grant::SentText;
use jitd::trail;
use serde::Serialize;
use utoipa::ToSchema;

use crate::print::{self, Output, say};
use crate::{Failure, read};

/// Which texts, and of which trail.
#[derive(Args)]
pub(crate) struct Notices {
    /// Only what is about this grant; the beginning of its id is enough.
    grant: Option<String>,
    /// Only the text with this SHA-256. Exit code 1 if no channel was told it.
    #[arg(long, value_name = "HASH")]
    sha256: Option<String>,
    /// This trail or backup [default: the trail of the configuration].
    #[arg(long, value_name = "FILE")]
    trail: Option<PathBuf>,
    /// Output format.
    #[arg(long, short, default_value = "text", value_enum)]
    output: Output,
}

/// The JSON.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listed {
    texts: Vec<SentText>,
}

pub(crate) fn list(config: &Path, wanted: &Notices) -> Result<(), Failure> {
    let trail = match &wanted.trail {
        Some(trail) => trail.clone(),
        None => read(config)?.trail(),
    };
    let is_wanted = |text: &SentText| {
        let is_about = |beginning: &String| text.grant.as_ref().is_some_and(|id| id.as_str().starts_with(beginning));
        let is_it = |hash: &String| hash.eq_ignore_ascii_case(&text.sha256);
        wanted.grant.as_ref().is_none_or(is_about) && wanted.sha256.as_ref().is_none_or(is_it)
    };
    let texts = trail::sent_texts(&trail, is_wanted)?;
    if texts.is_empty() && wanted.sha256.is_some() {
        return Err(Failure::ours("jit-notify reported no text with this hash"));
    }
    match wanted.output {
        Output::Json => print::json(&Listed { texts }),
        Output::Text if texts.is_empty() => {
            say!("jit-notify reported no text");
            Ok(())
        }
        Output::Text => {
            let rows = texts.into_iter().map(row).collect();
            print::result(print::table(&["AT", "CHANNEL", "GRANT", "ABOUT", "EVENT", "SHA256"], rows))
        }
    }
}

fn row(text: SentText) -> Vec<String> {
    let SentText { channel, grant, about, seq, at, sha256 } = text;
    let grant = grant.map_or("-".to_owned(), |grant| grant.to_string());
    vec![format!("{at:.0}"), channel, grant, about.as_str().to_owned(), seq.to_string(), sha256]
}
