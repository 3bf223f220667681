//! Metrics for Prometheus: calls, signatures, open grants, and what the sweep found. Served at `GET /metrics`; they
//! name no person and no grant.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::broker::Broker;
use crate::grant::request::ClusterName;
use crate::grant::{Grant, Phase, ScanFinished};
use crate::rbac::risk::Severity;
use crate::sweep::SweepStats;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Beyond {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDependency {
    dependency: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfIssuer {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Found {
    cluster: String,
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    rule: String,
    decision: &'static str,
}

/// The upper bounds of how long a request waited, in seconds: from somebody who looks at a screen to somebody who was asleep.
const WAITED: [f64; 9] = [10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0];

/// A limit that an account can exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Answers in progress or unread.
    Answers,
    /// Calls a minute.
    Calls,
    /// Certificates a minute.
    Certificates,
    /// Connections.
    Connections,
    /// Ends a minute.
    Ends,
    /// Requests a minute.
    Requests,
}

impl Limit {
    const ALL: [Self; 6] =
        [Self::Answers, Self::Calls, Self::Certificates, Self::Connections, Self::Ends, Self::Requests];

    /// Its name in the metrics and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Calls => "calls",
            Self::Certificates => "certificates",
            Self::Connections => "connections",
            Self::Ends => "ends",
            Self::Requests => "requests",
        }
    }
}

/// The registry and its metrics.
pub struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    rate_limited: Family<Beyond, Counter>,
    decided: Family<Decided, Histogram, fn() -> Histogram>,
    signed: Counter,
    glass_broken: Counter,
    reviews_owed: Gauge,
    reviews_overdue: Gauge,
    grants: Family<InPhase, Gauge>,
    authority_ends: Family<OfCluster, Gauge>,
    unknown_bindings: Gauge,
    bound_user_names: Gauge,
    failed_comparisons: Gauge,
    unread_roles: Gauge,
    unknown_holders: Gauge,
    policy_reload_failed: Gauge,
    draining: Gauge,
    trail_unwritable: Gauge,
    log_contradictions: Counter,
    unanswered: Family<OfDependency, Gauge>,
    directory_answered: Family<OfIssuer, Gauge>,
    scan_findings: Family<Found, Gauge>,
    scan_new_findings: Family<OfCluster, Gauge>,
    scan_not_evaluated: Family<OfCluster, Gauge>,
    scan_finished: Family<OfCluster, Gauge>,
    scan_failed: Family<OfCluster, Gauge>,
    findings: Arc<SweepStats>,
}

impl Metrics {
    /// All metrics at zero; `findings` come from the sweep.
    #[must_use]
    pub fn new(findings: Arc<SweepStats>) -> Self {
        let mut registry = Registry::with_prefix("jitd");
        let metrics = Self {
            answered: Family::default(),
            rate_limited: Family::default(),
            decided: Family::new_with_constructor(|| Histogram::new(WAITED)),
            signed: Counter::default(),
            glass_broken: Counter::default(),
            reviews_owed: Gauge::default(),
            reviews_overdue: Gauge::default(),
            grants: Family::default(),
            authority_ends: Family::default(),
            unknown_bindings: Gauge::default(),
            bound_user_names: Gauge::default(),
            failed_comparisons: Gauge::default(),
            unread_roles: Gauge::default(),
            unknown_holders: Gauge::default(),
            policy_reload_failed: Gauge::default(),
            draining: Gauge::default(),
            trail_unwritable: Gauge::default(),
            log_contradictions: Counter::default(),
            unanswered: Family::default(),
            directory_answered: Family::default(),
            scan_findings: Family::default(),
            scan_new_findings: Family::default(),
            scan_not_evaluated: Family::default(),
            scan_finished: Family::default(),
            scan_failed: Family::default(),
            findings,
            registry: Registry::default(),
        };
        registry.register("http_answers", "Calls answered, by route and status", metrics.answered.clone());
        registry.register(
            "rate_limited",
            "Calls and connections that exceeded a limit of one account, by limit",
            metrics.rate_limited.clone(),
        );
        // Without a zero, a limit that was never exceeded looks like one that does not exist.
        for limit in Limit::ALL {
            drop(metrics.rate_limited.get_or_create(&Beyond { limit: limit.as_str() }));
        }
        registry.register_with_unit(
            "decision",
            "How long requests waited until they were approved or denied, by rule",
            Unit::Seconds,
            metrics.decided.clone(),
        );
        registry.register("certificates_signed", "Certificates signed for people", metrics.signed.clone());
        registry.register("break_glass", "Times that break-glass was used", metrics.glass_broken.clone());
        registry.register(
            "reviews_owed",
            "Uses of break-glass that are not reviewed yet",
            metrics.reviews_owed.clone(),
        );
        registry.register(
            "reviews_overdue",
            "Reviews that are owed for longer than the rule allows",
            metrics.reviews_overdue.clone(),
        );
        registry.register("grants", "Grants that are not over, by phase", metrics.grants.clone());
        registry.register_with_unit(
            "authority_ends",
            "When the issuing certificate of a cluster expires, in Unix time",
            Unit::Seconds,
            metrics.authority_ends.clone(),
        );
        registry.register(
            "unknown_bindings",
            "Bindings with our label that the trail does not know",
            metrics.unknown_bindings.clone(),
        );
        registry.register(
            "bound_user_names",
            "People whose own user name is bound by somebody else, so that jitd grants them nothing",
            metrics.bound_user_names.clone(),
        );
        registry.register(
            "failed_comparisons",
            "Comparisons with a cluster that failed",
            metrics.failed_comparisons.clone(),
        );
        registry.register(
            "unread_roles",
            "Roles and namespaces of live grants that could not be read, so that a change would go unnoticed",
            metrics.unread_roles.clone(),
        );
        registry.register(
            "unknown_holders",
            "People with live grants of whom could not be found out whether they may still have them",
            metrics.unknown_holders.clone(),
        );
        registry.register(
            "policy_reload_failed",
            "1 if the policy files could not be loaded and the previous policy stays in force",
            metrics.policy_reload_failed.clone(),
        );
        registry.register(
            "draining",
            "1 while an operator drains the daemon: it grants no new access",
            metrics.draining.clone(),
        );
        registry.register(
            "trail_unwritable",
            "1 if the last events could not be stored, until others are",
            metrics.trail_unwritable.clone(),
        );
        registry.register(
            "log_contradictions",
            "Times that the gateway's log of a grant contradicted what it had said before: lines were changed or removed",
            metrics.log_contradictions.clone(),
        );
        registry.register(
            "unanswered_calls",
            "Calls of the name service, DNS, a directory or an authority that exceed their time limit; above 0 it does not answer",
            metrics.unanswered.clone(),
        );
        registry.register_with_unit(
            "directory_answered",
            "When the directory of a provider answered last, in Unix time; 0 if it was never asked",
            Unit::Seconds,
            metrics.directory_answered.clone(),
        );
        registry.register(
            "scan_findings",
            "Findings of the last scan of a cluster that are open, by severity; none since the start until a scan ends",
            metrics.scan_findings.clone(),
        );
        registry.register(
            "scan_new_findings",
            "Open findings of the last scan of a cluster that the report before did not have",
            metrics.scan_new_findings.clone(),
        );
        registry.register(
            "scan_not_evaluated",
            "Lists and objects that the last scan of a cluster could not evaluate",
            metrics.scan_not_evaluated.clone(),
        );
        registry.register_with_unit(
            "scan_finished",
            "When a scan of a cluster finished last, in Unix time",
            Unit::Seconds,
            metrics.scan_finished.clone(),
        );
        registry.register("scan_failed", "1 if the last scan of a cluster failed", metrics.scan_failed.clone());
        Self { registry, ..metrics }
    }

    /// Records what a scan found, and when.
    pub fn scan_finished(&self, scan: &ScanFinished, at: Timestamp) {
        let of = || OfCluster { cluster: scan.cluster.to_string() };
        for severity in Severity::ALL {
            let found = Found { cluster: scan.cluster.to_string(), severity: severity.as_str() };
            let count = scan.open.get(&severity).copied().unwrap_or_default();
            self.scan_findings.get_or_create(&found).set(whole(count));
        }
        self.scan_new_findings.get_or_create(&of()).set(whole(scan.new.unwrap_or_default()));
        self.scan_not_evaluated.get_or_create(&of()).set(whole(scan.not_evaluated));
        self.scan_finished.get_or_create(&of()).set(at.as_second());
        self.scan_failed.get_or_create(&of()).set(0);
    }

    /// Records that a scan failed; what the one before found stays.
    pub fn scan_failed(&self, cluster: &ClusterName) {
        self.scan_failed.get_or_create(&OfCluster { cluster: cluster.to_string() }).set(1);
    }

    /// Records that a pending request was decided. `grant` is as it is afterwards; one that is still pending has more steps.
    pub fn decided(&self, grant: &Grant, now: Timestamp) {
        let decision = match grant.phase {
            Phase::Approved => "approved",
            Phase::Denied => "denied",
            _ => return,
        };
        let decided = Decided { rule: grant.terms.rule.to_string(), decision };
        self.decided.get_or_create(&decided).observe(now.duration_since(grant.requested_at).as_secs_f64());
    }

    /// Counts a call that was answered.
    pub fn answered(&self, route: &'static str, status: StatusCode) {
        self.answered.get_or_create(&Answered { route, status: status.as_u16() }).inc();
    }

    /// Counts a call or connection that exceeded a limit of one account.
    pub fn rate_limited(&self, limit: Limit) {
        self.rate_limited.get_or_create(&Beyond { limit: limit.as_str() }).inc();
    }

    /// Records whether the last reload of the policy files failed.
    pub fn policy_reloaded(&self, failed: bool) {
        self.policy_reload_failed.set(failed.into());
    }

    /// The current values as OpenMetrics text.
    #[must_use]
    pub fn text(&self, broker: &Broker) -> String {
        for (phase, count) in broker.ledger().count_by_phase() {
            self.grants.get_or_create(&InPhase { phase }).set(whole(count as u64));
        }
        // The ledger counts these when it records them.
        self.signed.inner().fetch_max(broker.ledger().signed(), Ordering::Relaxed);
        self.glass_broken.inner().fetch_max(broker.ledger().glass_broken(), Ordering::Relaxed);
        self.log_contradictions.inner().fetch_max(broker.log_contradictions(), Ordering::Relaxed);
        self.draining.set(broker.draining().is_some().into());
        self.trail_unwritable.set(broker.ledger().store_fault().is_some().into());
        let (owed, overdue) = broker.ledger().reviews();
        self.reviews_owed.set(whole(owed as u64));
        self.reviews_overdue.set(whole(overdue as u64));
        for (name, site) in broker.sites() {
            let ends = site.authority().not_after().as_second();
            self.authority_ends.get_or_create(&OfCluster { cluster: name.to_string() }).set(ends);
        }
        self.unknown_bindings.set(whole(self.findings.unknown.load(Ordering::Relaxed)));
        self.bound_user_names.set(whole(self.findings.user_names.load(Ordering::Relaxed)));
        self.failed_comparisons.set(whole(self.findings.failed.load(Ordering::Relaxed)));
        self.unread_roles.set(whole(self.findings.unread.load(Ordering::Relaxed)));
        self.unknown_holders.set(whole(self.findings.unknown_holders.load(Ordering::Relaxed)));
        for (dependency, overdue) in broker.dependencies() {
            self.unanswered.get_or_create(&OfDependency { dependency }).set(whole(overdue as u64));
        }
        for (issuer, answered) in broker.people().directories() {
            let of = OfIssuer { issuer: issuer.to_owned() };
            self.directory_answered.get_or_create(&of).set(answered.map_or(0, Timestamp::as_second));
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
