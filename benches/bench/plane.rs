//! A real control plane for the benchmarks, its own client of the API server, and `kubectl`.
//!
//! ```text
//!  build.sh ─► programs ─► launch ─► etcd, kube-apiserver, kube-controller-manager ─► Plane
//! ```
//! It ends when the [`Plane`] is dropped. The client here is the "by hand" that the daemon is compared
//! with: it sends the same kind of requests and does nothing else.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use crate::Failure;
use crate::http::{Connection, Target, request};
use crate::process::{Running, run, run_with};

pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A running control plane.
pub(crate) struct Plane {
    // Before its stdin: at the end of that it stops, and this waits for it.
    _stdin: ChildStdin,
    _launch: Running,
    programs: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) server: String,
    pub(crate) admin: Target,
}

impl Plane {
    /// Builds the programs if need be and starts them with their state in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self, Failure> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build.sh");
        // Its progress is for people, so its stderr is ours.
        let built = Command::new(&build).stderr(Stdio::inherit()).output()?;
        if !built.status.success() {
            return Err(format!("`{}` failed: {}", build.display(), built.status).into());
        }
        let programs = PathBuf::from(String::from_utf8(built.stdout)?.trim());
        let log = File::create(folder.with_extension("log"))?;
        let mut child = Command::new(programs.join("launch"))
            .args(["--until-stdin-closes", "--bin"])
            .arg(&programs)
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let launch = Running::of("launch", child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            let said = fs::read_to_string(folder.with_extension("log"))?;
            return Err(format!("the control plane did not start\n{said}").into());
        }
        let announced: Value = serde_json::from_str(&line)?;
        let server = announced["server"].as_str().ok_or("launch names no server")?.to_owned();
        let read = |name: &str| fs::read_to_string(folder.join(name));
        let admin = client(folder, &server, &read("admin.crt")?, &read("admin.key")?)?;
        Ok(Self { _stdin: stdin, _launch: launch, programs, folder: folder.to_owned(), server, admin })
    }

    /// The API server for the holder of a certificate: the chain, leaf first, and its key, both in PEM.
    pub(crate) fn client(&self, chain: &str, key: &str) -> Result<Target, Failure> {
        client(&self.folder, &self.server, chain, key)
    }

    /// From now on the API server accepts client certificates below this root, too.
    pub(crate) fn trust(&self, root: &Path) -> Result<(), Failure> {
        let mut roots = File::options().append(true).open(self.folder.join("client-ca.crt"))?;
        Ok(roots.write_all(&fs::read(root)?)?)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, Failure> {
        run(&mut self.kubectl_command(arguments))
    }

    pub(crate) fn apply(&self, objects: &str) -> Result<(), Failure> {
        run_with(&mut self.kubectl_command(&["apply", "-f", "-"]), objects).map(drop)
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(self.folder.join("admin.kubeconfig")).args(arguments);
        command
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<(), Failure> {
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let mut admin = self.admin.connect().await?;
        admin.exchange(&request("POST", "/api/v1/namespaces", Some(&body))).await?.json().map(drop)
    }
}

/// The node of a control plane, whose pods are processes of this host. It ends them when this is dropped.
pub(crate) struct Node {
    // Before its stdin, as above.
    _stdin: ChildStdin,
    _kubelet: Running,
    pub(crate) name: String,
}

impl Node {
    pub(crate) fn start(plane: &Plane) -> Result<Self, Failure> {
        let mut child = Command::new(plane.programs.join("kubelet"))
            .arg("--dir")
            .arg(&plane.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(plane.folder.join("kubelet.log"))?)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let kubelet = Running::of("kubelet", child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).map_err(|_| "the kubelet says not which node it is")?;
        let name = told["node"].as_str().ok_or("the kubelet names no node")?.to_owned();
        Ok(Self { _stdin: stdin, _kubelet: kubelet, name })
    }
}

fn client(folder: &Path, server: &str, chain: &str, key: &str) -> Result<Target, Failure> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let config = tls(&folder.join("ca.crt"))?.with_client_auth_cert(chain, key)?;
    Ok(Target::Tls { address: server.trim_start_matches("https://").parse()?, config: Arc::new(config) })
}

/// A client that trusts the certificates in one file and nothing else.
pub(crate) fn tls(
    authority: &Path,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    Ok(ClientConfig::builder().with_root_certificates(roots))
}

/// The bytes of a request that binds `role` to `group` the way the daemon does.
pub(crate) fn binding(namespace: &str, name: &str, group: &str, role: &str) -> Vec<u8> {
    let rbac = "rbac.authorization.k8s.io";
    let body = json!({
        "apiVersion": format!("{rbac}/v1"),
        "kind": "RoleBinding",
        "metadata": { "name": name, "labels": { "bench": "by-hand" } },
        "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": rbac, "kind": "Group", "name": group }],
    });
    request("POST", &format!("{RBAC}/namespaces/{namespace}/rolebindings"), Some(&body))
}

/// The bytes of a request that asks whether members of `group` may get pods in `namespace`.
pub(crate) fn review(namespace: &str, group: &str) -> Vec<u8> {
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "jit:bench", "groups": [group],
            "resourceAttributes": { "namespace": namespace, "verb": "get", "resource": "pods" },
        },
    });
    request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", Some(&body))
}

/// Asks once.
pub(crate) async fn is_allowed(connection: &mut Connection, review: &[u8]) -> Result<bool, Failure> {
    let answer = connection.exchange(review).await?.json()?;
    Ok(answer["status"]["allowed"].as_bool().unwrap_or(false))
}
