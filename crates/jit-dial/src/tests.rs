//! One connection and its credential against a TLS server, a proxy and plugins in this process.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let path = std::env::temp_dir().join(format!("jit-dial-{:016x}", u64::from_ne_bytes(random)));
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    /// Writes a file in the way that a rotation does: whole, and by a rename.
    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let (new, path) = (self.0.join(format!("{name}.new")), self.0.join(name));
        fs::write(&new, contents).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// A kubeconfig with these keys of its cluster and user, each a line of YAML.
    fn kubeconfig(&self, cluster: &[String], user: &[String]) -> PathBuf {
        let block = |lines: &[String]| lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
        self.write(
            "kubeconfig",
            &format!(
                "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: usual\n\
                 contexts:\n- name: usual\n  context: {{cluster: one, user: alice, namespace: shop}}\n\
                 clusters:\n- name: one\n  cluster:{}\nusers:\n- name: alice\n  user:{}\n",
                block(cluster),
                if user.is_empty() { " {}".to_owned() } else { block(user) }
            ),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority that signs for servers and clients.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name`, as a subject and as a host, and its key, both PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// What a server saw of a connection: the protocol and the name in the client's certificate.
type Seen = (Option<String>, Option<String>);

fn acceptor(authority: &Authority, name: &str, alpn: &[&str]) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), pinned::provider());
    let (chain, key) = authority.sign(name);
    let mut config = ServerConfig::builder_with_provider(pinned::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A server that says what it saw and sends back what it gets. Its certificate is for `name`.
async fn server(authority: &Authority, name: &str, alpn: &[&str]) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let (acceptor, listener) = (acceptor(authority, name, alpn), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (port, (send, seen)) = (listener.local_addr().unwrap().port(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, send) = (acceptor.clone(), send.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let session = stream.get_ref().1;
                let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                let client = session.peer_certificates().and_then(<[_]>::first).map(|leaf| {
                    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
                    leaf.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
                });
                let _ = send.send((protocol, client));
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, seen)
}

const BOTH: [&str; 2] = ["h2", "http/1.1"];

async fn echoes(stream: &mut Stream) {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
}

fn to(port: u16, authority: &Authority) -> Vec<String> {
    vec![
        format!("server: https://127.0.0.1:{port}"),
        format!("certificate-authority-data: {}", STANDARD.encode(&authority.pem)),
    ]
}

fn read(kubeconfig: &Path, environment: Environment) -> Result<ApiServer, KubeconfigError> {
    ApiServer::new(Source { kubeconfig: kubeconfig.to_owned(), context: None, environment })
}

fn api(kubeconfig: &Path) -> ApiServer {
    read(kubeconfig, Environment::default()).unwrap()
}

/// Asks again until the answer is there; the files are read once a second.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The next reading of the files happens now.
fn forget_when(api: &ApiServer) {
    let past = Instant::now().checked_sub(READ_EVERY * 2).unwrap();
    api.0.read.lock().0 = past;
}

async fn token(api: &ApiServer) -> String {
    forget_when(api);
    let value = api.authorization().await.unwrap().unwrap();
    assert!(value.is_sensitive());
    value.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_certificate_is_presented_and_only_the_protocol_asked_for_is_offered() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, mut seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let (chain, key) = authority.sign("alice");
    folder.write("alice.crt", &chain);
    folder.write("alice.key", &key);
    let files = ["client-certificate: alice.crt".to_owned(), "client-key: alice.key".to_owned()];
    let data = [
        format!("client-certificate-data: {}", STANDARD.encode(&chain)),
        format!("client-key-data: {}", STANDARD.encode(&key)),
    ];
    for user in [&files, &data] {
        let api = api(&folder.kubeconfig(&to(port, &authority), user));
        assert_eq!(
            (api.server(), api.authority()),
            (&*format!("https://127.0.0.1:{port}"), &*format!("127.0.0.1:{port}"))
        );
        for (protocol, name) in [(Protocol::Http1, "http/1.1"), (Protocol::Http2, "h2")] {
            echoes(&mut api.connect(protocol).await.unwrap()).await;
            assert_eq!(seen.recv().await.unwrap(), (Some(name.to_owned()), Some("alice".to_owned())));
        }
        assert_eq!(api.authorization().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_server_without_http2_is_refused_for_http2_only() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, _seen) = server(&authority, "127.0.0.1", &[]).await;
    let api = api(&folder.kubeconfig(&to(port, &authority), &[]));
    echoes(&mut api.connect(Protocol::Http1).await.unwrap()).await;
    assert!(matches!(api.connect(Protocol::Http2).await, Err(DialError::NoHttp2 { .. })));
}

/// The certificate must be for the name in `server`, or for `tls-server-name`, and signed by the authority.
#[tokio::test]
async fn a_server_is_known_by_its_name_and_its_authority() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, _seen) = server(&authority, "kubernetes", &BOTH).await;
    let mut cluster = to(port, &authority);
    let refused = api(&folder.kubeconfig(&cluster, &[])).connect(Protocol::Http1).await.unwrap_err();
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
    cluster.push("tls-server-name: kubernetes".to_owned());
    echoes(&mut api(&folder.kubeconfig(&cluster, &[])).connect(Protocol::Http1).await.unwrap()).await;
    cluster[1] = to(port, &Authority::new())[1].clone();
    let refused = api(&folder.kubeconfig(&cluster, &[])).connect(Protocol::Http1).await.unwrap_err();
    let source = std::error::Error::source(&refused).and_then(|why| why.downcast_ref::<io::Error>()).unwrap();
    let why = source.get_ref().and_then(|why| why.downcast_ref::<rustls::Error>());
    assert!(matches!(why, Some(rustls::Error::InvalidCertificate(_))), "{refused:?}");
}

#[tokio::test]
async fn a_token_file_is_read_again_and_an_empty_one_changes_nothing() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write("token", "first\n");
    let api = api(&folder.kubeconfig(&to(1, &authority), &["tokenFile: token".to_owned()]));
    assert_eq!(token(&api).await, "Bearer first");
    folder.write("token", "");
    assert_eq!(token(&api).await, "Bearer first");
    assert!(api.0.read.lock().1.as_ref().unwrap().contains("`tokenFile` is empty"));
    folder.write("token", "second");
    assert_eq!(token(&api).await, "Bearer second");
    assert_eq!(api.0.read.lock().1, None);
    folder.write("token", "third");
    until("the third token is used", async || (api.authorization().await.unwrap()? == "Bearer third").then_some(()))
        .await;
}

/// Of callers at the same moment none still uses a token that was replaced; but none waits long for files that hang.
#[tokio::test]
async fn all_callers_use_the_token_that_one_of_them_reads() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write("token", "first");
    let api = api(&folder.kubeconfig(&to(1, &authority), &["tokenFile: token".to_owned()]));
    folder.write("token", "second");
    forget_when(&api);
    let (one, other) = tokio::join!(api.authorization(), api.authorization());
    assert_eq!([one.unwrap().unwrap(), other.unwrap().unwrap()], ["Bearer second", "Bearer second"]);

    forget_when(&api);
    let reading = api.0.reading.lock().await;
    let begun = Instant::now();
    assert_eq!(api.authorization().await.unwrap().unwrap(), "Bearer second");
    assert!(begun.elapsed() < READ);
    drop(reading);
}

#[tokio::test]
async fn a_key_that_is_replaced_before_its_certificate_changes_nothing() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, mut seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let (first, second) = (authority.sign("first"), authority.sign("second"));
    folder.write("crt", &first.0);
    folder.write("key", &first.1);
    let user = ["client-certificate: crt".to_owned(), "client-key: key".to_owned()];
    let api = api(&folder.kubeconfig(&to(port, &authority), &user));
    let mut known_as = async || {
        forget_when(&api);
        echoes(&mut api.connect(Protocol::Http1).await.unwrap()).await;
        seen.recv().await.unwrap().1.unwrap()
    };
    assert_eq!(known_as().await, "first");
    folder.write("key", &second.1);
    assert_eq!(known_as().await, "first");
    assert!(api.0.read.lock().1.as_ref().unwrap().contains("does not belong to the key"));
    folder.write("crt", &second.0);
    assert_eq!(known_as().await, "second");
    folder.write("crt", &second.0[..second.0.len() / 2]);
    assert_eq!(known_as().await, "second");
}

#[tokio::test]
async fn an_authority_that_is_replaced_is_used_by_the_next_connection() {
    let (folder, old, new) = (Folder::new(), Authority::new(), Authority::new());
    let (port, _seen) = server(&new, "127.0.0.1", &BOTH).await;
    folder.write("ca.crt", &old.pem);
    let cluster = [format!("server: https://127.0.0.1:{port}"), "certificate-authority: ca.crt".to_owned()];
    let api = api(&folder.kubeconfig(&cluster, &[]));
    assert!(api.connect(Protocol::Http2).await.is_err());
    folder.write("ca.crt", &format!("{}{}", old.pem, new.pem));
    forget_when(&api);
    echoes(&mut api.connect(Protocol::Http2).await.unwrap()).await;
}

/// What was approved for one cluster must not reach another one because a file changed.
#[tokio::test]
async fn a_kubeconfig_that_names_another_server_is_not_followed() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, _seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let (other, mut seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let api = api(&folder.kubeconfig(&to(port, &authority), &["token: first".to_owned()]));
    folder.kubeconfig(&to(other, &authority), &["token: second".to_owned()]);
    assert_eq!(token(&api).await, "Bearer first");
    assert!(api.0.read.lock().1.as_ref().unwrap().contains("this program was started for"));
    echoes(&mut api.connect(Protocol::Http1).await.unwrap()).await;
    assert!(seen.try_recv().is_err());
}

/// A proxy that opens the tunnels that it is asked for if `accept` likes the head of the request; otherwise it answers
/// with what `accept` returned.
async fn proxy(tls: Option<TlsAcceptor>, accept: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, accept) = (listener.local_addr().unwrap().port(), Arc::new(accept));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, accept) = (tls.clone(), Arc::clone(&accept));
            tokio::spawn(async move {
                let mut stream: Box<dyn dial::Carrier> = match tls {
                    None => Box::new(stream),
                    Some(tls) => Box::new(tls.accept(stream).await.unwrap()),
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
                match accept(&head) {
                    Ok(()) => {
                        stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
                        let mut there = TcpStream::connect(target).await.unwrap();
                        let _ = copy_bidirectional(&mut stream, &mut there).await;
                    }
                    Err(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_connection_goes_through_the_proxy_of_the_kubeconfig() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, mut seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let (chain, key) = authority.sign("alice");
    folder.write("crt", &chain);
    folder.write("key", &key);
    let user = ["client-certificate: crt".to_owned(), "client-key: key".to_owned()];
    let target = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    let (plain, with_user) = (format!("{target}\r\n"), STANDARD.encode("bob:p@ss"));
    let with_user = format!("{target}Proxy-Authorization: Basic {with_user}\r\n\r\n");
    let only = |wanted: String| {
        move |head: &str| if head == wanted { Ok(()) } else { Err("HTTP/1.1 407 Who are you\r\n\r\n".to_owned()) }
    };
    let open = proxy(None, only(plain.clone())).await;
    let closed = proxy(None, only(with_user)).await;
    let tls = proxy(Some(acceptor(&authority, "127.0.0.1", &["http/1.1"])), only(plain)).await;
    for url in [
        format!("http://127.0.0.1:{open}"),
        format!("http://bob:p%40ss@127.0.0.1:{closed}/"),
        format!("https://127.0.0.1:{tls}"),
    ] {
        let mut cluster = to(port, &authority);
        cluster.push(format!("proxy-url: {url}"));
        let api = api(&folder.kubeconfig(&cluster, &user));
        for protocol in [Protocol::Http1, Protocol::Http2] {
            echoes(&mut api.connect(protocol).await.unwrap()).await;
            assert_eq!(seen.recv().await.unwrap().1.as_deref(), Some("alice"), "{url}");
        }
    }
    let mut cluster = to(port, &authority);
    cluster.push(format!("proxy-url: http://carol:secret@127.0.0.1:{closed}"));
    let refused = api(&folder.kubeconfig(&cluster, &user)).connect(Protocol::Http1).await.unwrap_err();
    let said = refused.on_one_line();
    assert!(
        said.contains(&format!("http://127.0.0.1:{closed} does not accept the user and password: HTTP/1.1 407")),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_named() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, mut seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let answering = async |answer: &'static str| proxy(None, move |_| Err(answer.to_owned())).await;
    for (proxy, why) in [
        (answering("HTTP/1.1 403 No\r\n\r\n").await, "opens no tunnel to `127.0.0.1"),
        (answering("HTTP/1.1 407 Name?\r\n\r\n").await, "wants a user and a password"),
        (answering("SSH-2.0-x\r\n\r\n").await, "does not speak HTTP: SSH-2.0-x"),
        (answering("HTTP/1.1 200 OK\r\n\r\nmore").await, "sent something before the tunnel began"),
        (answering("").await, "closed the connection without an answer"),
        (gone, "cannot connect to proxy http://127.0.0.1"),
    ] {
        let mut cluster = to(port, &authority);
        cluster.push(format!("proxy-url: http://127.0.0.1:{proxy}"));
        let refused = api(&folder.kubeconfig(&cluster, &[])).connect(Protocol::Http1).await.unwrap_err();
        let said = refused.to_string();
        assert!(said.contains(why) && said.contains(&proxy.to_string()), "{said}");
    }
    assert!(seen.try_recv().is_err(), "nothing went around the proxy");
}

/// By name, because Go never uses the proxy of the environment for loopback addresses.
#[tokio::test]
async fn the_proxy_of_the_environment_is_used_where_the_kubeconfig_names_none() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, _seen) = server(&authority, "api.example.com", &BOTH).await;
    let (send, mut asked) = mpsc::unbounded_channel();
    let proxy = proxy(None, move |head| {
        send.send(head.lines().next().unwrap().to_owned()).unwrap();
        Err("HTTP/1.1 502 Enough\r\n\r\n".to_owned())
    })
    .await;
    let mut cluster = to(port, &authority);
    cluster[0] = "server: https://api.example.com:6443".to_owned();
    let kubeconfig = folder.kubeconfig(&cluster, &[]);
    let through = Environment::new(&format!("127.0.0.1:{proxy}"), "");
    let refused = read(&kubeconfig, through).unwrap().connect(Protocol::Http1).await.unwrap_err();
    assert!(matches!(refused, DialError::Proxy { .. }), "{refused}");
    assert_eq!(asked.recv().await.unwrap(), "CONNECT api.example.com:6443 HTTP/1.1");
    let without = Environment::new(&format!("127.0.0.1:{proxy}"), "example.com");
    let settings =
        Settings::read(&Source { kubeconfig: kubeconfig.clone(), context: None, environment: without }, None);
    assert!(settings.unwrap().proxy.is_none());
    let wrong = read(&kubeconfig, Environment::new("socks5://127.0.0.1:1080", "")).unwrap_err();
    assert!(wrong.to_string().contains("`HTTPS_PROXY` has the scheme `socks5`"), "{wrong}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut through = to(1, &authority);
    through.push(format!("proxy-url: http://127.0.0.1:{port}"));
    for (cluster, step) in [(to(port, &authority), "finish the TLS handshake"), (through, "open a tunnel")] {
        let api = api(&folder.kubeconfig(&cluster, &[]));
        let connecting = tokio::spawn(async move { api.connect(Protocol::Http1).await });
        let (mut held, _) = listener.accept().await.unwrap();
        // Its first bytes show that it waits for nothing but the peer.
        held.read_u8().await.unwrap();
        tokio::time::pause();
        let refused = connecting.await.unwrap().unwrap_err();
        tokio::time::resume();
        assert!(matches!(&refused, DialError::TimedOut { doing, .. } if *doing == step), "{refused}");
    }
}

/// After 15 s without a word TCP asks every 5 s whether the peer is there, and gives up at the first question after 30 s.
#[tokio::test]
async fn a_connection_asks_a_silent_peer_whether_it_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stream = dial::tcp("localhost", port, "the peer", &Blocking::new(1)).await.unwrap();
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(15));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    let unknown = dial::tcp("name.invalid", port, "the peer", &Blocking::new(1)).await.unwrap_err();
    assert!(matches!(unknown, DialError::Unresolved { .. }), "{unknown}");
}

/// Everything that kubectl knows and we do not support is named; so is everything that nobody knows.
#[test]
fn what_is_not_supported_is_refused_by_name() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let usual = to(6443, &authority);
    let (chain, key) = authority.sign("alice");
    let certificate = format!("client-certificate-data: {}", STANDARD.encode(chain));
    let key = format!("client-key-data: {}", STANDARD.encode(key));
    let exec = |fields: &str| format!("exec: {{apiVersion: client.authentication.k8s.io/v1, command: aws{fields}}}");
    let cluster =
        |lines: &[&str]| [&usual[..], &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()].concat();
    let cases: Vec<(Vec<String>, Vec<String>, &str)> = vec![
        (
            cluster(&["insecure-skip-tls-verify: true"]),
            vec![],
            "cluster `one` has `insecure-skip-tls-verify`, which is not supported",
        ),
        (cluster(&["proxy-url: socks5://127.0.0.1:1080"]), vec![], "`proxy-url` has the scheme `socks5`"),
        (cluster(&["certificate-authority: ca.crt"]), vec![], "are both set"),
        (cluster(&["tls-server-name: '-'"]), vec![], "`tls-server-name` `-` is not a name"),
        (cluster(&["colour: blue"]), vec![], "cluster `one`: unknown field `colour`"),
        (vec![usual[0].clone()], vec![], "`certificate-authority` is not set"),
        (vec![usual[1].clone()], vec![], "`server` is not set"),
        (vec!["server: http://127.0.0.1:6443".to_owned(), usual[1].clone()], vec![], "is not a URL like https://"),
        (vec!["server: https://alice@127.0.0.1".to_owned(), usual[1].clone()], vec![], "is not a URL like https://"),
        (vec!["server: https://127.0.0.1/k8s/clusters/c-1".to_owned(), usual[1].clone()], vec![], "has a path"),
        (
            vec![usual[0].clone(), "certificate-authority-data: bm90IFBFTQ==".to_owned()],
            vec![],
            "contains no certificate in PEM",
        ),
        (vec![usual[0].clone(), "certificate-authority-data: '*'".to_owned()], vec![], "is not base64"),
        (usual.clone(), vec!["auth-provider: {name: oidc}".to_owned()], "user `alice` has `auth-provider`"),
        (usual.clone(), vec!["username: alice".to_owned()], "has `username`"),
        (usual.clone(), vec!["password: secret".to_owned()], "has `password`"),
        (usual.clone(), vec!["as: bob".to_owned()], "has `as`"),
        (usual.clone(), vec!["as-groups: [ops]".to_owned()], "has `as-groups`"),
        (usual.clone(), vec!["as-uid: secret".to_owned()], "has `as-uid`"),
        (usual.clone(), vec!["as-user-extra: {a: [secret]}".to_owned()], "has `as-user-extra`"),
        (usual.clone(), vec!["token-file: secret".to_owned()], "user `alice`: unknown field `token-file`"),
        (usual.clone(), vec!["token: {a: secret}".to_owned()], "has the wrong type"),
        (usual.clone(), vec!["token: 'a secret'".to_owned()], "`token` contains something that is not part of a token"),
        (
            usual.clone(),
            vec!["token: secret".to_owned(), "tokenFile: other".to_owned()],
            "`token` and `tokenFile` are both set",
        ),
        (usual.clone(), vec!["token: secret".to_owned(), exec("")], "`exec` and `token` are both set"),
        (
            usual.clone(),
            vec![certificate.clone(), key.clone(), "token: secret".to_owned()],
            "`token` and `client-certificate` are both",
        ),
        (
            usual.clone(),
            vec![certificate.clone(), key.clone(), exec("")],
            "`exec` and `client-certificate` are both set",
        ),
        (usual.clone(), vec![certificate], "`client-key` is not set"),
        (usual.clone(), vec![key], "`client-certificate` is not set"),
        (usual.clone(), vec![exec(", interactiveMode: Always")], "this program has no terminal"),
        (usual.clone(), vec![exec(", interactiveMode: Maybe")], "the interactiveMode `Maybe`"),
        (usual.clone(), vec![exec(", retries: 3")], "unknown field `retries`"),
        (
            usual.clone(),
            vec!["exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: aws}".to_owned()],
            "the apiVersion `client.authentication.k8s.io/v1alpha1`",
        ),
        (usual.clone(), vec!["tokenFile: gone".to_owned()], "gone"),
    ];
    for (cluster, user, why) in cases {
        let refused = read(&folder.kubeconfig(&cluster, &user), Environment::default()).map(|_| ()).unwrap_err();
        let said = refused.on_one_line();
        assert!(said.contains(why) && !said.contains("secret"), "wanted {why}: {said}");
    }
    for (contents, why) in [
        ("apiVersion: v2\n", "is not a `Config`"),
        ("clusters: null\nusers: []\ncontexts: null\ncurrent-context: ''\n", "has no `current-context`"),
        ("current-context: usual\n", "contains no context `usual`"),
        ("contexts: [{name: a, context: {cluster: b}}]\ncurrent-context: a\n", "contains no cluster `b`"),
        ("contexts: [{name: a, context: {user: b}}]\ncurrent-context: a\n", "`cluster` is not set"),
        ("colour: blue\n", "unknown field `colour`"),
        ("[", "kubeconfig"),
    ] {
        let said =
            read(&folder.write("kubeconfig", contents), Environment::default()).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(why), "wanted {why}: {said}");
    }
    let path = folder.kubeconfig(&usual, &["token: secret".to_owned()]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(
        matches!(read(&path, Environment::default()), Err(KubeconfigError::File(_))),
        "others could have written it"
    );
}

#[test]
fn a_file_with_a_secret_that_everybody_can_read_is_noticed() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (chain, key) = authority.sign("alice");
    let (_, key) = (folder.write("crt", &chain), folder.write("key", &key));
    let by_file = ["client-certificate: crt".to_owned(), "client-key: key".to_owned()];
    let exposed = |user: &[String], open: &Path| {
        let path = folder.kubeconfig(&to(6443, &authority), user);
        fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
        let source = Source { kubeconfig: path, context: None, environment: Environment::default() };
        Settings::read(&source, None).unwrap().exposed
    };
    let kubeconfig = folder.0.join("kubeconfig");
    assert_eq!(exposed(&by_file, &kubeconfig), None, "it names the key and does not have it");
    assert_eq!(exposed(&["token: secret".to_owned()], &kubeconfig), Some(kubeconfig.clone()));
    assert_eq!(exposed(&["token: secret".to_owned()], &folder.0.join("crt")), None);
    assert_eq!(exposed(&by_file, &key), Some(key.clone()));
}

proptest::proptest! {
    /// Whatever a file, a variable or a plugin has, it is an answer or an error.
    #[test]
    fn nothing_that_is_read_panics(text in ".{0,200}", name in "[a-z0-9.:/@%\\[\\]*,-]{0,60}") {
        for text in [&text, &name] {
            let _ = kubeconfig::choose(Path::new("kubeconfig"), text, None);
            let _ = proxy::Proxy::at(text);
            let _ = Environment::new(&name, text).proxy_for(&name, 6443);
            let _ = settings::bearer(text);
            let _ = settings::certified_key(text.as_bytes(), name.as_bytes());
            let _ = Pinned::of_pem(text.as_bytes());
        }
    }
}

/// Entries that nobody uses may have whatever they like.
#[tokio::test]
async fn only_the_chosen_context_has_to_be_supported() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let path = folder.kubeconfig(&to(6443, &authority), &["token: mine".to_owned()]);
    let more = "- name: legacy\n  user: {auth-provider: {name: gcp}, username: bob}\n- name: empty\n";
    let contents = fs::read_to_string(&path).unwrap() + more;
    let path = folder.write("kubeconfig", &contents);
    assert_eq!(token(&api(&path)).await, "Bearer mine");
    assert!(ApiServer::read(&path, Some("other")).unwrap_err().to_string().contains("contains no context `other`"));
    assert!(ApiServer::read(&path, Some("usual")).is_ok());
}

/// A plugin that is a shell script. `sh` reads it, because a file that a test has just written cannot always be run: a
/// process that another test forks at that moment still has it open for writing.
fn plugin(folder: &Folder, script: &str, more: &str) -> Vec<String> {
    let path = folder.write("plugin.sh", script);
    vec![format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: ['{}', get-token], interactiveMode: IfAvailable{more}}}",
        path.display()
    )]
}

fn printed(version: &str, status: &str) -> String {
    format!(
        r#"{{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/{version}", "spec": {{}}, "status": {status}}}"#
    )
}

#[tokio::test]
async fn a_plugin_is_told_what_it_needs_and_runs_once_for_all() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let script = format!(
        "echo \"$1 $REGION ${{NOTIFY_SOCKET-}}\" >> {0}/runs\nprintf %s \"$KUBERNETES_EXEC_INFO\" > {0}/info\ncat <<'EOF'\n{1}\nEOF\n",
        folder.0.display(),
        printed("v1", r#"{"token": "from-plugin", "expirationTimestamp": "2999-01-01T00:00:00Z"}"#)
    );
    let user =
        plugin(&folder, &script, ", provideClusterInfo: true, env: [{name: REGION, value: eu-1}], installHint: x");
    let mut cluster = to(6443, &authority);
    cluster.push("extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: shop}}, {name: other, extension: 1}]".to_owned());
    let api = api(&folder.kubeconfig(&cluster, &user));
    let all = futures::future::join_all((0..50).map(|_| api.authorization())).await;
    for value in all {
        assert_eq!(value.unwrap().unwrap(), "Bearer from-plugin");
    }
    assert_eq!(token(&api).await, "Bearer from-plugin");
    assert_eq!(fs::read_to_string(folder.0.join("runs")).unwrap(), "get-token eu-1 \n");
    let info: serde_json::Value = serde_json::from_slice(&fs::read(folder.0.join("info")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": { "interactive": false, "cluster": {
            "server": "https://127.0.0.1:6443",
            "certificate-authority-data": STANDARD.encode(&authority.pem),
            "config": { "audience": "shop" },
        } },
    });
    assert_eq!(info, expected);
    // Another token file, another proxy: the plugin and its credential stay. Another argument: it runs again.
    folder.kubeconfig(&cluster, &[user[0].replace("get-token", "login")]);
    assert_eq!(token(&api).await, "Bearer from-plugin");
    assert_eq!(fs::read_to_string(folder.0.join("runs")).unwrap(), "get-token eu-1 \nlogin eu-1 \n");
}

#[tokio::test]
async fn a_plugin_can_give_a_certificate() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (port, mut seen) = server(&authority, "127.0.0.1", &BOTH).await;
    let (chain, key) = authority.sign("alice");
    let status = serde_json::json!({ "clientCertificateData": chain, "clientKeyData": key }).to_string();
    let script = format!("cat <<'EOF'\n{}\nEOF\n", printed("v1beta1", &status));
    let user = plugin(&folder, &script, "")[0].replace("k8s.io/v1,", "k8s.io/v1beta1,");
    let api = api(&folder.kubeconfig(&to(port, &authority), &[user]));
    echoes(&mut api.connect(Protocol::Http2).await.unwrap()).await;
    assert_eq!(seen.recv().await.unwrap().1.as_deref(), Some("alice"));
    assert_eq!(api.authorization().await.unwrap(), None);
}

#[tokio::test]
async fn a_plugin_that_gives_nothing_is_named_with_what_it_said() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let past = printed("v1", r#"{"token": "secret", "expirationTimestamp": "2001-01-01T00:00:00Z"}"#);
    let beta = printed("v1beta1", r#"{"token": "secret"}"#);
    for (script, why) in [
        (
            "echo trying >&2; echo 'token has expired, log in again' >&2; exit 3",
            "failed, exit status: 3: token has expired, log in again",
        ),
        ("kill -9 $$", "failed, signal: 9"),
        ("echo secret", "printed no ExecCredential: line 1"),
        ("echo '{\"kind\": \"Other\", \"apiVersion\": \"v1\"}'", "printed no ExecCredential"),
        (&format!("echo '{past}'"), "printed a credential that expired at 2001-01-01"),
        (&format!("echo '{beta}'"), "apiVersion `client.authentication.k8s.io/v1beta1`, but the kubeconfig says"),
        (&format!("echo '{}'", printed("v1", "{}")), "printed neither a token nor a certificate"),
        (&format!("echo '{}'", printed("v1", "null")), "without a status"),
        (&format!("echo '{}'", printed("v1", r#"{"clientCertificateData": "x"}"#)), "printed only one of"),
        (&format!("echo '{}'", printed("v1", r#"{"token": "a b"}"#)), "printed a token that contains something"),
        ("yes secret", "printed more than 1048576 bytes"),
    ] {
        let user = plugin(&folder, script, "");
        let api = api(&folder.kubeconfig(&to(6443, &authority), &user));
        let refused = api.authorization().await.unwrap_err();
        let said = refused.to_string();
        assert!(said.contains(why) && said.contains("`sh`") && !said.contains("secret"), "wanted {why}: {said}");
        assert!(matches!(api.connect(Protocol::Http1).await, Err(DialError::Plugin(_))), "no connection without it");
    }
}

#[tokio::test]
async fn a_plugin_that_is_missing_or_not_to_be_trusted_is_not_run() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let open = folder.write("open", "#!/bin/sh\ntouch ran\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for (command, why) in
        [("./absent", "No such file"), ("absent-from-path", "in no folder of `PATH`"), ("./open", "has mode 0777")]
    {
        let user = format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, installHint: see the wiki}}"
        );
        let api = api(&folder.kubeconfig(&to(6443, &authority), &[user]));
        let refused = api.authorization().await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
        assert_eq!(refused.hint().as_deref(), Some("see the wiki"));
    }
}

/// It ends with all that it started, and whoever is refused meanwhile is told so at once.
#[tokio::test]
async fn a_plugin_that_hangs_is_ended_and_holds_up_only_those_who_wait_for_it() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let script =
        format!("echo 'open https://login.example' >&2\nsleep 600 &\necho $! > {0}/below\nwait\n", folder.0.display());
    let user = plugin(&folder, &script, "");
    let api_with_plugin = api(&folder.kubeconfig(&to(6443, &authority), &user));
    let settings = api_with_plugin.settings().await;
    let Identity::Plugin(whole) = &settings.identity else { panic!("no plugin") };
    let hanging = plugin::Plugin::patient(whole.definition.clone(), Duration::from_millis(1500));
    let waiting = tokio::spawn({
        let hanging = Arc::clone(&hanging);
        async move { hanging.credential().await }
    });
    let below: i32 =
        until("the plugin runs", async || fs::read_to_string(folder.0.join("below")).ok()?.trim().parse().ok()).await;
    // Meanwhile, others do not wait.
    let other = Folder::new();
    assert_eq!(token(&api(&other.kubeconfig(&to(6443, &authority), &["token: mine".to_owned()]))).await, "Bearer mine");
    assert!(!waiting.is_finished());
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the credential plugin `sh` did not finish within 1.5s and was ended: open https://login.example"
    );
    until("what it started has ended", async || {
        let state = fs::read_to_string(format!("/proc/{below}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    })
    .await;
    let asked = std::time::Instant::now();
    assert_eq!(hanging.credential().await.unwrap_err(), refused);
    assert!(asked.elapsed() < Duration::from_secs(1), "the failure is kept for a moment");
}

/// While the old credential is valid, a new one is fetched in the background.
#[tokio::test]
async fn a_credential_is_replaced_shortly_before_it_expires() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let script = format!(
        "echo x >> {0}/runs\nuntil=$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)\n\
         printf '{{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {{\"token\": \"t%s\", \"expirationTimestamp\": \"%s\"}}}}' $(wc -l < {0}/runs) $until\n",
        folder.0.display()
    );
    let user = plugin(&folder, &script, "");
    let api = api(&folder.kubeconfig(&to(6443, &authority), &user));
    assert_eq!(token(&api).await, "Bearer t1");
    assert_eq!(token(&api).await, "Bearer t1");
    until("the second run", async || (token(&api).await == "Bearer t2").then_some(())).await;
}
