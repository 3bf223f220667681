//! In which order the bindings go, so that nobody is locked out, and what each step is for kubectl and for the API server.
//!
//! First the roles and the policy, then the bindings, those with the least rights first. Three things never go: what whoever
//! runs the plan holds, the last way in of an administrator, and a binding of which nobody could tell whether it has changed
//! since. Every removal is conditional on the uid and the resourceVersion that were read. `suggest.rs` writes a plan, `jitd
//! scan apply-plan` reads one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jit_core::rbac::Rule;
use jit_host::escape::escaped;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policy::yaml;
use super::{Grant, NewRole, Terms, is_of_people, object, role_word};
use crate::access::{Access, Holding};
use crate::authorize::{Action, ResourceAction, rule_allows};
use crate::finding::{Kind, Subject};
use crate::snapshot::{Binding, Identity, RoleKind};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Steps in the order in which they are carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The cluster's name in the configuration of `jitd`.
    pub cluster: String,
    /// The steps; the first has the number 1.
    pub steps: Vec<Step>,
    /// Files that the commands read, by their path in the folder of the plan.
    #[serde(skip)]
    pub files: BTreeMap<String, String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Its number.
    pub step: usize,
    /// What it does, in one sentence.
    pub does: String,
    /// The command for a shell in the folder of the plan.
    pub command: String,
    /// The command that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// The ClusterRoles of `roles.yaml` that it creates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creates: Vec<String>,
    /// The binding that it deletes, or from which it takes subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removes: Option<Removal>,
}

/// A binding that goes, or some of its subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// The namespace of a RoleBinding; `None` for a ClusterRoleBinding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The binding's name.
    pub name: String,
    /// Its uid when it was read.
    pub uid: String,
    /// Its resourceVersion when it was read.
    pub resource_version: String,
    /// Who is removed.
    pub subjects: Vec<Bound>,
    /// Who stays in it; if nobody does, the binding is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<Bound>,
}

/// A subject as a binding contains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bound {
    /// `rbac.authorization.k8s.io` for users and groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Its kind.
    pub kind: Kind,
    /// The namespace of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// What a step asks of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `DELETE`, or `PATCH` with a JSON patch.
    pub method: &'static str,
    /// The path without a query.
    pub path: String,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Value,
}

/// A plan that is not one that was written here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ImpossiblePlan(String);

impl Plan {
    /// The plan for what is replaced; says of each grant that stays nevertheless why.
    pub(super) fn of(grants: &mut [Grant<'_>], roles: &[NewRole], terms: &Terms) -> Self {
        for grant in grants.iter_mut().filter(|grant| grant.stays.is_none()) {
            grant.stays = not_removable(grant, terms);
        }
        keep_an_administrator(grants);
        let mut going: BTreeMap<_, (Weight, &Binding, Vec<&Grant<'_>>)> = BTreeMap::new();
        for grant in grants.iter().filter(|grant| grant.stays.is_none()) {
            let Holding { binding, .. } = grant.holding;
            let (_, _, of_binding) =
                going.entry(&binding.name).or_insert((Weight::of(&grant.holding), binding, Vec::new()));
            of_binding.push(grant);
        }
        let mut going: Vec<_> = going.into_values().collect();
        going.sort_by_key(|(weight, binding, _)| (*weight, &binding.name));
        let mut plan = Self { cluster: terms.cluster.to_string(), steps: Vec::new(), files: BTreeMap::new() };
        if !going.is_empty() {
            plan.prepare(roles);
            for (_, binding, grants) in going {
                plan.remove(binding, &grants);
            }
        }
        plan
    }

    fn step(&self, does: &str, command: String) -> Step {
        let step = self.steps.len().saturating_add(1);
        Step { step, does: does.to_owned(), command, undo: None, creates: Vec::new(), removes: None }
    }

    /// What comes before anything is removed.
    fn prepare(&mut self, roles: &[NewRole]) {
        if !roles.is_empty() {
            let mut step =
                self.step("create the roles that the requests name", "kubectl apply -f roles.yaml".to_owned());
            step.undo = Some("kubectl delete -f roles.yaml".to_owned());
            step.creates = roles.iter().map(|role| role.name.clone()).collect();
            self.steps.push(step);
        }
        let cluster = quoted(&self.cluster);
        for (does, command) in [
            (
                "on the bastion: add the rules and tests of policy.yaml to /etc/jitd/policy.yaml, create the groups, and load it",
                "jitd policy test && systemctl reload jitd".to_owned(),
            ),
            ("let the daemon bind the roles", format!("jitd manifest {cluster} | kubectl apply -f -")),
            (
                "check the daemon's rights; then let somebody of each group request and use each role once, with jit-login",
                format!("jitd check --cluster {cluster}"),
            ),
        ] {
            let step = self.step(does, command);
            self.steps.push(step);
        }
    }

    fn remove(&mut self, binding: &Binding, grants: &[&Grant<'_>]) {
        let Some(Identity { uid, resource_version }) = binding.meta.identity.clone() else { return };
        let goes = |subject: &&Subject| grants.iter().any(|grant| *grant.holding.through == **subject);
        let bound = |subject: &Subject| Bound {
            api_group: (subject.kind != Kind::ServiceAccount).then(|| RBAC.to_owned()),
            kind: subject.kind,
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
        };
        let removal = Removal {
            namespace: binding.name.namespace.clone(),
            name: binding.name.name.clone(),
            uid,
            resource_version,
            subjects: binding.subjects.iter().filter(goes).map(bound).collect(),
            keeps: binding.subjects.iter().filter(|subject| !goes(subject)).map(bound).collect(),
        };
        let words = |all: &[Bound]| all.iter().map(Bound::words).collect::<Vec<_>>().join(", ");
        let mut does = format!("remove {} from {}", words(&removal.subjects), object(&binding.name));
        let _ = write!(does, " ({})", role_word(&binding.role));
        if !removal.keeps.is_empty() {
            let _ = write!(does, "; {} stays", words(&removal.keeps));
        }
        let mut rules: Vec<&str> = grants.iter().flat_map(|grant| &grant.becomes).map(String::as_str).collect();
        rules.sort_unstable();
        rules.dedup();
        let _ = write!(does, "; instead: {}", rules.join(", "));
        if let Some(manager) = manager(binding) {
            let _ = write!(does, "; {manager} manages it: remove it there too, or it comes back");
        }
        let mut step = self.step(&escaped(&does), String::new());
        step.command = removal.command(step.step);
        let undo = undo_file(step.step);
        step.undo = Some(format!("kubectl auth reconcile -f {undo}"));
        self.files.insert(undo, yaml(&manifest(binding)));
        let (file, body) = removal.file(step.step);
        self.files.insert(file, format!("{body:#}\n"));
        step.removes = Some(removal);
        self.steps.push(step);
    }

    /// Everything that is removed.
    #[must_use]
    pub fn removals(&self) -> Vec<&Removal> {
        self.steps.iter().filter_map(|step| step.removes.as_ref()).collect()
    }

    /// The text of `plan.yaml`.
    #[must_use]
    pub fn yaml(&self) -> String {
        format!("{HEADING}{}", yaml(self))
    }

    /// Reads `plan.yaml`.
    ///
    /// # Errors
    /// [`ImpossiblePlan`] if it is not a plan, or if a command does something else than the step says.
    pub fn parse(text: &str) -> Result<Self, ImpossiblePlan> {
        let first_line = |why: String| ImpossiblePlan(why.lines().next().unwrap_or_default().to_owned());
        let plan: Self =
            serde_saphyr::from_str(text).map_err(|why: serde_saphyr::Error| first_line(why.to_string()))?;
        for (number, step) in (1..).zip(&plan.steps) {
            if step.step != number {
                return Err(ImpossiblePlan(format!("step {number} has the number {}", step.step)));
            }
            let is_other = |removal: &Removal| removal.command(number) != step.command;
            if step.removes.as_ref().is_some_and(is_other) {
                let why = format!("the command of step {number} is not what it removes");
                return Err(ImpossiblePlan(why));
            }
        }
        Ok(plan)
    }
}

const HEADING: &str = "\
# Written by `jitd scan --suggest`. Carry out the steps in their order, in this folder; `jitd scan apply-plan . --dry-run` asks the
# API server about each. A binding that has changed since is refused: scan again.
";

/// The file that contains the body of a step's request.
fn body_file(step: usize) -> String {
    format!("remove/{step:03}.json")
}

/// The file that contains what a step removes.
fn undo_file(step: usize) -> String {
    format!("undo/{step:03}.yaml")
}

impl Removal {
    /// The path of the file that the command reads, and what has to be in it.
    #[must_use]
    pub fn file(&self, step: usize) -> (String, Value) {
        (body_file(step), self.request().body)
    }

    /// What the API server is asked. It refuses if the binding is another one, or has changed.
    #[must_use]
    pub fn request(&self) -> Request {
        let path = self.path();
        if self.keeps.is_empty() {
            let preconditions = json!({ "uid": self.uid, "resourceVersion": self.resource_version });
            let body = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions });
            Request { method: "DELETE", path, content_type: "application/json", body }
        } else {
            let body = json!([
                { "op": "test", "path": "/metadata/uid", "value": self.uid },
                { "op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version },
                { "op": "replace", "path": "/subjects", "value": self.keeps },
            ]);
            Request { method: "PATCH", path, content_type: "application/json-patch+json", body }
        }
    }

    fn path(&self) -> String {
        let name = in_path(&self.name);
        match &self.namespace {
            Some(namespace) => format!("/apis/{RBAC}/v1/namespaces/{}/rolebindings/{name}", in_path(namespace)),
            None => format!("/apis/{RBAC}/v1/clusterrolebindings/{name}"),
        }
    }

    /// kubectl has no option for the precondition of a deletion, but sends a body as it is.
    fn command(&self, step: usize) -> String {
        let file = body_file(step);
        if self.keeps.is_empty() {
            return format!("kubectl delete --raw {} -f {file}", quoted(&self.path()));
        }
        match &self.namespace {
            Some(namespace) => {
                let object = quoted(&format!("rolebinding/{}", self.name));
                format!("kubectl patch {object} -n {} --type=json --patch-file={file}", quoted(namespace))
            }
            None => {
                let object = quoted(&format!("clusterrolebinding/{}", self.name));
                format!("kubectl patch {object} --type=json --patch-file={file}")
            }
        }
    }

    /// Whether it takes this grant.
    fn takes(&self, binding: &Binding, subject: &Subject) -> bool {
        binding.name.namespace == self.namespace
            && binding.name.name == self.name
            && self.subjects.iter().any(|bound| bound.kind == subject.kind && bound.name == subject.name)
    }
}

impl Bound {
    /// `group dev`, as in the other outputs.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { kind, namespace, name, .. } = self;
        Subject { kind: *kind, namespace: namespace.clone(), name: name.clone() }.to_string()
    }
}

/// People and groups that still administer the whole cluster when these are gone, as far as bindings say.
#[must_use]
pub fn administrators_after(access: &Access<'_>, removals: &[&Removal]) -> Vec<Subject> {
    let stays = |holding: &Holding<'_>| !removals.iter().any(|removal| removal.takes(holding.binding, holding.through));
    let mut left: Vec<Subject> = access
        .all()
        .filter(|holding| is_of_people(holding.through) && administers(holding) && stays(holding))
        .map(|holding| holding.through.clone())
        .collect();
    left.sort();
    left.dedup();
    left
}

/// What a binding gives, from what is missed least to what nobody may lose by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    InNamespace,
    InCluster,
    /// May bind roles, and so repair a mistake.
    Binds,
    Administers,
}

impl Weight {
    fn of(holding: &Holding<'_>) -> Self {
        let namespace = holding.namespace();
        let bind = Action::Resource(ResourceAction {
            verb: "create",
            group: RBAC,
            resource: if namespace.is_some() { "rolebindings" } else { "clusterrolebindings" },
            namespace,
            ..ResourceAction::default()
        });
        if administers(holding) {
            Self::Administers
        } else if holding.rules.iter().any(|rule| rule_allows(rule, &bind)) {
            Self::Binds
        } else if namespace.is_some() {
            Self::InNamespace
        } else {
            Self::InCluster
        }
    }
}

/// Whether it allows everything in the whole cluster.
fn administers(holding: &Holding<'_>) -> bool {
    let has_all = |words: &[String]| words.iter().any(|word| word == "*");
    let is_all = |rule: &&Rule| {
        has_all(&rule.verbs) && has_all(&rule.api_groups) && has_all(&rule.resources) && rule.resource_names.is_empty()
    };
    holding.namespace().is_none() && holding.rules.iter().copied().any(|rule| is_all(&rule))
}

/// Why a grant is not removed although it is replaced.
fn not_removable(grant: &Grant<'_>, terms: &Terms) -> Option<String> {
    let Holding { binding, through: subject, .. } = grant.holding;
    if terms.runner.as_ref().is_some_and(|runner| runner.is(subject.kind, &subject.name)) {
        Some("it is what you hold: let another administrator scan and remove it".to_owned())
    } else if binding.meta.identity.is_none() {
        Some("the input has no uid of it, so nothing could tell whether it has changed: scan the cluster".to_owned())
    } else if escaped(&binding.name.name) != binding.name.name {
        Some("no shell can show its name: remove it by hand".to_owned())
    } else {
        None
    }
}

/// Keeps one administrator, if all would go.
fn keep_an_administrator(grants: &mut [Grant<'_>]) {
    let mut all: Vec<&mut Grant<'_>> =
        grants.iter_mut().filter(|grant| grant.is_of_people() && administers(&grant.holding)).collect();
    if all.iter().any(|grant| grant.stays.is_some()) {
        return;
    }
    // More than one person can be in a group.
    all.sort_by_key(|grant| grant.holding.through.kind != Kind::Group);
    if let Some(grant) = all.first_mut() {
        let why = "it is the last way in of an administrator: keep it for emergencies, or remove it by hand";
        grant.stays = Some(why.to_owned());
    }
}

/// Who would create the binding again, as labels and annotations say.
fn manager(binding: &Binding) -> Option<String> {
    let labels = &binding.meta.labels;
    let named = [("helm.toolkit.fluxcd.io/name", "Flux"), ("kustomize.toolkit.fluxcd.io/name", "Flux")];
    let argo = ["argocd.argoproj.io/instance", "argocd.argoproj.io/tracking-id"];
    if let Some((_, manager)) = named.iter().find(|(key, _)| labels.contains_key(*key)) {
        return Some((*manager).to_owned());
    }
    if argo.iter().any(|key| labels.contains_key(*key) || binding.meta.annotations.contains_key(*key)) {
        return Some("Argo CD".to_owned());
    }
    labels.get("app.kubernetes.io/managed-by").cloned()
}

/// The binding as it was, without what the API server adds.
fn manifest(binding: &Binding) -> Value {
    #[derive(Serialize)]
    struct Metadata<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: &'a BTreeMap<String, String>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        annotations: &'a BTreeMap<String, String>,
    }
    let Binding { name, meta, .. } = binding;
    let metadata = Metadata {
        name: &name.name,
        namespace: name.namespace.as_deref(),
        labels: &meta.labels,
        annotations: &meta.annotations,
    };
    let kind = match binding.role.kind {
        RoleKind::Role => "Role",
        RoleKind::ClusterRole => "ClusterRole",
    };
    let subjects: Vec<Value> = binding
        .subjects
        .iter()
        .map(|subject| match subject.kind {
            Kind::ServiceAccount => {
                json!({ "kind": subject.kind, "namespace": subject.namespace, "name": subject.name })
            }
            kind => json!({ "apiGroup": RBAC, "kind": kind, "name": subject.name }),
        })
        .collect();
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": if binding.name.namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
        "metadata": metadata,
        "roleRef": { "apiGroup": RBAC, "kind": kind, "name": binding.role.name },
        "subjects": subjects,
    })
}

/// A segment of a path (RFC 3986, section 3.3), with everything escaped that need not stand in one.
fn in_path(name: &str) -> String {
    name.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

/// One word for a POSIX shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:%~".contains(&byte);
    if !word.is_empty() && !word.starts_with('~') && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
