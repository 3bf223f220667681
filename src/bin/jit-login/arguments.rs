//! The command line as people write it. Words are parsed further by the types of the library, the same
//! ones that the daemon uses.
//!
//! What is here is an interface: a verb or a flag that was released keeps its meaning. `main` reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jitd::api::wire::AskBody;

use crate::failure::Failure;
use crate::output::Format;

/// Ask for access to a Kubernetes cluster for minutes, and answer those who ask.
#[derive(Debug, Parser)]
#[command(name = "jit-login", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Exit codes: 0 done · 1 our failure · 2 usage · 3 denied by an approver · 4 denied by policy · 5 timed out ·
6 still pending · 7 grant ended · 8 cannot reach jitd · 130 Ctrl-C (the request stays open)")]
pub(crate) struct Arguments {
    /// The form of the result
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: Format,
    /// The daemon's socket [default: /run/jitd/api.sock]
    #[arg(long, global = true, env = "JITD_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The account that the daemon runs as [default: the owner of the socket's folder]
    #[arg(long, global = true, env = "JITD_USER", value_name = "NAME")]
    pub(crate) server_user: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ask for access, wait for the answer, make kubectl work
    Request {
        /// What is asked.
        #[command(flatten)]
        ask: Ask,
        /// Only ask; `wait` goes on
        #[arg(long)]
        no_wait: bool,
        /// Wait at most so long, such as 10m; the request stays open after that
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// List the grants that you asked for or may answer
    #[command(alias = "list")]
    Ls {
        /// Those that are over, too
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, default_value_t = 100, value_name = "NUMBER")]
        limit: u32,
    },
    /// Show a grant and what it allows
    Show {
        /// A grant's id, or a unique beginning of it
        id: String,
    },
    /// Wait for the answer to a request; collect it when it is yours
    Wait {
        /// A grant's id [default: your only open one]
        id: Option<String>,
        /// Wait at most so long; the request stays open after that
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Say yes to somebody's request
    Approve {
        /// A grant's id
        id: String,
        /// Without asking back
        #[arg(short, long)]
        yes: bool,
        /// Only if the request has this digest
        #[arg(long, value_name = "HEX")]
        digest: Option<String>,
    },
    /// Say no to somebody's request
    Deny {
        /// A grant's id
        id: String,
        /// Why; the requester reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take your own request back
    Withdraw {
        /// A grant's id
        id: String,
    },
    /// Give your own access back before its time
    End {
        /// A grant's id
        id: String,
    },
    /// Take somebody's access away
    Revoke {
        /// A grant's id
        id: String,
        /// Why; the requester reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Say what policy would answer to a request, without asking anybody
    Explain {
        /// What would be asked.
        #[command(flatten)]
        ask: AskIf,
    },
    /// Say who the daemon takes you for
    Whoami,
    /// Give kubectl the certificate of a grant (exec plugin)
    Credential {
        /// The grant
        #[arg(long, value_name = "ID")]
        grant: String,
    },
    /// Print how to point kubectl to a grant, or put it into your kubeconfig
    Kubeconfig {
        /// A grant's id [default: your only one]
        id: Option<String>,
        /// Put it into the kubeconfig that kubectl uses; touches only entries that begin `jit:`
        #[arg(long)]
        merge: bool,
        /// Make it the current context there
        #[arg(long = "use", requires = "merge")]
        make_current: bool,
        /// Write to this file instead
        #[arg(short, long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Run a command with access
    Run {
        /// A grant's id [default: your only one]
        id: Option<String>,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Show what the trail holds about a grant
    Events {
        /// A grant's id
        id: String,
    },
    /// Look for what keeps things from working
    Doctor,
}

/// What is asked.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    place: Place,
    /// How long the access lasts, such as 15m
    #[arg(long = "for", value_name = "DURATION")]
    duration: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What would be asked.
#[derive(Debug, Args)]
pub(crate) struct AskIf {
    #[command(flatten)]
    place: Place,
    /// How long the access would last
    #[arg(long = "for", value_name = "DURATION")]
    duration: String,
    /// Why; a policy may look at it
    #[arg(long, value_name = "TEXT", default_value = "what would policy say")]
    reason: String,
}

#[derive(Debug, Args)]
struct Place {
    /// The cluster
    cluster: String,
    /// The namespace
    #[arg(short, long, value_name = "NS", required_unless_present = "cluster_wide", conflicts_with = "cluster_wide")]
    namespace: Option<String>,
    /// The whole cluster
    #[arg(long)]
    cluster_wide: bool,
    /// A ClusterRole, or role/NAME for a Role of the namespace
    #[arg(long)]
    role: String,
}

impl Ask {
    /// The body, if every word is of its form.
    pub(crate) fn body(self) -> Result<AskBody, Failure> {
        body(self.place, self.duration, self.reason)
    }
}

impl AskIf {
    /// The body, if every word is of its form.
    pub(crate) fn body(self) -> Result<AskBody, Failure> {
        body(self.place, self.duration, self.reason)
    }
}

fn body(place: Place, duration: String, reason: String) -> Result<AskBody, Failure> {
    let Place { cluster, namespace, cluster_wide, role } = place;
    let body = AskBody { cluster, namespace, cluster_wide, role, duration, reason };
    match body.parse() {
        Ok(_) => Ok(body),
        Err(wrong) => {
            let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            Err(Failure::usage(all.join("; "), "nothing was sent"))
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write a number with s, m or h, such as 10m".to_owned()),
    };
    let count: u32 = digits.parse().map_err(|_| "write a number with s, m or h, such as 10m".to_owned())?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_request_names_a_namespace_or_the_whole_cluster() {
        let parse = |text: &str| Arguments::try_parse_from(text.split(' '));
        assert!(parse("jit-login request prod -n a --role view --for 5m --reason x").is_ok());
        assert!(parse("jit-login request prod --cluster-wide --role view --for 5m --reason x").is_ok());
        assert!(parse("jit-login request prod --role view --for 5m --reason x").is_err());
        assert!(parse("jit-login request prod -n a --cluster-wide --role view --for 5m --reason x").is_err());
    }

    #[test]
    fn a_command_to_run_stands_after_two_dashes() {
        let parse = |text: &str| Arguments::try_parse_from(text.split(' ')).map(|found| found.verb);
        assert!(
            matches!(parse("jit-login run -- kubectl get pods"), Ok(Verb::Run { id: None, command }) if command.len() == 3)
        );
        assert!(
            matches!(parse("jit-login run abcd -- k -n a"), Ok(Verb::Run { id: Some(_), command }) if command.len() == 3)
        );
        assert!(parse("jit-login run abcd").is_err());
    }

    #[test]
    fn a_time_limit_has_a_unit() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for text in ["10", "m", "-1m", "1d", "9999999999h", "", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
