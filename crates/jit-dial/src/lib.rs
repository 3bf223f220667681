//! How an API server is reached, and as whom: one context of a kubeconfig.
//!
//! ```text
//!  kubeconfig ─► kubeconfig.rs (as it is written) ─► settings.rs (as it is meant) ─► dial.rs ─► a TLS connection
//!                                                          └─► plugin.rs ─► Authorization, or a certificate
//! ```
//! Requests and upgrades, of the gateway and of the daemon, are dialled here, and differ only in the protocol that TLS
//! offers. Files are read again while the program runs: a certificate, a token or an authority that is replaced is used
//! by the next connection. The last kubeconfig that could be used as a whole stays in use while its files are half
//! written, or no longer fit each other.
//!
//! It must never follow a kubeconfig to another API server than the one that it was created for, connect without TLS, or
//! let a key, token or password reach a log.

mod blocking;
mod dial;
mod exchange;
mod kubeconfig;
mod outbound;
mod pinned;
mod plugin;
mod proxy;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use hyper_util::client::legacy::connect::{Connected, Connection};
use parking_lot::{Mutex, RwLock};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use jit_host::hint::Hint;

use self::blocking::Blocking;
pub use self::dial::{DialError, notice_silence};
pub use self::exchange::{ExchangeError, Limits};
pub use self::kubeconfig::KubeconfigError;
pub use self::outbound::Outbound;
pub use self::pinned::{Pinned, provider};
pub use self::plugin::PluginError;
use self::proxy::Environment;
use self::settings::{Identity, Settings, Source};

/// How often the files are read again at most: a gateway asks for the token with every request.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How long reading the files may take, before the previous contents are used instead.
const READ: Duration = Duration::from_secs(2);
/// How long the other callers wait for the one that reads, so that all of them use a token that was just replaced, and
/// none is held up by a file system that hangs.
const READ_BY_ANOTHER: Duration = Duration::from_millis(200);

/// An API server, and our credential for it. Cheap to clone; all clones share what was read.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

struct Inner {
    source: Source,
    /// The URL and `host[:port]`, which never change.
    url: String,
    authority: String,
    settings: RwLock<Arc<Settings>>,
    /// When the files were last read, and what was wrong with them then.
    read: Mutex<(Instant, Option<String>)>,
    reader: Blocking,
    /// Held while the files are read.
    reading: tokio::sync::Mutex<()>,
    resolver: Blocking,
}

/// What is spoken on a connection: ALPN offers exactly this (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`, the only one that can be upgraded to a WebSocket or SPDY.
    Http1,
    /// `h2`.
    Http2,
}

impl Protocol {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// A TLS connection to an API server whose certificate is verified.
pub struct Stream(TlsStream<Box<dyn dial::Carrier>>);

/// The names of the contexts of a kubeconfig, in its order. Blocks while it reads.
///
/// # Errors
/// [`KubeconfigError`] if it cannot be read, or is none.
pub fn contexts(kubeconfig: &Path) -> Result<Vec<String>, KubeconfigError> {
    let contents = Zeroizing::new(jit_host::files::read_configuration(kubeconfig)?);
    kubeconfig::contexts(kubeconfig, &contents)
}

impl ApiServer {
    /// Reads a context of a kubeconfig, the current one if `context` is `None`, with all files that it names. Blocks while
    /// it reads. Connects to nothing and runs no plugin yet.
    ///
    /// # Errors
    /// [`KubeconfigError`] if anything in it cannot be used, or is not supported.
    pub fn read(kubeconfig: &Path, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let environment = Environment::of_process();
        Self::new(Source { kubeconfig: kubeconfig.to_owned(), context: context.map(str::to_owned), environment })
    }

    fn new(source: Source) -> Result<Self, KubeconfigError> {
        let settings = Settings::read(&source, None)?;
        if let Some(path) = &settings.exposed {
            let path = path.display();
            tracing::warn!(%path, "everybody on this host can read this file, which has our credential for an API server; chmod o-r it");
        }
        Ok(Self(Arc::new(Inner {
            source,
            url: settings.server.url.clone(),
            authority: settings.server.authority.clone(),
            settings: RwLock::new(Arc::new(settings)),
            read: Mutex::new((Instant::now(), None)),
            reader: Blocking::new(1),
            reading: tokio::sync::Mutex::default(),
            resolver: Blocking::new(4),
        })))
    }

    /// The URL as it is written in the kubeconfig, `https://host:port`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.url
    }

    /// `host[:port]` of the URL, for `Host` and `:authority`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    /// A new TLS connection that speaks `protocol`, through the proxy if there is one. Must be called inside a tokio
    /// runtime. Every step has a deadline; a connection whose peer falls silent breaks within 45 s.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn connect(&self, protocol: Protocol) -> Result<Stream, DialError> {
        let settings = self.settings().await;
        let certificate = certificate(&settings).await?;
        dial::connect(&settings, certificate, protocol, &self.0.resolver).await
    }

    /// The value of `Authorization` for a request, marked as sensitive; `None` if we are known by a certificate, or not at
    /// all. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`DialError::Plugin`] if there is a credential plugin and it gives no credential.
    pub async fn authorization(&self) -> Result<Option<HeaderValue>, DialError> {
        match &self.settings().await.identity {
            Identity::Nobody | Identity::Certificate(_) => Ok(None),
            Identity::Token(value) => Ok(Some(value.clone())),
            Identity::Plugin(plugin) => Ok(plugin.credential().await?.token.clone()),
        }
    }

    /// Why a call waits that has waited too long, if it waits for a credential plugin: a plugin may take longer than a call.
    #[must_use]
    pub fn awaited(&self) -> Option<PluginError> {
        match &self.0.settings.read().identity {
            Identity::Plugin(plugin) => plugin.awaited(),
            Identity::Nobody | Identity::Certificate(_) | Identity::Token(_) => None,
        }
    }

    /// To be called when the API server answered 401: it does not know our credential, although that has not expired. A
    /// credential plugin then runs again for the next connection or request, at most once in ten seconds.
    pub fn refused(&self) {
        if let Identity::Plugin(plugin) = &self.0.settings.read().identity {
            plugin.refused();
        }
    }

    /// What the files say now, or what they said when they could last be used. One caller reads them, and the others wait
    /// for it, but not for long.
    async fn settings(&self) -> Arc<Settings> {
        let inner = &self.0;
        let latest = || Arc::clone(&inner.settings.read());
        let is_due = || inner.read.lock().0.elapsed() >= READ_EVERY;
        if !is_due() {
            return latest();
        }
        let Ok(_reading) = timeout(READ_BY_ANOTHER, inner.reading.lock()).await else { return latest() };
        let current = latest();
        if !is_due() {
            return current;
        }
        let (again, before) = (Arc::clone(inner), Arc::clone(&current));
        let read = inner.reader.run(READ, move || {
            let plugin = match &before.identity {
                Identity::Plugin(plugin) => Some(plugin),
                _ => None,
            };
            Settings::read(&again.source, plugin).map_err(|why| why.on_one_line())
        });
        let found = match read.await {
            Ok(Ok(found)) if found.server != current.server => {
                Err(format!("it now names {}, but this program was started for {}", found.server.url, inner.url))
            }
            Ok(found) => found,
            Err(why) => Err(why.to_string()),
        };
        let wrong = found.as_ref().err().cloned();
        let mut read = inner.read.lock();
        let kubeconfig = inner.source.kubeconfig.display();
        match (&wrong, &read.1) {
            (Some(wrong), before) if before.as_ref() != Some(wrong) => {
                tracing::warn!(%kubeconfig, error = wrong, "the kubeconfig or a file of it cannot be used; the previous contents stay in use");
            }
            (None, Some(_)) => tracing::info!(%kubeconfig, "the kubeconfig can be used again"),
            _ => {}
        }
        *read = (Instant::now(), wrong);
        match found {
            Ok(found) if found.digest != current.digest => {
                tracing::info!(%kubeconfig, "using the new contents of the kubeconfig and its files");
                let found = Arc::new(found);
                *inner.settings.write() = Arc::clone(&found);
                found
            }
            _ => current,
        }
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiServer").field(&self.0.url).finish()
    }
}

async fn certificate(settings: &Settings) -> Result<Option<Arc<CertifiedKey>>, PluginError> {
    match &settings.identity {
        Identity::Nobody | Identity::Token(_) => Ok(None),
        Identity::Certificate(key) => Ok(Some(Arc::clone(key))),
        Identity::Plugin(plugin) => Ok(plugin.credential().await?.certificate.clone()),
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// So that a client of hyper-util can keep it in its pool.
impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
