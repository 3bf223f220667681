//! What `jitd check --cluster` says about one cluster: whether the authority is trusted there, whether the daemon may
//! do what it has to and nothing more, and whether the second wall stands and holds.
//!
//! ```text
//!  authority (a certificate without rights) ─► version, clock ─► trust ─► rights it needs ─► rights it must not have ─► roles ─► objects ─► wall
//! ```
//! It must never change a cluster: it reads, asks, and tries in dry runs. `jitd check` and `jitd doctor` print the
//! findings.

mod proof;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{Answer, Cluster, ClusterError, Found, RBAC_GROUP, Right, UserInfo};
use crate::grant::policy::Policy;
use crate::grant::request::{ClusterName, Namespace, RoleRef};
use crate::grant::{Binding, GrantId};
use crate::manifest::{self, Object, Reach};

pub use self::proof::{probe_user, prove};

/// How often something that must be refused is tried before it counts as let through, and the pause between.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(500);

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// What was looked at, a word or an object's kind and name.
    pub check: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or not safely.
    Fault,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        })
    }
}

impl Finding {
    /// The daemon can't even try to reach this cluster: `why`, with its hint if it has one.
    #[must_use]
    pub fn unusable(cluster: &ClusterName, why: &str) -> Self {
        let (found, hint) = parted(why);
        let hint = hint.or_else(|| Some("`jitd doctor` tells what is missing on this host".to_owned()));
        Self { cluster: cluster.to_string(), check: "credential".to_owned(), verdict: Verdict::Fault, found, hint }
    }
}

/// A message of ours in its two parts.
fn parted(message: &str) -> (String, Option<String>) {
    match message.split_once("\nhint: ").or_else(|| message.split_once("; hint: ")) {
        Some((found, hint)) => (found.to_owned(), Some(hint.to_owned())),
        None => (message.to_owned(), None),
    }
}

impl std::fmt::Display for Finding {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<8}{} {}: {}", self.verdict, self.cluster, self.check, self.found)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

/// Asks `cluster` everything, as the daemon of `host` under `policy`. `clock` is the host's.
///
/// A question that can't be answered is a fault, and after one about the connection the rest is not asked.
pub async fn check(cluster: &Cluster, policy: &Policy, host: &str, clock: fn() -> Timestamp) -> Vec<Finding> {
    let mut check = Check { cluster, findings: Vec::new() };
    match check.all(policy, host, clock).await {
        // It is one of the daemon's own rights: whatever can't be asked without it is not.
        Err(error @ ClusterError::Forbidden { .. }) => check.failed("rights", &error),
        Err(error) => check.failed("connection", &error),
        Ok(()) => {}
    }
    check.findings
}

/// A request takes no longer, so less than this is nothing to speak of.
const CLOCK_WARNING: SignedDuration = SignedDuration::from_secs(2);
/// A certificate begins half a minute before it is signed; to a clock further behind it is not valid yet.
const CLOCK_FAULT: SignedDuration = SignedDuration::from_secs(30);

const CLOCK_HINT: &str = "certificates are valid by the API server's clock: set both by NTP";
const APPLY: &str = "apply what `jitd manifest` prints for this cluster";

struct Check<'a> {
    cluster: &'a Cluster,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn tell(&mut self, verdict: Verdict, check: impl Into<String>, found: impl Into<String>, hint: Option<&str>) {
        self.findings.push(Finding {
            cluster: self.cluster.name().to_string(),
            check: check.into(),
            verdict,
            found: found.into(),
            hint: hint.map(str::to_owned),
        });
    }

    fn ok(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.tell(Verdict::Ok, check, found, None);
    }

    fn fault(&mut self, check: impl Into<String>, found: impl Into<String>, hint: &str) {
        self.tell(Verdict::Fault, check, found, Some(hint));
    }

    fn failed(&mut self, check: &str, error: &ClusterError) {
        let (found, hint) = parted(&error.to_string());
        let known = match error {
            ClusterError::Unreachable { why, .. } => way_out(why),
            _ => None,
        };
        self.tell(Verdict::Fault, check, found, known.or(hint.as_deref()));
    }

    async fn all(&mut self, policy: &Policy, host: &str, clock: fn() -> Timestamp) -> Result<(), ClusterError> {
        let before = clock();
        let about = self.cluster.about().await?;
        self.ok("version", format!("{} at {}", about.version, self.cluster.endpoint().server()));
        self.clock(about.clock, before, clock());
        self.trust(host).await?;

        let reaches = manifest::reaches(policy, self.cluster.name());
        let objects = manifest::objects(policy, self.cluster.name(), host);
        self.needed(&objects).await?;
        self.beyond(policy).await?;
        self.roles(&reaches).await?;
        for object in &objects {
            self.object(object, APPLY).await;
        }
        self.held(policy, host, &objects).await?;
        self.wall(&reaches, host).await
    }

    fn clock(&mut self, server: Option<Timestamp>, before: Timestamp, after: Timestamp) {
        let Some(server) = server else {
            return self.tell(
                Verdict::Warning,
                "clock",
                "the API server does not tell its clock",
                Some("look for a proxy in between that takes the header `Date` away"),
            );
        };
        let apart = apart(server, before, after);
        let found = format!("{} s between this host and the API server", apart.as_secs());
        match judged(apart) {
            Verdict::Ok => self.ok("clock", found),
            worse => self.tell(worse, "clock", found, Some(CLOCK_HINT)),
        }
    }

    async fn trust(&mut self, host: &str) -> Result<(), ClusterError> {
        let (UserInfo { name, .. }, expected) = (self.cluster.identity().await?, manifest::daemon_user(host));
        if name == expected {
            self.ok("trust", format!("our credential is accepted as `{name}`"));
        } else {
            self.fault(
                "trust",
                format!("we are `{}` there, and the manifest is for `{expected}`", name.escape_default()),
                "leave `kubeconfig` out of the cluster's entry, so that the daemon makes its own credential",
            );
        }
        Ok(())
    }

    /// Each right of the ClusterRole that the manifest prints.
    async fn needed(&mut self, objects: &[Object]) -> Result<(), ClusterError> {
        // The ceilings hold in single namespaces only; their bindings are compared.
        let own = objects.iter().take(1);
        let needed: Vec<Right> = own.flat_map(|object| rights(object.value())).collect();
        let mut missing = Vec::new();
        for right in &needed {
            if !self.cluster.may(right).await?.is_allowed() {
                missing.push(right);
            }
        }
        if missing.len() == needed.len() {
            self.fault("rights", format!("the daemon may do none of the {} things it has to", needed.len()), APPLY);
            return Ok(());
        }
        for right in &missing {
            self.fault("rights", format!("the daemon may not {right}"), APPLY);
        }
        if missing.is_empty() {
            self.ok("rights", format!("the daemon may do each of the {} things it has to", needed.len()));
        }
        Ok(())
    }

    /// What the daemon must not be able to do, whoever gave it the right.
    async fn beyond(&mut self, policy: &Policy) -> Result<(), ClusterError> {
        let roles = policy.roles(self.cluster.name());
        let makes_roles = policy.makes_roles(self.cluster.name());
        let of_policy: BTreeSet<&str> = roles.iter().map(|role| role.name().as_str()).collect();
        let (mut asked, mut excessive) = (0, false);
        for (verb, group, resource, name) in BEYOND {
            let [verb, group, resource, name] = [verb, group, resource, name].map(|word| (*word).to_owned());
            // A role that the policy gives is bound on purpose.
            if of_policy.contains(name.as_str())
                || makes_roles && (verb.as_str(), resource.as_str()) == ("create", "roles")
            {
                continue;
            }
            asked += 1;
            let right = Right { verb, group, resource, name };
            if let Answer::Allowed { why } = self.cluster.may(&right).await? {
                excessive = true;
                let why: String = why.chars().take(200).flat_map(char::escape_default).collect();
                self.fault(
                    "excess",
                    format!("the daemon may {right}: {why}"),
                    "take that right away; `jitd manifest` prints all that the daemon needs",
                );
            }
        }
        if !excessive {
            self.ok("excess", format!("the daemon may do none of the {asked} things that it must not"));
        }
        Ok(())
    }

    async fn roles(&mut self, reaches: &[Reach]) -> Result<(), ClusterError> {
        let mut seen = BTreeSet::new();
        let mut missing = false;
        for (role, namespace) in reaches.iter().flat_map(looked_for) {
            if !seen.insert((role.to_string(), namespace)) {
                continue;
            }
            if self.cluster.resolve_role(namespace, role).await?.is_none() {
                missing = true;
                let place = namespace.map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.tell(
                    Verdict::Warning,
                    "roles",
                    format!("there is no {} `{}`{place}", role.kind(), role.name()),
                    Some("make it, or take it out of the policy; until then requests for it are refused"),
                );
            }
        }
        if !missing {
            self.ok("roles", format!("all {} of the policy are there", seen.len()));
        }
        Ok(())
    }

    /// What the daemon holds in namespaces that only the cluster knows, and that nothing else is bound to it anywhere.
    async fn held(&mut self, policy: &Policy, host: &str, objects: &[Object]) -> Result<(), ClusterError> {
        let mut known: BTreeSet<(Option<String>, String)> = BTreeSet::new();
        let place = |object: &Object| (object.namespace().map(str::to_owned), object.name().to_owned());
        // By kind: a ceiling's ClusterRole and a binding of it in the whole cluster would have one name.
        let is_binding = |object: &&Object| matches!(object.kind(), "RoleBinding" | "ClusterRoleBinding");
        known.extend(objects.iter().filter(is_binding).map(place));
        if manifest::is_open(&manifest::reaches(policy, self.cluster.name())) {
            let namespaces = self.cluster.namespaces().await?;
            for (wanted, command) in manifest::held_beside(policy, self.cluster.name(), host, &namespaces) {
                self.object(&wanted, &format!("make it: `{command}`")).await;
                known.insert(place(&wanted));
            }
        }
        let daemon = manifest::daemon_user(host);
        let mut more = 0;
        let is_daemons =
            |found: &Found| found.subjects.iter().any(|subject| subject.kind == "User" && subject.name == daemon);
        for found in self.cluster.list_related(is_daemons).await? {
            if !known.contains(&(found.namespace.clone(), found.name.clone())) {
                more += 1;
                let place = found.namespace.as_ref().map_or_else(String::new, |name| format!(" in namespace {name}"));
                self.fault(
                    "excess",
                    format!("{found}{place}, which the policy does not need"),
                    "delete that binding; it lets the daemon hold, and hand on, more than the policy gives",
                );
            }
        }
        if more == 0 {
            self.ok("bindings", "nothing is bound to the daemon beside what the policy needs");
        }
        Ok(())
    }

    /// Whether what stands in the cluster is what the manifest prints; `hint` is how that comes to be.
    async fn object(&mut self, wanted: &Object, hint: &str) {
        let place = wanted.namespace().map_or_else(String::new, |name| format!(" in namespace {name}"));
        let check = format!("{} {}{place}", wanted.kind(), wanted.name());
        match self.cluster.object(&wanted.folder(), wanted.name()).await {
            Ok(Some(there)) => {
                let differences = differences(wanted.value(), &there);
                if differences.is_empty() {
                    self.ok(&check, "is as the manifest has it");
                }
                for difference in differences {
                    self.fault(&check, format!("is different: {difference}"), hint);
                }
            }
            Ok(None) => match self.is_there(wanted.namespace()).await {
                Ok(true) => self.fault(check, "is missing", hint),
                Ok(false) => self.tell(
                    Verdict::Warning,
                    check,
                    "there is no such namespace",
                    Some("make it, and then the binding; until then requests for it are refused"),
                ),
                Err(error) => self.failed(&check, &error),
            },
            Err(error) => self.failed(&check, &error),
        }
    }

    async fn is_there(&self, namespace: Option<&str>) -> Result<bool, ClusterError> {
        let Some(namespace) = namespace.and_then(|name| name.parse().ok()) else { return Ok(true) };
        Ok(self.cluster.labels_of(&namespace).await?.is_some())
    }

    /// What must be refused, tried without being made: a binding that RBAC stops, and a binding and a role that only
    /// the admission policies do.
    async fn wall(&mut self, reaches: &[Reach], host: &str) -> Result<(), ClusterError> {
        let given: Vec<&RoleRef> = reaches.iter().flat_map(|reach| &reach.roles).collect();
        let (Some(namespace), Ok(role)) = (self.existing(reaches).await?, "cluster-admin".parse()) else {
            self.fault("wall", "there is no namespace to try a binding in", "give a rule for this cluster a namespace");
            return Ok(());
        };
        let spare = GrantId::from_random([0; 10]);
        let mut attempt = Binding {
            name: spare.binding_name(),
            group: spare.group(),
            user: manifest::daemon_user(host),
            namespace: Some(namespace),
            role,
            rules: None,
            broken_glass: false,
        };
        if !given.contains(&&attempt.role) {
            match self.cluster.would_bind(&attempt).await {
                Err(ClusterError::Forbidden { .. }) => self.ok("wall", "binding `cluster-admin` is refused"),
                Err(error) => self.failed("wall", &error),
                Ok(()) => self.fault("wall", "binding `cluster-admin` is not refused", APPLY),
            }
        }
        let makes_roles = reaches.iter().any(|reach| reach.makes_roles);
        if let Some(role) = given.first() {
            attempt.role = (*role).clone();
            attempt.group = OTHER_GROUP.to_owned();
            let tried = refused_soon(|| self.cluster.would_bind(&attempt)).await;
            self.fenced("binding a group that no grant has", &manifest::fence_name(host), tried);
        } else if !makes_roles {
            self.tell(
                Verdict::Warning,
                "wall",
                "the policy gives no role here, so the fence can't be tried",
                Some("write a rule for this cluster"),
            );
        }
        if makes_roles {
            attempt.name = "tried-by-jitd-check".to_owned();
            let tried = refused_soon(|| self.cluster.would_make_role(&attempt)).await;
            self.fenced("making a role that no grant owns", &manifest::fence_of_roles_name(host), tried);
        }
        Ok(())
    }

    fn fenced(&mut self, found: &str, fence: &str, tried: Result<(), ClusterError>) {
        match tried {
            Err(ClusterError::Forbidden { why, .. }) if why.contains(fence) => {
                self.ok("wall", format!("{found} is refused by `{fence}`"));
            }
            Err(ClusterError::Forbidden { why, .. }) => {
                let why: String = why.chars().take(300).flat_map(char::escape_default).collect();
                self.fault("wall", format!("{found} is refused, but not by `{fence}`: {why}"), APPLY);
            }
            Err(error) => self.failed("wall", &error),
            Ok(()) => self.fault("wall", format!("{found} is not refused"), APPLY),
        }
    }

    /// A namespace that is there: one of the policy's, else the one that every cluster has.
    async fn existing(&self, reaches: &[Reach]) -> Result<Option<Namespace>, ClusterError> {
        for namespace in reaches.iter().flat_map(Reach::names) {
            if self.cluster.labels_of(namespace).await?.is_some() {
                return Ok(Some(namespace.clone()));
            }
        }
        Ok("default".parse().ok())
    }
}

/// How far the clocks are apart at least: the server's was read between our two, and it tells whole seconds.
fn apart(server: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    let ahead = server.duration_since(after);
    let behind = before.duration_since(server) - SignedDuration::from_secs(1);
    ahead.max(behind).max(SignedDuration::ZERO)
}

fn judged(apart: SignedDuration) -> Verdict {
    match apart {
        apart if apart > CLOCK_FAULT => Verdict::Fault,
        apart if apart > CLOCK_WARNING => Verdict::Warning,
        _ => Verdict::Ok,
    }
}

/// Where a role of a rule has to be: a ClusterRole once, a Role in each namespace that has a name.
fn looked_for(reach: &Reach) -> impl Iterator<Item = (&RoleRef, Option<&Namespace>)> {
    reach.roles.iter().flat_map(|role| match role {
        RoleRef::ClusterRole(_) => vec![(role, None)],
        RoleRef::Role(_) => reach.names().map(|name| (role, Some(name))).collect(),
    })
}

/// What to do about an API server that can't be reached, by the words of the innermost cause.
fn way_out(why: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 6] = [
        (
            "UnknownIssuer",
            "`certificateAuthority` is not what signed the API server's certificate; take the one of an administrator's kubeconfig",
        ),
        (
            "BadSignature",
            "`certificateAuthority` is not what signed the API server's certificate; take the one of an administrator's kubeconfig",
        ),
        ("not valid for name", "`server` has a name that is not in the API server's certificate; use one that is"),
        ("certificate expired", "the API server's own certificate is over; renew it, and compare the clocks"),
        (
            "lookup address",
            "`server` has a name that this host can't resolve; `getent hosts NAME` shows whether it can",
        ),
        ("refused", "nothing listens at `server`; is the API server up, and is the port right?"),
    ];
    KNOWN.iter().find(|(words, _)| why.contains(words)).map(|(_, hint)| *hint)
}

const OTHER_GROUP: &str = "jit:tried-by-jitd-check";

/// Verb, API group, resource and name of what would let the daemon, or whoever stole its credential, out of
/// its fence. No name is every name.
const BEYOND: [(&str, &str, &str, &str); 35] = [
    ("*", "*", "*", ""),
    ("bind", RBAC_GROUP, "clusterroles", ""),
    ("escalate", RBAC_GROUP, "clusterroles", ""),
    ("create", RBAC_GROUP, "clusterroles", ""),
    ("update", RBAC_GROUP, "clusterroles", ""),
    ("patch", RBAC_GROUP, "clusterroles", ""),
    ("bind", RBAC_GROUP, "roles", ""),
    ("escalate", RBAC_GROUP, "roles", ""),
    ("create", RBAC_GROUP, "roles", ""),
    ("update", RBAC_GROUP, "roles", ""),
    ("patch", RBAC_GROUP, "roles", ""),
    ("bind", RBAC_GROUP, "clusterroles", "cluster-admin"),
    ("bind", RBAC_GROUP, "clusterroles", "admin"),
    ("bind", RBAC_GROUP, "clusterroles", "edit"),
    ("update", RBAC_GROUP, "rolebindings", ""),
    ("patch", RBAC_GROUP, "rolebindings", ""),
    ("update", RBAC_GROUP, "clusterrolebindings", ""),
    ("patch", RBAC_GROUP, "clusterrolebindings", ""),
    ("impersonate", "", "users", ""),
    ("impersonate", "", "groups", ""),
    ("impersonate", "", "serviceaccounts", ""),
    // Since 1.36 these do the same for one kind of request at a time.
    ("impersonate:user-info", "authentication.k8s.io", "users", ""),
    ("get", "", "secrets", ""),
    ("list", "", "secrets", ""),
    ("create", "", "serviceaccounts/token", ""),
    ("create", "", "pods", ""),
    ("create", "", "pods/exec", ""),
    ("get", "", "nodes/proxy", ""),
    ("update", "certificates.k8s.io", "certificatesigningrequests/approval", ""),
    ("update", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    ("update", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
    ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
    ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
];

/// The rights that a role's rules give, one by one; none for any other object.
fn rights(role: &Value) -> Vec<Right> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let list = rule.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = Vec::new();
    for rule in role.get("rules").and_then(Value::as_array).into_iter().flatten() {
        let mut names = words(rule, "resourceNames");
        if names.is_empty() {
            names.push(String::new());
        }
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for name in &names {
                    for verb in words(rule, "verbs") {
                        let (group, resource) = (group.clone(), resource.clone());
                        rights.push(Right { verb, group, resource, name: name.clone() });
                    }
                }
            }
        }
    }
    rights
}

/// What tells `there` from `wanted`, a sentence each; identity and status do not count, and neither does the
/// order of a list, which the API server gives no meaning here.
fn differences(wanted: &Value, there: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &meant(wanted), &meant(there), &mut found);
    found
}

/// The part of an object that says what it does, in one canonical form.
fn meant(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    }
    canonical(object)
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, canonical(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(canonical).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

/// An absent field and an empty one mean the same to the API server.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn compare(at: &str, wanted: &Value, there: &Value, found: &mut Vec<String>) {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => {
            for key in wanted.keys().chain(there.keys()).collect::<BTreeSet<_>>() {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match (wanted.get(key), there.get(key)) {
                    (Some(wanted), Some(there)) => compare(&at, wanted, there, found),
                    (Some(wanted), None) => found.push(format!("`{at}` lacks {}", shown(wanted))),
                    (None, Some(there)) => found.push(format!("`{at}` has {}", shown(there))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(wanted), Value::Array(there)) => {
            for item in wanted.iter().filter(|item| !there.contains(item)) {
                found.push(format!("`{at}` lacks {}", shown(item)));
            }
            for item in there.iter().filter(|item| !wanted.contains(item)) {
                found.push(format!("`{at}` has {}", shown(item)));
            }
        }
        (wanted, there) if wanted != there => {
            found.push(format!("`{at}` is {} instead of {}", shown(there), shown(wanted)));
        }
        _ => {}
    }
}

/// The words may be another's, so they are escaped and cut.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text
        .chars()
        .take(300)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().count() > 300 { format!("{cut}…") } else { cut }
}

/// Tries again while it is not refused: an admission policy takes effect a moment after it was applied, and the check
/// is what people run next.
async fn refused_soon<F: Future<Output = Result<(), ClusterError>>>(
    attempt: impl Fn() -> F,
) -> Result<(), ClusterError> {
    for _ in 0..TRIES {
        attempt().await?;
        tokio::time::sleep(BETWEEN).await;
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Warned of above two seconds, a fault above thirty, whichever clock is ahead; the second that the
    /// header cuts off counts for neither.
    #[test]
    fn clocks_that_are_apart_are_told() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for (server, expected) in [
            (0, Verdict::Ok),
            (2, Verdict::Ok),
            (-3, Verdict::Ok),
            (3, Verdict::Warning),
            (-4, Verdict::Warning),
            (30, Verdict::Warning),
            (-31, Verdict::Warning),
            (31, Verdict::Fault),
            (-32, Verdict::Fault),
        ] {
            assert_eq!(judged(apart(at(server), at(0), at(0))), expected, "{server}");
        }
        assert_eq!(judged(apart(at(20), at(0), at(40))), Verdict::Ok, "a slow answer is no difference");
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let wanted = json!({
            "kind": "ClusterRole", "metadata": { "name": "a" }, "selector": {},
            "rules": [{ "verbs": ["get", "list"], "apiGroups": [""] }, { "verbs": ["bind"] }],
        });
        let there = json!({
            "metadata": { "name": "a", "uid": "u", "managedFields": [] }, "aggregationRule": null, "status": { "x": 1 },
            "rules": [{ "verbs": ["bind"] }, { "apiGroups": [""], "verbs": ["list", "get"], "resourceNames": [] }],
        });
        assert_eq!(differences(&wanted, &there), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_told_with_its_place() {
        let wanted = json!({ "spec": { "mode": "Fail", "list": ["a", "b"], "gone": 1 } });
        let there = json!({ "spec": { "mode": "Ignore\n", "list": ["b", "c"], "more": { "x": 1 } } });
        assert_eq!(
            differences(&wanted, &there),
            [
                "`spec.gone` lacks 1",
                "`spec.list` lacks \"a\"",
                "`spec.list` has \"c\"",
                "`spec.mode` is \"Ignore\\n\" instead of \"Fail\"",
                "`spec.more` has {\"x\":1}",
            ]
        );
    }

    #[test]
    fn the_rights_of_a_role_are_asked_one_by_one() {
        let role = json!({ "rules": [
            { "apiGroups": ["g"], "resources": ["a", "b"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["c"], "resourceNames": ["n"], "verbs": ["get", "bind"] },
        ] });
        let told: Vec<String> = rights(&role).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["get a.g", "get b.g", "get c n", "bind c n"]);
        assert_eq!(rights(&json!({ "spec": {} })), []);
    }
}
