//! One object as it is written, and as it is meant. Unknown fields are ignored, as the API server ignores them, and `null`
//! is the same as nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use jit_core::rbac::Rule;
use jit_core::rbac::risk::ServerVersion;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::finding::{Kind, NotEvaluated, Subject};
use crate::snapshot::{
    Account, Binding, Identity, Meta, Name, Operator, Requirement, Role, RoleKind, RoleRef, Selector,
};

/// The lists that decide who can do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the kinds of Kubernetes")]
pub enum Listed {
    Role,
    ClusterRole,
    RoleBinding,
    ClusterRoleBinding,
    ServiceAccount,
    Namespace,
}

const RBAC: &str = "rbac.authorization.k8s.io";

impl Listed {
    /// Every list.
    pub const ALL: [Self; 6] = [
        Self::Role,
        Self::ClusterRole,
        Self::RoleBinding,
        Self::ClusterRoleBinding,
        Self::ServiceAccount,
        Self::Namespace,
    ];

    /// The list of the objects with this `apiVersion` and `kind`, if it is one of these.
    pub(super) fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL.into_iter().find(|listed| listed.group() == group && listed.kind() == kind)
    }

    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Role | Self::ClusterRole | Self::RoleBinding | Self::ClusterRoleBinding => RBAC,
            Self::ServiceAccount | Self::Namespace => "",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Role => "Role",
            Self::ClusterRole => "ClusterRole",
            Self::RoleBinding => "RoleBinding",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::ServiceAccount => "ServiceAccount",
            Self::Namespace => "Namespace",
        }
    }

    /// The name of the resource: `clusterroles`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Role => "roles",
            Self::ClusterRole => "clusterroles",
            Self::RoleBinding => "rolebindings",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::ServiceAccount => "serviceaccounts",
            Self::Namespace => "namespaces",
        }
    }

    /// As kubectl names one object: `clusterrole`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        self.plural().strip_suffix('s').unwrap_or_default()
    }

    /// The path of the list on an API server.
    #[must_use]
    pub fn path(self) -> String {
        match self.group() {
            "" => format!("/api/v1/{}", self.plural()),
            group => format!("/apis/{group}/v1/{}", self.plural()),
        }
    }

    fn has_namespace(self) -> bool {
        match self {
            Self::Role | Self::RoleBinding | Self::ServiceAccount => true,
            Self::ClusterRole | Self::ClusterRoleBinding | Self::Namespace => false,
        }
    }
}

/// What an object says it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header<'a> {
    #[serde(borrow)]
    pub(super) api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// Parses the whole object, so that its syntax is known to be valid.
    pub(super) fn of(text: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }
}

/// The version of the API server in what `kubectl version -o json` or `kubectl get --raw /version` print.
pub(super) fn version(text: &[u8]) -> Option<ServerVersion> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        server_version: Option<Box<Form>>,
        git_version: Option<String>,
    }
    let form: Form = serde_json::from_slice(text).ok()?;
    form.server_version.and_then(|server| server.git_version).or(form.git_version)?.parse().ok()
}

/// What a snapshot says that it lacks.
pub(super) fn missing(text: &[u8]) -> Option<Vec<NotEvaluated>> {
    let form: Missing = serde_json::from_slice(text).ok()?;
    (form.format == SNAPSHOT).then_some(form.not_evaluated)
}

/// The file of a snapshot for the lists that it lacks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Missing {
    format: String,
    not_evaluated: Vec<NotEvaluated>,
}

const SNAPSHOT: &str = "jitd-snapshot/1";

/// The text of the file by which a snapshot says what it lacks: a list that was refused would look empty otherwise.
///
/// # Errors
/// None in practice: all of it is text.
pub fn missing_from_snapshot(not_evaluated: &[NotEvaluated]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Missing { format: SNAPSHOT.to_owned(), not_evaluated: not_evaluated.to_vec() })
}

/// An object that is kept.
pub(super) enum Read {
    Role(Role),
    Binding(Binding),
    Account(Account),
    Namespace(Name),
}

impl Read {
    /// What it takes in memory besides its own text, in bytes: a list of empty rules is short as text.
    pub(super) fn size(&self) -> usize {
        let words = |rule: &Rule| {
            let lists = [&rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls, &rule.verbs];
            lists.iter().map(|list| list.len()).sum::<usize>() * size_of::<String>() + size_of::<Rule>()
        };
        match self {
            Self::Role(role) => {
                let selectors = role.aggregates.as_ref().map_or(0, Vec::len) * size_of::<Selector>();
                role.rules.iter().map(words).sum::<usize>() + selectors
            }
            Self::Binding(binding) => binding.subjects.len() * size_of::<Subject>(),
            Self::Account(_) | Self::Namespace(_) => 0,
        }
    }

    pub(super) fn name(&self) -> &Name {
        match self {
            Self::Role(role) => &role.name,
            Self::Binding(binding) => &binding.name,
            Self::Account(account) => &account.name,
            Self::Namespace(name) => name,
        }
    }
}

/// Parses an object of this kind; the error says what is wrong with it.
pub(super) fn parse(listed: Listed, text: &[u8]) -> Result<Read, String> {
    let wrong = |error: serde_json::Error| error.to_string();
    match listed {
        Listed::Role | Listed::ClusterRole => {
            let form: RoleForm = serde_json::from_slice(text).map_err(wrong)?;
            let (name, meta) = form.metadata.read(listed)?;
            let aggregates = form
                .aggregation_rule
                .map(|rule| rule.cluster_role_selectors.into_iter().map(SelectorForm::read).collect());
            let rules = form.rules.into_iter().map(RuleForm::read).collect();
            Ok(Read::Role(Role { name, meta, rules, aggregates }))
        }
        Listed::RoleBinding | Listed::ClusterRoleBinding => {
            let form: BindingForm = serde_json::from_slice(text).map_err(wrong)?;
            let (name, meta) = form.metadata.read(listed)?;
            let role = RoleRef { kind: form.role_ref.kind, name: form.role_ref.name };
            let subjects = form.subjects.into_iter().map(SubjectForm::read).collect();
            Ok(Read::Binding(Binding { name, meta, role, subjects }))
        }
        Listed::ServiceAccount => {
            let form: AccountForm = serde_json::from_slice(text).map_err(wrong)?;
            let (name, meta) = form.metadata.read(listed)?;
            Ok(Read::Account(Account { name, meta, automount: form.automount_service_account_token }))
        }
        Listed::Namespace => {
            let form: NamespaceForm = serde_json::from_slice(text).map_err(wrong)?;
            Ok(Read::Namespace(form.metadata.read(listed)?.0))
        }
    }
}

/// `null` is the same as nothing.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The longest list in an object: etcd takes no object that could have a longer one.
const LONGEST_LIST: usize = 100_000;

/// A list that may be `null`, and may not be longer than [`LONGEST_LIST`].
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                if all.len() == LONGEST_LIST {
                    return Err(Error::custom(format_args!("a list has more than {LONGEST_LIST} items")));
                }
                all.push(item);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(List(PhantomData))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetaForm {
    name: Option<String>,
    namespace: Option<String>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    creation_timestamp: Option<Timestamp>,
    uid: Option<String>,
    resource_version: Option<String>,
}

/// A copy of the whole object, as long as the object itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl MetaForm {
    fn read(self, listed: Listed) -> Result<(Name, Meta), String> {
        let name = self.name.filter(|name| !name.is_empty()).ok_or("it has no name")?;
        let namespace = listed.has_namespace().then(|| {
            // As kubectl applies it, without another namespace in its context.
            self.namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".to_owned())
        });
        let mut annotations = self.annotations;
        annotations.remove(LAST_APPLIED);
        let is_binding = matches!(listed, Listed::RoleBinding | Listed::ClusterRoleBinding);
        let identity = self.uid.zip(self.resource_version).filter(|_| is_binding);
        let identity = identity.map(|(uid, resource_version)| Identity { uid, resource_version });
        let meta = Meta { labels: self.labels, annotations, created: self.creation_timestamp, identity };
        Ok((Name { namespace, name }, meta))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleForm {
    #[serde(default, deserialize_with = "nullable")]
    metadata: MetaForm,
    #[serde(default, deserialize_with = "list")]
    rules: Vec<RuleForm>,
    aggregation_rule: Option<AggregationForm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleForm {
    #[serde(deserialize_with = "list")]
    api_groups: Vec<String>,
    #[serde(deserialize_with = "list")]
    resources: Vec<String>,
    #[serde(deserialize_with = "list")]
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "list")]
    non_resource_urls: Vec<String>,
    #[serde(deserialize_with = "list")]
    verbs: Vec<String>,
}

impl RuleForm {
    fn read(self) -> Rule {
        Rule {
            api_groups: self.api_groups,
            resources: self.resources,
            resource_names: self.resource_names,
            non_resource_urls: self.non_resource_urls,
            verbs: self.verbs,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregationForm {
    #[serde(default, deserialize_with = "list")]
    cluster_role_selectors: Vec<SelectorForm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SelectorForm {
    #[serde(deserialize_with = "nullable")]
    match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "list")]
    match_expressions: Vec<RequirementForm>,
}

impl SelectorForm {
    fn read(self) -> Selector {
        let read = |form: RequirementForm| Requirement { key: form.key, operator: form.operator, values: form.values };
        Selector { labels: self.match_labels, expressions: self.match_expressions.into_iter().map(read).collect() }
    }
}

#[derive(Deserialize)]
struct RequirementForm {
    key: String,
    operator: Operator,
    #[serde(default, deserialize_with = "list")]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindingForm {
    #[serde(default, deserialize_with = "nullable")]
    metadata: MetaForm,
    role_ref: RoleRefForm,
    #[serde(default, deserialize_with = "list")]
    subjects: Vec<SubjectForm>,
}

#[derive(Deserialize)]
struct RoleRefForm {
    kind: RoleKind,
    name: String,
}

#[derive(Deserialize)]
struct SubjectForm {
    kind: Kind,
    namespace: Option<String>,
    name: String,
}

impl SubjectForm {
    fn read(self) -> Subject {
        let namespace = self.namespace.filter(|namespace| self.kind == Kind::ServiceAccount && !namespace.is_empty());
        Subject { kind: self.kind, namespace, name: self.name }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountForm {
    #[serde(default, deserialize_with = "nullable")]
    metadata: MetaForm,
    automount_service_account_token: Option<bool>,
}

#[derive(Deserialize)]
struct NamespaceForm {
    #[serde(default, deserialize_with = "nullable")]
    metadata: MetaForm,
}
