//! The keys of one provider over time.
//!
//! ```text
//!  token ─► known keys, at most 5 min old ─► verified
//!             │ none, older, or another `kid`
//!             ▼
//!           one fetch, for everybody who waits ─► the keys are replaced: a removed one no longer counts
//!             │ the last one began less than 30 s ago, or fails
//!             ▼
//!           the known keys, for a day; after that nobody comes in by this provider
//! ```
//! A stranger can make us fetch every 30 s, and no more often.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use jit_host::hint::Hint;
use parking_lot::Mutex;

use crate::fetch::Fetcher;
use crate::jws::{Jws, Kind};
use crate::keys::KeySet;
use crate::logout::{Logout, verify_logout};
use crate::person::Person;
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::verify::{SKEW, verify};

/// How old the keys are when they are fetched again, and so for how long a removed key counts.
const FRESH: SignedDuration = SignedDuration::from_secs(300);

/// How long after the beginning of one fetch the next one begins.
const BETWEEN: SignedDuration = SignedDuration::from_secs(30);

/// How long keys are used that cannot be fetched again.
const LONGEST: SignedDuration = SignedDuration::from_secs(86_400);

/// A provider with its keys. Cheap to clone; all clones share the keys.
#[derive(Clone)]
pub struct Source(Arc<Inner>);

struct Inner {
    provider: Provider,
    fetcher: Arc<Fetcher>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// When the last fetch began, and whether it has succeeded.
    last: Option<(Timestamp, bool)>,
    running: Option<Shared<BoxFuture<'static, ()>>>,
}

struct Known {
    keys: Arc<KeySet>,
    /// When the fetch began that brought them.
    since: Timestamp,
}

impl Source {
    /// A provider whose keys are fetched with the first token.
    #[must_use]
    pub fn new(provider: Provider, fetcher: Arc<Fetcher>) -> Self {
        Self(Arc::new(Inner { provider, fetcher, state: Mutex::default() }))
    }

    /// The provider's rule.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.0.provider
    }

    /// [`verify`](crate::verify()) with the provider's keys, which are fetched if necessary. It takes at most 10 s.
    ///
    /// # Errors
    /// [`Refusal`]; [`Refusal::ProviderUnreachable`] only if another key could have verified the token.
    pub async fn verify(&self, token: &[u8], nonce: &str, now: Timestamp) -> Result<Person, Refusal> {
        self.judge(token, Kind::Id, now, |keys| verify(token, keys, &self.0.provider, nonce, now)).await
    }

    /// [`verify_logout`] in the same way.
    ///
    /// # Errors
    /// As those of [`Source::verify`].
    pub async fn verify_logout(&self, token: &[u8], now: Timestamp) -> Result<Logout, Refusal> {
        self.judge(token, Kind::Logout, now, |keys| verify_logout(token, keys, &self.0.provider, now)).await
    }

    async fn judge<T>(
        &self,
        token: &[u8],
        kind: Kind,
        now: Timestamp,
        verified: impl Fn(&KeySet) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        // What can never be accepted makes nobody fetch.
        Jws::parse(token, kind)?.is_allowed(&self.0.provider.algorithms)?;
        if self.known(FRESH, now).is_none() {
            self.fetch(now).await;
        }
        let Some(known) = self.known(LONGEST, now) else { return Err(Refusal::ProviderUnreachable) };
        match verified(&known) {
            Err(Refusal::UnknownKey) if self.fetch(now).await => {
                self.known(LONGEST, now).map_or(Err(Refusal::ProviderUnreachable), |known| verified(&known))
            }
            // It might have been in the set that could not be fetched.
            Err(Refusal::UnknownKey) if !self.is_reachable() => Err(Refusal::ProviderUnreachable),
            result => result,
        }
    }

    /// The keys, unless they are older than this.
    fn known(&self, limit: SignedDuration, now: Timestamp) -> Option<Arc<KeySet>> {
        let state = self.0.state.lock();
        let known = state.known.as_ref().filter(|known| is_within(known.since, limit, now))?;
        Some(Arc::clone(&known.keys))
    }

    fn is_reachable(&self) -> bool {
        self.0.state.lock().last.is_none_or(|(_, has_succeeded)| has_succeeded)
    }

    /// Waits for the fetch that is running, or for a new one if there may be one; whether the keys are then new.
    async fn fetch(&self, now: Timestamp) -> bool {
        let running = {
            let mut state = self.0.state.lock();
            match (&state.running, state.last) {
                (Some(running), _) => running.clone(),
                (None, Some((began, _))) if is_within(began, BETWEEN, now) => return false,
                (None, _) => {
                    state.last = Some((now, false));
                    // A task of its own: it ends even if whoever began it no longer waits.
                    let task = tokio::spawn(Self::replace(Arc::clone(&self.0), now));
                    let running = task.map(|_| ()).boxed().shared();
                    state.running = Some(running.clone());
                    running
                }
            }
        };
        running.await;
        self.is_reachable()
    }

    async fn replace(inner: Arc<Inner>, now: Timestamp) {
        let fetched = inner.fetcher.keys(inner.provider.issuer()).await;
        let provider = inner.provider.name();
        let mut state = inner.state.lock();
        state.running = None;
        match fetched {
            Ok(keys) => {
                state.last = Some((now, true));
                state.known = Some(Known { keys: Arc::new(keys), since: now });
                tracing::debug!(provider, "the keys of a provider are new");
            }
            Err(error) => {
                tracing::warn!(provider, error = %error.on_one_line(), "the keys of a provider cannot be fetched");
            }
        }
    }
}

/// Whether no more than `limit` has passed. Callers read the clock one after the other, so that one may be a little early;
/// a clock that was set back makes everything old.
fn is_within(since: Timestamp, limit: SignedDuration, now: Timestamp) -> bool {
    (-SKEW..=limit).contains(&now.duration_since(since))
}

#[cfg(test)]
mod tests;
