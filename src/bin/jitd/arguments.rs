//! The command line of `jitd` as people write it.
//!
//! What is here is an interface: a verb or a flag that was released keeps its meaning. `main` reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use jit_manual::Shell;

use crate::audit::Noted;
use crate::audit::notices::Notices;
use crate::audit::play::Play;
use crate::audit::sessions::List;
use crate::operate::{AdminSocket, Revoke};
use crate::policy::PolicyVerb;
use crate::print::Output;
use crate::scan::Scan;

#[derive(Parser)]
#[command(name = "jitd", version, max_term_width = 100)]
#[command(about = "Certificate authority for approved, short-lived access to Kubernetes clusters")]
#[command(after_help = "\
Examples:
  jitd init
  jitd check
  jitd doctor
  jitd manifest prod | kubectl apply -f -")]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        default_value = "/etc/jitd/config.yaml",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon until SIGTERM; SIGHUP reloads the policy and the guardrails.
    #[command(after_help = "\
Examples:
  jitd serve
  jitd --config ./config.yaml serve")]
    Serve,
    /// Check the configuration and the policy, or a cluster, and report every fault.
    ///
    /// Exit code 3 when one of the policy's own tests fails.
    #[command(after_help = "\
Examples:
  jitd check
  jitd check --cluster
  jitd check --cluster prod -o json")]
    Check {
        /// Check whether the cluster of this name, or every one, matches `jitd manifest`; needs the authority's key.
        #[arg(long, value_name = "NAME", num_args = 0..=1)]
        cluster: Option<Option<String>>,
        /// Output format of the cluster check.
        #[arg(long, short, default_value = "text", value_enum, requires = "cluster")]
        output: Output,
    },
    /// Set up this host: write the configuration and a policy, create the authorities, and list the next steps.
    ///
    /// Creates an authority for every cluster that has none. Existing files and authorities are left unchanged.
    #[command(after_help = "\
Examples:
  jitd init
  jitd init --cluster prod --kubeconfig admin.kubeconfig \\
    --requesters payments-oncall --approvers payments-leads \\
    -n payments --role view")]
    Init(crate::init::Wanted),
    /// Check this host and its clusters for common mistakes, and say how to fix each.
    ///
    /// Exit code 1 when there is a mistake. Changes nothing and needs no daemon.
    #[command(after_help = "\
Examples:
  jitd doctor
  jitd doctor -o json")]
    Doctor {
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Show or renew the certificate authority of a cluster.
    #[command(after_help = "\
Examples:
  jitd ca show prod
  jitd ca renew prod")]
    Ca {
        #[command(subcommand)]
        verb: CaVerb,
    },
    /// Print the objects that an administrator applies to a cluster.
    #[command(after_help = "\
Examples:
  jitd manifest prod | kubectl apply -f -
  jitd manifest --scan | kubectl apply -f -")]
    Manifest {
        /// The cluster's name in the configuration.
        #[arg(required_unless_present = "scan")]
        cluster: Option<String>,
        /// Print the ClusterRoles that `jitd scan` needs to read a live cluster instead; needs no configuration.
        #[arg(long, conflicts_with = "cluster")]
        scan: bool,
    },
    /// Test, explain and compare policies; asks no daemon and no cluster.
    #[command(after_help = "\
Examples:
  jitd policy test
  jitd policy who-can view -n payments")]
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Grant nothing new until `jitd resume`; live access continues to its end.
    ///
    /// No request, collection, break-glass or extension is accepted, also after a restart. Live access continues to its
    /// end and its certificates are renewed. Ending, revoking, denying, approving, reviewing and listing continue. For
    /// root and members of `admins`.
    #[command(after_help = "\
Examples:
  jitd drain --reason \"maintenance until 18:00\"")]
    Drain {
        /// The reason; everybody who is refused in the meantime reads it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        admin: AdminSocket,
    },
    /// End a drain, so that requests are accepted again.
    ///
    /// What was approved during the drain can be collected, if its time to be collected is not over. For root and members
    /// of `admins`.
    #[command(after_help = "\
Examples:
  jitd resume")]
    Resume {
        #[command(flatten)]
        admin: AdminSocket,
    },
    /// Revoke grants: by id, of a person, in a cluster, or all.
    ///
    /// Ends live access and proves that it is denied; closes requests that wait. Exit code 1 when not all of it is proved
    /// yet; the daemon continues with the rest. For root and members of `admins`.
    #[command(after_help = "\
Examples:
  jitd revoke 7k3m --reason \"the incident is over\"
  jitd revoke --person alice --reason \"laptop lost\"
  jitd revoke --person alice --cluster prod --reason \"laptop lost\"")]
    Revoke(Revoke),
    /// Copy the audit trail to a new file, also while the daemon runs, and verify the copy.
    ///
    /// For root and the daemon's account.
    #[command(after_help = "\
Examples:
  jitd backup /var/backups/trail.db")]
    Backup {
        /// The copy, in a folder that nobody else can write, or one like /tmp; the file must not exist.
        file: PathBuf,
    },
    /// Verify or export the audit trail; list, verify and play sessions that the gateway recorded.
    #[command(after_help = "\
Examples:
  jitd audit verify
  jitd audit export > trail.jsonl
  jitd audit sessions
  jitd audit play 0198c2f3")]
    Audit {
        #[command(subcommand)]
        verb: AuditVerb,
    },
    /// Report the standing access and the long-lived credentials of a cluster, live or from dumps and manifests; asks no
    /// daemon and needs no configuration.
    Scan(Scan),
    /// Say that `jit-notify` tests, shows and replays the channels, not this program.
    #[command(hide = true, disable_help_flag = true)]
    Notify {
        /// What was meant for it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Print a shell's completion script.
    #[command(after_help = "\
Examples:
  source <(jitd completion bash)
  jitd completion zsh > /usr/local/share/zsh/site-functions/_jitd")]
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the source of a manual page.
    #[command(hide = true)]
    Man {
        /// Which page.
        #[arg(default_value = "jitd", value_enum)]
        page: Topic,
        /// As Markdown, for `docs/`.
        #[arg(long)]
        markdown: bool,
    },
}

/// The pages that this program can print.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Topic {
    Jitd,
    #[value(name = "jitd-config")]
    Config,
    #[value(name = "jitd-policy")]
    Policy,
    #[value(name = "jitd-guardrails")]
    Guardrails,
}

#[derive(Subcommand)]
pub(crate) enum CaVerb {
    /// Show a cluster's authority and when it expires.
    #[command(after_help = "\
Examples:
  jitd ca show prod")]
    Show {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Issue a new issuing certificate with the root key; the daemon picks it up by itself.
    ///
    /// A key in a credential or in a token is kept; a key in a file is replaced.
    #[command(after_help = "\
Examples:
  jitd ca renew prod
  jitd ca renew prod --root-key /media/usb/root.key")]
    Renew {
        /// The cluster's name in the configuration.
        cluster: String,
        /// The root key, if it is not in the authority's folder.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
        /// Validity of the issuing certificate in days.
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        issuing_days: u16,
        /// Replace the key in the credential too; the daemon picks it up when it is restarted.
        #[arg(long)]
        new_key: bool,
    },
    /// Move the issuing key from its file into a systemd credential, sealed to this host.
    ///
    /// Asks for a change of the configuration, and removes the plain key when it is called again after that.
    #[command(after_help = "\
Examples:
  jitd ca seal prod")]
    Seal {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Print a request for an issuing certificate, to be signed by your own PKI.
    #[command(after_help = "\
Examples:
  jitd ca csr prod > prod.csr")]
    Csr {
        /// The cluster's name in the configuration.
        cluster: String,
    },
    /// Import the signed issuing certificate, with every certificate above it up to the root.
    #[command(after_help = "\
Examples:
  jitd ca import prod chain.pem")]
    Import {
        /// The cluster's name in the configuration.
        cluster: String,
        /// The chain in PEM, issuing certificate first.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum AuditVerb {
    /// Verify every event, its place in the hash chain, and that it may follow the events before it.
    #[command(after_help = "\
Examples:
  jitd audit verify
  jitd audit verify --file trail.jsonl
  jitd audit verify --file backup.db \\
    --head 5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456:28")]
    Verify {
        /// Check exported lines (`-` for stdin) or a backup instead of this host's trail; needs no configuration.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Check that a head noted earlier is still in the trail.
        #[arg(long, value_name = "HASH[:NUMBER]")]
        head: Option<Noted>,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Print every event as it is stored, a line of JSON each.
    #[command(after_help = "\
Examples:
  jitd audit export > trail.jsonl")]
    Export,
    /// List and verify what was done through the gateway: sessions of all grants, or every request of one.
    ///
    /// Compares each log with its chain of hashes, and each recording with its log. Exit code 1 when something does not
    /// verify; VERIFIED then says `BROKEN`. It says `open` for what has no end yet: it goes on, or the gateway was killed.
    /// For root.
    #[command(after_help = "\
Examples:
  jitd audit sessions
  jitd audit sessions 7k3m --reads
  jitd audit sessions --folder ./copy -o json")]
    Sessions(List),
    /// List what `jit-notify` told people: the channel, what the text was about, and its hash.
    ///
    /// The hash is that of the text in UTF-8 as people read it, without what the service adds; for a webhook or a command, of
    /// the JSON document. EVENT is the number of the last event that the text takes into account. It is what `jit-notify`
    /// reported; nobody checked it.
    #[command(after_help = "\
Examples:
  jitd audit notices
  jitd audit notices 8f3k11d3
  jitd audit notices --sha256 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")]
    Notices(Notices),
    /// Play the recording of a session, as far as it verifies.
    ///
    /// On a terminal: space pauses, the arrows skip 5 seconds, `.` shows the next output, `+` and `-` change the speed, `/`
    /// searches and `n` searches on, `q` quits. Elsewhere it prints all that the session printed as plain text. Nothing
    /// of a recording reaches the terminal but characters, colours and their places. Exit code 1 when a part does not
    /// verify. For root.
    #[command(after_help = "\
Examples:
  jitd audit play 0198c2f3
  jitd audit play 0198c2f3 --speed 4 --idle-limit 2s --from 1m
  jitd audit play 0198c2f3 | grep -n password
  jitd audit play 0198c2f3 --export incident.cast")]
    Play(Play),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_example_in_the_help_parses() {
        for (example, words) in jit_manual::examples(&Arguments::command()) {
            let parsed = Arguments::try_parse_from(words);
            assert!(parsed.is_ok(), "{example}: {}", parsed.err().unwrap());
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
