//! HTTP/1.1 as cheaply as it can be had: request bytes that were made beforehand, one keep-alive
//! connection, an answer of which only the status and the body are kept.
//!
//! ```text
//!  Target { Unix socket as some uid | TLS } ─► Connection ─► exchange(bytes) ─► Answer { status, body }
//! ```
//! The load shares the machine with what it measures, so it may cost next to nothing; a client for
//! general use would. Every part that talks to a server calls this.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, seteuid, setfsuid};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::Failure;

/// No call of a benchmark may wait longer: a server that hangs ends the run instead of holding it.
const LONGEST: Duration = Duration::from_secs(90);

/// Whom to call.
#[derive(Clone)]
pub(crate) enum Target {
    /// A Unix socket, opened as the account with this uid: the daemon knows people by it.
    Socket { path: PathBuf, uid: u32 },
    /// A TLS server on loopback.
    Tls { address: SocketAddr, config: Arc<ClientConfig> },
}

/// One connection, kept as long as both sides like.
pub(crate) struct Connection {
    stream: Stream,
    // What was read and not yet taken, in the clear.
    read: Vec<u8>,
    chunk: Box<[u8]>,
}

enum Stream {
    Socket(UnixStream),
    Tls { tcp: TcpStream, session: Box<ClientConnection>, out: Vec<u8> },
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, or the whole answer as an error when the status is no success.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(format!("answer {}: {}", self.status, String::from_utf8_lossy(&self.body)).into());
        }
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Target {
    /// A connection that is ready: with TLS, its handshake is behind it.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = match self {
            Self::Socket { path, uid } if Uid::effective().as_raw() == *uid => {
                Stream::Socket(UnixStream::connect(path).await?)
            }
            Self::Socket { path, uid } => Stream::Socket(connect_as(path, *uid)?),
            Self::Tls { address, config } => {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = ServerName::IpAddress(address.ip().into());
                let session = Box::new(ClientConnection::new(Arc::clone(config), name)?);
                Stream::Tls { tcp, session, out: Vec::new() }
            }
        };
        let mut connection = Connection { stream, read: Vec::with_capacity(8192), chunk: vec![0; 32 * 1024].into() };
        while connection.is_handshaking() {
            tokio::time::timeout(LONGEST, connection.more())
                .await
                .map_err(|_| format!("no handshake within {} s", LONGEST.as_secs()))??;
        }
        Ok(connection)
    }
}

/// The kernel tells the server the effective uid of the moment of connect (`SO_PEERCRED`, unix(7)), so
/// one process can be several people. Files are still looked up as root: the folder may be ours alone.
/// Blocking, for another task must not run, and connect, while the uid is changed.
fn connect_as(path: &Path, uid: u32) -> Result<UnixStream, Failure> {
    let own = Uid::effective();
    seteuid(Uid::from_raw(uid)).map_err(|error| {
        format!("can't act as uid {uid}: {error}\nhint: the benchmarks need root, for who asks and who approves are two accounts")
    })?;
    setfsuid(own);
    let stream = std::os::unix::net::UnixStream::connect(path);
    seteuid(own)?;
    let stream = stream.map_err(|error| format!("`{}`: {error}", path.display()))?;
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream)?)
}

impl Connection {
    /// Sends the bytes of one request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        tokio::time::timeout(LONGEST, self.exchange_unbounded(request))
            .await
            .map_err(|_| format!("no answer within {} s", LONGEST.as_secs()))?
    }

    /// The same without a timer for each request, for the load.
    pub(crate) async fn exchange_unbounded(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.send(request).await?;
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head = Head::of(&self.read[..end])?;
        let mut body = Vec::new();
        self.read.drain(..end + 4);
        match head.length {
            Some(length) => {
                while self.read.len() < length {
                    self.more().await?;
                }
                body.extend(self.read.drain(..length));
            }
            None => loop {
                let line = loop {
                    if let Some(line) = find(&self.read, b"\r\n") {
                        break line;
                    }
                    self.more().await?;
                };
                let text = std::str::from_utf8(&self.read[..line])?;
                let size = usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16)?;
                while self.read.len() < line + 2 + size + 2 {
                    self.more().await?;
                }
                body.extend_from_slice(&self.read[line + 2..line + 2 + size]);
                self.read.drain(..line + 2 + size + 2);
                if size == 0 {
                    break;
                }
            },
        }
        Ok(Answer { status: head.status, body })
    }

    /// Sends a request, and reads the head of an answer whose body never ends.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.send(request).await?;
        while find(&self.read, b"\r\n\r\n").is_none() {
            tokio::time::timeout(LONGEST, self.more())
                .await
                .map_err(|_| format!("no answer within {} s", LONGEST.as_secs()))??;
        }
        let status = Head::of(&self.read)?.status;
        if status == 200 { Ok(()) } else { Err(format!("answer {status}").into()) }
    }

    /// Reads until the server closes or resets the connection.
    pub(crate) async fn until_closed(&mut self) {
        while let Ok(Ok(())) = tokio::time::timeout(LONGEST, self.more()).await {
            self.read.clear();
        }
    }

    /// Sends a request for a stream, and reads until the server closes the connection. Returns how many bytes came after the
    /// head of the answer.
    pub(crate) async fn stream(&mut self, request: &[u8]) -> Result<usize, Failure> {
        self.begin_stream(request).await?;
        let mut bytes = std::mem::take(&mut self.read).len();
        while let Ok(Ok(())) = tokio::time::timeout(LONGEST, self.more()).await {
            bytes += std::mem::take(&mut self.read).len();
        }
        Ok(bytes)
    }

    /// Sends a request for a stream, and reads the head of the answer.
    pub(crate) async fn begin_stream(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.send(request).await?;
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end;
            }
            tokio::time::timeout(LONGEST, self.more())
                .await
                .map_err(|_| format!("no answer within {} s", LONGEST.as_secs()))??;
        };
        let status = Head::of(&self.read[..end])?.status;
        if status != 101 {
            return Err(format!("answer {status} instead of a stream").into());
        }
        self.read.drain(..end + 4);
        Ok(())
    }

    /// Sends bytes and reads nothing.
    pub(crate) async fn send_only(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.send(bytes).await
    }

    fn is_handshaking(&self) -> bool {
        matches!(&self.stream, Stream::Tls { session, .. } if session.is_handshaking())
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        match &mut self.stream {
            Stream::Socket(stream) => stream.write_all(request).await?,
            Stream::Tls { tcp, session, out } => {
                session.writer().write_all(request)?;
                flush(tcp, session, out).await?;
            }
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match &mut self.stream {
            Stream::Socket(stream) => {
                let count = stream.read(&mut self.chunk).await?;
                if count == 0 {
                    return Err("the server closed the connection".into());
                }
                self.read.extend_from_slice(&self.chunk[..count]);
            }
            Stream::Tls { tcp, session, out } => {
                flush(tcp, session, out).await?;
                let count = tcp.read(&mut self.chunk).await?;
                if count == 0 {
                    return Err("the server closed the connection".into());
                }
                let mut arrived = &self.chunk[..count];
                while !arrived.is_empty() {
                    session.read_tls(&mut arrived)?;
                    session.process_new_packets()?;
                    let mut clear = [0; 16 * 1024];
                    loop {
                        match session.reader().read(&mut clear) {
                            Ok(0) => break,
                            Ok(count) => self.read.extend_from_slice(&clear[..count]),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                flush(tcp, session, out).await?;
            }
        }
        Ok(())
    }
}

async fn flush(tcp: &mut TcpStream, session: &mut ClientConnection, out: &mut Vec<u8>) -> Result<(), Failure> {
    while session.wants_write() {
        session.write_tls(out)?;
    }
    if !out.is_empty() {
        tcp.write_all(out).await?;
        out.clear();
    }
    Ok(())
}

struct Head {
    status: u16,
    /// None when the body comes in chunks.
    length: Option<usize>,
}

impl Head {
    fn of(bytes: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(bytes)?;
        let status = text.get(9..12).ok_or("no HTTP status line")?.parse()?;
        let mut length = Some(0);
        for line in text.split("\r\n").skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = None;
            }
        }
        Ok(Self { status, length })
    }
}

/// The bytes of one request with a JSON body, or without one.
pub(crate) fn request(method: &str, path: &str, body: Option<&serde_json::Value>) -> Vec<u8> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{kind}content-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
