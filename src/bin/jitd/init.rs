//! `jitd init`: the first run. It writes the files that the daemon needs, creates the authorities, and lists the remaining
//! steps.
//!
//! ```text
//!  flags, questions ─► answers ─► drafts, read as the daemon reads them ─► files ─► authorities ─► remaining steps
//! ```
//! It does not change existing files, and writes each file completely or not at all. From an administrator's kubeconfig it
//! takes the server and its CA, never the credential. `main.rs` calls it.

mod answers;
mod distribution;
mod files;
mod managed;

use std::io::IsTerminal;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use nix::unistd::{Gid, Uid, User};
use serde::Serialize;
use utoipa::ToSchema;

use jitd::ca::{KeyPlace, store};
use jitd::config::Config;
use jitd::files::{new_folder, private_folder};
use jitd::hint::page;
use jitd::placeholder;
use jitd::service;

use crate::print::{self, Output, say};
use crate::{CLOCK, Failure, not_meant};

use self::answers::Answers;
use self::distribution::Distribution;
use self::files::Fate;
use self::managed::Provider;

/// The flags; on a terminal, `init` asks for missing values.
#[derive(Args)]
pub(crate) struct Wanted {
    /// The cluster's name, as people will type it.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The URL of its API server.
    #[arg(long, value_name = "URL", conflicts_with = "kubeconfig")]
    server: Option<String>,
    /// The CA certificate of the API server, in PEM.
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    server_ca: Option<PathBuf>,
    /// A kubeconfig to read the server and its CA from; the credential in it is not used.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of that kubeconfig, if it is not the current one.
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// The Kubernetes distribution, for the instructions about trust; for eks, gke and aks a set-up behind jit-gateway.
    #[arg(long, value_enum)]
    distribution: Option<Distribution>,
    /// This bastion's name [default: the host's name].
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The group on this host that may request access.
    #[arg(long, value_name = "GROUP")]
    requesters: Option<String>,
    /// The group on this host that approves requests.
    #[arg(long, value_name = "GROUP")]
    approvers: Option<String>,
    /// A namespace that may be requested; may be repeated.
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// A ClusterRole that may be requested, or role/NAME for a Role of the namespace; may be repeated.
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// The folder of the audit trail and the authorities [default: /var/lib/jitd].
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// The socket that the daemon listens on [default: /run/jitd/api.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Validity of the issuing certificate in days.
    #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
    issuing_days: u16,
    /// Validity of the root certificate in years.
    #[arg(long, default_value_t = 10, value_name = "YEARS", value_parser = clap::value_parser!(u16).range(1..=30))]
    root_years: u16,
    /// Output format.
    #[arg(long, short, default_value = "text", value_enum)]
    output: Output,
}

/// What was created and what existed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Made {
    #[schema(value_type = String)]
    config: PathBuf,
    files: Vec<files::FileOutcome>,
    clusters: Vec<MadeAuthority>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MadeAuthority {
    cluster: String,
    authority: Fate,
    #[schema(value_type = String)]
    root_certificate: PathBuf,
    root_sha256: String,
    #[schema(value_type = String, format = DateTime)]
    issuing_ends: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    root_key: Option<PathBuf>,
    distribution: &'static str,
    trust: Vec<String>,
}

pub(crate) fn init(path: &Path, wanted: &Wanted) -> Result<(), Failure> {
    service::keep_memory_private()?;
    let account = Account::find()?;
    let (told, distribution) = if path.symlink_metadata().is_ok() {
        say!("{} exists and is unchanged", path.display());
        (vec![files::FileOutcome::left(path)], wanted.distribution.unwrap_or(Distribution::Other))
    } else {
        let answers = Answers::collect(path, wanted)?;
        (files::write(path, &answers, account.as_ref())?, answers.distribution)
    };
    let config = Config::read_with_placeholders(path).map_err(|faults| not_meant(&faults))?;
    if let Some(name) = &wanted.cluster
        && !config.clusters.keys().any(|known| known.as_str() == name)
    {
        let (name, path) = (name.escape_default(), path.display());
        let why = format!("cluster `{name}` is not in `{path}`, which `jitd init` does not change");
        return Err(Failure::usage(why).with_hint(
            "add it under `clusters:` and run `jitd init` again, which creates the authority of every cluster that has none",
        ));
    }
    service_folder(&config.state, account.as_ref())?;
    let made = Made {
        config: path.to_owned(),
        files: told,
        clusters: authorities(&config, wanted, distribution, account.as_ref())?,
    };
    match wanted.output {
        Output::Json => print::json(&made)?,
        Output::Text => {
            for cluster in made.clusters.iter().filter(|cluster| cluster.authority == Fate::Written) {
                print::result(cluster.root_certificate.display().to_string())?;
            }
        }
    }
    tell_what_is_left(path, wanted, &made.clusters, Provider::of(distribution))?;
    Ok(())
}

fn authorities(
    config: &Config,
    wanted: &Wanted,
    distribution: Distribution,
    account: Option<&Account>,
) -> Result<Vec<MadeAuthority>, Failure> {
    let mut made = Vec::new();
    for (name, cluster) in &config.clusters {
        let root = cluster.authority.join(store::ROOT);
        let (fate, shown) = if root.exists() {
            say!("cluster {name}: the authority exists already");
            (Fate::Left, store::show(&cluster.authority, &cluster.key, CLOCK())?)
        } else {
            if let Some(parent) = cluster.authority.parent() {
                service_folder(parent, account)?;
            }
            let shown =
                store::init(&cluster.authority, &cluster.key, name, wanted.issuing_days, wanted.root_years, CLOCK())?;
            say!("cluster {name}: created the authority; SHA-256 of its root certificate: {}", shown.root.sha256);
            if cluster.key != KeyPlace::File {
                say!("cluster {name}: the issuing key is {}; an existing key was used", cluster.key);
            }
            (Fate::Written, shown)
        };
        let key = cluster.authority.join(store::ROOT_KEY);
        made.push(MadeAuthority {
            cluster: name.to_string(),
            authority: fate,
            trust: match Provider::of(distribution) {
                Some(provider) => provider.steps(config.host.as_str(), name.as_str()),
                None => distribution.steps(&root),
            },
            root_certificate: root,
            issuing_ends: shown.issuing.not_after,
            root_sha256: shown.root.sha256,
            root_key: shown.root_key_is_here.then_some(key),
            distribution: distribution.word(),
        });
    }
    Ok(made)
}

/// Lists the steps that only an administrator can do, in order.
fn tell_what_is_left(
    path: &Path,
    wanted: &Wanted,
    clusters: &[MadeAuthority],
    provider: Option<Provider>,
) -> Result<(), Failure> {
    let usual = path == Path::new(USUAL_CONFIG);
    let jitd = if usual { "jitd".to_owned() } else { format!("jitd --config {}", path.display()) };
    let again = wanted.distribution.is_some();
    let mut told = false;
    for cluster in clusters.iter().filter(|cluster| again || cluster.authority == Fate::Written) {
        told = true;
        let name = &cluster.cluster;
        say!("\nnext steps for {name}:");
        let mut steps = Steps(0);
        if provider.is_some() {
            steps.say(format_args!("at the provider, see {}; the gateway needs Kubernetes 1.36:", page("managed.md")));
        } else {
            steps.say(format_args!("make the API server trust the root certificate, see {}:", page("trust.md")));
        }
        for line in &cluster.trust {
            say!("       {line}");
        }
        if provider.is_some() {
            steps.say(format_args!("fill in; `{jitd} check` and jit-gateway refuse what is not filled in:"));
            for line in unfilled(path, name)? {
                say!("       {line}");
            }
            steps.say(format_args!("then give the gateway its files:"));
            let [config, kubeconfig] = managed::gateway_files(name).map(|file| path.with_file_name(file));
            say!("       install -d -m 750 -g jit-gateway /etc/jit-gateway");
            say!("       install -m 640 -g jit-gateway {} /etc/jit-gateway/config.yaml", config.display());
            say!("       install -m 640 -g jit-gateway {} /etc/jit-gateway/{name}.kubeconfig", kubeconfig.display());
        }
        steps.say(format_args!("give the daemon its permissions, as an administrator of the cluster:"));
        say!("       {jitd} manifest {name} | kubectl apply -f -");
        steps.say(format_args!("check the cluster:"));
        say!("       {jitd} check --cluster {name}");
        if let Some(key) = &cluster.root_key {
            steps.say(format_args!("move {} to an offline place;", key.display()));
            say!("     `{jitd} ca renew {name} --root-key FILE` needs it before {}", cluster.issuing_ends);
        }
    }
    if told {
        say!("\nthen on this host:");
        if usual {
            say!("  systemctl enable --now jitd.socket");
            if provider.is_some() {
                say!("  systemctl enable --now jitd-feed.socket jit-gateway.socket jit-gateway.service");
            }
            say!("  gpasswd -a NAME jit-users       # for each requester and approver; they have to log in again");
        } else {
            say!("  {jitd} serve");
        }
        say!("  {jitd} doctor                     # finds what is still wrong, and how to fix it");
    }
    Ok(())
}

/// Numbers the steps.
struct Steps(u8);

impl Steps {
    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        self.0 += 1;
        say!("  {}. {words}", self.0);
    }
}

/// The placeholders in the files of a provider's cluster, with their places.
fn unfilled(path: &Path, cluster: &str) -> Result<Vec<String>, Failure> {
    let [_, of_gateway] = managed::gateway_files(cluster);
    let files =
        [path.to_owned(), path.with_file_name(format!("{cluster}.kubeconfig")), path.with_file_name(of_gateway)];
    let mut lines = Vec::new();
    // A file that is not there was not written by us, or has been installed already.
    for file in files.iter().filter(|file| file.exists()) {
        let text = std::fs::read_to_string(file)?;
        lines.extend(
            placeholder::in_text(&text).map(|found| format!("{}:{}: {}", file.display(), found.line, found.word)),
        );
    }
    Ok(lines)
}

const USUAL_CONFIG: &str = "/etc/jitd/config.yaml";

/// The account that the daemon runs as. Only root can give files to it.
pub(crate) struct Account {
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Its name, as the packages create it.
    pub(crate) const NAME: &str = "jitd";

    fn find() -> Result<Option<Self>, Failure> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        Ok(User::from_name(Self::NAME)?.map(|user| Self { uid: user.uid, gid: user.gid }))
    }
}

/// Creates a private folder, with missing folders above it. Its owner is the owner of the folder above it, or the daemon's
/// account if that folder belongs to root, because the daemon could not enter it otherwise.
fn service_folder(path: &Path, account: Option<&Account>) -> Result<(), Failure> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && above.symlink_metadata().is_err())
        .collect();
    for folder in missing.into_iter().rev() {
        let made = new_folder(folder)?;
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let owner = std::fs::metadata(above)?;
        match account {
            Some(Account { uid, gid }) if owner.uid() == 0 => fchown(&made, Some(uid.as_raw()), Some(gid.as_raw()))?,
            _ if Uid::effective().is_root() && owner.uid() != 0 => {
                fchown(&made, Some(owner.uid()), Some(owner.gid()))?;
            }
            _ => {}
        }
    }
    Ok(private_folder(path)?)
}

/// Whether a user can answer questions.
fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
