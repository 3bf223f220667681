//! Credentials that stay valid for long, and what whoever has them can do: the findings `L01` to `L08`.
//!
//! A credential is as severe as the rights of its subject, which are the other findings. Only metadata is read: no token, no
//! key and no content of a Secret gets here. Copies of one credential are one finding.

mod parse;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use jit_core::rbac::risk::Severity;

pub use self::parse::{NotACredential, certificate, token};
use crate::finding::{Finding, Hop, Kind, NotEvaluated, Report, Subject};
use crate::snapshot::{
    Account, ClientCertificate, KubeconfigUser, Meta, Name, Secret, Snapshot, StandingCredential, StaticToken,
};

/// The credentials of a snapshot. `rights` are the findings about rights, which say what a subject can do.
#[must_use]
pub fn credentials(snapshot: &Snapshot, rights: &[Finding], now: Timestamp) -> Report {
    let rights = Rights::of(rights);
    let mut findings = Vec::new();
    let mut copies = Copies::of(&snapshot.kubeconfigs);
    for secret in snapshot.secrets.iter().flatten() {
        match secret.kind.as_str() {
            ACCOUNT_TOKEN => findings.extend(account_token(secret, &mut copies, &rights, now)),
            BOOTSTRAP_TOKEN => findings.push(bootstrap_token(secret, &rights)),
            _ => {}
        }
    }
    findings.extend(pull_secrets(snapshot.secrets.as_deref().unwrap_or_default()));
    for request in snapshot.signing_requests.iter().flatten().filter(|request| request.signer == CLIENT_SIGNER) {
        if let Some(certificate) =
            request.certificate.as_ref().filter(|issued| is_long(issued) && issued.not_after > now)
        {
            let object = format!("certificatesigningrequest/{}", request.name);
            let files = copies.certificates.remove(&certificate.digest).unwrap_or_default();
            let hop = Hop { object, grants: format!("was approved and issued for {}", lifetime(certificate)) };
            findings.push(client_certificate("L04", hop, certificate, &files, &rights));
        }
    }
    findings.extend(copies.rest(&rights, now));
    findings.extend(mounted(snapshot, &rights));
    findings.extend(snapshot.accounts.iter().flatten().filter_map(cloud_identity));
    Report { findings, not_evaluated: missing(snapshot) }
}

/// The lists that were not read, and what therefore is not known.
fn missing(snapshot: &Snapshot) -> Vec<NotEvaluated> {
    let lists = [
        (snapshot.secrets.is_none(), "secrets", "tokens in Secrets"),
        (snapshot.signing_requests.is_none(), "certificatesigningrequests", "certificates that were issued lately"),
        (snapshot.workloads.is_none(), "pods, deployments and other workloads", "tokens in pods"),
    ];
    let missing = lists.into_iter().filter(|(is_missing, ..)| *is_missing);
    missing
        .map(|(_, what, unknown)| NotEvaluated {
            what: what.to_owned(),
            why: format!("the input has none, so {unknown} are not known"),
        })
        .collect()
}

const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// What each subject can do at worst.
struct Rights<'a>(HashMap<&'a Subject, &'a Finding>);

impl<'a> Rights<'a> {
    fn of(findings: &'a [Finding]) -> Self {
        let mut worst: HashMap<&Subject, &Finding> = HashMap::new();
        for finding in findings {
            if let Some(subject) = &finding.subject {
                let known = worst.entry(subject).or_insert(finding);
                if known.severity < finding.severity {
                    *known = finding;
                }
            }
        }
        Self(worst)
    }

    /// The worst that one of the subjects can do.
    fn worst(&self, subjects: &[Subject]) -> Option<&'a Finding> {
        let mut found: Vec<&Finding> = subjects.iter().filter_map(|subject| self.0.get(subject).copied()).collect();
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        found.first().copied()
    }

    /// The severity of a credential, and the steps that its holder has then.
    fn behind(&self, subjects: &[Subject]) -> (Severity, Vec<Hop>) {
        let masters = subjects.iter().any(|one| one.kind == Kind::Group && one.name == "system:masters");
        if masters {
            let grants = "the API server allows this group everything, whatever is bound".to_owned();
            return (Severity::Critical, vec![Hop { object: "group/system:masters".to_owned(), grants }]);
        }
        match self.worst(subjects) {
            Some(finding) => {
                let object = finding.subject.as_ref().map(object_of).unwrap_or_default();
                (finding.severity, vec![Hop { object, grants: finding.title.clone() }])
            }
            None => (Severity::Low, Vec::new()),
        }
    }
}

fn object_of(subject: &Subject) -> String {
    match (subject.kind, &subject.namespace) {
        (Kind::User, _) => format!("user/{}", subject.name),
        (Kind::Group, _) => format!("group/{}", subject.name),
        (Kind::ServiceAccount, Some(namespace)) => format!("{namespace}/serviceaccount/{}", subject.name),
        (Kind::ServiceAccount, None) => format!("serviceaccount/{}", subject.name),
    }
}

fn account(namespace: Option<&str>, name: &str) -> Subject {
    Subject { kind: Kind::ServiceAccount, namespace: namespace.map(str::to_owned), name: name.to_owned() }
}

fn group(name: impl Into<String>) -> Subject {
    Subject { kind: Kind::Group, namespace: None, name: name.into() }
}

/// A service account with the groups that the API server adds.
fn with_groups(account: &Subject) -> Vec<Subject> {
    let own = account.namespace.iter().map(|namespace| group(format!("system:serviceaccounts:{namespace}")));
    [account.clone()].into_iter().chain(own).chain([group("system:serviceaccounts"), group(EVERYBODY)]).collect()
}

const EVERYBODY: &str = "system:authenticated";

/// The files with a copy of a credential, by its digest.
struct Copies<'a> {
    tokens: BTreeMap<&'a str, (&'a StaticToken, Vec<&'a KubeconfigUser>)>,
    certificates: BTreeMap<String, Vec<&'a KubeconfigUser>>,
    issued: BTreeMap<&'a str, &'a ClientCertificate>,
}

impl<'a> Copies<'a> {
    fn of(users: &'a [KubeconfigUser]) -> Self {
        let mut copies = Self { tokens: BTreeMap::new(), certificates: BTreeMap::new(), issued: BTreeMap::new() };
        for user in users {
            match &user.credential {
                StandingCredential::Token(token) => {
                    copies.tokens.entry(&token.digest).or_insert((token, Vec::new())).1.push(user);
                }
                StandingCredential::Certificate(certificate) => {
                    copies.certificates.entry(certificate.digest.clone()).or_default().push(user);
                    copies.issued.insert(&certificate.digest, certificate);
                }
            }
        }
        copies
    }

    /// Takes the files that contain the token of a Secret.
    fn take_token(&mut self, secret: &Name) -> Vec<&'a KubeconfigUser> {
        let is_it = |token: &StaticToken| {
            token.secret.as_ref() == Some(&secret.name)
                && token.account.as_ref().is_some_and(|account| account.namespace == secret.namespace)
        };
        let digests: Vec<&str> =
            self.tokens.iter().filter(|(_, (token, _))| is_it(token)).map(|(digest, _)| *digest).collect();
        digests.into_iter().filter_map(|digest| self.tokens.remove(digest)).flat_map(|(_, files)| files).collect()
    }

    /// What lies only in files.
    fn rest(self, rights: &Rights<'_>, now: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (_, (token, files)) in self.tokens {
            if token.expires.is_none_or(|end| end.duration_since(now) > LONG) {
                findings.extend(static_token(token, &files, rights));
            }
        }
        for (digest, files) in self.certificates {
            let Some(certificate) = self.issued.get(digest.as_str()) else { continue };
            let Some((first, others)) = files.split_first() else { continue };
            if is_long(certificate) && certificate.not_after > now {
                findings.push(client_certificate("L03", in_file(first), certificate, others, rights));
            }
        }
        findings
    }
}

/// Kubernetes cannot revoke a client certificate or a token, so it should not outlive a day of work.
const LONG: SignedDuration = SignedDuration::from_hours(24);

fn is_long(certificate: &ClientCertificate) -> bool {
    certificate.not_after.duration_since(certificate.not_before) > LONG
}

fn lifetime(certificate: &ClientCertificate) -> String {
    let days = certificate.not_after.duration_since(certificate.not_before).as_hours() / 24;
    format!("{days} days, until {}", day(certificate.not_after))
}

fn day(time: Timestamp) -> jiff::civil::Date {
    time.to_zoned(TimeZone::UTC).date()
}

fn in_file(user: &KubeconfigUser) -> Hop {
    let readers = match (user.mode & 0o004 != 0, user.mode & 0o040 != 0) {
        (true, _) => "every account of the host can read it",
        (false, true) => "its group can read it",
        (false, false) => "only its owner can read it",
    };
    Hop {
        object: user.file.clone(),
        grants: format!(
            "contains it as `{}`; the file is {}'s, and {readers} (mode {:04o})",
            user.entry,
            user.owner,
            user.mode & 0o7777
        ),
    }
}

fn account_token(secret: &Secret, copies: &mut Copies<'_>, rights: &Rights<'_>, now: Timestamp) -> Option<Finding> {
    // Its content without metadata is no token: the controller has not filled it in, or has given it up.
    let name = secret.meta.annotations.get("kubernetes.io/service-account.name")?;
    let files = copies.take_token(&secret.name);
    if secret.meta.labels.contains_key("kubernetes.io/legacy-token-invalid-since") {
        return None;
    }
    let subject = account(secret.name.namespace.as_deref(), name);
    let (severity, behind) = rights.behind(&with_groups(&subject));
    let used = match secret.meta.labels.get("kubernetes.io/legacy-token-last-used") {
        Some(day) => format!("last used on {day}"),
        // The API server keeps the label since 1.26, a day exactly.
        None => "no use is recorded".to_owned(),
    };
    let age = secret.meta.created.map(|created| format!(", created {}", age(&created, now))).unwrap_or_default();
    let hop = Hop { object: secret.name.object("secret"), grants: format!("contains the token{age}; {used}") };
    Some(Finding {
        id: "L01".to_owned(),
        severity,
        title: format!("a token of this account never expires; {used}"),
        subject: Some(subject),
        path: [hop].into_iter().chain(files.into_iter().map(in_file)).chain(behind).collect(),
        scope: Vec::new(),
        system: false,
    })
}

fn age(created: &Timestamp, now: Timestamp) -> String {
    match now.duration_since(*created).as_hours() / 24 {
        ..1 => "today".to_owned(),
        1 => "1 day ago".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn static_token(token: &StaticToken, files: &[&KubeconfigUser], rights: &Rights<'_>) -> Option<Finding> {
    let first = files.first()?;
    let subject = token.account.as_ref().map(|name| account(name.namespace.as_deref(), &name.name));
    let (severity, behind) = match &subject {
        Some(subject) => rights.behind(&with_groups(subject)),
        // Nobody knows whose it is, so it may be anybody's.
        None => (Severity::High, Vec::new()),
    };
    let until = token
        .expires
        .map_or("never expires, as far as it says".to_owned(), |end| format!("is valid until {}", day(end)));
    let whose = match (&subject, &token.account) {
        (Some(subject), _) => format!("a token of {subject}"),
        _ => "a token, whose rights cannot be read from it,".to_owned(),
    };
    let subject = subject.or_else(|| Some(Subject { kind: Kind::User, namespace: None, name: first.entry.clone() }));
    Some(Finding {
        id: "L02".to_owned(),
        severity,
        title: format!("{whose} lies in {} and {until}", places(files.len())),
        subject,
        path: files.iter().map(|user| in_file(user)).chain(behind).collect(),
        scope: Vec::new(),
        system: false,
    })
}

fn places(files: usize) -> String {
    if files == 1 { "a kubeconfig file".to_owned() } else { format!("{files} kubeconfig files") }
}

fn client_certificate(
    id: &str,
    first: Hop,
    certificate: &ClientCertificate,
    files: &[&KubeconfigUser],
    rights: &Rights<'_>,
) -> Finding {
    let subject = Subject { kind: Kind::User, namespace: None, name: certificate.user.clone() };
    let mut subjects = vec![subject.clone()];
    subjects.extend(certificate.groups.iter().map(group));
    subjects.push(group(EVERYBODY));
    let (severity, behind) = rights.behind(&subjects);
    let title = format!("a client certificate, which nobody can revoke, is valid for {}", lifetime(certificate));
    Finding {
        id: id.to_owned(),
        severity,
        title,
        subject: Some(subject),
        path: [first].into_iter().chain(files.iter().map(|user| in_file(user))).chain(behind).collect(),
        scope: Vec::new(),
        system: false,
    }
}

fn bootstrap_token(secret: &Secret, rights: &Rights<'_>) -> Finding {
    let subject = group("system:bootstrappers");
    let (severity, behind) = rights.behind(std::slice::from_ref(&subject));
    let hop = Hop {
        object: secret.name.object("secret"),
        grants: "is a token for new nodes; when it expires is in its content, which is not read".to_owned(),
    };
    Finding {
        id: "L05".to_owned(),
        // Whoever has one can ask for a certificate of a node.
        severity: severity.max(Severity::Medium),
        title: "a bootstrap token lets whoever has it join a node".to_owned(),
        subject: Some(subject),
        path: [hop].into_iter().chain(behind).collect(),
        scope: Vec::new(),
        system: false,
    }
}

/// One finding for each strong account whose token is in pods that may not need it.
fn mounted(snapshot: &Snapshot, rights: &Rights<'_>) -> Vec<Finding> {
    let accounts: HashMap<&Name, &Account> = snapshot.accounts.iter().flatten().map(|one| (&one.name, one)).collect();
    let mut by_account: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for workload in snapshot.workloads.iter().flatten() {
        let name = Name { namespace: workload.name.namespace.clone(), name: workload.account.clone() };
        let automount = workload.automount.or_else(|| accounts.get(&name)?.automount).unwrap_or(true);
        if automount {
            by_account.entry(name).or_default().push(workload.name.object(&workload.kind));
        }
    }
    let strong = by_account.into_iter().filter_map(|(name, workloads)| {
        let subject = account(name.namespace.as_deref(), &name.name);
        let worst = rights.worst(&with_groups(&subject)).filter(|worst| worst.severity >= Severity::High)?;
        let first = workloads.first().cloned().unwrap_or_default();
        let others = workloads.len() - 1;
        let more = if others > 0 { format!(", and of {others} other workloads") } else { String::new() };
        let object = object_of(&subject);
        let mount = Hop { object: object.clone(), grants: format!("its token is in each pod of {first}{more}") };
        Some(Finding {
            id: "L06".to_owned(),
            // Somebody has to get into a pod first.
            severity: if worst.severity > Severity::High { Severity::High } else { Severity::Medium },
            title: "whoever gets into a pod finds the token of this account, which is a strong one".to_owned(),
            path: vec![mount, Hop { object, grants: worst.title.clone() }],
            scope: name.namespace.into_iter().collect(),
            subject: Some(subject),
            system: worst.system,
        })
    });
    strong.collect()
}

/// One finding for all of them: they are in many namespaces, and are credentials for something else.
fn pull_secrets(secrets: &[Secret]) -> Option<Finding> {
    let is_one = |kind: &str| matches!(kind, "kubernetes.io/dockerconfigjson" | "kubernetes.io/dockercfg");
    let found: BTreeSet<&Name> = secrets.iter().filter(|one| is_one(&one.kind)).map(|one| &one.name).collect();
    if found.is_empty() {
        return None;
    }
    let count = found.len();
    let all =
        Hop { object: "image registries".to_owned(), grants: "whoever has them can pull, and maybe push".to_owned() };
    let each = found
        .iter()
        .take(MOST_HOPS)
        .map(|name| Hop { object: name.object("secret"), grants: "contains a registry's credentials".to_owned() });
    let path = [all].into_iter().chain(each).collect();
    let scope: BTreeSet<String> = found.iter().filter_map(|name| name.namespace.clone()).collect();
    Some(Finding {
        id: "L07".to_owned(),
        severity: Severity::Low,
        title: format!("credentials of image registries stand in {count} Secret{}", if count == 1 { "" } else { "s" }),
        subject: None,
        path,
        scope: scope.into_iter().collect(),
        system: false,
    })
}

const MOST_HOPS: usize = 20;

/// The annotations by which a cloud gives its own credentials to the pods of an account.
const CLOUD: &[(&str, &str)] = &[
    ("eks.amazonaws.com/role-arn", "AWS"),
    ("iam.gke.io/gcp-service-account", "Google Cloud"),
    ("azure.workload.identity/client-id", "Azure"),
];

fn cloud_identity(account: &Account) -> Option<Finding> {
    let Meta { annotations, .. } = &account.meta;
    let (cloud, identity) = CLOUD.iter().find_map(|(key, cloud)| Some((*cloud, annotations.get(*key)?)))?;
    let subject = Subject {
        kind: Kind::ServiceAccount,
        namespace: account.name.namespace.clone(),
        name: account.name.name.clone(),
    };
    Some(Finding {
        id: "L08".to_owned(),
        severity: Severity::Low,
        title: format!("pods of this account act as `{identity}` in {cloud}; what that allows is not evaluated"),
        path: vec![Hop { object: object_of(&subject), grants: format!("becomes `{identity}` in {cloud}") }],
        scope: account.name.namespace.iter().cloned().collect(),
        subject: Some(subject),
        system: false,
    })
}

#[cfg(test)]
mod tests;
