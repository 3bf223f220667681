//! Verifies ID tokens and logout tokens, each by the rule and with the keys of its provider.
//!
//! Only the configured issuers are asked for keys, whatever a token says.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jit_host::hint::Hint;
use jit_identity::{Fetcher, Kind, Logout, Person, Providers, Refusal, Source, unverified_issuer};
use jit_wire::Problem;

/// The providers and their keys.
pub struct Tokens {
    providers: Providers,
    /// By issuer.
    sources: BTreeMap<String, Source>,
}

impl Tokens {
    /// Verifies tokens of these providers.
    #[must_use]
    pub fn new(providers: Providers) -> Self {
        let fetcher = Arc::new(Fetcher::new(Vec::new()));
        let source = |provider: &jit_identity::Provider| {
            (provider.issuer().to_owned(), Source::new(provider.clone(), Arc::clone(&fetcher)))
        };
        Self { sources: providers.iter().map(source).collect(), providers }
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
        let verified = match self.source(token, Kind::Id) {
            Ok(source) => source.verify(token.as_bytes(), nonce, now).await,
            Err(refusal) => Err(refusal),
        };
        verified.map_err(|refusal| problem(&refusal))
    }

    /// Whose login is over, by a logout token. It takes at most 10 s.
    ///
    /// # Errors
    /// The problem: which check failed, and never a value of the token.
    pub async fn verify_logout(&self, token: &str, now: Timestamp) -> Result<Logout, Problem> {
        let verified = match self.source(token, Kind::Logout) {
            Ok(source) => source.verify_logout(token.as_bytes(), now).await,
            Err(refusal) => Err(refusal),
        };
        verified.map_err(|refusal| problem(&refusal))
    }

    fn source(&self, token: &str, kind: Kind) -> Result<&Source, Refusal> {
        let issuer = unverified_issuer(token.as_bytes(), kind)?;
        self.sources.get(&issuer).ok_or(Refusal::Issuer)
    }
}

fn problem(refusal: &Refusal) -> Problem {
    tracing::info!(check = refusal.check(), "refused a token");
    let (code, status) = refusal.code();
    let hint = refusal.hint().map_or_else(String::new, Into::into);
    Problem { code: code.to_owned(), status, detail: refusal.to_string(), hint, retry_after: None }
}
