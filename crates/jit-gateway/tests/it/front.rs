//! The gateway as a process of its own, a fake API server behind it, and the feed of a `jitd` that has two live grants.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jit_core::grant::{GrantId, Restricted, Restriction, SessionTerms};
use jit_gateway::feed::Authorities;
use jit_wire::feed::{
    self, Documents, FromDaemon, FromGateway, GatewayCluster, HEARTBEAT_SECONDS, LONGEST_OF_GATEWAY, LiveGrant, VERSION,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep, timeout};

use crate::client::connect;
use crate::fake::Fake;

/// Longer than anything here takes on a slow host.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A gateway, and what it talks to.
pub(crate) struct Front {
    pub(crate) fake: Arc<Fake>,
    pub(crate) port: u16,
    /// The root of the gateway's serving certificate, PEM.
    pub(crate) root: String,
    pub(crate) folder: PathBuf,
    authority: Authority,
    gateway: Child,
    ends: mpsc::UnboundedSender<(GrantId, oneshot::Sender<u32>)>,
}

/// A certificate and its key, PEM.
pub(crate) struct Credential {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority of `jitd`.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A client certificate with this common name and organization.
    pub(crate) fn signs(&self, user: &str, group: &str) -> Credential {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Credential { certificate, key: key.serialize_pem() }
    }
}

/// The grant of this number, alice's.
pub(crate) fn grant(number: u8) -> GrantId {
    GrantId::from_random([number; 10])
}

impl Front {
    /// A gateway before `fake`, with the grants 1 and 2.
    pub(crate) async fn before(fake: Arc<Fake>) -> Self {
        Self::of("jit:alice", fake).await
    }

    /// The same, for another user.
    pub(crate) async fn of(user: &str, fake: Arc<Fake>) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{port}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{ "name": "fake", "cluster": {
                "server": format!("https://127.0.0.1:{}", fake.port), "certificate-authority": fake.write_root(&folder),
            } }],
            "users": [{ "name": "gateway", "user": { "token": "t" } }],
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "gateway" } }],
        });
        std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();
        // A path of a socket has at most 107 bytes.
        let feed = std::env::temp_dir().join(format!("jit-gateway-{}-{port}.sock", std::process::id()));
        let _ = std::fs::remove_file(&feed);
        let config = json!({
            "listen": format!("127.0.0.1:{port}"), "server": format!("https://127.0.0.1:{port}"),
            "feed": feed, "state": "state", "clusters": [{ "name": "fake", "kubeconfig": "kubeconfig" }],
        });
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let authority = Authority::new();
        let listener = UnixListener::bind(&feed).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let gateway = Command::new(env!("CARGO_BIN_EXE_jit-gateway"))
            .args(["serve", "--config"])
            .arg(folder.join("config.yaml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let (ends, asked) = mpsc::unbounded_channel();
        let (said, root) = oneshot::channel();
        let authorities = Authorities::from([("fake".parse().unwrap(), authority.pem.clone())]);
        tokio::spawn(daemon(listener, user.to_owned(), authorities, said, asked));
        let root = timeout(LONG, root).await.unwrap().unwrap();
        std::fs::remove_file(feed).unwrap();
        let front = Self { fake, port, root, folder, authority, gateway, ends };
        // It accepts connections before it knows whom to trust.
        timeout(LONG, async {
            while connect(&front, Some(&front.credential(1)), b"h2").await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        front
    }

    /// A certificate of a grant of alice's.
    pub(crate) fn credential(&self, number: u8) -> Credential {
        self.signed("jit:alice", number)
    }

    /// A certificate of a grant for this user.
    pub(crate) fn signed(&self, user: &str, number: u8) -> Credential {
        self.authority.signs(user, &grant(number).group())
    }

    /// Ends a grant. Returns how many requests were cut.
    pub(crate) async fn end(&self, number: u8) -> u32 {
        let (answer, cut) = oneshot::channel();
        self.ends.send((grant(number), answer)).unwrap();
        timeout(LONG, cut).await.unwrap().unwrap()
    }

    /// The memory that the gateway has, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// kubectl with the certificate of a grant, and without anything of the account that runs the tests.
    pub(crate) fn kubectl(&self, number: u8) -> tokio::process::Command {
        let credential = self.credential(number);
        let data = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{ "name": "fake", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port), "certificate-authority-data": data(&self.root),
            } }],
            "users": [{ "name": "alice", "user": {
                "client-certificate-data": data(&credential.certificate), "client-key-data": data(&credential.key),
            } }],
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "alice" } }],
        });
        let path = self.folder.join(format!("kubeconfig-{number}"));
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let mut command = tokio::process::Command::new(programs().join("kubectl"));
        command.arg("--kubeconfig").arg(path).arg("--cache-dir").arg(self.folder.join("cache"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// The folder with the kubectl of the tests' control plane, which is built once.
fn programs() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new(root.join("tests/controlplane/build.sh")).current_dir(root).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim().lines().last().unwrap())
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.gateway.kill());
        drop(self.gateway.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            eprintln!("---- log of the gateway\n{log}");
        } else {
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }
}

/// The daemon's end of the feed: says what is live, then that it is there, and what ended.
async fn daemon(
    listener: UnixListener,
    user: String,
    authorities: Authorities,
    said: oneshot::Sender<String>,
    mut asked: mpsc::UnboundedReceiver<(GrantId, oneshot::Sender<u32>)>,
) {
    let (reader, mut writer) = listener.accept().await.unwrap().0.into_split();
    let mut documents = Documents::new(reader, LONGEST_OF_GATEWAY);
    let Some(FromGateway::Hello { certificate_authority, .. }) = documents.next().await.unwrap() else {
        panic!("the gateway did not say hello");
    };
    let clusters = authorities.into_iter().map(|(name, authority)| GatewayCluster { name, authority });
    let live = |number| LiveGrant {
        id: grant(number),
        user: user.clone(),
        cluster: "fake".parse().unwrap(),
        until: "2100-01-01T00:00:00Z".parse().unwrap(),
        sessions: SessionTerms::default(),
    };
    let by_name = Restriction { name: "by-name".to_owned(), refuses: Restricted::DeleteCollection };
    let sessions = SessionTerms { refuse: vec![by_name], ..SessionTerms::default() };
    let grants = vec![live(1), live(2), LiveGrant { sessions, ..live(3) }];
    let snapshot = FromDaemon::Snapshot { version: VERSION, number: 1, clusters: clusters.collect(), grants };
    feed::write(&mut writer, &snapshot).await.unwrap();
    said.send(certificate_authority).unwrap();
    let mut waiting = std::collections::HashMap::new();
    let mut beats = interval(Duration::from_secs(HEARTBEAT_SECONDS));
    let mut number = 1;
    loop {
        let document = tokio::select! {
            _ = beats.tick() => {
                number += 1;
                FromDaemon::Alive { number }
            }
            Some((grant, answer)) = asked.recv() => {
                number += 1;
                waiting.insert(grant.clone(), answer);
                FromDaemon::Ended { number, grant }
            }
            cut = documents.next() => {
                let Ok(Some(said)) = cut else { return };
                if let FromGateway::Cut { grant, streams, .. } = said
                    && let Some(answer) = waiting.remove(&grant)
                {
                    answer.send(streams).unwrap();
                }
                continue;
            }
        };
        if feed::write(&mut writer, &document).await.is_err() {
            return;
        }
    }
}
