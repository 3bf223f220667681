//! Whether the grants that the policy allows would work: it binds each role in each place of the policy, creates each
//! role that a grant may own, and asks the question that proves a grant.
//!
//! Each attempt is a dry run and stores nothing. `check` calls it last and skips what an earlier check reported as
//! missing.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use super::{APPLY, Check, OBJECTS, Verdict};
use crate::cluster::{ClusterError, Probe};
use crate::grant::policy::Policy;
use crate::grant::request::{Namespace, PersonName, RoleRef};
use crate::grant::{self, Binding, GrantId};
use crate::hint::Hint;
use crate::manifest;
use crate::rbac::role::Rule;

/// One thing to try.
enum Attempt {
    Bind(Binding),
    MakeRole(Binding, Vec<Rule>),
}

impl Check<'_> {
    pub(super) async fn grants(&mut self, policy: &Policy) -> Result<(), ClusterError> {
        // Each attempt would fail because of a missing right, which is already reported.
        if self.lacks_rights() {
            return Ok(());
        }
        let Ok(nobody) = NOBODY.parse() else { return Ok(()) };
        let attempts = self.attempts(policy, &nobody).await?;
        let cluster = self.cluster;
        let tried = stream::iter(attempts.values().map(|attempt| async move {
            let tried = match attempt {
                Attempt::Bind(binding) => cluster.would_bind(binding).await,
                Attempt::MakeRole(binding, rules) => cluster.would_make_role(binding, rules).await,
            };
            tried.err().map(|error| (attempt, error))
        }));
        let refused: Vec<_> = tried.buffered(AT_ONCE).filter_map(std::future::ready).collect().await;
        for (attempt, error) in refused.iter().take(SHOWN) {
            if error.is_transient() { self.failed("grants", error) } else { self.refused(attempt, error) }
        }
        let more = refused.len().saturating_sub(SHOWN);
        if more > 0 {
            self.fault("grants", format!("{more} more would be refused"), "see the first ones");
        }
        if refused.is_empty() {
            self.ok("grants", format!("the cluster would accept every grant that was tried ({})", attempts.len()));
        }
        self.question(&attempts).await
    }

    fn refused(&mut self, attempt: &Attempt, error: &ClusterError) {
        let (Attempt::Bind(binding) | Attempt::MakeRole(binding, _)) = attempt;
        let place = match &binding.namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        };
        let what = match attempt {
            Attempt::Bind(binding) => format!("{} `{}`", binding.role.kind(), binding.role.name()),
            Attempt::MakeRole(..) => "exact rules".to_owned(),
        };
        let why: String = error.to_string().chars().take(400).collect();
        let hint = match error {
            // Our own admission policies deny it, because the applied manifest is older than the policy.
            ClusterError::Forbidden { why, .. } if why.contains(FENCE) => Some(APPLY.into()),
            ClusterError::Forbidden { .. } => Some(OBJECTS.into()),
            _ => error.hint(),
        };
        let found = format!("a grant of {what} {place} would be refused: {why}");
        self.tell(Verdict::Fault, "grants", found, hint.as_deref());
    }

    /// What the policy allows, sorted and without duplicates, in namespaces that exist and in which nothing was
    /// reported as missing.
    async fn attempts(
        &self,
        policy: &Policy,
        nobody: &PersonName,
    ) -> Result<BTreeMap<(Option<Namespace>, String), Attempt>, ClusterError> {
        let bind = |namespace: Option<&Namespace>, role: &RoleRef| {
            Binding::new(GrantId::from_random([0; 10]), nobody.clone(), namespace.cloned(), role.clone())
        };
        let rules = policy.reach(self.cluster.name());
        let reaches = manifest::reaches(policy, self.cluster.name());
        let mut labels = BTreeMap::new();
        if manifest::is_open(&reaches) {
            labels = self.cluster.namespaces().await?;
        } else {
            for namespace in reaches.iter().flat_map(manifest::Reach::names) {
                if let Some(found) = self.cluster.namespace(namespace).await? {
                    labels.insert(namespace.clone(), found.labels);
                }
            }
        }
        let mut attempts = BTreeMap::new();
        for (rule, reach) in rules.iter().zip(&reaches) {
            for namespace in labels.keys().filter(|namespace| rule.is_for(namespace, &labels)) {
                for role in &reach.roles {
                    let binding = bind(Some(namespace), role);
                    attempts.insert((Some(namespace.clone()), role.to_string()), Attempt::Bind(binding));
                }
                if let (true, Some(role)) = (reach.makes_roles && !self.has_fault(namespace), NOBODY.parse().ok()) {
                    let attempt = Attempt::MakeRole(bind(Some(namespace), &role), reach.ceiling.clone());
                    attempts.insert((Some(namespace.clone()), format!("rules of {}", reach.rule)), attempt);
                }
            }
            let gateway = self.cluster.endpoint().gateway();
            let rule_is_for = labels.keys().filter(|namespace| rule.is_for(namespace, &labels)).map(Some);
            let places = rule_is_for.chain(reach.cluster_wide.then_some(None));
            if let (Some(gateway), Ok(role)) = (gateway, NOBODY.parse()) {
                let own: Vec<Binding> = places.map(|namespace| bind(namespace, &role)).collect();
                for binding in grant::gateway_bindings(&own, gateway, self.cluster.host()) {
                    let key = (binding.namespace.clone(), binding.name.clone());
                    attempts.insert(key, Attempt::Bind(binding));
                }
            }
            for role in reach.roles.iter().filter(|role| reach.cluster_wide && matches!(role, RoleRef::ClusterRole(_)))
            {
                attempts.insert((None, role.to_string()), Attempt::Bind(bind(None, role)));
            }
        }
        Ok(attempts)
    }

    /// Whether a fault was reported for a namespace.
    fn has_fault(&self, namespace: &Namespace) -> bool {
        let place = format!(" in namespace {namespace}");
        self.results.iter().any(|result| result.verdict == Verdict::Fault && result.check.ends_with(&place))
    }

    /// Asks, for a grant that does not exist, the question that proves that a grant works and that it has ended.
    async fn question(
        &mut self,
        attempts: &BTreeMap<(Option<Namespace>, String), Attempt>,
    ) -> Result<(), ClusterError> {
        for attempt in attempts.values() {
            let Attempt::Bind(binding) = attempt else { continue };
            if binding.gateway.is_some() {
                continue;
            }
            let Some(role) = self.cluster.resolve_role(binding.namespace.as_ref(), &binding.role).await? else {
                continue;
            };
            let Some(probe) = Probe::for_role(&role, binding.namespace.as_ref()) else { continue };
            match self.cluster.ask(binding, &probe).await {
                Ok(answer) if answer.is_allowed() => self.fault(
                    "grants",
                    format!("the API server allows `{probe}` without any grant"),
                    "an authorizer other than RBAC allows it to everybody, so the end of a grant could not be proved",
                ),
                Ok(_) => {}
                Err(error) => self.failed("grants", &error),
            }
            break;
        }
        Ok(())
    }
}

/// The limit for simultaneous dry runs: a policy with globs may cover thousands of namespaces.
const AT_ONCE: usize = 8;

/// The limit for refusals that are listed one by one.
const SHOWN: usize = 10;

/// How the API server's message names our own admission policies.
const FENCE: &str = "ValidatingAdmissionPolicy 'jitd-";

/// The user in each attempt; no person has this name.
const NOBODY: &str = "tried-by-jitd-check";
