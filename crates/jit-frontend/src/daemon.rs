//! Connections to `jitd`: of one caller, with the introduction and then that caller's requests; or with a logout.
//!
//! The introduction holds for the whole connection, so a connection is never shared between sessions. Only this module
//! writes one, and only from a [`Session`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jit_core::grant::login::ProviderLogout;
use jit_core::grant::request::{PersonName, ProviderLogin};
use jit_wire::frontend::{self, FromDaemon, FromFrontend, Introduction, VERSION};
use jit_wire::{ErrorCode, Problem, feed};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::sessions::Session;

/// How long `jitd` may take to accept a connection and to answer the introduction: it may ask the host's name service, which
/// has 3 s.
const WELCOMED_WITHIN: Duration = Duration::from_secs(6);

/// How long `jitd` may take to end the access of somebody; it goes on after that.
const LOGGED_OUT_WITHIN: Duration = Duration::from_secs(60);

/// A connection to the daemon.
pub struct Connection {
    /// Whose it is.
    pub session: Arc<Session>,
    sender: SendRequest<Full<Bytes>>,
}

/// Who is introduced.
pub struct Caller {
    /// The login, with the identity.
    pub login: ProviderLogin,
    /// What the person is called.
    pub name: PersonName,
    /// The groups.
    pub groups: Vec<String>,
    /// The end of the session.
    pub until: Timestamp,
    /// The address of the client.
    pub address: String,
}

/// Introduces a caller, and returns the name by which `jitd` knows them, and a way to send their requests.
///
/// # Errors
/// The problem that `jitd` answered, or that it cannot be reached.
pub async fn introduce(socket: &Path, caller: Caller) -> Result<(String, SendRequest<Full<Bytes>>), Problem> {
    let Caller { login, name, groups, until, address } = caller;
    let introduction = Introduction { version: VERSION, login, name, groups, until, address };
    let (stream, answer) = say(socket, &FromFrontend::Introduction(introduction), WELCOMED_WITHIN).await?;
    let name = match answer {
        FromDaemon::Welcome { name } => name,
        FromDaemon::Refused { problem } => return Err(problem),
        FromDaemon::LoggedOut { .. } => return Err(unreachable("it answers something else")),
    };
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error.to_string()))?;
    // It ends when the sender is dropped; the sender also gets its errors.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((name, sender))
}

/// Says that a login is over, and returns how many grants end by that.
///
/// # Errors
/// The problem that `jitd` answered, or that it cannot be reached.
pub async fn log_out(socket: &Path, logout: ProviderLogout) -> Result<usize, Problem> {
    match say(socket, &FromFrontend::Logout { version: VERSION, logout }, LOGGED_OUT_WITHIN).await? {
        (_, FromDaemon::LoggedOut { grants }) => Ok(grants),
        (_, FromDaemon::Refused { problem }) => Err(problem),
        (_, FromDaemon::Welcome { .. }) => Err(unreachable("it answers something else")),
    }
}

async fn say(socket: &Path, document: &FromFrontend, within: Duration) -> Result<(UnixStream, FromDaemon), Problem> {
    let answered = timeout(within, async {
        let mut stream = UnixStream::connect(socket).await?;
        feed::write(&mut stream, document).await?;
        let answer: FromDaemon = frontend::read(&mut stream).await?;
        Ok::<_, std::io::Error>((stream, answer))
    });
    match answered.await {
        Ok(Ok(answered)) => Ok(answered),
        Ok(Err(error)) => Err(unreachable(&error.to_string())),
        Err(_) => Err(unreachable("it does not answer")),
    }
}

impl Connection {
    /// Connects for a session.
    ///
    /// # Errors
    /// See [`introduce`].
    pub async fn open(socket: &Path, session: Arc<Session>, address: String) -> Result<Self, Problem> {
        let caller = Caller {
            login: session.login.clone(),
            name: session.name.clone(),
            groups: session.groups.clone(),
            until: session.until,
            address,
        };
        let (_, sender) = introduce(socket, caller).await?;
        Ok(Self { session, sender })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// With the request, if `jitd` closed the connection before it was sent; otherwise the problem.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Result<Request<Full<Bytes>>, Problem>> {
        if self.sender.ready().await.is_err() {
            return Err(Ok(request));
        }
        self.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => Ok(request),
            None => Err(unreachable(&format!("the connection broke: {}", error.error()))),
        })
    }
}

fn unreachable(why: &str) -> Problem {
    tracing::warn!(why, "no answer from jitd");
    Problem::new(ErrorCode::DaemonUnreachable, "the front end got no answer from jitd")
        .hint("look at the grant before you repeat a change; ask an administrator if it stays so")
}
