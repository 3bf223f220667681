//! How much one account may use of the daemon: calls per minute, and concurrent answers from the trail.
//!
//! ```text
//!  call ─► below the rate? ─ no ─► held for a second ─► now? ─ no ─► 429, with Retry-After
//!    └─ yes ─► answered from the trail? ─► one of the account's turns, kept until the answer is read ─► handler
//! ```
//! It counts by the uid that the kernel reports, before the uid is resolved to a person, and before the trail, the
//! clusters and the name service are used; for people of an identity provider by the name that they were introduced with. Operators are not counted: `dispatch` calls it for all other routes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use futures::{StreamExt, stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller::{self, Peer};
use super::problem::ApiError;
use crate::grant::times::Rates;
use crate::metrics::Limit;
use crate::wire::ErrorCode;

/// What a call costs of its account's allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// A call only.
    Call,
    /// A decision, calls to the cluster, and space on the disk for as long as the trail is kept.
    Request,
    /// A signature, and three lines in the trail.
    Certificate,
    /// Access is ended: counted separately, so that an account that used up the rest can still do it.
    End,
}

impl Cost {
    const ALL: [Self; 4] = [Self::Call, Self::Request, Self::Certificate, Self::End];

    fn limit(self) -> Limit {
        match self {
            Self::Call => Limit::Calls,
            Self::Request => Limit::Requests,
            Self::Certificate => Limit::Certificates,
            Self::End => Limit::Ends,
        }
    }

    fn per_minute(self, rates: &Rates) -> u32 {
        match self {
            Self::Call | Self::End => rates.calls,
            Self::Request => rates.requests,
            Self::Certificate => rates.certificates,
        }
        .get()
    }
}

/// A call that is not served now: the limit, and the answer.
pub(super) struct Exceeded {
    pub(super) limit: Limit,
    pub(super) error: ApiError,
}

/// What each account used recently.
pub struct Allowances {
    rates: Rates,
    accounts: Mutex<HashMap<caller::Account, Account>>,
}

/// One account, kept for as long as its allowance is not full.
struct Account {
    full_again: [Instant; Cost::ALL.len()],
    /// Turns for an answer from the trail.
    answers: Arc<Semaphore>,
    /// Turns for finding a grant in the trail.
    questions: Arc<Semaphore>,
    /// The last peer that exceeded a limit, and how often that happened since it was recorded. None after a quiet minute.
    beyond: Option<(Peer, u64)>,
}

impl Account {
    fn new(now: Instant) -> Self {
        let turns = || Arc::new(Semaphore::new(AT_A_TIME));
        Self { full_again: [now; Cost::ALL.len()], answers: turns(), questions: turns(), beyond: None }
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        let unused = |turns: &Semaphore| turns.available_permits() == AT_A_TIME;
        self.full_again.iter().all(|full| *full <= now)
            && unused(&self.answers)
            && unused(&self.questions)
            && self.beyond.is_none()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// How many answers from the trail one account may have in progress or unread at a time.
const AT_A_TIME: usize = 2;

/// How long a call waits for one of its account's turns.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// How long a call above the limit is held. A client that calls in a loop is answered once a second on each connection,
/// which costs others nothing; a client that is only a few calls above the limit does not notice.
const HELD_FOR: Duration = Duration::from_secs(1);

/// From this number of accounts on, idle accounts are forgotten.
const MANY: usize = 1024;

impl Allowances {
    /// Starts with a full allowance for every account.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, accounts: Mutex::default() }
    }

    /// Waits until the call may be served, for at most [`HELD_FOR`].
    pub(super) async fn spend(&self, whose: &caller::Account, cost: Cost) -> Result<(), Exceeded> {
        if self.take(whose, cost, Instant::now()).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(HELD_FOR).await;
        self.take(whose, cost, Instant::now()).map_err(|wait| {
            let (limit, most) = (cost.limit(), cost.per_minute(&self.rates));
            let detail = format!("this account made too many {}; the limit is {most} a minute", limit.as_str());
            Exceeded { limit, error: ApiError::too_many(detail, wait) }
        })
    }

    /// One of the account's turns for an answer from the trail. The answer keeps it, see [`held`].
    pub(super) async fn answer(&self, whose: &caller::Account) -> Result<OwnedSemaphorePermit, Exceeded> {
        self.turn(whose, |account| &account.answers).await
    }

    /// One of the account's turns for finding a grant in the trail.
    pub(super) async fn question(&self, whose: &caller::Account) -> Result<OwnedSemaphorePermit, Exceeded> {
        self.turn(whose, |account| &account.questions).await
    }

    async fn turn(
        &self,
        whose: &caller::Account,
        of: fn(&Account) -> &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, Exceeded> {
        let turns = {
            let mut accounts = self.accounts();
            Arc::clone(of(accounts.entry(whose.clone()).or_insert_with(|| Account::new(Instant::now()))))
        };
        match tokio::time::timeout(TURN_WITHIN, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => {
                let detail = format!("{AT_A_TIME} answers to this account are in progress or unread");
                Err(Exceeded { limit: Limit::Answers, error: ApiError::too_many(detail, HELD_FOR) })
            }
        }
    }

    /// Counts a call above a limit. True if it is the first one recently, which is recorded at once.
    pub(super) fn is_first_beyond(&self, peer: &Peer) -> bool {
        let mut accounts = self.accounts();
        let account = accounts.entry(peer.account()).or_insert_with(|| Account::new(Instant::now()));
        let number = account.beyond.as_ref().map(|(_, number)| number.saturating_add(1));
        account.beyond = Some((peer.clone(), number.unwrap_or(0)));
        number.is_none()
    }

    /// The number of calls above a limit since they were last recorded, by account.
    pub(super) fn take_beyond(&self) -> Vec<(Peer, u64)> {
        let mut taken = Vec::new();
        for account in self.accounts().values_mut() {
            match &mut account.beyond {
                Some((peer, number @ 1..)) => taken.push((peer.clone(), std::mem::take(number))),
                quiet => *quiet = None,
            }
        }
        taken
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<caller::Account, Account>> {
        self.accounts.lock()
    }

    /// Uses one call of a minute's allowance, which is available at once and refills evenly (the "generic cell rate
    /// algorithm", ITU-T I.371). The error is the time to wait.
    fn take(&self, whose: &caller::Account, cost: Cost, now: Instant) -> Result<(), Duration> {
        let each = MINUTE / cost.per_minute(&self.rates);
        let mut accounts = self.accounts();
        if accounts.len() >= MANY && !accounts.contains_key(whose) {
            accounts.retain(|_, account| !account.is_at_rest(now));
        }
        let account = accounts.entry(whose.clone()).or_insert_with(|| Account::new(now));
        let Some(full_again) =
            Cost::ALL.iter().position(|one| *one == cost).and_then(|at| account.full_again.get_mut(at))
        else {
            return Ok(());
        };
        let next = (*full_again).max(now) + each;
        match next.duration_since(now).checked_sub(MINUTE) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_again = next;
                Ok(())
            }
        }
    }
}

/// Sends the answer in pieces and keeps the turn until the last piece is taken. The server takes a piece only when the
/// previous one is sent, so an account cannot leave more answers unread than it has turns.
pub(super) async fn held(answer: Response, turn: OwnedSemaphorePermit) -> Response {
    let (mut head, body) = answer.into_parts();
    // The body is already in memory.
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.insert(CONTENT_LENGTH, whole.len().into());
    let pieces = stream::unfold((whole, turn), |(mut rest, turn)| async move {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<Bytes, std::convert::Infallible>(piece), (rest, turn)))
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

/// The same for an answer that is read while it is sent.
pub(super) fn kept_with(answer: Response, turn: OwnedSemaphorePermit) -> Response {
    answer.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let _turn = &turn;
            piece
        }))
    })
}

/// The size of a piece in bytes; smaller than the server's buffer for one connection.
const PIECE: usize = 16 * 1024;

impl ApiError {
    /// An account exceeded a limit; it may try again after `wait`.
    fn too_many(detail: String, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(1);
        Self::new(ErrorCode::RateLimited, detail).hint(format!("try again in {seconds} s")).retry_after(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const SEVEN: caller::Account = caller::Account::Host(7);

    fn rates(calls: u32) -> Rates {
        Rates { calls: NonZeroU32::new(calls).unwrap(), requests: NonZeroU32::MIN, certificates: NonZeroU32::MIN }
    }

    #[test]
    fn a_minutes_calls_can_be_made_at_once_and_come_back_evenly() {
        let (allowances, now) = (Allowances::new(rates(60)), Instant::now());
        let made = |at| (0..1000).take_while(|_| allowances.take(&SEVEN, Cost::Call, at).is_ok()).count();
        assert_eq!(made(now), 60);
        assert_eq!(allowances.take(&SEVEN, Cost::Call, now), Err(Duration::from_secs(1)));
        assert_eq!(made(now + Duration::from_secs(10)), 10);
        assert_eq!(made(now + Duration::from_hours(1)), 60, "at most a minute's calls are saved up");
    }

    #[test]
    fn one_account_and_one_kind_of_call_takes_nothing_from_another() {
        let (allowances, now) = (Allowances::new(rates(1)), Instant::now());
        for (uid, cost) in
            [(7, Cost::Call), (7, Cost::End), (7, Cost::Request), (7, Cost::Certificate), (8, Cost::Call)]
        {
            let account = caller::Account::Host(uid);
            assert_eq!(allowances.take(&account, cost, now), Ok(()), "{uid} {cost:?}");
            assert!(allowances.take(&account, cost, now).is_err(), "{uid} {cost:?}");
        }
    }

    #[test]
    fn accounts_at_rest_are_forgotten() {
        let (allowances, now) = (Allowances::new(rates(60)), Instant::now());
        let uids = 0..u32::try_from(MANY).unwrap();
        uids.for_each(|uid| allowances.take(&caller::Account::Host(uid), Cost::Call, now).unwrap());
        allowances.take(&caller::Account::Host(u32::MAX), Cost::Call, now + MINUTE).unwrap();
        assert_eq!(allowances.accounts.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_turn_is_kept_until_the_answer_is_read() {
        let allowances = Allowances::new(rates(60));
        let mut answers = Vec::new();
        for _ in 0..AT_A_TIME {
            let turn = allowances.answer(&SEVEN).await.ok().unwrap();
            answers.push(held(Response::new(Body::from(vec![b'x'; 3 * PIECE])), turn).await);
        }
        let mut next = Box::pin(allowances.answer(&SEVEN));
        assert!(futures::poll!(&mut next).is_pending());
        let read = to_bytes(answers.pop().unwrap().into_body(), usize::MAX).await.unwrap();
        assert_eq!(read.len(), 3 * PIECE);
        assert!(next.await.is_ok());
        drop(answers);
    }
}
