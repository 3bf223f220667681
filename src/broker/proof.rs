//! Proofs: asking the API server until its answer follows the binding.

use std::time::Duration;

use super::{BrokerError, Site};
use crate::cluster::{Answer, Probe};
use crate::grant::Binding;
use crate::hint::Hint;

/// How long the API server may take to follow a new or deleted binding.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long the API server's authorizer usually takes to follow a deletion (2 ms in the median, measured).
const AUTHORIZER_FOLLOWS: Duration = Duration::from_millis(3);

/// How long the proof of one end waits for the deletions of others; a thousand of them take less.
const DELETIONS_WITHIN: Duration = Duration::from_secs(5);

/// The API server's final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It follows the binding.
    AsBound,
    /// The grant's group is denied, but somebody else's binding allows the action to the holder's own user name.
    ByUserName,
}

/// Asks the API server until its answer follows the binding.
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
        // The requester waits for "allowed". "Denied" follows shortly after a deletion; when a thousand grants end
        // together, asking too often would slow down the deletions themselves.
        let mut pause = Duration::from_millis(if allowed { 2 } else { 10 });
        loop {
            match site.cluster.ask(binding, probe).await {
                Ok(answer) if answer.is_allowed() == allowed => return Ok(Settled::AsBound),
                Ok(Answer::Allowed { why }) => {
                    match site.cluster.is_given_by_user_name(binding, probe).await {
                        // No deletion of ours can change that answer.
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
