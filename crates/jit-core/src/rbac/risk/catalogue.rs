//! The risk catalogue: each dangerous permission, how severe it is, and why. It also lists what Kubernetes 1.36
//! serves, so that an unknown resource can be distinguished from a harmless one. It holds data only.
//!
//! `rows` contains the rows, `verbs` the verbs that they name, and `served` the resources of Kubernetes. Only `reach`
//! reads these words, to compare them with rules.

mod rows;
mod served;
mod verbs;

use self::rows::{ADMISSION_POLICIES, FLOWS, WEBHOOKS};
use self::served::{ADMISSION, FLOW_CONTROL, RBAC};
use super::Severity;

pub(super) use self::rows::ROWS;
pub(super) use self::served::{SERVED, in_its_own_namespace, may_be_named_star};
pub(super) use self::verbs::*;

/// One row of the catalogue. A row that several combinations match is listed once for each.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    pub(super) leaves: Leaves,
    /// What the holder can do with it.
    pub(super) why: &'static str,
    /// The row matches if one permission of each list is held; empty for a row about whole rules or bindings.
    pub(super) needs: &'static [&'static [Permission]],
    /// The row does not match if one of these is held, because a more severe row then does.
    pub(super) unless: &'static [Permission],
    /// Empty, or the holder can use the permission only if one of these is held too. It counts only where everything
    /// that somebody holds is known: what a request does not contain, its requester may get elsewhere.
    pub(super) beside: &'static [Permission],
    pub(super) weighs: Weighs,
    /// It has this effect in every namespace, wherever it is bound.
    pub(super) in_every_namespace: bool,
}

/// What a row amounts to for somebody about whom it is known that they hold nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Weighs {
    /// What it says.
    ByItself,
    /// As much as the other rights of the holder, which it passes on.
    AsTheRest,
    /// Nothing: it is a part of another row.
    NothingAlone,
}

/// What remains after the window ends. A row states it only where the verbs and the resource do not imply it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Objects that were written remain in effect, and so does what was learned while acting as a workload. What was
    /// only read or deleted leaves nothing behind.
    WhatWasWritten,
    /// A credential remains, even if it was only read.
    Credential,
    /// Nothing that grants access remains: the permission only hides, disrupts or informs.
    Nothing,
}

/// A permission: any of `verbs` on any of `resources`.
pub(super) struct Permission {
    /// An API group; if `resources` is [`EVERY`], also all groups whose names end with it.
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    pub(super) verbs: Verbs,
    pub(super) at: At,
    pub(super) versions: Versions,
}

/// Which object the permission is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    Anywhere,
    Name(&'static str),
    Object { namespace: &'static str, name: &'static str },
}

/// The minor versions of Kubernetes 1 in which the permission has this effect.
#[derive(Clone, Copy)]
pub(super) enum Versions {
    Always,
    Before(u32),
    From(u32),
}

/// Every resource of a group and of all groups whose names end with it.
pub(super) const EVERY: &str = "*";
/// No resource in particular: the verb alone matters.
pub(super) const WHATEVER: &str = "";

const fn on(group: &'static str, resources: &'static [&'static str], verbs: Verbs) -> Permission {
    Permission { group, resources, verbs, at: At::Anywhere, versions: Versions::Always }
}

impl Permission {
    const fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    const fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }
}

const fn row(id: &'static str, severity: Severity, needs: &'static [&'static [Permission]], why: &'static str) -> Row {
    Row {
        id,
        severity,
        leaves: Leaves::WhatWasWritten,
        why,
        needs,
        unless: &[],
        beside: &[],
        weighs: Weighs::ByItself,
        in_every_namespace: false,
    }
}

impl Row {
    const fn leaves(mut self, leaves: Leaves) -> Self {
        self.leaves = leaves;
        self
    }

    const fn unless(mut self, held: &'static [Permission]) -> Self {
        self.unless = held;
        self
    }

    const fn beside(mut self, held: &'static [Permission]) -> Self {
        self.beside = held;
        self
    }

    const fn weighs(mut self, weighs: Weighs) -> Self {
        self.weighs = weighs;
        self
    }

    const fn in_every_namespace(mut self) -> Self {
        self.in_every_namespace = true;
        self
    }
}

/// Subresources that open a long-running request, or that return a credential for one. They count in every group,
/// because for an unknown group the name is all there is to judge by.
pub(super) const RUNS_ON: &[&str] =
    &["attach", "console", "exec", "log", "portforward", "proxy", "token", "usbredir", "vnc"];
/// Those of [`RUNS_ON`] that act as a workload: whoever does so can read the workload's credential.
pub(super) const IN_ANOTHERS_PLACE: &[&str] =
    &["attach", "console", "exec", "portforward", "proxy", "token", "usbredir", "vnc"];

/// Third-party API groups whose kinds contain no credentials, in addition to the families in [`ROWS`]; subresources are
/// judged separately. They hold metrics, volume snapshots, and recommendations of the vertical autoscaler.
pub(super) const READABLE: &[&str] =
    &["custom.metrics.k8s.io", "external.metrics.k8s.io", "snapshot.storage.k8s.io", "autoscaling.k8s.io"];
/// Subresources that are as harmless to read as the object itself.
pub(super) const READ_LIKE_ITS_OBJECT: &[&str] = &["status", "scale"];

/// Long-running requests that are no risk in themselves.
pub(super) const STREAMS: &[Permission] = &[on("", &["pods/log"], GET), on("", &[WHATEVER], WATCH)];

/// What guards the grant itself: its binding, the role it was approved with, and the admission policies that restrict
/// its writer. Names are ignored, because nobody knows today how a guard will be named tomorrow.
pub(super) const GUARD: &[Permission] = &[
    on(ADMISSION, ADMISSION_POLICIES, WRITE | REMOVE),
    on(ADMISSION, WEBHOOKS, WRITE | REMOVE),
    // Whoever starves the daemon at the API server keeps the access that it would remove.
    on(FLOW_CONTROL, FLOWS, WRITE | REMOVE),
    on(RBAC, &["clusterroles", "roles", "clusterrolebindings", "rolebindings"], WRITE | REMOVE | BIND | ESCALATE),
];

/// Paths that every cluster serves to all authenticated users (`system:discovery`, `system:public-info-viewer`), and
/// `/metrics`.
pub(super) const HARMLESS_PATHS: &[&str] =
    &["/healthz", "/livez", "/readyz", "/version", "/api", "/apis", "/openapi", "/.well-known", "/metrics"];
/// The paths of row E03.
pub(super) const INSIDE_PATHS: &[&str] = &["/debug", "/logs"];

/// The users and groups of row E54. Groups that begin with `system:serviceaccounts:` belong to it too.
pub(super) const EVERYBODY: &[&str] =
    &["system:anonymous", "system:unauthenticated", "system:authenticated", "system:serviceaccounts"];
/// The group of row E02.
pub(super) const MASTERS: &str = "system:masters";
