//! Verifies ID tokens, each by the rule and with the keys of its provider.
//!
//! Only the configured issuers are asked for keys, whatever a token says.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jit_host::hint::Hint;
use jit_identity::{Fetcher, Person, Providers, Refusal, Source, unverified_issuer};
use jit_wire::Problem;

/// The providers and their keys.
pub struct Tokens {
    providers: Providers,
    /// By issuer.
    sources: BTreeMap<String, Source>,
}

impl Tokens {
    /// Verifies tokens of these providers.
    ///
    /// # Errors
    /// This host trusts no certificate authority, as a sentence.
    pub fn new(providers: Providers) -> Result<Self, String> {
        let fetcher = Arc::new(Fetcher::new(Vec::new())?);
        let source = |provider: &jit_identity::Provider| {
            (provider.issuer().to_owned(), Source::new(provider.clone(), Arc::clone(&fetcher)))
        };
        Ok(Self { sources: providers.iter().map(source).collect(), providers })
    }

    /// The providers.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Who the token is about. It takes at most 10 s.
    ///
    /// # Errors
    /// The problem: which check failed, and never a value of the token.
    pub async fn verify(&self, token: &str, nonce: &str, now: Timestamp) -> Result<Person, Problem> {
        let verified = match unverified_issuer(token.as_bytes()).map(|issuer| self.sources.get(&issuer)) {
            Ok(Some(source)) => source.verify(token.as_bytes(), nonce, now).await,
            Ok(None) => Err(Refusal::Issuer),
            Err(refusal) => Err(refusal),
        };
        verified.map_err(|refusal| {
            tracing::info!(check = refusal.check(), "refused a token");
            problem(&refusal)
        })
    }
}

fn problem(refusal: &Refusal) -> Problem {
    let (code, status) = refusal.code();
    let hint = refusal.hint().map_or_else(String::new, Into::into);
    Problem { code: code.to_owned(), status, detail: refusal.to_string(), hint, retry_after: None }
}
