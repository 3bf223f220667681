//! A kubeconfig as it is meant: where the API server is, whom we trust, and who we are.
//!
//! It opens the files that the kubeconfig names, so it blocks; `lib.rs` calls it on a thread of its own. All files are
//! read as strictly as the configuration of this program ([`jit_host::files`]): a kubeconfig can name a program that is
//! run, and an authority that is trusted. What cannot be used as a whole is not used in part.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use jit_host::{files, placeholder};

use super::kubeconfig::{self, Cluster, Entry, Exec, KubeconfigError, User, text};
use super::pinned::{Pinned, provider};
use super::plugin::{Definition, Plugin};
use super::proxy::{Environment, Proxy, without_brackets};

/// Where a kubeconfig is, and what to read of it.
pub(crate) struct Source {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) context: Option<String>,
    pub(crate) environment: Environment,
}

/// Everything that a connection needs.
pub(crate) struct Settings {
    pub(crate) server: Server,
    /// The name in the API server's certificate.
    pub(crate) server_name: ServerName<'static>,
    pub(crate) authorities: Arc<Pinned>,
    pub(crate) proxy: Option<Proxy>,
    /// The name in the proxy's certificate, if it is reached by TLS.
    pub(crate) proxy_name: Option<ServerName<'static>>,
    pub(crate) identity: Identity,
    /// A file with a secret that everybody on this host can read.
    pub(crate) exposed: Option<PathBuf>,
    /// Of all files that were read.
    pub(crate) digest: Vec<u8>,
}

/// An API server's address.
#[derive(PartialEq, Eq)]
pub(crate) struct Server {
    /// As it is written.
    pub(crate) url: String,
    /// `host[:port]`, as it is written.
    pub(crate) authority: String,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who we are to the API server.
pub(crate) enum Identity {
    /// Somebody anonymous.
    Nobody,
    Certificate(Arc<CertifiedKey>),
    /// The value of `Authorization`.
    Token(HeaderValue),
    Plugin(Arc<Plugin>),
}

impl Server {
    fn parse(url: &str) -> Result<Self, &'static str> {
        const FORM: &str = "is not a URL like https://10.0.0.1:6443";
        let uri: Uri = url.parse().map_err(|_| FORM)?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(FORM) };
        if authority.host().is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
            return Err(FORM);
        }
        if !matches!(uri.path(), "" | "/") {
            return Err("has a path, which is not supported; name the API server itself");
        }
        Ok(Self {
            url: url.to_owned(),
            authority: authority.as_str().to_owned(),
            host: without_brackets(authority.host()).to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }

    /// How messages name it.
    pub(crate) fn peer(&self) -> String {
        format!("the API server at {}", self.url)
    }
}

impl Settings {
    /// Reads everything. `plugin` is the one that runs now; it is kept if the kubeconfig still describes it.
    pub(crate) fn read(source: &Source, plugin: Option<&Arc<Plugin>>) -> Result<Self, KubeconfigError> {
        let folder = source.kubeconfig.parent().unwrap_or(Path::new("."));
        let mut reader = Reader { folder, digest: digest::Context::new(&digest::SHA256), exposed: None };
        let contents = reader.read(&source.kubeconfig)?;
        if let Some(placeholder) = placeholder::in_text(&contents).next() {
            return Err(KubeconfigError::Unfilled { path: source.kubeconfig.clone(), placeholder });
        }
        let chosen = kubeconfig::choose(&source.kubeconfig, &contents, source.context.as_deref())?;
        let cluster = &chosen.cluster;
        let server = text(&cluster.form.server).ok_or_else(|| cluster.unusable("server", "is not set"))?;
        let server = Server::parse(server).map_err(|why| cluster.unusable("server", format!("`{server}` {why}")))?;
        let (key, name) = match text(&cluster.form.tls_server_name) {
            Some(name) => ("tls-server-name", name),
            None => ("server", server.host.as_str()),
        };
        let server_name = name_of(name).ok_or_else(|| cluster.unusable(key, format!("`{name}` is not a name")))?;
        let authority = reader.authority(cluster)?;
        let authorities = Pinned::of_pem(&authority).map_err(|why| cluster.unusable(AUTHORITY, why))?;
        let (key, proxy) = match text(&cluster.form.proxy_url) {
            Some(url) => ("proxy-url", Proxy::at(url).map(Some)),
            None => ("HTTPS_PROXY", source.environment.proxy_for(&server.host, server.port)),
        };
        let proxy = proxy.map_err(|why| cluster.unusable(key, why))?;
        let proxy_name = match &proxy {
            Some(Proxy { is_tls: true, host, .. }) => {
                Some(name_of(host).ok_or_else(|| cluster.unusable(key, format!("`{host}` is not a name")))?)
            }
            _ => None,
        };
        let identity = match &chosen.user {
            Some(user) => {
                if text(&user.form.client_key_data).or(text(&user.form.token)).is_some() {
                    reader.holds_secret(&source.kubeconfig);
                }
                reader.identity(user, cluster, &authority, plugin)?
            }
            None => Identity::Nobody,
        };
        let exposed = reader.exposed;
        let digest = reader.digest.finish().as_ref().to_vec();
        Ok(Self {
            server,
            server_name,
            authorities: Arc::new(authorities),
            proxy,
            proxy_name,
            identity,
            exposed,
            digest,
        })
    }
}

const AUTHORITY: &str = "certificate-authority";

pub(crate) fn name_of(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

struct Reader<'a> {
    folder: &'a Path,
    digest: digest::Context,
    exposed: Option<PathBuf>,
}

impl Reader<'_> {
    /// Notes a file with a secret if everybody can read it. It is not called for `tokenFile`: in a pod everybody can read
    /// that, and nobody else is there.
    fn holds_secret(&mut self, path: &Path) {
        let is_open = |metadata: std::fs::Metadata| metadata.mode() & 0o004 != 0;
        if self.exposed.is_none() && std::fs::metadata(path).is_ok_and(is_open) {
            self.exposed = Some(path.to_owned());
        }
    }

    fn read(&mut self, path: &Path) -> Result<Zeroizing<String>, KubeconfigError> {
        let contents = Zeroizing::new(files::read_configuration(path)?);
        // The length keeps the end of one file apart from the beginning of the next.
        self.digest.update(&contents.len().to_be_bytes());
        self.digest.update(contents.as_bytes());
        Ok(contents)
    }

    /// The PEM of a pair of keys: base64 in the kubeconfig, or a file.
    fn pem<T>(
        &mut self,
        entry: &Entry<T>,
        data: (&'static str, &Option<String>),
        file: (&'static str, &Option<String>),
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KubeconfigError> {
        match entry.either(data, file)? {
            (Some(text), _) => {
                let decoded = STANDARD.decode(text.trim()).map_err(|_| entry.unusable(data.0, "is not base64"))?;
                Ok(Some(Zeroizing::new(decoded)))
            }
            (None, Some(path)) => {
                let contents = self.read(&self.folder.join(path))?;
                Ok(Some(Zeroizing::new(contents.as_bytes().to_vec())))
            }
            (None, None) => Ok(None),
        }
    }

    fn authority(&mut self, cluster: &Entry<Cluster>) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
        let form = &cluster.form;
        let data = ("certificate-authority-data", &form.certificate_authority_data);
        self.pem(cluster, data, (AUTHORITY, &form.certificate_authority))?.ok_or_else(|| {
            let why = "is not set; name the file of the authority that signed the API server's certificate, \
                       for a public one /etc/ssl/certs/ca-certificates.crt";
            cluster.unusable(AUTHORITY, why)
        })
    }

    fn identity(
        &mut self,
        user: &Entry<User>,
        cluster: &Entry<Cluster>,
        authority: &[u8],
        plugin: Option<&Arc<Plugin>>,
    ) -> Result<Identity, KubeconfigError> {
        let form = &user.form;
        let chain = self.pem(
            user,
            ("client-certificate-data", &form.client_certificate_data),
            ("client-certificate", &form.client_certificate),
        )?;
        let key = self.pem(user, ("client-key-data", &form.client_key_data), ("client-key", &form.client_key))?;
        if let Some(file) = text(&form.client_key) {
            self.holds_secret(&self.folder.join(file));
        }
        // kubectl prefers the file, and keeps the token for a file that cannot be read.
        let token = match (text(&form.token_file), text(&form.token)) {
            (Some(_), Some(_)) => return Err(user.unusable("token", "and `tokenFile` are both set; keep one of them")),
            (Some(file), None) => Some(("tokenFile", self.read(&self.folder.join(file))?)),
            (None, Some(token)) => Some(("token", Zeroizing::new(token.to_owned()))),
            (None, None) => None,
        };
        match (chain, key, token, &form.exec) {
            (None, None, None, None) => Ok(Identity::Nobody),
            (Some(chain), Some(key), None, None) => {
                let made = certified_key(&chain, &key).map_err(|why| user.unusable("client-certificate", why))?;
                Ok(Identity::Certificate(made))
            }
            (Some(_), None, ..) => Err(user.unusable("client-key", "is not set, but there is a `client-certificate`")),
            (None, Some(_), ..) => Err(user.unusable("client-certificate", "is not set, but there is a `client-key`")),
            (None, None, Some((key, token)), None) => {
                Ok(Identity::Token(bearer(&token).map_err(|why| user.unusable(key, why))?))
            }
            (None, None, None, Some(exec)) => {
                let definition = definition(user, exec, cluster, authority, self.folder)?;
                let running = plugin.filter(|plugin| plugin.definition == definition);
                Ok(Identity::Plugin(running.map_or_else(|| Plugin::new(definition), Arc::clone)))
            }
            (Some(_), Some(_), Some((key, _)), _) => {
                Err(user.unusable(key, "and `client-certificate` are both set; keep one of them"))
            }
            (Some(_), Some(_), None, Some(_)) => {
                Err(user.unusable("exec", "and `client-certificate` are both set; keep one of them"))
            }
            (None, None, Some((key, _)), Some(_)) => {
                Err(user.unusable("exec", format!("and `{key}` are both set; keep one of them")))
            }
        }
    }
}

fn definition(
    user: &Entry<User>,
    exec: &Exec,
    cluster: &Entry<Cluster>,
    authority: &[u8],
    folder: &Path,
) -> Result<Definition, KubeconfigError> {
    const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
    let written = text(&exec.api_version).unwrap_or_default();
    let version = VERSIONS.into_iter().find(|version| *version == written);
    let version = version.ok_or_else(|| {
        user.unusable(
            "exec",
            format!("has the apiVersion `{written}`, but {} or {} is supported", VERSIONS[0], VERSIONS[1]),
        )
    })?;
    match text(&exec.interactive_mode) {
        None | Some("Never" | "IfAvailable") => {}
        Some("Always") => {
            return Err(user.unusable("exec", "has the interactiveMode `Always`, but this program has no terminal"));
        }
        Some(other) => {
            return Err(user.unusable("exec", format!("has the interactiveMode `{}`", other.escape_default())));
        }
    }
    if exec.command.is_empty() {
        return Err(user.unusable("exec", "has an empty command"));
    }
    let mut spec = json!({ "interactive": false });
    if exec.provide_cluster_info
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("cluster".to_owned(), for_plugin(&cluster.form, authority));
    }
    let info = json!({ "kind": "ExecCredential", "apiVersion": version, "spec": spec });
    let env = exec.env.iter().flatten().map(|variable| (variable.name.clone(), variable.value.clone()));
    Ok(Definition {
        command: exec.command.clone(),
        folder: folder.to_owned(),
        args: exec.args.clone().unwrap_or_default(),
        env: env.collect(),
        version,
        info: info.to_string(),
        install: text(&exec.install_hint).map(str::to_owned),
    })
}

/// What a plugin may know about the cluster (`client.authentication.k8s.io`, `Cluster`).
fn for_plugin(cluster: &Cluster, authority: &[u8]) -> Value {
    let mut known = serde_json::Map::new();
    let mut add = |key: &str, value: Option<Value>| _ = value.map(|value| known.insert(key.to_owned(), value));
    add("server", text(&cluster.server).map(Value::from));
    add("tls-server-name", text(&cluster.tls_server_name).map(Value::from));
    add("certificate-authority-data", Some(STANDARD.encode(authority).into()));
    add("proxy-url", text(&cluster.proxy_url).map(Value::from));
    add("disable-compression", cluster.disable_compression.filter(|is_set| *is_set).map(Value::from));
    add("config", cluster.for_plugins().cloned());
    Value::Object(known)
}

/// The value of `Authorization` for a token; the error is the rest of a sentence that begins with the token's key.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, String> {
    let token = token.trim();
    if token.is_empty() {
        return Err("is empty".to_owned());
    }
    let value = Zeroizing::new(format!("Bearer {token}"));
    // RFC 6750 section 2.1 allows even less.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("contains something that is not part of a token".to_owned());
    }
    let mut value = HeaderValue::from_str(&value).map_err(|_| "is not a token".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A certificate chain, leaf first, with its key; the error is the rest of a sentence that begins with the key of the
/// certificate.
pub(crate) fn certified_key(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|why| format!("is not PEM: {why}"))?;
    if chain.is_empty() {
        return Err("contains no certificate in PEM".to_owned());
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| "has a key that is not PEM without a password".to_owned())?;
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(made) => Ok(Arc::new(made)),
        Err(rustls::Error::InconsistentKeys(_)) => Err("does not belong to the key".to_owned()),
        Err(why) => Err(format!("cannot be used with its key: {why}")),
    }
}
