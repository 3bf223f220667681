//! Where an API server is, and with which credential the daemon reaches it: the configuration of a cluster, parsed
//! once.
//!
//! It must never let a key reach a log, nor connect without TLS. `config` and `broker` create these values, and
//! `transport` uses them.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use jit_dial::ApiServer;
use k8s_openapi::ByteString;
use kube::config::{AuthInfo, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::grant::request::ClusterName;
use crate::grant::{ActingGateway, DaemonUser};
use crate::hint::Hint;

/// A cluster's entry in the configuration cannot be used; an administrator has to change it.
#[derive(Debug, thiserror::Error)]
#[error("cluster `{cluster}`, {field}: {why}")]
pub struct EndpointError {
    /// The cluster.
    pub cluster: ClusterName,
    /// The field of its entry.
    pub field: &'static str,
    /// What is wrong.
    pub why: String,
}

impl Hint for EndpointError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("correct the cluster's entry in the configuration and run `jitd check`".into())
    }
}

/// How an API server is reached. An engineer's kubeconfig contains the same.
#[derive(Clone, Debug)]
pub struct Endpoint {
    name: ClusterName,
    server: String,
    uri: Uri,
    ca_pem: String,
    ca_der: Vec<Vec<u8>>,
    daemon: Option<DaemonUser>,
    gateway: Option<ActingGateway>,
}

impl Endpoint {
    /// The endpoint of cluster `name`: `server` is an `https` URL, `ca_pem` one or more certificates in PEM, one of
    /// which signed the API server's certificate.
    ///
    /// # Errors
    /// [`EndpointError`] if either is malformed.
    pub fn new(name: ClusterName, server: &str, ca_pem: &str) -> Result<Self, EndpointError> {
        let wrong = |field, why: String| EndpointError { cluster: name.clone(), field, why };
        let uri: Uri = server.parse().map_err(|why| wrong("server", format!("`{server}`: {why}")))?;
        if uri.scheme_str() != Some("https") || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(wrong("server", format!("`{server}` is not a URL like https://10.0.0.1:6443")));
        }
        Self::trusting(name.clone(), server, uri, ca_pem).map_err(|why| wrong("certificate-authority", why))
    }

    pub(super) fn trusting(name: ClusterName, server: &str, uri: Uri, ca_pem: &str) -> Result<Self, String> {
        let ca_der: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(ca_pem.as_bytes())
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|why| format!("not PEM: {why}"))?;
        if ca_der.is_empty() {
            return Err("contains no certificate in PEM".to_owned());
        }
        Ok(Self {
            name,
            server: server.to_owned(),
            uri,
            ca_pem: ca_pem.to_owned(),
            ca_der,
            daemon: None,
            gateway: None,
        })
    }

    /// The same endpoint, which people reach through `gateway`, if there is one.
    #[must_use]
    pub fn through(self, gateway: Option<ActingGateway>) -> Self {
        Self { gateway, ..self }
    }

    /// The same endpoint, where the API server knows the daemon by the name `daemon`, if it is not that of its certificate.
    #[must_use]
    pub fn known_as(self, daemon: Option<DaemonUser>) -> Self {
        Self { daemon, ..self }
    }

    /// The endpoint of the current context of a kubeconfig file.
    ///
    /// # Errors
    /// [`EndpointError`] if the file cannot be read, or lacks the server or its authority.
    pub fn from_kubeconfig(name: ClusterName, path: &Path) -> Result<Self, EndpointError> {
        Self::from_context(name, path, None)
    }

    /// The endpoint of a context of a kubeconfig file; of the current context if `context` is `None`.
    ///
    /// # Errors
    /// [`EndpointError`] if the file cannot be read, or lacks the context, the server or its authority.
    pub fn from_context(name: ClusterName, path: &Path, context: Option<&str>) -> Result<Self, EndpointError> {
        let wrong = |why: String| EndpointError {
            cluster: name.clone(),
            field: "kubeconfig",
            why: format!("`{}`: {why}", path.display()),
        };
        let file = Kubeconfig::read_from(path).map_err(|error| match error {
            KubeconfigError::ReadConfig(error, _) if error.kind() == ErrorKind::NotFound => {
                EndpointError { why: format!("`{}` does not exist", path.display()), ..wrong(String::new()) }
            }
            KubeconfigError::ReadConfig(error, _) => wrong(error.to_string()),
            other => wrong(other.to_string()),
        })?;
        let context = context.map_or_else(|| current_context(&file), |name| context_of(&file, name)).map_err(wrong)?;
        let cluster = file
            .clusters
            .iter()
            .find(|named| named.name == context.cluster)
            .and_then(|named| named.cluster.as_ref())
            .ok_or_else(|| wrong(format!("contains no cluster `{}`", context.cluster)))?;
        if let Some(key) = unused_key(cluster) {
            return Err(wrong(format!("its cluster has `{key}`, which jitd does not support")));
        }
        let server = cluster.server.as_deref().ok_or_else(|| wrong("its cluster has no server".to_owned()))?;
        let ca_pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
            (Some(data), _) => from_base64(data)
                .ok_or_else(|| wrong("its certificate-authority-data is not PEM in base64".to_owned()))?,
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|why| wrong(format!("`{file}`: {why}")))?,
            (None, None) => return Err(wrong("its cluster has no certificate-authority".to_owned())),
        };
        Self::new(name.clone(), server, &ca_pem)
    }

    /// The cluster's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// The URL as configured.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The trusted certificates in PEM; one of them signed the API server's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The gateway's user in the cluster, if people reach the cluster through the gateway.
    #[must_use]
    pub fn gateway(&self) -> Option<&ActingGateway> {
        self.gateway.as_ref()
    }

    /// The daemon's user in the cluster, if it is not that of its certificate.
    #[must_use]
    pub fn daemon(&self) -> Option<&DaemonUser> {
        self.daemon.as_ref()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn ca_der(&self) -> &[Vec<u8>] {
        &self.ca_der
    }
}

/// The daemon's credential for the API server. It has no `Debug`, so that a key cannot reach a log.
pub enum Credential {
    /// A certificate chain, leaf first, and its key (PKCS #8), both in PEM.
    Certificate {
        /// The leaf, and the certificates between it and the authority that the API server trusts.
        chain_pem: String,
        /// The leaf's private key.
        key_pem: Zeroizing<String>,
    },
    /// What a kubeconfig says: who the daemon is, and also where it connects and whom it trusts there.
    Kubeconfig(ApiServer),
    /// No credential: the daemon is an anonymous user.
    Nobody,
}

impl Credential {
    /// The certificate, in the form of a kubeconfig's user.
    pub(super) fn auth_info(&self) -> AuthInfo {
        match self {
            Self::Certificate { chain_pem, key_pem } => AuthInfo {
                client_certificate_data: Some(STANDARD.encode(chain_pem)),
                // A single allocation of the right length, which kube wipes.
                client_key_data: Some(STANDARD.encode(key_pem.as_bytes()).into()),
                ..AuthInfo::default()
            },
            Self::Kubeconfig(_) | Self::Nobody => AuthInfo::default(),
        }
    }
}

/// A key that makes kubectl connect in a way that we do not support. Without it we would connect to the wrong place, or
/// fail.
fn unused_key(cluster: &kube::config::Cluster) -> Option<&'static str> {
    let keys = [
        ("proxy-url", cluster.proxy_url.is_some()),
        ("tls-server-name", cluster.tls_server_name.is_some()),
        ("insecure-skip-tls-verify", cluster.insecure_skip_tls_verify == Some(true)),
    ];
    keys.into_iter().find_map(|(key, is_set)| is_set.then_some(key))
}

fn current_context(file: &Kubeconfig) -> Result<&kube::config::Context, String> {
    context_of(file, file.current_context.as_deref().ok_or("it has no current-context")?)
}

fn context_of<'a>(file: &'a Kubeconfig, name: &str) -> Result<&'a kube::config::Context, String> {
    file.contexts
        .iter()
        .find(|named| named.name == name)
        .and_then(|named| named.context.as_ref())
        .ok_or_else(|| format!("contains no context `{name}`"))
}

// `ByteString` is Kubernetes' own type for bytes in JSON.
fn from_base64(data: &str) -> Option<String> {
    let bytes: ByteString = serde_json::from_value(serde_json::Value::String(data.to_owned())).ok()?;
    String::from_utf8(bytes.0).ok()
}
