//! The command line of `jitd` as people write it.
//!
//! What is here is an interface: a verb or a flag that was released keeps its meaning. `main` reads it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use jit_manual::Shell;

use crate::operate::{AdminSocket, Revoke};
use crate::policy::PolicyVerb;
use crate::print::Output;

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
    /// Say everything that is wrong with the configuration and the policy, or with a cluster.
    ///
    /// Exit code 3 when a test of the policy's own fails.
    Check {
        /// Ask the cluster of this name, or every one, whether it is as `jitd manifest` has it; needs the authority's key.
        #[arg(long, value_name = "NAME", num_args = 0..=1)]
        cluster: Option<Option<String>>,
        /// How what was found in a cluster is printed.
        #[arg(long, short, default_value = "text", value_enum, requires = "cluster")]
        output: Output,
    },
    /// The first run: write the configuration and a policy, make the authorities, and say what is left to do.
    ///
    /// An authority is made for every cluster that has none. What is there already is left as it is.
    Init(crate::init::Wanted),
    /// Look for the usual mistakes on this host and in its clusters, and say how each is mended.
    ///
    /// Exit code 1 when there is one. Changes nothing and needs no daemon.
    Doctor {
        /// How what was found is printed.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
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
    /// Give nothing until `jitd resume`; what is live goes on to its end.
    ///
    /// Nothing is asked for, collected, taken without an answer or made longer, also after a restart. What is live goes on to its end, its certificates are renewed inside the window, and ending,
    /// revoking, denying, approving, reviewing and listing go on. For root and the people of `admins`.
    Drain {
        /// Why; everybody who is refused meanwhile reads it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        admin: AdminSocket,
    },
    /// Give again after `jitd drain`.
    ///
    /// What was approved meanwhile can be collected, if its time to be collected is not
    /// over. For root and the people of `admins`.
    Resume {
        #[command(flatten)]
        admin: AdminSocket,
    },
    /// Take away every grant that is meant, whatever its phase.
    ///
    /// What is live is ended and proved denied, what waits is closed and can't be collected any more. Exit code 1 when not all of it is proved yet; the daemon goes on with
    /// the rest by itself, for ever. For root and the people of `admins`.
    Revoke(Revoke),
    /// Copy the trail to a new file, also while the daemon serves, and check the copy.
    ///
    /// For root and the daemon's account.
    Backup {
        /// The copy, in a folder that nobody else can write, or one like /tmp; nothing may be there yet.
        file: PathBuf,
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

/// The pages that this program can print.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Topic {
    Jitd,
    #[value(name = "jitd.yaml")]
    Config,
    #[value(name = "jit-policy")]
    Policy,
}

#[derive(Subcommand)]
pub(crate) enum CaVerb {
    /// Show what there is and how long it lasts.
    Show {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Make a new issuing certificate with the root key; the daemon takes it up by itself.
    ///
    /// A key in a credential or
    /// in a token is kept; one in a file is made anew.
    Renew {
        /// The cluster's name in the configuration.
        cluster: String,
        /// The root key, when it does not lie in the authority's folder.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
        /// Life of the issuing certificate in days.
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        issuing_days: u16,
        /// Make a new key in the credential too; the daemon takes that up when it is restarted.
        #[arg(long)]
        new_key: bool,
    },
    /// Move the issuing key from the file into a credential of systemd's, sealed to this host.
    ///
    /// Asks for a change of
    /// the configuration, and takes the plain key away when it is called again after that.
    Seal {
        /// The cluster's name in the configuration.
        cluster: String,
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
