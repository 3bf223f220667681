//! `jitd scan who-can` and `jitd scan what-can`: the questions, and how the answers look.

use std::convert::Infallible;
use std::str::FromStr;

use jit_scan::{
    Access, Action, Binding, Holding, Hop, Kind, MASTERS, NotEvaluated, Resource, ResourceAction, Role, RoleKind,
    Snapshot, Subject, is_master,
};
use jitd::rbac::Rule;
use serde::Serialize;
use utoipa::ToSchema;

use super::{say_not_evaluated, shown};
use crate::Failure;
use crate::print::{self, Output, counted, say};

/// The words of `who-can`.
pub(super) struct Question<'a> {
    pub(super) verb: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: &'a Option<String>,
    pub(super) name: &'a Option<String>,
    pub(super) subresource: &'a Option<String>,
}

/// The subject of `what-can`.
#[derive(Clone)]
pub(crate) struct Asked(Subject);

impl FromStr for Asked {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (kind, rest) = text.split_once('/').unwrap_or(("", text));
        let subject = |kind, namespace: Option<&str>, name: &str| Subject {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        Ok(Self(match (kind, rest.split_once('/')) {
            ("serviceaccount" | "sa", Some((namespace, name))) => subject(Kind::ServiceAccount, Some(namespace), name),
            ("group", _) => subject(Kind::Group, None, rest),
            ("user", _) => subject(Kind::User, None, rest),
            // The names of users may contain slashes.
            _ => subject(Kind::User, None, text),
        }))
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WhoCan<'a> {
    allowed: Vec<Way>,
    #[schema(value_type = Vec<NotEvaluated>)]
    not_evaluated: Vec<&'a NotEvaluated>,
}

/// Who may, where, and why.
#[derive(Serialize, ToSchema)]
struct Way {
    subject: Subject,
    /// The namespace; absent for the whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    path: Vec<Hop>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WhatCan<'a> {
    #[schema(value_type = Subject)]
    subject: &'a Subject,
    holdings: Vec<Held<'a>>,
    #[schema(value_type = Vec<NotEvaluated>)]
    not_evaluated: Vec<&'a NotEvaluated>,
}

/// A binding that applies.
#[derive(Serialize, ToSchema)]
struct Held<'a> {
    /// The subject itself, or its group.
    through: Subject,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    namespace: Option<&'a str>,
    path: Vec<Hop>,
    #[schema(value_type = Vec<Rule>)]
    rules: Vec<&'a Rule>,
}

pub(super) fn who_can(asked: &Question<'_>, snapshot: &Snapshot, output: Output) -> Result<(), Failure> {
    let resource;
    let action = if asked.resource.starts_with('/') {
        if [asked.namespace, asked.name, asked.subresource].iter().any(|given| given.is_some()) {
            return Err(Failure::usage("a path has no namespace, name or subresource"));
        }
        Action::Url { verb: asked.verb, path: asked.resource }
    } else {
        resource = asked.resource.parse::<Resource>().map_err(Failure::invalid)?;
        if asked.subresource.is_some() && !resource.subresource.is_empty() {
            return Err(Failure::usage("the subresource is written twice"));
        }
        Action::Resource(ResourceAction {
            verb: asked.verb,
            group: &resource.group,
            resource: &resource.resource,
            subresource: asked.subresource.as_deref().unwrap_or(&resource.subresource),
            name: asked.name.as_deref().unwrap_or_default(),
            namespace: asked.namespace.as_deref(),
        })
    };
    let access = Access::of(snapshot);
    let found = access.who_can(&action);
    let masters = Subject { kind: Kind::Group, namespace: None, name: MASTERS.to_owned() };
    let own = Hop { object: "the API server".to_owned(), grants: "everything, without a binding".to_owned() };
    let mut allowed = vec![Way { subject: masters, namespace: None, path: vec![own] }];
    allowed.extend(found.iter().map(|(holding, rule)| Way {
        subject: holding.through.clone(),
        namespace: holding.namespace().map(str::to_owned),
        path: path(holding, &rule.to_string()),
    }));
    match output {
        Output::Json => print::json(&WhoCan { allowed, not_evaluated: open(snapshot, &access).collect() })?,
        Output::Text => {
            let row =
                |way: &Way| vec![shown(&way.subject.to_string()), place(way.namespace.as_deref()), line(&way.path)];
            print::result(print::table(&["SUBJECT", "SCOPE", "THROUGH"], allowed.iter().map(row).collect()))?;
            if action.namespace().is_none() {
                let several = in_namespaces(&access, &action);
                if several > 0 {
                    let bindings = counted(several, "role binding");
                    say!("{bindings} could allow it in single namespaces; `-n NAMESPACE` lists who that is");
                }
            }
            say_not_evaluated(open(snapshot, &access));
        }
    }
    if found.is_empty() { Err(Failure::No) } else { Ok(()) }
}

/// The RoleBindings that allow the action in their namespace.
fn in_namespaces(access: &Access<'_>, action: &Action<'_>) -> u64 {
    let Action::Resource(action) = action else { return 0 };
    let mut found: Vec<&Binding> = access
        .all()
        .filter(|holding| {
            let here = Action::Resource(ResourceAction { namespace: holding.namespace(), ..*action });
            holding.namespace().is_some() && holding.rules.iter().any(|rule| jit_scan::rule_allows(rule, &here))
        })
        .map(|holding| holding.binding)
        .collect();
    found.dedup_by(|one, other| std::ptr::eq(*one, *other));
    u64::try_from(found.len()).unwrap_or(u64::MAX)
}

pub(super) fn what_can(
    Asked(subject): &Asked,
    groups: &[String],
    snapshot: &Snapshot,
    output: Output,
) -> Result<(), Failure> {
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let access = Access::of(snapshot);
    let holdings = access.holdings(subject, &groups);
    let is_master = is_master(subject, &groups);
    match output {
        Output::Json => {
            let held = holdings.iter().map(|holding| Held {
                through: holding.through.clone(),
                namespace: holding.namespace(),
                path: path(holding, ""),
                rules: holding.rules.to_vec(),
            });
            let everything = Rule {
                api_groups: vec!["*".to_owned()],
                resources: vec!["*".to_owned()],
                non_resource_urls: vec!["*".to_owned()],
                verbs: vec!["*".to_owned()],
                ..Rule::default()
            };
            let own = Hop { object: "the API server".to_owned(), grants: "everything, without a binding".to_owned() };
            let masters = is_master.then(|| Held {
                through: Subject { kind: Kind::Group, namespace: None, name: MASTERS.to_owned() },
                namespace: None,
                path: vec![own],
                rules: vec![&everything],
            });
            print::json(&WhatCan {
                subject,
                holdings: masters.into_iter().chain(held).collect(),
                not_evaluated: open(snapshot, &access).collect(),
            })?;
        }
        Output::Text => {
            let mut rows = Vec::new();
            if is_master {
                let words = ["everything, without a binding", "whole cluster", MASTERS];
                rows.push(words.map(str::to_owned).to_vec());
            }
            for holding in &holdings {
                let through = line(&path(holding, ""));
                if holding.rules.is_empty() {
                    rows.push(vec!["nothing".to_owned(), place(holding.namespace()), through.clone()]);
                }
                for rule in holding.rules {
                    rows.push(vec![shown(&rule.to_string()), place(holding.namespace()), through.clone()]);
                }
            }
            if !rows.is_empty() {
                print::result(print::table(&["CAN", "SCOPE", "THROUGH"], rows))?;
            }
            say_not_evaluated(open(snapshot, &access));
        }
    }
    let can = is_master || holdings.iter().any(|holding| !holding.rules.is_empty());
    if can { Ok(()) } else { Err(Failure::No) }
}

fn open<'a>(snapshot: &'a Snapshot, access: &'a Access<'_>) -> impl Iterator<Item = &'a NotEvaluated> {
    snapshot.not_evaluated.iter().chain(access.not_evaluated())
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "whole cluster".to_owned(), shown)
}

/// The binding, whom it binds if that is a group of the subject, and the role with the rule that counts.
fn path(holding: &Holding<'_>, grants: &str) -> Vec<Hop> {
    let Binding { name, role, .. } = holding.binding;
    let kind = match role.kind {
        RoleKind::Role => "role",
        RoleKind::ClusterRole => "clusterrole",
    };
    let binding = match &name.namespace {
        Some(namespace) => format!("{namespace}/rolebinding/{}", name.name),
        None => format!("clusterrolebinding/{}", name.name),
    };
    let bound = match (role.kind, &name.namespace) {
        (RoleKind::Role, Some(namespace)) => format!("{namespace}/{kind}/{}", role.name),
        _ => format!("{kind}/{}", role.name),
    };
    let missing = "nothing: the role is not in the input".to_owned();
    let grants = holding.role.map_or(missing, |_: &Role| grants.to_owned());
    vec![Hop { object: binding, grants: format!("{bound} to {}", holding.through) }, Hop { object: bound, grants }]
}

fn line(path: &[Hop]) -> String {
    let hops: Vec<String> = path
        .iter()
        .map(|hop| match hop.grants.as_str() {
            missing if missing.starts_with("nothing: ") => format!("{} (missing)", shown(&hop.object)),
            _ => shown(&hop.object),
        })
        .collect();
    hops.join(" → ")
}
