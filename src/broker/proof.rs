//! Asking the API server until it answers as the binding says it should.

use std::time::Duration;

use super::{BrokerError, Site};
use crate::cluster::{Answer, Probe};
use crate::grant::Binding;
use crate::hint::Hint;

/// How long a new or deleted binding may take until the API server answers accordingly.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the API server's authorizer usually needs to follow a deletion (2 ms in the median, measured).
const AUTHORIZER_FOLLOWS: Duration = Duration::from_millis(3);

/// How long the proof of one end lets the deletions of others pass: a thousand of them need less.
const DELETIONS_WITHIN: Duration = Duration::from_secs(5);

/// What the API server came to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// What the binding makes it say.
    AsBound,
    /// What the deleted binding gave is denied to its group, and somebody gives it to the holder's own user name.
    ByUserName,
}

/// Asks the API server until it says what the binding should make it say.
pub(super) async fn ask_until(
    site: &Site,
    binding: &Binding,
    probe: &Probe,
    allowed: bool,
) -> Result<Settled, BrokerError> {
    if !allowed {
        tokio::time::sleep(AUTHORIZER_FOLLOWS).await;
        site.cluster.deletions_first(DELETIONS_WITHIN).await;
    }
    let (mut last, mut hint) = ("nothing".to_owned(), None);
    let asked = async {
        // Somebody waits for a "yes". A "no" comes a moment after the deletion; when a thousand grants end
        // together, asking too often keeps the API server from what it is asked about.
        let mut pause = Duration::from_millis(if allowed { 2 } else { 10 });
        loop {
            match site.cluster.ask(binding, probe).await {
                Ok(answer) if answer.is_allowed() == allowed => return Ok(Settled::AsBound),
                Ok(Answer::Allowed { why }) => {
                    match site.cluster.is_given_by_user_name(binding, probe).await {
                        // No deletion of ours would ever change that answer.
                        Ok(true) => return Ok(Settled::ByUserName),
                        Err(error) if !error.is_transient() => return Err(error),
                        Ok(false) | Err(_) => {}
                    }
                    (last, hint) = (format!("`allowed` ({why})"), None);
                }
                Ok(Answer::Denied) => (last, hint) = ("`denied`".to_owned(), None),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => (last, hint) = (error.to_string(), error.hint()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(250));
        }
    };
    let asked = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    match asked {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(BrokerError::Unsettled { answer: last, hint }),
    }
}
