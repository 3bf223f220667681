//! The files of a grant in this account's folder: its key, its certificate, its kubeconfig, and how long they are kept.
//!
//! ```text
//!  pending-<random>.key ─► <grant>.key ─► <grant>.credential · <grant>.kubeconfig ─► removed
//! ```
//! It removes files of a grant only if the daemon said that the grant is over. `issue` writes the files, the exec plugin and
//! the prompt read them.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use jit_wire::client::Client;
use jit_wire::{CertificateView, ClusterView, GrantView};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, again};
use crate::folder::Folder;
use crate::key::Key;
use crate::now;
use crate::text::ago;

/// A certificate with less than this left is renewed.
const SHORT: SignedDuration = SignedDuration::from_secs(10);

/// kubectl should ask again this long before a certificate expires.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

pub(crate) const API: &str = "client.authentication.k8s.io/v1";

/// A stored certificate: the complete answer for kubectl, and the data for deciding whether to use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    received_at: Timestamp,
    expires_at: Timestamp,
    /// The end of the window.
    pub(crate) until: Timestamp,
    /// The cluster for which it is valid.
    pub(crate) cluster: ClusterView,
    /// The namespace of the grant; the first one if there are several.
    pub(crate) namespace: Option<String>,
    duration: String,
    /// The access in short; empty in files of earlier versions.
    #[serde(default)]
    pub(crate) what: String,
    /// The answer for kubectl.
    pub(crate) credential: ExecCredential,
}

/// client.authentication.k8s.io/v1 ExecCredential
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecCredential {
    api_version: String,
    kind: String,
    status: Status,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Timestamp,
    client_certificate_data: String,
    client_key_data: String,
}

/// The state of a stored certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It can be used.
    Good,
    /// It is valid, but should be renewed.
    Low,
    /// It has expired, but the window has not ended.
    Spent,
    /// The window is over.
    Over,
}

impl Kept {
    /// The daemon's answer in the stored form.
    pub(crate) fn new(view: CertificateView, key: &Key, grant: &Terms, now: Timestamp) -> Self {
        let life = view.expires_at.duration_since(now).max(SignedDuration::ZERO);
        let margin = MARGIN.min(life / 5);
        let expiration = view.expires_at.saturating_sub(margin).unwrap_or(view.expires_at);
        Self {
            received_at: now,
            expires_at: view.expires_at,
            until: view.until,
            cluster: view.cluster,
            namespace: grant.namespace.clone(),
            duration: grant.duration.clone(),
            what: grant.what.clone(),
            credential: ExecCredential {
                api_version: API.to_owned(),
                kind: "ExecCredential".to_owned(),
                status: Status {
                    // RFC 3339 in whole seconds, like all times in Kubernetes.
                    expiration_timestamp: Timestamp::from_second(expiration.as_second()).unwrap_or(expiration),
                    client_certificate_data: view.certificate,
                    client_key_data: key.pem().to_string(),
                },
            },
        }
    }

    /// Whether it can be used without a renewal.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.worth(now) == Worth::Good
    }

    /// Its state at `now`.
    pub(crate) fn worth(&self, now: Timestamp) -> Worth {
        let left = self.expires_at.duration_since(now);
        let life = self.expires_at.duration_since(self.received_at);
        if left <= SignedDuration::ZERO {
            return if now >= self.until { Worth::Over } else { Worth::Spent };
        }
        // The last certificate of a window ends with the window and cannot be renewed. Its last valid second can be the one
        // before the window's end.
        let last = self.expires_at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(self.until) >= self.until;
        if last || (left >= SHORT && left.saturating_mul(5) >= life) { Worth::Good } else { Worth::Low }
    }

    /// The grant's terms, for a renewal.
    pub(crate) fn terms(&self) -> Terms {
        Terms { namespace: self.namespace.clone(), duration: self.duration.clone(), what: self.what.clone() }
    }

    /// The failure for a window that is over.
    pub(crate) fn over(&self, grant: &str) -> Failure {
        Failure::Over {
            why: format!("`{grant}` is over: its {} ended {}", self.duration, ago(self.until)),
            hint: again(grant),
        }
    }

    /// Stores it in the folder.
    pub(crate) fn keep(&self, folder: &Folder, grant: &str) -> Result<(), Failure> {
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::own(format!("cannot store the credential: {error}"), ""))?;
        folder.write(&credential_file(grant), &text)
    }

    /// The stored certificate of a grant; none if there is none, or it cannot be parsed.
    pub(crate) fn find(folder: &Folder, grant: &str) -> Result<Option<Self>, Failure> {
        Ok(folder.read(&credential_file(grant))?.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// The data of a grant that is stored with its certificate.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The namespace, the first one if there are several; none for the whole cluster.
    pub(crate) namespace: Option<String>,
    /// The window.
    pub(crate) duration: String,
    /// `prod/payments view`
    pub(crate) what: String,
}

impl From<&GrantView> for Terms {
    fn from(grant: &GrantView) -> Self {
        let place = match grant.namespaces.as_slice() {
            [] => "*".to_owned(),
            [one] => one.clone(),
            [first, more @ ..] => format!("{first}+{}", more.len()),
        };
        Self {
            namespace: grant.namespaces.first().cloned(),
            duration: grant.duration.clone(),
            what: format!("{}/{place} {}", grant.cluster, grant.role.as_deref().unwrap_or("exact")),
        }
    }
}

/// The file for the credential of a grant.
pub(crate) fn credential_file(grant: &str) -> String {
    format!("{grant}.credential")
}

/// The folder with the grant's key. A key whose request was never answered is recognized by its hash.
pub(crate) fn holding_key(grant: &GrantView) -> Result<Folder, Failure> {
    if let Some(folder) = Folder::holding(&key_file(&grant.id))? {
        return Ok(folder);
    }
    for folder in Folder::every()? {
        for name in folder.names().iter().filter(|name| is_draft(name)) {
            let key = folder.read(name)?.and_then(|pem| Key::from_pem(&pem).ok());
            if key.is_some_and(|key| key.hash() == grant.key) {
                folder.rename(name, &key_file(&grant.id))?;
                return Ok(folder);
            }
        }
    }
    Err(Failure::own(
        format!("the key of `{}` is not in this account's folder", grant.id),
        "only the account that requested it can collect it; if its key is lost, make a new request",
    ))
}

/// Whether this is the first call for this grant; it leaves a mark.
pub(crate) fn is_first_time(grant: &str) -> Result<bool, Failure> {
    let Some(folder) = Folder::holding(&kubeconfig_file(grant))? else { return Ok(true) };
    let mark = warned_file(grant);
    let first = folder.read(&mark)?.is_none();
    if first {
        folder.write(&mark, "")?;
    }
    Ok(first)
}

/// Ids of the grants that have files here.
pub(crate) fn local_grants() -> Vec<String> {
    let folders = Folder::every().unwrap_or_default();
    let names = folders.iter().flat_map(Folder::names);
    let mut ids: Vec<String> =
        names.filter_map(|name| Some(name.split_once('.')?.0.to_owned())).filter(|id| id.len() == 16).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Removes key and credential of a grant that is over. The kubeconfig stays for a day: it contains no secret, and a shell
/// that still uses it gets a clear message instead of a call to `localhost:8080`.
pub(crate) fn forget(grant: &str) {
    for folder in Folder::every().unwrap_or_default() {
        folder.remove(&key_file(grant));
        folder.remove(&credential_file(grant));
        folder.remove(&format!("{grant}.lock"));
        folder.remove(&warned_file(grant));
        folder.remove_older(&kubeconfig_file(grant), SignedDuration::from_hours(24), now());
    }
}

/// Removes the files of grants that are over, according to the daemon; grants in `known` need no query.
pub(crate) async fn tidy(client: &mut Client, known: &[GrantView]) {
    const MOST_QUESTIONS: usize = 20;
    let mut questions = 0;
    let mut over = Vec::new();
    for id in local_grants() {
        let open = match known.iter().find(|grant| grant.id == id) {
            Some(grant) => grant.phase.is_open(),
            None if questions < MOST_QUESTIONS => {
                questions += 1;
                client.show(&id).await.map_or(true, |grant| grant.phase.is_open())
            }
            None => true,
        };
        if !open {
            over.push(id);
        }
    }
    over.iter().for_each(|id| forget(id));
    for folder in Folder::every().unwrap_or_default() {
        for draft in folder.names().iter().filter(|name| is_draft(name)) {
            folder.remove_older(draft, LONGEST_DRAFT, now());
        }
    }
}

/// Whether it is a key whose request was possibly never received.
fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT) && name.ends_with(KEY)
}

/// The file for the key of a grant.
pub(crate) fn key_file(grant: &str) -> String {
    format!("{grant}{KEY}")
}

/// The file that marks that the person was warned that `run` does not end its commands.
fn warned_file(grant: &str) -> String {
    format!("{grant}.warned")
}

/// The file for the kubeconfig of a grant.
pub(crate) fn kubeconfig_file(grant: &str) -> String {
    format!("{grant}.kubeconfig")
}

/// Whether a file is in one of this program's folders.
pub(crate) fn is_ours(path: &Path) -> bool {
    Folder::every().unwrap_or_default().iter().any(|folder| folder.contains(path))
}

/// The prefix of a key whose request was not answered.
pub(crate) const DRAFT: &str = "pending-";

/// A request waits at most a day each for the answer, the start and the collection.
const LONGEST_DRAFT: SignedDuration = SignedDuration::from_hours(72);

/// The suffix of every key.
pub(crate) const KEY: &str = ".key";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A stored certificate that was received at second 0.
    pub(crate) fn kept(expires: i64, until: i64) -> Kept {
        let view = CertificateView {
            certificate: "C".into(),
            expires_at: at(expires),
            until: at(until),
            cluster: ClusterView {
                name: "prod".into(),
                server: "https://k:6443".into(),
                certificate_authority: String::new(),
            },
        };
        let terms =
            Terms { namespace: Some("payments".into()), duration: "15m".into(), what: "prod/payments view".to_owned() };
        Kept::new(view, &Key::generate().unwrap(), &terms, at(0))
    }

    #[test]
    fn a_certificate_is_renewed_when_a_fifth_or_ten_seconds_are_left() {
        let long = kept(300, 900);
        let table = [
            (0, Worth::Good),
            (240, Worth::Good),
            (241, Worth::Low),
            (299, Worth::Low),
            (300, Worth::Spent),
            (900, Worth::Over),
        ];
        for (second, worth) in table {
            assert_eq!(long.worth(at(second)), worth, "second {second}");
        }
        let short = kept(20, 900);
        assert_eq!((short.worth(at(10)), short.worth(at(11))), (Worth::Good, Worth::Low));
    }

    #[test]
    fn the_last_certificate_of_a_window_is_used_to_its_end() {
        for last in [kept(300, 300), kept(299, 300)] {
            assert_eq!(last.worth(at(298)), Worth::Good);
            assert_eq!(last.worth(at(300)), Worth::Over);
        }
    }

    #[test]
    fn kubectl_asks_again_before_the_certificate_expires() {
        assert_eq!(kept(300, 900).credential.status.expiration_timestamp, at(295));
        assert_eq!(kept(10, 900).credential.status.expiration_timestamp, at(8), "a short life has a short margin");
    }
}
