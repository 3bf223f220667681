//! `jitd`, the daemon and its administration: arguments, configuration, and what each verb prints.
//!
//! stdout is the result, stderr is everything else. Exit codes: 0 done, 1 our failure, 2 usage or a
//! configuration that can't be meant, 3 the policy's own tests failed or its answer is no. `serve` runs until SIGTERM or SIGINT.

mod policy;
mod serve;

use std::io::{BufReader, IsTerminal, Write, stdin, stdout};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use jitd::broker::Site;
use jitd::ca::store;
use jitd::check::{self, Finding, Verdict};
use jitd::config::{ClusterConfig, Config, Faults};
use jitd::grant::request::ClusterName;
use jitd::manifest;
use jitd::trail;

#[derive(Parser)]
#[command(name = "jitd", version, about = "Approval-gated, minutes-long client certificates for Kubernetes")]
struct Arguments {
    /// The configuration.
    #[arg(long, short, global = true, default_value = "/etc/jitd/config.yaml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until SIGTERM; SIGHUP reads the policy and the guardrails again.
    Serve,
    /// Say everything that is wrong with the configuration and the policy, or with a cluster; exit code 3 when a
    /// test of the policy's own fails.
    Check {
        /// Ask the cluster of this name, or every one, whether it is as `jitd manifest` has it; needs the authority's key.
        #[arg(long, value_name = "NAME", num_args = 0..=1)]
        cluster: Option<Option<String>>,
        /// How what was found in a cluster is printed.
        #[arg(long, short, default_value = "text", value_enum, requires = "cluster")]
        output: Output,
    },
    /// Make a certificate authority for every cluster of the configuration that has none.
    Init {
        /// Life of the issuing certificate in days.
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        issuing_days: u16,
        /// Life of the root certificate in years.
        #[arg(long, default_value_t = 10, value_name = "YEARS", value_parser = clap::value_parser!(u16).range(1..=30))]
        root_years: u16,
    },
    /// Look at a cluster's certificate authority, or renew it.
    Ca {
        #[command(subcommand)]
        verb: CaVerb,
    },
    /// Print what an administrator applies to the cluster: `jitd manifest CLUSTER | kubectl apply -f -`.
    Manifest {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Test, explain and compare policies; no daemon and no cluster is asked.
    Policy {
        #[command(subcommand)]
        verb: policy::PolicyVerb,
    },
    /// Check or export the trail.
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum CaVerb {
    /// Show what there is and how long it lasts.
    Show {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Make a new issuing certificate with the root key; the daemon takes it up by itself.
    Renew {
        /// The cluster's name in the configuration.
        cluster: String,
        /// The root key, when it does not lie in the authority's folder.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
        /// Life of the issuing certificate in days.
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        issuing_days: u16,
    },
    /// Print a request for an issuing certificate, to be signed by your own PKI.
    Csr {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Take the signed issuing certificate, with everything above it up to the root.
    Import {
        /// The cluster's name in the configuration.
        cluster: String,
        /// The chain in PEM, issuing certificate first.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum AuditVerb {
    /// Check every line, its place in the chain, and that it may follow the ones before it.
    Verify {
        /// Exported lines instead of this host's trail, `-` for stdin; needs no configuration.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print every line as it is stored.
    Export,
}

/// How a verb failed: with an exit code and what stderr says.
enum Failure {
    /// The files or the words of the command are not right.
    Usage(String),
    /// We could not do it.
    Ours(String),
    /// It was done, and the answer is no; the result says it.
    No,
}

impl Failure {
    /// What stderr says; nothing where the result says it.
    fn why(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Ours(message) => message,
            Self::No => "",
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Ours(error.to_string())
    }
}

/// The clock of the host; everything below `main` gets it, or a moment, from here.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
const CLOCK: fn() -> Timestamp = Timestamp::now;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.verb {
        Verb::Serve => read(&arguments.config).and_then(serve::serve),
        Verb::Check { cluster: None, .. } => check(&arguments.config),
        Verb::Check { cluster: Some(name), output } => check_clusters(&arguments.config, name.as_deref(), *output),
        Verb::Init { issuing_days, root_years } => init(&arguments.config, *issuing_days, *root_years),
        Verb::Ca { verb } => ca(&arguments.config, verb),
        Verb::Manifest { cluster } => print_manifest(&arguments.config, cluster),
        Verb::Policy { verb } => policy::policy(&arguments.config, verb),
        Verb::Audit { verb: AuditVerb::Verify { file } } => verify(&arguments.config, file.as_deref()),
        Verb::Audit { verb: AuditVerb::Export } => {
            read(&arguments.config).and_then(|config| Ok(trail::export(&config.trail(), stdout().lock())?))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => told(&message, 2),
        Err(Failure::Ours(message)) => told(&message, 1),
        Err(Failure::No) => ExitCode::from(3),
    }
}

fn told(message: &str, code: u8) -> ExitCode {
    eprintln!("jitd: {message}");
    ExitCode::from(code)
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(|Faults(faults)| Failure::Usage(faults.join("\njitd: ")))
}

fn check(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let results = policy::tested(&config.policy);
    let mut failed = 0;
    for result in results.iter().filter(|result| !result.passed) {
        failed += 1;
        eprintln!("jitd: {}", policy::failed_line(&config.policy_files.policy, result));
    }
    if failed > 0 {
        eprintln!("jitd: cases of the policy that fail: {failed} of {}; hint: `jitd policy test`", results.len());
        return Err(Failure::No);
    }
    let names: Vec<&str> = config.clusters.keys().map(ClusterName::as_str).collect();
    let cases = if results.is_empty() { String::new() } else { format!(", {} cases pass", results.len()) };
    println!("{}: ok, {} rules for {}{cases}", path.display(), config.policy.len(), names.join(", "));
    Ok(())
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut out = stdout().lock();
    match writeln!(out, "{}", serde_json::to_string_pretty(value)?) {
        // A reader that has gone away, as `head` does, is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn check_clusters(path: &Path, only: Option<&str>, output: Output) -> Result<(), Failure> {
    let config = read(path)?;
    let chosen: Vec<_> = match only {
        Some(cluster) => vec![cluster_named(&config, cluster)?],
        None => config.clusters.iter().collect(),
    };
    let host = config.host.as_str();
    let runtime = runtime()?;
    let mut findings: Vec<Finding> = Vec::new();
    for (name, settings) in chosen {
        eprintln!("cluster {name}: asking {}", settings.server);
        let found = runtime.block_on(async {
            match serve::site(name, settings, host, CLOCK()) {
                Ok(Site { cluster, .. }) => check::check(&cluster, &config.policy, host, CLOCK).await,
                Err(failure) => vec![Finding::unusable(name, failure.why())],
            }
        });
        if matches!(output, Output::Text) {
            for finding in &found {
                println!("{finding}");
            }
        }
        findings.extend(found);
    }
    if matches!(output, Output::Json) {
        print_json(&findings)?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fault).count() {
        0 => Ok(()),
        faults => Err(Failure::Ours(format!("faults found: {faults}"))),
    }
}

fn init(path: &Path, issuing_days: u16, root_years: u16) -> Result<(), Failure> {
    let config = read(path)?;
    private_folder(&config.state)?;
    for (name, cluster) in &config.clusters {
        if cluster.authority.join("root.crt").exists() {
            eprintln!("cluster {name}: has its authority already");
            continue;
        }
        if let Some(parent) = cluster.authority.parent() {
            private_folder(parent)?;
        }
        let shown = store::init(&cluster.authority, name, issuing_days, root_years, CLOCK())?;
        let root = cluster.authority.join("root.crt");
        println!("{}", root.display());
        eprintln!("cluster {name}: made its authority, root certificate SHA-256 {}", shown.root.sha256);
        eprintln!("  1. let the API server trust it: add {} to the file of its --client-ca-file", root.display());
        eprintln!(
            "  2. give the daemon its rights: jitd --config {} manifest {name} | kubectl apply -f -",
            path.display()
        );
        eprintln!("  3. see that all of it is in place: jitd --config {} check --cluster {name}", path.display());
        eprintln!(
            "  4. move {} off this host; `jitd ca renew --root-key` needs it again in {issuing_days} days",
            cluster.authority.join("root.key").display()
        );
    }
    Ok(())
}

fn ca(path: &Path, verb: &CaVerb) -> Result<(), Failure> {
    let config = read(path)?;
    let of = |cluster: &str| -> Result<(ClusterName, PathBuf), Failure> {
        let (name, found) = cluster_named(&config, cluster)?;
        Ok((name.clone(), found.authority.clone()))
    };
    let now = CLOCK();
    let shown = match verb {
        CaVerb::Show { cluster } => store::show(&of(cluster)?.1, now)?,
        CaVerb::Renew { cluster, root_key, issuing_days } => {
            let (name, folder) = of(cluster)?;
            store::renew(&folder, &name, root_key.as_deref(), *issuing_days, now)?
        }
        CaVerb::Csr { cluster } => {
            let (name, folder) = of(cluster)?;
            print!("{}", store::csr(&folder, &name)?);
            eprintln!("let your PKI sign this as a CA with path length 0, then `jitd ca import {name} CHAIN`");
            return Ok(());
        }
        CaVerb::Import { cluster, file } => {
            let chain = std::fs::read_to_string(file)
                .map_err(|error| Failure::Usage(format!("`{}`: {error}", file.display())))?;
            store::import(&of(cluster)?.1, &chain, now)?
        }
    };
    let mut out = stdout().lock();
    let certificates = [("issuing", &shown.issuing)]
        .into_iter()
        .chain(shown.between.iter().map(|facts| ("between", facts)))
        .chain([("root", &shown.root)]);
    for (what, facts) in certificates {
        writeln!(out, "{what:<8} {}", facts.subject)?;
        writeln!(out, "         valid   {} to {}", facts.not_before, facts.not_after)?;
        writeln!(out, "         sha256  {}", facts.sha256)?;
    }
    if shown.root_key_is_here {
        eprintln!("the root key is on this host\nhint: move it away; only `jitd ca renew` needs it");
    }
    if shown.key_is_pending {
        eprintln!("a key waits for its certificate\nhint: `jitd ca import` takes the answer of your PKI");
    }
    if !shown.root_file_is_current {
        eprintln!(
            "`root.crt` is not the root of the issuing certificate\nhint: `jitd ca import` again, with the whole chain"
        );
    }
    Ok(())
}

fn print_manifest(path: &Path, cluster: &str) -> Result<(), Failure> {
    let config = read(path)?;
    let (name, _) = cluster_named(&config, cluster)?;
    print!("{}", manifest::printed(&manifest::objects(&config.policy, name, config.host.as_str())));
    Ok(())
}

fn cluster_named<'a>(config: &'a Config, cluster: &str) -> Result<(&'a ClusterName, &'a ClusterConfig), Failure> {
    config.clusters.iter().find(|(name, _)| name.as_str() == cluster).ok_or_else(|| {
        let names: Vec<&str> = config.clusters.keys().map(ClusterName::as_str).collect();
        let cluster = cluster.escape_default();
        Failure::Usage(format!("no cluster `{cluster}` in the configuration; there is {}", names.join(", ")))
    })
}

fn verify(path: &Path, file: Option<&Path>) -> Result<(), Failure> {
    let report = match file {
        Some(file) if file == Path::new("-") => trail::verify_lines(stdin().lock(), file)?,
        Some(file) => {
            let lines =
                std::fs::File::open(file).map_err(|error| Failure::Usage(format!("`{}`: {error}", file.display())))?;
            trail::verify_lines(BufReader::new(lines), file)?
        }
        None => {
            let watched = std::io::stderr().is_terminal();
            trail::verify_file(&read(path)?.trail(), |events| {
                if watched {
                    eprint!("\r{events} events");
                }
            })?
        }
    };
    let trail::Report { events, grants, open, reviews_owed, head } = report;
    println!("the chain holds: events {events}, grants {grants}, open {open}, reviews owed {reviews_owed}");
    println!("head {head}");
    Ok(())
}

fn private_folder(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        return Err(Failure::Ours(format!("`{path}` is open to others\nhint: chmod 700 {path}")));
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // The one provider in the tree; a second install can't happen, and would change nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(16).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }
}
