//! The program: its arguments, its log, its socket, and everything assembled.

mod manual;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use jit_frontend::certificate::Certificate;
use jit_frontend::config::Config;
use jit_frontend::listener::{CONNECTIONS, CONNECTIONS_OF_ONE, Listener};
use jit_frontend::logout::TURNS;
use jit_frontend::places::Places;
use jit_frontend::routes::Routes;
use jit_frontend::sessions::Sessions;
use jit_frontend::tokens::Tokens;
use jit_host::hint::Hint;
use libsystemd::daemon::{NotifyState, notify};
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// Lets people of identity providers call jitd over TLS
#[derive(Parser)]
#[command(name = "jit-frontend", version)]
struct Arguments {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/jit-frontend/config.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the front end
    Serve,
    /// Read the configuration and the certificate that it names, and say what is wrong with them
    Check,
    /// Print the line that people log in with: the address, and the fingerprint of the certificate to accept
    Invite,
    /// Print the manual page
    #[command(hide = true)]
    Man {
        /// Print it as Markdown
        #[arg(long)]
        markdown: bool,
    },
}

/// Why the program ends, and with which exit code.
enum Failure {
    /// The configuration cannot be used.
    Configuration(String),
    /// Everything else.
    Other(String),
}

/// The clock of the host; everything below `main` gets it, or a moment, from here.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
const CLOCK: fn() -> Timestamp = Timestamp::now;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Serve => serve(&arguments.config),
        Verb::Check => check(&arguments.config),
        Verb::Invite => invite(&arguments.config),
        Verb::Man { markdown } => {
            let page = manual::page();
            print(&if markdown { page.markdown() } else { page.render() })
        }
    };
    let (why, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Other(why)) => (why, 1),
        Err(Failure::Configuration(why)) => (why, 2),
    };
    // Whoever started it may have closed its stderr.
    let _ = writeln!(std::io::stderr(), "error: {why}");
    ExitCode::from(code)
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Other(format!("stdout: {error}")))
}

fn other(error: &dyn std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(|error| Failure::Configuration(error.in_full().to_string()))
}

fn check(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    Certificate::check(&config, CLOCK()).map_err(|error| Failure::Configuration(error.to_string()))?;
    let providers: Vec<&str> = config.providers.iter().map(jit_identity::Provider::issuer).collect();
    print(&format!("{}: ok, for {}\n", path.display(), providers.join(", ")))
}

/// Prints what cannot be found out by connecting: which certificate is the right one.
fn invite(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let fingerprint = Certificate::fingerprint(&config).map_err(|error| other(&error))?;
    print(&format!("jit-login login {} --root sha256:{fingerprint}\n", config.server))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("JIT_FRONTEND_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let config = read(path)?;
    let certificate = Certificate::prepare(&config, CLOCK).map_err(|error| other(&error))?;
    // Before there are threads: it removes environment variables.
    let handed = ListenFd::from_env().take_tcp_listener(0).map_err(|error| other(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| other(&error))?;
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).map_err(|error| other(&error))?;
        let socket = socket(handed, &config).await?;
        let routes = Arc::new(Routes {
            server: config.server.clone(),
            daemon: config.daemon.clone(),
            session: config.session,
            scopes: config.scopes.clone(),
            tokens: Tokens::new(config.providers.clone()),
            sessions: Sessions::default(),
            turns: Semaphore::new(TURNS),
            refusals: parking_lot::Mutex::default(),
            clock: CLOCK,
        });
        let places = Places::new(CONNECTIONS, CONNECTIONS_OF_ONE);
        let resolver = Arc::clone(&certificate);
        let listener = Listener::new(routes, resolver, places).map_err(|error| other(&error))?;
        tracing::info!(server = config.server, "ready");
        // Without systemd nobody listens.
        let _ = notify(false, &[NotifyState::Ready]);
        tokio::select! {
            () = Arc::new(listener).serve(socket) => {}
            () = certificate.follow() => {}
            _ = stop.recv() => {}
        }
        tracing::info!("stopping");
        Ok(())
    })
}

/// The socket that systemd handed over, or one at `listen`.
async fn socket(handed: Option<std::net::TcpListener>, config: &Config) -> Result<TcpListener, Failure> {
    let cannot = |error: std::io::Error| Failure::Other(format!("cannot use the socket from systemd: {error}"));
    if let Some(handed) = handed {
        handed.set_nonblocking(true).map_err(cannot)?;
        return TcpListener::from_std(handed).map_err(cannot);
    }
    let Some(address) = config.listen else {
        let why = "systemd handed over no socket, and the configuration has no `listen`";
        return Err(Failure::Configuration(why.to_owned()));
    };
    TcpListener::bind(address).await.map_err(|error| Failure::Other(format!("cannot listen at {address}: {error}")))
}
