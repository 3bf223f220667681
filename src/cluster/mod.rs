//! What the daemon does in a cluster: binds a grant's group to its role, takes the binding away, reads
//! what a role allows, and asks the API server whether it would say yes.
//!
//! ```text
//!  resolve_role ─► bind ─► ask until allowed … unbind ─► ask until denied      list_ours ─► (sweep) unbind
//! ```
//! It must never delete what is not ours by name and subject together, never by a label alone, and never
//! decide when to try again: the broker and the sweep, which call it, do. It knows no certificate and no
//! trail.

mod endpoint;
mod found;
mod inspect;
mod probe;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus};
use kube::core::params::{DeleteParams, GetParams, ListParams, PostParams, Preconditions};
use kube::core::request::Request as Path;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::grant::Binding;
use crate::grant::request::{ClusterName, ExactRules, Namespace, RoleRef};
use crate::grant::role::{ResolvedRole, Rule};

pub use self::endpoint::{Credential, Endpoint};
pub use self::found::{Found, FoundRole, Subject};
use self::found::{Identity, Stored};
pub use self::inspect::{Right, UserInfo};
pub use self::probe::Probe;
pub use self::transport::{ClusterError, Exchange};
use self::transport::{Limits, Transport};

/// A cluster, as this daemon reaches it. Cheap to clone; all clones share connections and credential.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    transport: Transport,
    host: String,
    /// Deletions of bindings that wait for their turn.
    waiting: Count,
    /// Deletions of bindings that have no answer yet.
    unanswered: Count,
    /// What [`version`](Cluster::version) heard last, and when.
    version: Mutex<Option<(Instant, String)>>,
}

/// How many there are of something.
struct Count(watch::Sender<usize>);

/// One that is counted.
struct Counted<'a>(&'a Count);

impl Cluster {
    /// A cluster at `endpoint`, reached as `credential`. `host` names this daemon among others on the same
    /// cluster and stands as a label on each binding. Nothing is sent yet; has to be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ClusterError::Misconfigured`] when the credential can't be used, or the host is no label's value.
    pub fn connect(endpoint: Endpoint, host: &str, credential: &Credential) -> Result<Self, ClusterError> {
        Self::limited(endpoint, host, credential, Limits::USUAL)
    }

    /// A cluster whose requests `exchange` answers instead of a network, with the same limits: for tests that play an
    /// API server by a function. There is no credential, so [`use_credential`](Cluster::use_credential) changes
    /// nothing.
    ///
    /// # Errors
    /// [`ClusterError::Misconfigured`] when the host is no label's value.
    pub fn over(endpoint: Endpoint, host: &str, exchange: Exchange) -> Result<Self, ClusterError> {
        Self::new(Transport::over(endpoint, exchange, Limits::USUAL), host)
    }

    fn limited(endpoint: Endpoint, host: &str, credential: &Credential, limits: Limits) -> Result<Self, ClusterError> {
        Self::new(Transport::new(endpoint, credential, limits)?, host)
    }

    fn new(transport: Transport, host: &str) -> Result<Self, ClusterError> {
        if !is_label_value(host) {
            return Err(ClusterError::Misconfigured {
                cluster: transport.endpoint().name().clone(),
                field: "host",
                why: format!(
                    "`{}` is not 1 to 63 of A-Z a-z 0-9 . _ - between letters or digits",
                    host.escape_default()
                ),
            });
        }
        let (waiting, unanswered) = (Count::new(), Count::new());
        let version = Mutex::default();
        Ok(Self(Arc::new(Inner { transport, host: host.to_owned(), waiting, unanswered, version })))
    }

    /// Whatever is asked from now on is asked as `credential`, by all clones.
    ///
    /// # Errors
    /// [`ClusterError::Misconfigured`] when it can't be used; the former one stays.
    pub fn use_credential(&self, credential: &Credential) -> Result<(), ClusterError> {
        self.0.transport.use_credential(credential)
    }

    /// The cluster's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        self.endpoint().name()
    }

    /// How it is reached, for a kubeconfig.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.0.transport.endpoint()
    }

    /// The API server's version and clock.
    ///
    /// # Errors
    /// [`ClusterError`], of which [`ClusterError::Unauthorized`] says that our credential is not trusted.
    pub async fn about(&self) -> Result<About, ClusterError> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "gitVersion")]
            git_version: String,
        }
        let reply = self.0.transport.send(Path::new("/version").list(&ListParams::default())).await?;
        let version: Version = self.0.transport.read(&reply)?;
        Ok(About { version: version.git_version, clock: reply.date() })
    }

    /// The API server's version, as it was within the last five minutes. It changes with an upgrade only, and no grant
    /// ends because of one.
    ///
    /// # Errors
    /// As [`Cluster::about`].
    pub async fn version(&self) -> Result<String, ClusterError> {
        let heard = self.0.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, version)) = heard
            && at.elapsed() < VERSION_KEPT
        {
            return Ok(version);
        }
        let version = self.about().await?.version;
        *self.0.version.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), version.clone()));
        Ok(version)
    }

    /// The role as it is now; none when there is no such role. A Role is looked for in `namespace`, so there
    /// is none for the whole cluster.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Unreadable`] when a rule has a field that we don't know.
    pub async fn resolve_role(
        &self,
        namespace: Option<&Namespace>,
        role: &RoleRef,
    ) -> Result<Option<ResolvedRole>, ClusterError> {
        let path = match (role, namespace) {
            (RoleRef::ClusterRole(_), _) => Path::new(format!("{RBAC}/clusterroles")),
            (RoleRef::Role(_), Some(namespace)) => roles(namespace),
            (RoleRef::Role(_), None) => return Ok(None),
        };
        let request = path.get(role.name().as_str(), &GetParams::default());
        let stored: Option<StoredRole> = unless_missing(self.0.transport.call(request).await)?;
        Ok(stored.map(|stored| ResolvedRole::new(stored.metadata.uid, stored.rules.unwrap_or_default())))
    }

    /// The labels of a namespace in which something can be bound; none when it does not exist or is being
    /// deleted.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn labels_of(&self, namespace: &Namespace) -> Result<Option<BTreeMap<String, String>>, ClusterError> {
        #[derive(Deserialize)]
        struct Stored {
            metadata: Identity,
        }
        let request = Path::new("/api/v1/namespaces").get(namespace.as_str(), &GetParams::default());
        let stored: Option<Stored> = unless_missing(self.0.transport.call(request).await)?;
        let stays = stored.filter(|stored| stored.metadata.deletion_timestamp.is_none());
        Ok(stays.map(|stored| stored.metadata.labels))
    }

    /// Creates the binding, and before it the role that is made for it, and answers with the binding's uid.
    /// Kubernetes lets us make a role only of what we may do ourselves
    /// (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#restrictions-on-role-creation-or-update>).
    /// When no answer comes, or the binding is already there,
    /// it looks, and exactly the binding that was wanted counts as created. After an error that
    /// [`is_transient`](ClusterError::is_transient) the binding may still come to be: unbind, or bind again.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] when another binding has its name, [`ClusterError::NotFound`] when the
    /// namespace is missing or being deleted, or any other [`ClusterError`].
    pub async fn bind(&self, binding: &Binding) -> Result<String, ClusterError> {
        if let (Some(namespace), Some(rules)) = (&binding.namespace, &binding.rules) {
            self.make_role(binding, namespace, rules).await?;
        }
        let body = self.body(&self.manifest(binding))?;
        let request = bindings(binding.namespace.as_ref()).create(&PostParams::default(), body);
        let failure = match self.0.transport.call::<Stored>(request).await {
            Ok(stored) => return Ok(stored.metadata.uid),
            Err(
                failure @ (ClusterError::Conflict { .. }
                | ClusterError::Unreachable { .. }
                | ClusterError::TimedOut { .. }),
            ) => failure,
            Err(failure @ ClusterError::Busy { code: 500.., .. }) => failure,
            Err(failure) => return Err(failure),
        };
        for pause in LOOK_AGAIN {
            tokio::time::sleep(pause).await;
            match self.find(binding).await {
                Ok(Some(found)) if found.is_exactly(binding) => return Ok(found.uid),
                Ok(Some(found)) => {
                    return Err(ClusterError::Conflict { cluster: self.name().clone(), what: found.to_string() });
                }
                Ok(None) => return Err(failure),
                Err(again) if again.is_transient() => {}
                Err(other) => return Err(other),
            }
        }
        Err(failure)
    }

    async fn make_role(
        &self,
        binding: &Binding,
        namespace: &Namespace,
        rules: &ExactRules,
    ) -> Result<(), ClusterError> {
        let body = self.body(&self.role(binding, rules))?;
        match self.0.transport.call::<Kind>(roles(namespace).create(&PostParams::default(), body)).await {
            Err(failure @ ClusterError::Conflict { .. }) => {
                // Made by a call before whose answer was lost, or another's: then it has other rules.
                match self.resolve_role(Some(namespace), &binding.role).await? {
                    Some(found) if found.rules() == rules.as_slice() => Ok(()),
                    _ => Err(failure),
                }
            }
            made => made.map(drop),
        }
    }

    /// Takes away the role that was made for a binding, if it is still the one that was made.
    async fn remove_role(
        &self,
        binding: &Binding,
        namespace: &Namespace,
        rules: &ExactRules,
    ) -> Result<(), ClusterError> {
        let Some(found) = self.resolve_role(Some(namespace), &binding.role).await? else { return Ok(()) };
        if found.rules() != rules.as_slice() {
            // Without our binding it gives nothing to anybody; whoever changed it may still want to look at it.
            tracing::warn!(role = binding.name, %namespace, "the role of a grant was changed and is left alone");
            return Ok(());
        }
        let request = roles(namespace).delete(&binding.name, &only(&found.uid));
        unless_missing(self.0.transport.call::<Kind>(request).await).map(drop)
    }

    /// Takes the binding away, and then the role that was made for it: by `uid` where it is known, without reading
    /// anything; else, or when another uid has its name now, only if what is there is ours by its name and its only
    /// subject (and, where the uid was never known, its role).
    ///
    /// # Errors
    /// [`ClusterError`]; after a transient one the deletion may have happened, and a second call then
    /// answers [`Unbound::AlreadyGone`].
    pub async fn unbind(&self, binding: &Binding, uid: Option<&str>) -> Result<Unbound, ClusterError> {
        let unbound = self.remove(binding, uid).await?;
        if let (Some(namespace), Some(rules)) = (&binding.namespace, &binding.rules) {
            self.remove_role(binding, namespace, rules).await?;
        }
        Ok(unbound)
    }

    /// Waits until no deletion of a binding waits for its turn, or patience is over: when many end together, a proof
    /// that one is gone must not hold up the deletion of another, for all have the same turns, and the API server
    /// answers a question sooner than it deletes. One that was sent and gets no answer holds up the proofs of others
    /// for a moment only.
    pub async fn deletions_first(&self, patience: Duration) {
        // Afterwards the proof is asked for all the same.
        let _ = tokio::time::timeout(patience, self.0.waiting.none()).await;
        let _ = tokio::time::timeout(patience.min(self.0.transport.soon()), self.0.unanswered.none()).await;
    }

    async fn remove(&self, binding: &Binding, uid: Option<&str>) -> Result<Unbound, ClusterError> {
        let deleted = match uid {
            Some(uid) => self.delete(binding, uid).await,
            None => Err(ClusterError::Conflict { cluster: self.name().clone(), what: binding.name.clone() }),
        };
        if !matches!(deleted, Err(ClusterError::Conflict { .. })) {
            return deleted;
        }
        let Some(found) = self.find(binding).await? else {
            return Ok(Unbound::AlreadyGone);
        };
        if found.has_only_subject(&binding.group) && (uid.is_some() || found.has_role(&binding.role)) {
            self.delete(binding, &found.uid).await
        } else {
            Ok(Unbound::NotOurs { why: found.to_string() })
        }
    }

    async fn delete(&self, binding: &Binding, uid: &str) -> Result<Unbound, ClusterError> {
        let request = bindings(binding.namespace.as_ref()).delete(&binding.name, &only(uid));
        let _unanswered = self.0.unanswered.one_more();
        let reply = self.0.transport.send_after(self.0.waiting.one_more(), request).await?;
        let Some(reply) = unless_missing(self.0.transport.read::<Kind>(&reply))? else {
            return Ok(Unbound::AlreadyGone);
        };
        // An object instead of a Status is still there, and RBAC still follows it: a finalizer holds it.
        Ok(if reply.kind == "Status" { Unbound::Deleted } else { Unbound::Held })
    }

    /// The binding of this name, whoever made it; none when there is none.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn find(&self, binding: &Binding) -> Result<Option<Found>, ClusterError> {
        let request = bindings(binding.namespace.as_ref()).get(&binding.name, &GetParams::default());
        let stored: Option<Stored> = unless_missing(self.0.transport.call(request).await)?;
        Ok(stored.map(Found::from))
    }

    /// Whether the API server would allow what `probe` asks to the holder of this binding's certificate.
    /// Asked for the user and the one group, without `system:authenticated`, so that what everybody may do
    /// does not count.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn ask(&self, binding: &Binding, probe: &Probe) -> Result<Answer, ClusterError> {
        let (resource_attributes, non_resource_attributes) = probe.attributes();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(binding.user.clone()),
                groups: Some(vec![binding.group.clone()]),
                resource_attributes,
                non_resource_attributes,
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answered: SubjectAccessReview =
            self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
        self.answer(answered.status)
    }

    fn answer(&self, status: Option<SubjectAccessReviewStatus>) -> Result<Answer, ClusterError> {
        let status = status.ok_or_else(|| self.0.transport.unreadable("a review without a status".to_owned()))?;
        Ok(if status.allowed { Answer::Allowed { why: status.reason.unwrap_or_default() } } else { Answer::Denied })
    }

    /// The bindings, in all namespaces and cluster-wide, that carry this daemon's labels or name a user or
    /// group beginning `jit:`, whoever made them, and that are to be kept. A label is no proof that one is ours.
    /// Reads all bindings of the cluster, a page at a time; what is not kept is gone with its page.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_related(&self, mut keep: impl FnMut(&Found) -> bool) -> Result<Vec<Found>, ClusterError> {
        let names_us = |found: &Found| found.subjects.iter().any(|subject| subject.name.starts_with("jit:"));
        let mut all = Vec::new();
        for kind in ["rolebindings", "clusterrolebindings"] {
            let path = format!("{RBAC}/{kind}");
            let mut related = |found: &Found| (self.labelled(found) || names_us(found)) && keep(found);
            self.list(&path, None, |stored: Stored| Some(Found::from(stored)).filter(&mut related), &mut all).await?;
        }
        Ok(all)
    }

    /// Every role that was made for a binding of this daemon, by namespace and name.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn list_made_roles(&self) -> Result<BTreeMap<(String, String), ResolvedRole>, ClusterError> {
        let mut all = Vec::new();
        let keep = |stored: StoredRole| {
            let StoredRole { metadata, rules } = stored;
            let place = (metadata.namespace.unwrap_or_default(), metadata.name);
            Some((place, ResolvedRole::new(metadata.uid, rules.unwrap_or_default())))
        };
        let labels = format!("{MANAGED_BY}={OURS},{HOST_LABEL}={}", self.0.host);
        self.list(&format!("{RBAC}/roles"), Some(labels), keep, &mut all).await?;
        Ok(all.into_iter().collect())
    }

    /// The labels of every namespace in which something can be bound.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn namespaces(&self) -> Result<BTreeMap<Namespace, BTreeMap<String, String>>, ClusterError> {
        #[derive(Deserialize)]
        struct Stored {
            metadata: Identity,
        }
        let keep = |Stored { metadata }: Stored| {
            let stays = metadata.deletion_timestamp.is_none();
            metadata.name.parse().ok().filter(|_| stays).map(|name: Namespace| (name, metadata.labels))
        };
        let mut all = Vec::new();
        self.list("/api/v1/namespaces", None, keep, &mut all).await?;
        Ok(all.into_iter().collect())
    }

    /// Whether a binding carries this daemon's labels.
    #[must_use]
    pub fn labelled(&self, found: &Found) -> bool {
        found.of_host.as_ref() == Some(&self.0.host)
    }

    async fn list<S: DeserializeOwned, T>(
        &self,
        path: &str,
        labels: Option<String>,
        mut keep: impl FnMut(S) -> Option<T>,
        all: &mut Vec<T>,
    ) -> Result<(), ClusterError> {
        #[derive(Deserialize)]
        struct Page<S> {
            metadata: PageMetadata,
            items: Vec<S>,
        }
        #[derive(Deserialize)]
        struct PageMetadata {
            #[serde(rename = "continue")]
            next: Option<String>,
        }
        let mut params = ListParams { label_selector: labels, limit: Some(PAGE), ..ListParams::default() };
        loop {
            let reply = self.0.transport.send(Path::new(path).list(&params)).await?;
            // The rest of a list that took too long may be had as it is now; for a sweep, which comes
            // again, that is as good (https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks).
            let expired =
                (reply.code == 410).then(|| reply.status().and_then(|status| status.metadata?.continue_)).flatten();
            params.continue_token = if expired.is_some() {
                expired
            } else {
                let page: Page<S> = self.0.transport.read(&reply)?;
                all.extend(page.items.into_iter().filter_map(&mut keep));
                page.metadata.next.filter(|token| !token.is_empty())
            };
            if params.continue_token.is_none() {
                return Ok(());
            }
        }
    }

    fn role(&self, binding: &Binding, rules: &ExactRules) -> serde_json::Value {
        let mut role = self.metadata("Role", binding);
        if let Some(fields) = role.as_object_mut() {
            fields.insert("rules".to_owned(), serde_json::json!(rules));
        }
        role
    }

    fn manifest(&self, binding: &Binding) -> serde_json::Value {
        let kind = if binding.namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        let mut object = self.metadata(kind, binding);
        if let Some(fields) = object.as_object_mut() {
            let role = &binding.role;
            fields.insert(
                "roleRef".to_owned(),
                serde_json::json!({ "apiGroup": RBAC_GROUP, "kind": role.kind(), "name": role.name() }),
            );
            fields.insert(
                "subjects".to_owned(),
                serde_json::json!([{ "apiGroup": RBAC_GROUP, "kind": "Group", "name": binding.group }]),
            );
        }
        object
    }

    fn metadata(&self, kind: &str, binding: &Binding) -> serde_json::Value {
        let grant = binding.name.trim_start_matches("jit-");
        let annotations = if binding.broken_glass {
            serde_json::json!({ GRANT: grant, USER: binding.user, BREAK_GLASS: "true" })
        } else {
            serde_json::json!({ GRANT: grant, USER: binding.user })
        };
        let mut metadata = serde_json::json!({
            "name": binding.name,
            "labels": { MANAGED_BY: OURS, HOST_LABEL: self.0.host },
            "annotations": annotations,
        });
        if let (Some(namespace), Some(fields)) = (&binding.namespace, metadata.as_object_mut()) {
            fields.insert("namespace".to_owned(), namespace.as_str().into());
        }
        serde_json::json!({ "apiVersion": format!("{RBAC_GROUP}/v1"), "kind": kind, "metadata": metadata })
    }
}

impl Count {
    fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    fn one_more(&self) -> Counted<'_> {
        // Nobody waits for more of them.
        self.0.send_if_modified(|count| {
            *count = count.saturating_add(1);
            false
        });
        Counted(self)
    }

    /// Returns when there is none.
    async fn none(&self) {
        // The sender is never gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.send_if_modified(|count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

/// What the API server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// For example `v1.36.3`.
    pub version: String,
    /// Its clock when it answered, whole seconds; none when the answer had no date.
    pub clock: Option<Timestamp>,
}

/// What became of a binding that was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Unbound {
    /// It was there and is gone.
    Deleted,
    /// It was gone before.
    AlreadyGone,
    /// It is marked for deletion, but somebody's finalizer holds it and it still grants. Ask again later,
    /// and tell people.
    Held,
    /// Something else has its name. It was left alone.
    NotOurs {
        /// What is there.
        why: String,
    },
}

/// What the API server would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It would allow it.
    Allowed {
        /// Which binding lets it, in the API server's words.
        why: String,
    },
    /// It would not.
    Denied,
}

impl Answer {
    /// Whether it would allow it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct StoredRole {
    metadata: Identity,
    // An aggregated ClusterRole that nothing has filled yet has `null`.
    rules: Option<Vec<Rule>>,
}

/// Deletes the object with this uid and no other of its name.
fn only(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

fn roles(namespace: &Namespace) -> Path {
    Path::new(format!("{RBAC}/namespaces/{namespace}/roles"))
}

fn unless_missing<T>(answer: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ClusterError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

fn bindings(namespace: Option<&Namespace>) -> Path {
    Path::new(match namespace {
        Some(namespace) => format!("{RBAC}/namespaces/{namespace}/rolebindings"),
        None => format!("{RBAC}/clusterrolebindings"),
    })
}

/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>,
/// and not empty.
fn is_label_value(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inside) && edge(text.chars().next()) && edge(text.chars().last())
}

pub(crate) const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(crate) const OURS: &str = "jitd";
pub(crate) const HOST_LABEL: &str = "jitd.dev/host";
pub(crate) const GRANT: &str = "jitd.dev/grant";
pub(crate) const USER: &str = "jitd.dev/user";
/// Says of a binding that nobody had agreed to it.
const BREAK_GLASS: &str = "jitd.dev/break-glass";

/// How many bindings one page of a list has: kubectl's own `--chunk-size`.
const PAGE: u32 = 500;

/// How long the API server's version is believed.
const VERSION_KEPT: Duration = Duration::from_secs(300);

/// The pauses before each look for a binding whose creation was not answered.
const LOOK_AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];
