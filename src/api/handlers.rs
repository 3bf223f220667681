//! What each route does: read the body, call the broker, show the answer. Nothing is decided here.
//!
//! Each handler receives the proof that its kind of route requires; see the table in `mod.rs`.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;

use super::caller::Auditor;
use super::problem::ApiError;
use super::views::Scan;
use super::{Answer, Api, Call, views};
use crate::broker::{Broker, Revoked, Site};
use crate::gateway::Reached;
use crate::grant::request::{ClusterName, Login, Malformed, Namespace, PersonName, Reason, RoleRef};
use crate::grant::{Filter, Grant, Operator, Phase};
use crate::ledger::Place;
use crate::wire::{
    ApproveBody, AskBody, CertificateBody, CertificateView, ChangesView, ClusterList, ClusterView, DecisionView,
    DrainBody, DrainingView, EntitlementList, EventList, EventPage, ExtendBody, GrantList, GrantView, LinePage,
    LinkBody, OperationsView, ReasonBody, RequestBody, ReviewBody, RevocationView, RevokeBody, RevokedView,
    SessionsView, WhoamiView,
};

/// `ok` only if the store answers and its last write succeeded, and if everything that the daemon depends on answers.
pub(super) fn healthz(api: Arc<Api>) -> BoxFuture<'static, Answer> {
    async move {
        let answers = tokio::time::timeout(STORE_ANSWERS_WITHIN, api.broker.ledger().store_answers()).await;
        answers.map_err(|_| ApiError::silent_trail())??;
        if api.broker.ledger().store_fault().is_some() {
            return Err(ApiError::unwritable_trail());
        }
        let silent: Vec<String> = api.broker.silent().collect();
        if !silent.is_empty() {
            return Err(ApiError::silent(&silent));
        }
        Ok("ok\n".into_response())
    }
    .boxed()
}

/// Less than the 5 s that SQLite waits for another process's lock, so that such a lock counts as unhealthy.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn metrics(api: Arc<Api>) -> BoxFuture<'static, Answer> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    async move { Ok(([(header::CONTENT_TYPE, kind)], api.metrics.text(&api.broker)).into_response()) }.boxed()
}

pub(super) fn openapi(_: Arc<Api>) -> BoxFuture<'static, Answer> {
    async { Ok(super::openapi::answer()) }.boxed()
}

pub(super) fn whoami(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let login = call.caller.person().login.as_ref();
        let identity = login.and_then(Login::identity);
        Ok(Json(WhoamiView {
            name: call.caller.person().name.to_string(),
            groups: call.caller.person().groups.iter().cloned().collect(),
            uid: call.caller.uid(),
            issuer: identity.map(|(issuer, _)| issuer.to_owned()),
            subject: identity.map(|(_, subject)| subject.to_owned()),
            issued: login.and_then(Login::issued),
            directory: identity
                .and_then(|(issuer, subject)| call.api.broker.people().directory_answered(issuer, subject)),
            host: call.api.host.clone(),
            administers: call.caller.person().is_in_any(&call.api.broker.ledger().overseers().admins),
            draining: draining(&call.api.broker),
        })
        .into_response())
    }
    .boxed()
}

pub(super) fn offer_link(call: Call) -> BoxFuture<'static, Answer> {
    async move { Ok(Json(views::link(call.api.broker.offer_link(call.caller.person())?)).into_response()) }.boxed()
}

pub(super) fn offered_link(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let LinkBody { code } = call.query()?;
        Ok(Json(views::link(call.api.broker.offered_link(call.caller.person(), &code)?)).into_response())
    }
    .boxed()
}

pub(super) fn accept_link(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let LinkBody { code } = call.body()?;
        Ok(Json(views::link(call.api.broker.accept_link(call.caller.person(), &code).await?)).into_response())
    }
    .boxed()
}

pub(super) fn clusters(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let gateway = call.api.broker.gateway();
        let behind =
            |site: &Site| site.cluster.endpoint().gateway().and_then(|_| gateway.reached_now(site.cluster.name()));
        let view = |site: &Site| match behind(site) {
            Some(reached) => through(reached, site),
            None => cluster_view(site),
        };
        let clusters = call.api.broker.sites().map(|(_, site)| view(site)).collect();
        Ok(Json(ClusterList { clusters }).into_response())
    }
    .boxed()
}

pub(super) fn entitlements(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let person = call.caller.person();
        let (entitlements, closed) = call.api.broker.policy().entitlements(person);
        Ok(Json(EntitlementList {
            entitlements: entitlements.into_iter().map(Into::into).collect(),
            closed: closed.into_iter().map(Into::into).collect(),
            groups: person.groups.iter().cloned().collect(),
            draining: draining(&call.api.broker),
        })
        .into_response())
    }
    .boxed()
}

/// Whether the call is a dry run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Trial {
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn explain(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let Trial { dry_run } = call.query()?;
        let (body, person): (AskBody, _) = (call.body()?, call.caller.person());
        let broker = &call.api.broker;
        let (explanation, cluster) = if dry_run {
            let ask = body.parse()?;
            (broker.explain(person, &ask, true).await?, ask.cluster)
        } else {
            let (ask, words) = body.parse_draft()?;
            (broker.explain_draft(person, &ask, words).await?, ask.cluster)
        };
        let (view, is_behind) = (DecisionView::from(explanation), broker.is_behind_the_gateway(&cluster));
        let directly = |view| DecisionView { sessions: None, ..view };
        Ok(Json(if is_behind { view.behind_the_gateway() } else { directly(view) }).into_response())
    }
    .boxed()
}

/// A page of a list ends at the first entry that exceeds this size, in bytes.
const PAGE: usize = 256 * 1024;

pub(super) fn list(call: Call) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        #[serde(default)]
        all: bool,
        #[serde(default = "usual")]
        limit: NonZeroUsize,
        from: Option<String>,
        person: Option<PersonName>,
        cluster: Option<ClusterName>,
        namespace: Option<Namespace>,
        role: Option<RoleRef>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        at: Option<Timestamp>,
        #[serde(rename = "breakGlass", default)]
        break_glass: bool,
    }
    fn usual() -> NonZeroUsize {
        const { NonZeroUsize::new(200).unwrap() }
    }
    async move {
        let Query { all, limit, from, person, cluster, namespace, role, since, until, at: live_at, break_glass } =
            call.query()?;
        if live_at.is_some_and(|at| at > call.api.broker.ledger().now()) {
            return Err(ApiError::malformed(
                "`at` is in the future; it is unknown which grants will be live then".to_owned(),
            ));
        }
        let filter = Filter { person, cluster, namespace, role, since, until, live_at, break_glass };
        let after = from.map(|from| from.parse::<Place>()).transpose();
        let after = after.map_err(|error| ApiError::malformed(format!("`from`: {error}")))?;
        let ledger = call.api.broker.ledger();
        let limit = limit.get().min(1000);
        let (listed, mut next) = ledger.list(call.caller.person(), all, &filter, limit, after.as_ref()).await?;
        let (mut grants, mut bytes, mut last) = (Vec::with_capacity(listed.len()), 0, None);
        for (place, grant) in listed {
            if bytes > PAGE {
                next = last;
                break;
            }
            let view = view(&call.api, &grant);
            bytes += serde_json::to_vec(&view).map_or(0, |view| view.len());
            grants.push(view);
            last = Some(place);
        }
        let (more, next) = (next.is_some(), next.map(|place| place.to_string()));
        grants.sort_by_key(|grant| Reverse(grant.requested_at));
        Ok(Json(GrantList { grants, more, next, draining: draining(&call.api.broker) }).into_response())
    }
    .boxed()
}

pub(super) fn changes(call: Call) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        since: Option<u64>,
        #[serde(default = "usual_patience")]
        timeout: u64,
    }
    async move {
        let Query { since, timeout } = call.query()?;
        let (ledger, patience) = (call.api.broker.ledger(), Duration::from_secs(timeout.min(60)));
        let number = match since {
            Some(since) => ledger.change_after(since, call.caller.person(), patience).await,
            None => ledger.last_change(),
        };
        Ok(Json(ChangesView { number }).into_response())
    }
    .boxed()
}

/// How long a call waits for a change if it does not say so, in seconds.
fn usual_patience() -> u64 {
    30
}

pub(super) fn request(call: Call) -> BoxFuture<'static, Answer> {
    async move {
        let RequestBody { ask, csr } = call.body()?;
        let grant = call.api.broker.request(call.caller.person(), ask.parse()?, &csr).await?;
        Ok((StatusCode::CREATED, Json(view(&call.api, &grant))).into_response())
    }
    .boxed()
}

pub(super) fn show(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let mut view = view(&call.api, &grant);
        for came_in in &mut view.came_in_as {
            if let (Some(issuer), Some(subject)) = (&came_in.issuer, &came_in.subject) {
                came_in.directory = call.api.broker.people().directory_answered(issuer, subject);
            }
        }
        let view = match call.api.broker.shown_of(&grant).await? {
            Some((shown, digest)) => view.with(shown, &digest),
            None => view,
        };
        let is_behind = call.api.broker.is_behind_the_gateway(&grant.ask.cluster);
        Ok(Json(if is_behind { view.behind_the_gateway() } else { view }).into_response())
    }
    .boxed()
}

pub(super) fn wait(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        /// Text, so that a client of another version, which may send a phase that is unknown here, is answered at once.
        phase: String,
        #[serde(default)]
        answers: u32,
        #[serde(default = "usual_patience")]
        timeout: u64,
    }
    async move {
        let Query { phase, answers, timeout } = call.query()?;
        let patience = Duration::from_secs(timeout.min(60));
        let grant = call.api.broker.ledger().wait(grant, &phase, answers, patience).await;
        answer(&call, &grant)
    }
    .boxed()
}

pub(super) fn events(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        before: Option<i64>,
        #[serde(default = "usual_events")]
        limit: NonZeroUsize,
    }
    async move {
        let Query { before, limit } = call.query()?;
        let (lines, more) = call.api.broker.lines_of(&grant.id, before, limit.get().min(1000)).await?;
        Ok(Json(EventList { events: parsed(&lines)?, more }).into_response())
    }
    .boxed()
}

fn usual_events() -> NonZeroUsize {
    const { NonZeroUsize::new(500).unwrap() }
}

/// Parses lines of the trail as JSON.
fn parsed(lines: &[String]) -> Result<Vec<serde_json::Value>, ApiError> {
    lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>().map_err(|error| {
        tracing::error!(%error, "a line of the trail is not JSON");
        ApiError::internal()
    })
}

pub(super) fn all_events(call: Call<Auditor>) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        before: Option<i64>,
        #[serde(default = "usual_events")]
        limit: NonZeroUsize,
        person: Option<PersonName>,
        cluster: Option<ClusterName>,
        namespace: Option<Namespace>,
        role: Option<RoleRef>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    }
    async move {
        let Query { before, limit, person, cluster, namespace, role, since, until } = call.query()?;
        let filter = Filter { person, cluster, namespace, role, since, until, ..Filter::default() };
        let (lines, next) = call.api.broker.ledger().lines_before(&filter, before, limit.get().min(1000)).await?;
        Ok(Json(EventPage { events: parsed(&lines)?, next }).into_response())
    }
    .boxed()
}

pub(super) fn trail(call: Call<Auditor>) -> BoxFuture<'static, Answer> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Query {
        #[serde(default)]
        after: i64,
    }
    async move {
        let Query { after } = call.query()?;
        let (lines, next) = call.api.broker.ledger().lines_after(after).await?;
        Ok(Json(LinePage { lines, next }).into_response())
    }
    .boxed()
}

pub(super) fn approve(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let ApproveBody { digest, less } = call.body()?;
        let less = less.unwrap_or_default().parse()?;
        let after = call.api.broker.approve(&grant, call.caller.person(), &digest, &less).await?;
        decided(&call, &grant, &after);
        answer(&call, &after)
    }
    .boxed()
}

pub(super) fn deny(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let reason = reason(&call)?.to_string();
        let after = call.api.broker.deny(&grant, call.caller.person(), reason).await?;
        decided(&call, &grant, &after);
        answer(&call, &after)
    }
    .boxed()
}

/// Measures a decision on a request; one on an extension is none.
fn decided(call: &Call, before: &Grant, after: &Grant) {
    if before.phase == Phase::Pending {
        call.api.metrics.decided(after, call.api.broker.ledger().now());
    }
}

pub(super) fn withdraw(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move { answer(&call, &call.api.broker.withdraw(&grant, call.caller.person()).await?) }.boxed()
}

pub(super) fn certificate(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let CertificateBody { csr } = call.body()?;
        let broker = &call.api.broker;
        let handed_over = broker.certificate(&grant, call.caller.person(), &csr).await?;
        let cluster = match handed_over.gateway {
            Some(reached) => through(reached, handed_over.site),
            None => {
                let authority = handed_over.site.cluster.authority_pem(broker.ledger().now()).await;
                ClusterView { certificate_authority: authority.to_string(), ..cluster_view(handed_over.site) }
            }
        };
        Ok(Json(CertificateView {
            certificate: handed_over.chain_pem,
            expires_at: handed_over.not_after,
            until: handed_over.until,
            cluster,
        })
        .into_response())
    }
    .boxed()
}

pub(super) fn extend(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let (window, reason) = call.body::<ExtendBody>()?.parse()?;
        answer(&call, &call.api.broker.extend(&grant, call.caller.person(), window, reason).await?)
    }
    .boxed()
}

pub(super) fn break_glass(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let grant = call.api.broker.break_glass(&grant, call.caller.person(), reason(&call)?).await?;
        answer(&call, &grant)
    }
    .boxed()
}

pub(super) fn review(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let ReviewBody { digest, verdict, words } = call.body()?;
        let named = |wrong: Malformed| ApiError::from(vec![Malformed { field: "words", ..wrong }]);
        let words = words.parse().map_err(named)?;
        let grant = call.api.broker.review(&grant, call.caller.person(), &digest, verdict, words).await?;
        answer(&call, &grant)
    }
    .boxed()
}

pub(super) fn end(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move { answer(&call, &call.api.broker.release(&grant, call.caller.person()).await?) }.boxed()
}

pub(super) fn revoke(call: Call, grant: Arc<Grant>) -> BoxFuture<'static, Answer> {
    async move {
        let reason = reason(&call)?.to_string();
        answer(&call, &call.api.broker.revoke(&grant, call.caller.person(), reason).await?)
    }
    .boxed()
}

pub(super) fn operations(call: Call<Operator>) -> BoxFuture<'static, Answer> {
    async move { Ok(state(&call.api.broker)) }.boxed()
}

pub(super) fn drain(call: Call<Operator>) -> BoxFuture<'static, Answer> {
    async move {
        let reason = call.body::<DrainBody>()?.reason.map(|reason| reason.parse()).transpose();
        call.api.broker.drain(&call.caller, reason.map_err(|wrong| ApiError::from(vec![wrong]))?).await?;
        Ok(state(&call.api.broker))
    }
    .boxed()
}

pub(super) fn resume(call: Call<Operator>) -> BoxFuture<'static, Answer> {
    async move {
        call.api.broker.resume(&call.caller).await?;
        Ok(state(&call.api.broker))
    }
    .boxed()
}

pub(super) fn revoke_many(call: Call<Operator>) -> BoxFuture<'static, Answer> {
    async move {
        let Trial { dry_run } = call.query()?;
        let body: RevokeBody = call.body()?;
        let (whose, reason) = views::whose(&body)?;
        let broker = &call.api.broker;
        let revocation = if dry_run {
            broker.planned(&whose).await?
        } else {
            broker.revoke_many(&whose, &call.caller, &reason, body.drain).await?
        };
        let views = revocation.grants.into_iter().map(|Revoked { was, grant, why }| RevokedView::of(was, &grant, why));
        let (grants, not_drained) = (views.collect(), revocation.not_drained);
        Ok(Json(RevocationView { grants, draining: draining(broker), not_drained }).into_response())
    }
    .boxed()
}

pub(super) fn record_scan(call: Call<Operator>) -> BoxFuture<'static, Answer> {
    async move {
        let Api { broker, metrics, .. } = &*call.api;
        match views::scan(call.body()?).map_err(|wrong| ApiError::from(vec![wrong]))? {
            Scan::Finished(scan) => {
                broker.scan_finished(&call.caller, scan.clone()).await?;
                metrics.scan_finished(&scan, broker.ledger().now());
            }
            Scan::Failed { cluster, why } => {
                broker.scan_failed(&call.caller, cluster.clone(), why).await?;
                metrics.scan_failed(&cluster);
            }
        }
        Ok(state(broker))
    }
    .boxed()
}

fn state(broker: &Broker) -> Response {
    let census = broker.ledger().count_by_phase();
    let of = |phase: Phase| census.get(phase.as_str()).copied().unwrap_or(0);
    Json(OperationsView {
        draining: draining(broker),
        pending: of(Phase::Pending),
        approved: of(Phase::Approved),
        collecting: of(Phase::Collecting),
        live: of(Phase::Live),
        ending: of(Phase::Ending),
        needs_restart: broker.needs_restart().into_iter().map(str::to_owned).collect(),
    })
    .into_response()
}

fn draining(broker: &Broker) -> Option<DrainingView> {
    broker.draining().as_deref().map(DrainingView::from)
}

fn answer(call: &Call, grant: &Arc<Grant>) -> Answer {
    Ok(Json(view(&call.api, grant)).into_response())
}

fn view(api: &Api, grant: &Grant) -> GrantView {
    let sessions = api
        .broker
        .goes_through_the_gateway(grant)
        .then(|| SessionsView::of(&grant.terms.sessions, grant.terms.readers.as_deref()));
    GrantView { sessions, ..GrantView::of(grant, api.broker.ledger().now()) }
}

fn reason(call: &Call) -> Result<Reason, ApiError> {
    call.body::<ReasonBody>()?.reason.parse().map_err(|wrong| ApiError::from(vec![wrong]))
}

/// The cluster as people reach it through the gateway.
fn through(Reached { server, certificate_authority }: Reached, site: &Site) -> ClusterView {
    ClusterView { server, certificate_authority, ..cluster_view(site) }
}

fn cluster_view(site: &Site) -> ClusterView {
    let endpoint = site.cluster.endpoint();
    ClusterView {
        name: endpoint.name().to_string(),
        server: endpoint.server().to_owned(),
        certificate_authority: endpoint.ca_pem().to_owned(),
    }
}
