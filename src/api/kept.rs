//! The routes that hand out what the gateway kept. Each reading is recorded before its content is read.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt, stream};
use jiff::Timestamp;
use serde::Deserialize;

use super::problem::ApiError;
use super::{Answer, Api, Call};
use crate::grant::request::{ClusterName, Namespace, PersonName, RoleRef};
use crate::grant::{Author, Filter, Grant, GrantId, LogHead, Operator, Reading, reading};
use crate::hint::Hint;
use crate::kept::Selected;
use crate::ledger::{LedgerError, Place};
use crate::wire::ErrorCode;
use crate::wire::kept::{LogList, ReadingBody};

/// How many grants one page lists.
const USUAL: NonZeroUsize = NonZeroUsize::new(50).unwrap();
const MOST: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    limit: Option<NonZeroUsize>,
    from: Option<String>,
    session: Option<String>,
    person: Option<PersonName>,
    cluster: Option<ClusterName>,
    namespace: Option<Namespace>,
    role: Option<RoleRef>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// The sessions of the grants that the caller may see, or the one whose id begins so.
pub(super) fn list(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let Search { limit, from, session, person, cluster, namespace, role, since, until } = call.query()?;
        let (api, reader) = (&call.api, &call.caller.person().name);
        let mut next = None;
        let (grants, selected) = match session {
            Some(beginning) => {
                let found = api.kept.recorded(reader, beginning.clone()).await?;
                let mut grants: Vec<GrantId> = Vec::new();
                for (grant, _) in found {
                    match api.broker.ledger().find(grant.as_str(), call.caller.person()).await {
                        Ok(seen) if seen.live_at.is_some() && !grants.contains(&grant) => grants.push(grant),
                        Ok(_) | Err(LedgerError::NoSuchGrant(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                if grants.is_empty() {
                    return Err(no_such_session(&beginning));
                }
                (grants, Selected::Named(beginning.to_ascii_lowercase()))
            }
            None => {
                let filter = Filter { person, cluster, namespace, role, since, until, ..Filter::default() };
                let after = from.map(|from| from.parse::<Place>()).transpose();
                let after = after.map_err(|error| ApiError::malformed(format!("`from`: {error}")))?;
                let limit = limit.unwrap_or(USUAL).get().min(MOST);
                let ledger = api.broker.ledger();
                let (listed, place) = ledger.list(call.caller.person(), true, &filter, limit, after.as_ref()).await?;
                next = place.map(|place| place.to_string());
                let were_live = listed.into_iter().filter(|(_, grant)| grant.live_at.is_some());
                let grants = were_live.map(|(_, grant)| grant.id.clone()).collect();
                (api.kept.kept_of(reader, grants).await?, Selected::Sessions)
            }
        };
        let read = |grant: &GrantId| recorded(&call, grant.clone(), Reading::List, None);
        try_join_all(grants.iter().map(read)).await?;
        let (grants, unreadable) = api.kept.logs(reader, with_heads(api, grants).await?, selected).await?;
        Ok(Json(LogList { grants, unreadable, next }).into_response())
    }
    .boxed()
}

/// What was done with one grant.
pub(super) fn log(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        #[serde(default)]
        reads: bool,
        session: Option<String>,
    }
    async move {
        let Query { reads, session } = call.query()?;
        is_kept(&call, &grant).await?;
        recorded(&call, grant.id.clone(), Reading::Log, None).await?;
        let selected = match session {
            Some(session) => Selected::Named(session.to_ascii_lowercase()),
            None if reads => Selected::All,
            None => Selected::Changes,
        };
        let heads = with_heads(&call.api, vec![grant.id.clone()]).await?;
        let (grants, unreadable) = call.api.kept.logs(&call.caller.person().name, heads, selected).await?;
        Ok(Json(LogList { grants, unreadable, next: None }).into_response())
    }
    .boxed()
}

/// A recording, as far as it verifies, piece by piece.
pub(super) fn recording(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        session: String,
    }
    async move {
        let Query { session } = call.query()?;
        let overseers = call.api.broker.ledger().overseers();
        if let Err(refusal) = reading::may_play(&grant, call.caller.person(), &overseers.readers) {
            let (api, person) = (Arc::clone(&call.api), call.caller.person().clone());
            let refused = to_the_end(async move { api.broker.refuse_reading(&grant, &person, refusal).await });
            return Err(refused.await?.into());
        }
        is_kept(&call, &grant).await?;
        let reader = call.caller.person().name.clone();
        let found = call.api.kept.recorded(&reader, session.clone()).await?;
        if !found.iter().any(|(of, id)| *of == grant.id && *id == session) {
            return Err(no_such_session(&session));
        }
        recorded(&call, grant.id.clone(), Reading::Recording, Some(session.clone())).await?;
        let heads = call.api.broker.ledger().log_heads_of(&grant.id).await?;
        let (sha256, bytes, pieces) = call.api.kept.recording(&reader, grant.id.clone(), heads, session).await?;
        let api = Arc::clone(&call.api);
        let body = stream::try_unfold(pieces, move |pieces| {
            let (api, reader) = (Arc::clone(&api), reader.clone());
            async move {
                let piece = api.kept.piece(&reader, pieces).await;
                let piece = piece.inspect_err(|error| {
                    tracing::warn!(error = %error.in_full(), "a recording could not be sent to its end");
                });
                // Whoever reads it gets fewer bytes than announced, and takes nothing for whole.
                piece.map(|piece| piece.map(|(piece, rest)| (Bytes::from(piece), rest)))
            }
        });
        let mut answer = Response::new(Body::from_stream(body));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(crate::wire::kept::ASCIICAST));
        headers.insert(header::CONTENT_LENGTH, bytes.into());
        // A strong validator (RFC 9110, section 8.8.3): the hash by which the reader checks what arrived.
        headers.insert(header::ETAG, format!("\"{sha256}\"").parse().map_err(|_| ApiError::internal())?);
        Ok(answer)
    }
    .boxed()
}

/// Records what root, or an admin, reads by themselves on the bastion.
pub(super) fn read_by_operator(call: Call<Operator>) -> BoxFuture<'static, Answer> {
    async move {
        let ReadingBody { grant, what, session } = call.body()?;
        let by = Author::Operator(call.caller);
        if call.api.broker.ledger().any(&grant).await?.is_none_or(|grant| grant.live_at.is_none()) {
            return Err(nothing_kept(&grant));
        }
        call.api.broker.record_reading(&grant, &by, what, session).await?;
        Ok(Json(serde_json::json!({})).into_response())
    }
    .boxed()
}

/// Whether the gateway kept anything of the grant.
async fn is_kept(call: &Call, grant: &Grant) -> Result<(), ApiError> {
    let kept = match grant.live_at {
        Some(_) => call.api.kept.kept_of(&call.caller.person().name, vec![grant.id.clone()]).await?,
        None => Vec::new(),
    };
    if !kept.is_empty() {
        return Ok(());
    }
    Err(match call.api.broker.ledger().deletion_of(&grant.id).await? {
        Some(at) => {
            let why =
                format!("what was kept of {} was deleted at {at:.0}, by `keepSessions` of the guardrails", grant.id);
            ApiError::new(ErrorCode::NoSuchSession, why).hint("`jit-login events` shows how much it was")
        }
        None => nothing_kept(&grant.id),
    })
}

/// Records a reading of the caller's. It runs to completion even if the client disconnects.
async fn recorded(call: &Call, grant: GrantId, what: Reading, session: Option<String>) -> Result<(), ApiError> {
    let (api, by) = (Arc::clone(&call.api), Author::from(call.caller.person()));
    to_the_end(async move { api.broker.record_reading(&grant, &by, what, session).await }).await?.map_err(Into::into)
}

async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, ApiError> {
    tokio::spawn(work).await.map_err(|error| {
        tracing::error!(%error, "recording a reading failed");
        ApiError::internal()
    })
}

async fn with_heads(api: &Api, grants: Vec<GrantId>) -> Result<Vec<(GrantId, Vec<LogHead>)>, ApiError> {
    let mut known = Vec::with_capacity(grants.len());
    for grant in grants {
        let heads = api.broker.ledger().log_heads_of(&grant).await?;
        known.push((grant, heads));
    }
    Ok(known)
}

fn nothing_kept(grant: &GrantId) -> ApiError {
    ApiError::new(ErrorCode::NoSuchSession, format!("nothing is kept of what was done with {grant}"))
        .hint("only what goes through the gateway is logged, unless the policy says `record: off`")
}

fn no_such_session(beginning: &str) -> ApiError {
    let shown: String = beginning.chars().take(40).flat_map(char::escape_default).collect();
    ApiError::new(ErrorCode::NoSuchSession, format!("no recorded session `{shown}` that you may see"))
        .hint("`jit-login sessions` lists them")
}
