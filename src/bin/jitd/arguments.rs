//! The command line of `jitd` as people write it.
//!
//! What is here is an interface: a verb or a flag that was released keeps its meaning. `main` reads it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use jitd::manual::Shell;

use crate::manual::Topic;
use crate::policy::PolicyVerb;

#[derive(Parser)]
#[command(name = "jitd", version, about = "Approval-gated, minutes-long client certificates for Kubernetes")]
pub(crate) struct Arguments {
    /// The configuration.
    #[arg(long, short, global = true, default_value = "/etc/jitd/config.yaml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
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
        verb: PolicyVerb,
    },
    /// Check or export the trail.
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Print what a shell reads to complete the words of `jitd`.
    Completion {
        /// For which shell.
        shell: Shell,
    },
    /// Print the source of a manual page.
    #[command(hide = true)]
    Man {
        /// Which page.
        #[arg(default_value = "jitd", value_enum)]
        page: Topic,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
pub(crate) enum CaVerb {
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
pub(crate) enum AuditVerb {
    /// Check every line, its place in the chain, and that it may follow the ones before it.
    Verify {
        /// Exported lines instead of this host's trail, `-` for stdin; needs no configuration.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print every line as it is stored.
    Export,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }
}
