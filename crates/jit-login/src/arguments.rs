//! The command line. The types of the library, which the daemon uses too, parse the words further.
//!
//! This is an interface: a released command or flag keeps its meaning. `main` reads it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use jiff::Timestamp;
use jit_core::grant::GrantId;
use jit_core::grant::glass::Verdict;
use jit_core::grant::request::{ClusterName, Malformed, Namespace, PersonName, RoleRef, seconds};
use jit_core::rbac::role::Rule;
use jit_manual::Shell;
use jit_sessions::{Time, speed};
use jit_wire::{AskBody, FilterQuery, LessBody};

use crate::complete::{Kind, offers};
use crate::failure::Failure;
use crate::output::Format;
use crate::past::{FORMS, past};
use crate::store::Store;
use crate::text::program;

/// What `run` and `shell` end, and what they do not. A macro, because examples follow it.
macro_rules! covers {
    () => {
        "\
When the grant ends, the processes that were started here get SIGTERM and SIGHUP, and SIGKILL five seconds later: a \
watch, an exec or a port-forward is cut. This does not end processes that were started elsewhere with the same \
kubeconfig, processes that you move out of the scope, or streams that another program keeps open; and it ends nothing \
where a message says so. Through the gateway, every stream ends with the grant in any case. The certificate expires, \
wherever it was copied."
    };
}

/// The heading of the options of every command, to separate them from the command's own options.
const GLOBAL: &str = "Global options";

/// Request short-lived access to Kubernetes clusters, and answer the requests of others.
#[derive(Debug, Parser)]
#[command(name = "jit-login", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  jit-login can
  jit-login request prod -n payments --role view --for 10m --reason \"INC-42\"
  jit-login ls
  jit-login approve 7k3m
  jit-login run -- kubectl get pods

Exit codes:
  0    done
  1    failure
  2    usage
  3    denied by an approver
  4    denied by policy
  5    timed out
  6    still pending
  7    grant ended
  8    cannot reach jitd
  130  Ctrl-C (the request stays open)")]
pub(crate) struct Arguments {
    /// Output format
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = GLOBAL)]
    pub(crate) output: Format,
    // Read from the environment by `daemon.rs`: clap shows an option that the environment sets as if it were required.
    /// The daemon's socket, or the URL of a bastion that you logged in to [default: $JITD_SOCKET, /run/jitd/api.sock, or
    /// where there is none, the bastion of the last `login`]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = GLOBAL)]
    pub(crate) socket: Option<PathBuf>,
    /// The account that the daemon runs as [default: $JITD_USER, or the owner of the socket's folder]
    #[arg(long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    pub(crate) server_user: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List what you may request: clusters, namespaces, roles, and who approves
    #[command(after_help = "\
Each rule that applies to you is a row; the first one that matches a request decides.

Examples:
  jit-login can
  jit-login can prod
  jit-login can -o json")]
    Can {
        /// Only in this cluster
        #[arg(value_parser = pasted, add = offers(Kind::Clusters))]
        cluster: Option<String>,
    },
    /// Request access, wait for the approval, then set up kubectl
    #[command(after_help = "\
Examples:
  jit-login request prod -n payments --role view --for 10m --reason \"INC-42\"
  jit-login request prod --cluster-wide --role nodes --for 10m --reason \"INC-42\"
  jit-login request prod -n payments --verb get,list --resource pods,pods/log \\
    --for 10m --reason \"INC-42\"
  jit-login request --again 7k3m")]
    Request {
        /// The request.
        #[command(flatten)]
        ask: Ask,
        /// Do not make the request; show how the policy and the cluster would answer
        #[arg(long, conflicts_with_all = ["no_wait", "timeout"])]
        dry_run: bool,
        /// Do not wait for the approval; `wait` continues
        #[arg(long)]
        no_wait: bool,
        /// Wait no longer than this, such as 10m; the request stays open
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// List grants that you requested or may approve
    #[command(
        alias = "list",
        after_help = "\
Examples:
  jit-login ls
  jit-login ls --all --limit 20
  jit-login ls -n payments --at \"2026-11-29 14:30\"
  jit-login ls --person alice --since 7d -o csv
  jit-login ls --break-glass --since 30d
  jit-login ls --watch --bell

--since, --until, --at and --break-glass include grants that have ended. TIME is 2026-11-29T14:30:00Z, \"2026-11-29 14:30\", \
2026-11-29 or 14:30 in your time zone, or 2h or 7d ago. The exit code is 0 even if nothing is found."
    )]
    Ls {
        /// Include grants that have ended
        #[arg(long)]
        all: bool,
        /// Show no more than this many, the newest
        #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// The filters.
        #[command(flatten)]
        filters: Filters,
        /// Only access that was live at this time
        #[arg(long, value_name = "TIME", help_heading = FILTERS)]
        at: Option<String>,
        /// Only grants for which break-glass was used
        #[arg(long, help_heading = FILTERS)]
        break_glass: bool,
        /// After listing, print each grant again when it changes, until Ctrl-C
        #[arg(short, long, conflicts_with = "at")]
        watch: bool,
        /// With --watch, ring the bell when a request or a review begins to wait for you
        #[arg(long, requires = "watch")]
        bell: bool,
    },
    /// Show your own access and requests; --short and --waiting print one line for a shell prompt
    #[command(after_help = "\
Examples:
  jit-login status
  jit-login status --short
  jit-login status --waiting")]
    Status {
        /// Print one line, such as `prod/payments view 7m`, or nothing; reads your own files only and never fails
        #[arg(long, conflicts_with_all = ["all", "limit"])]
        short: bool,
        /// Print one line, such as `2 requests wait for you`, or nothing; asks jitd for a moment only and never fails
        #[arg(long, conflicts_with_all = ["short", "all", "limit"])]
        waiting: bool,
        /// Include grants that have ended
        #[arg(long)]
        all: bool,
        /// Show no more than this many, the newest
        #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show a grant and what it allows
    #[command(after_help = "\
Examples:
  jit-login show
  jit-login show 7k3m
  jit-login show 7k3m -o yaml")]
    Show {
        /// A grant's id, or a unique beginning of it [default: your only open one]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
    },
    /// Wait for the answer to a request; collect the access if the request is yours
    #[command(after_help = "\
Examples:
  jit-login wait
  jit-login wait 7k3m --timeout 10m")]
    Wait {
        /// A grant's id [default: your only open one]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
        /// Wait no longer than this; the request stays open
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Approve a request or an extension
    #[command(after_help = "\
Examples:
  jit-login approve 7k3m
  jit-login approve 7k3m --for 5m -n payments
  jit-login approve 7k3m --yes")]
    Approve {
        /// A grant's id
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
        /// Approve only if the request has this digest
        #[arg(long, value_name = "HEX", value_parser = pasted)]
        digest: Option<String>,
        /// Show all findings, rules and the digest, as `show` does
        #[arg(long)]
        details: bool,
        /// What the request is narrowed to.
        #[command(flatten)]
        less: Less,
    },
    /// Deny a request
    #[command(after_help = "\
Examples:
  jit-login deny 7k3m --reason \"not during the release\"")]
    Deny {
        /// A grant's id
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: String,
        /// The reason; the requester reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Withdraw your own request
    #[command(after_help = "\
Examples:
  jit-login withdraw
  jit-login withdraw 7k3m")]
    Withdraw {
        /// A grant's id [default: your only request that is not collected]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
    },
    /// Request an extension of live access
    #[command(after_help = "\
Examples:
  jit-login extend --for 10m --reason \"INC-42 not done\"
  jit-login extend 7k3m --for 10m --reason \"INC-42 not done\" --no-wait")]
    Extend {
        /// A grant's id [default: your only live one]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
        /// How much more time, such as 10m
        #[arg(long = "for", value_name = "DURATION")]
        duration: String,
        /// The reason; the approvers read it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Do not wait for the approval
        #[arg(long)]
        no_wait: bool,
    },
    /// Use break-glass: take access without an approval, if the policy allows it; it is reviewed afterwards
    #[command(after_help = "\
Examples:
  jit-login break-glass --reason \"nobody answers, payments are down\"
  jit-login break-glass 7k3m --reason \"nobody answers, payments are down\"")]
    BreakGlass {
        /// A grant's id [default: your only pending request]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
        /// Why it cannot wait; every approver and reviewer reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Review a use of break-glass
    #[command(after_help = "\
Examples:
  jit-login review 7k3m --justified --words \"the outage was real\"
  jit-login review 7k3m --not-justified --words \"an approver was there\"")]
    Review {
        /// A grant's id
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: String,
        /// The verdict.
        #[command(flatten)]
        verdict: Found,
        /// What you found, in your own words; recorded in the audit trail
        #[arg(long, value_name = "TEXT")]
        words: String,
    },
    /// End your own access early
    #[command(after_help = "\
Examples:
  jit-login end
  jit-login end 7k3m")]
    End {
        /// A grant's id [default: your only live one]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
    },
    /// Revoke somebody's access
    #[command(after_help = "\
Examples:
  jit-login revoke 7k3m --reason \"the incident is over\"")]
    Revoke {
        /// A grant's id
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: String,
        /// The reason; the requester reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Show how the policy would answer a request, without asking anybody
    #[command(after_help = "\
Without --reason, or without a field that the policy requires, the answer names what the request still lacks.
Exit code 0 if it may be requested, 4 if it is denied.

Examples:
  jit-login explain prod -n payments --role view --for 10m
  jit-login explain prod --cluster-wide --role nodes --for 10m -o json")]
    Explain {
        /// The request.
        #[command(flatten)]
        ask: AskIf,
    },
    /// Show your name and groups, as the daemon knows them
    #[command(after_help = "\
Examples:
  jit-login whoami
  jit-login whoami -o json")]
    Whoami,
    /// Let a login at your identity provider be you, as your account is
    ///
    /// Run it first where you are logged in at the provider: it prints a code. Then run it on the bastion with that code, where
    /// you are logged in with your account, and look at whose login it is: whoever logs in with it acts as you from then on.
    #[command(after_help = "\
Examples:
  jit-login link
  jit-login link 7k3m9x2q7k3m9x2q")]
    Link {
        /// The code that the first one printed
        code: Option<String>,
        /// Do not ask for confirmation
        #[arg(short, long, requires = "code")]
        yes: bool,
    },
    /// Log in to a bastion from elsewhere, at your identity provider
    #[command(after_help = "\
The first time, copy the whole line that `jit-frontend invite` prints on the bastion: no other server is accepted. Later \
commands use this bastion where there is no daemon on this host, and renew the session by themselves.

Examples:
  jit-login login https://bastion.example.com:6445 --root sha256:FINGERPRINT
  jit-login login
  jit-login login --port 18000
  jit-login login --device
  jit-login login --store keyring")]
    Login {
        /// The URL, or later the name, of the bastion [default: that of the last login]
        #[arg(value_name = "BASTION")]
        bastion: Option<String>,
        /// The fingerprint of the certificate that its server must be signed by
        #[arg(long, value_name = "sha256:HEX")]
        root: Option<String>,
        /// The issuer, if the bastion has several identity providers
        #[arg(long, value_name = "URL")]
        provider: Option<String>,
        /// The port of 127.0.0.1 to which the browser returns, for `ssh -L` [default: any free one]
        #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true, conflicts_with = "device")]
        port: u16,
        /// Enter a code in a browser elsewhere
        #[arg(long)]
        device: bool,
        /// Only print the address
        #[arg(long)]
        no_browser: bool,
        /// Where to keep the session's key and refresh token [default: where the last ones were, or file]
        #[arg(long, value_enum, value_name = "STORE")]
        store: Option<Store>,
    },
    /// End the session at a bastion, here, there and at the identity provider
    #[command(after_help = "\
Examples:
  jit-login logout
  jit-login logout bastion.example.com

Grants that are live continue until they end; `end` releases them.")]
    Logout {
        /// The URL or the name of the bastion [default: that of the last login]
        #[arg(value_name = "BASTION")]
        bastion: Option<String>,
    },
    /// Print the certificate of a grant for kubectl (exec plugin)
    #[command(after_help = "\
kubectl runs this command; the kubeconfig of the grant names it.

Examples:
  jit-login credential --grant 7k3m9x2q7k3m9x2q")]
    Credential {
        /// The grant
        #[arg(long, value_name = "ID", value_parser = id, add = offers(Kind::Grants))]
        grant: String,
    },
    /// Print how to use a grant with kubectl, or merge it into your kubeconfig
    #[command(after_help = "\
Examples:
  eval \"$(jit-login kubeconfig)\"
  jit-login kubeconfig --merge --use
  jit-login kubeconfig 7k3m --file payments.kubeconfig")]
    Kubeconfig {
        /// A grant's id [default: your only one that works]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
        /// Merge it into the kubeconfig that kubectl uses; changes only entries that begin with `jit:`
        #[arg(long)]
        merge: bool,
        /// Make it the current context there
        #[arg(long = "use", requires = "merge")]
        make_current: bool,
        /// Write to this file instead
        #[arg(short, long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Run a command with access; it ends with the grant if your login has its own systemd manager
    #[command(after_help = concat!(covers!(), "\n\n\
Examples:
  jit-login run -- kubectl get pods
  jit-login run 7k3m -- kubectl logs -f web-0"))]
    Run {
        /// A grant's id [default: your only one that works]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true, value_name = "COMMAND", value_hint = ValueHint::CommandName)]
        command: Vec<OsString>,
    },
    /// Start your shell with access, as `run` does; its prompt shows the time left
    #[command(after_help = concat!(covers!(), "\n\n\
Examples:
  jit-login shell
  jit-login shell 7k3m"))]
    Shell {
        /// A grant's id [default: your only one that works]
        #[arg(value_parser = id, add = offers(Kind::Grants))]
        id: Option<String>,
    },
    /// End the processes of a grant when the grant ends (`run` and `shell` start it)
    #[command(hide = true)]
    Watch {
        /// The grant
        grant: String,
        /// The known end of its window
        until: Timestamp,
    },
    /// Show the audit trail of a grant; without an id, the whole trail (auditors and admins)
    #[command(after_help = "\
Examples:
  jit-login events 7k3m
  jit-login events --since 24h
  jit-login events --person alice -n payments -o csv

Without an id it also shows events that belong to no grant, such as refused requests and restarts of the daemon. TIME is \
2026-11-29T14:30:00Z, \"2026-11-29 14:30\", 2026-11-29 or 14:30 in your time zone, or 2h or 7d ago.")]
    Events {
        /// A grant's id [default: the whole trail]
        #[arg(value_parser = id, add = offers(Kind::EarlierGrants), conflicts_with_all = ["person", "cluster", "namespace", "role", "since", "until", "limit"])]
        id: Option<String>,
        /// The filters.
        #[command(flatten)]
        filters: Filters,
        /// Without an id, show no more than this many, the newest
        #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// List what was done through the gateway: exec, attach and port-forward, or every request of one grant
    #[command(after_help = "\
Each listing is recorded in the audit trail. VERIFIED says `BROKEN` if the gateway's files were changed or cut; the exit code is 1 \
then.

Examples:
  jit-login sessions
  jit-login sessions --person alice --since 7d
  jit-login sessions 7k3m --reads
  jit-login sessions 0198c2f3 -o json")]
    Sessions {
        /// Only this grant, with every request, or only this recorded session; the beginning of its id is enough
        #[arg(value_name = "GRANT|SESSION", value_parser = pasted, add = offers(Kind::EarlierGrants), conflicts_with_all = ["person", "cluster", "namespace", "role", "since", "until", "limit"])]
        id: Option<String>,
        /// Also requests that only read
        #[arg(long, requires = "id")]
        reads: bool,
        /// The filters.
        #[command(flatten)]
        filters: Filters,
        /// Without an id, look at no more than this many grants, the newest
        #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Play the recording of a session, as far as it verifies
    #[command(after_help = "\
On a terminal: space pauses, the arrows skip 5 seconds, `.` shows the next output, `+` and `-` change the speed, `/` searches \
and `n` searches on, `q` quits. Elsewhere it prints all that the session printed as plain text. Nothing of a recording reaches \
the terminal but characters, colours and their places. Each playing is recorded in the audit trail. The policy says who may \
play the recordings of a grant; without more, whoever may approve or review it, and auditors.

Examples:
  jit-login play 0198c2f3
  jit-login play 0198c2f3 --speed 4 --idle-limit 2s --from 1m
  jit-login play 0198c2f3 | grep -n password
  jit-login play 0198c2f3 --export incident.cast")]
    Play(PlayArguments),
    /// Write the whole audit trail, one line per event, for verification elsewhere (auditors and admins)
    #[command(after_help = "\
The lines are the same as those of `jitd audit export`. `jitd audit verify --file trail.jsonl` checks them on any host.

Examples:
  jit-login export > trail.jsonl
  jit-login export | jitd audit verify --file -")]
    Export,
    /// Check this installation for problems, and say how to fix them
    #[command(after_help = "\
Examples:
  jit-login doctor")]
    Doctor,
    /// Print a shell's completion script
    #[command(after_help = "\
Examples:
  source <(jit-login completion bash)
  jit-login completion zsh > ~/.zfunc/_jit-login
  jit-login completion fish > ~/.config/fish/completions/jit-login.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the source of the manual page
    #[command(hide = true)]
    Man,
}

/// What to play, and how.
#[derive(Debug, Args)]
pub(crate) struct PlayArguments {
    /// The session; the beginning of its id is enough
    #[arg(value_name = "SESSION", value_parser = pasted)]
    pub(crate) id: String,
    /// Begin here
    #[arg(long, value_name = "TIME", default_value = "0s", conflicts_with = "export")]
    pub(crate) from: Time,
    /// How fast to play on a terminal, from 0.1 to 100
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = speed)]
    pub(crate) speed: f64,
    /// Wait at most so long where nothing happens
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_limit: Option<Time>,
    /// Write what verifies to this new file, for asciinema, and play nothing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) export: Option<PathBuf>,
    /// Open a sealed recording with the keys in this file, as `age-keygen` writes it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: Option<PathBuf>,
}

/// The heading of the filters.
const FILTERS: &str = "Filters";

/// The filters of `ls`, `events` and `sessions`.
#[derive(Debug, Args)]
#[command(next_help_heading = FILTERS)]
pub(crate) struct Filters {
    /// Only this requester; for events also this author
    #[arg(long, value_name = "NAME", value_parser = pasted)]
    person: Option<String>,
    /// Only this cluster
    #[arg(long, value_name = "NAME", value_parser = pasted, add = offers(Kind::Clusters))]
    cluster: Option<String>,
    /// Only this namespace; access to the whole cluster matches each namespace
    #[arg(short, long, value_name = "NS", value_parser = pasted, add = offers(Kind::Namespaces))]
    namespace: Option<String>,
    /// Only this role, as in a request
    #[arg(long, value_parser = pasted, add = offers(Kind::Roles))]
    role: Option<String>,
    /// Only requests, or events, from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only requests, or events, up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Filters {
    /// The query, if all words are valid; `at` is the time at which the access was live.
    pub(crate) fn query(&self, at: Option<&String>, now: Timestamp) -> Result<FilterQuery, Failure> {
        let Self { person, cluster, namespace, role, since, until } = self;
        let mut wrong: Vec<Malformed> = Vec::new();
        let mut check = |error: Malformed| wrong.push(error);
        let _ = person.as_ref().map(|word| word.parse::<PersonName>().map_err(&mut check));
        let _ = cluster.as_ref().map(|word| word.parse::<ClusterName>().map_err(&mut check));
        let _ = namespace.as_ref().map(|word| word.parse::<Namespace>().map_err(&mut check));
        let _ = role.as_ref().map(|word| word.parse::<RoleRef>().map_err(&mut check));
        if !wrong.is_empty() {
            return Err(malformed(&wrong, ""));
        }
        let zone = jiff::tz::TimeZone::system();
        let moment = |name: &str, text: Option<&String>| -> Result<Option<Timestamp>, Failure> {
            let read = |text: &String| {
                past(text, now, &zone).ok_or_else(|| Failure::usage(format!("`--{name} {text}` is not a time"), FORMS))
            };
            text.map(read).transpose()
        };
        let (since, until, at) =
            (moment("since", since.as_ref())?, moment("until", until.as_ref())?, moment("at", at)?);
        if at.is_some_and(|at| at > now) {
            return Err(Failure::usage("`--at` is in the future", FORMS));
        }
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            return Err(Failure::usage("`--since` is after `--until`", "exchange them"));
        }
        let (person, cluster, namespace, role) = (person.clone(), cluster.clone(), namespace.clone(), role.clone());
        Ok(FilterQuery { person, cluster, namespace, role, since, until, at, break_glass: false })
    }
}

/// A reviewer's verdict.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Found {
    /// There was a good reason for it
    #[arg(long)]
    justified: bool,
    /// There was no good reason for it
    #[arg(long)]
    not_justified: bool,
}

impl Found {
    /// The verdict.
    pub(crate) fn meant(&self) -> Verdict {
        if self.justified { Verdict::Justified } else { Verdict::NotJustified }
    }
}

/// A request.
#[derive(Debug, Args)]
#[command(mut_arg("cluster", |argument| argument.required_unless_present("again")))]
#[command(group(ArgGroup::new("where").args(["namespaces", "cluster_wide", "again"]).required(true).multiple(true)))]
#[command(group(ArgGroup::new("what").args(["role", "verbs", "again"]).required(true).multiple(true)))]
pub(crate) struct Ask {
    #[command(flatten)]
    place: Place,
    /// How long the access lasts, such as 15m
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "again")]
    duration: Option<String>,
    /// The reason; the approvers read it
    #[arg(long, value_name = "TEXT", required_unless_present = "again")]
    reason: Option<String>,
    /// Repeat an earlier request, with the changes given here [default: your last one]
    #[arg(long, value_name = "ID", num_args = 0..=1, value_parser = id, add = offers(Kind::EarlierGrants))]
    pub(crate) again: Option<Option<String>>,
}

/// A request for `explain`.
#[derive(Debug, Args)]
#[command(mut_arg("cluster", |argument| argument.required(true)))]
#[command(group(ArgGroup::new("where").args(["namespaces", "cluster_wide"]).required(true)))]
#[command(group(ArgGroup::new("what").args(["role", "verbs"]).required(true)))]
pub(crate) struct AskIf {
    #[command(flatten)]
    place: Place,
    /// How long the access would last
    #[arg(long = "for", value_name = "DURATION")]
    duration: String,
    /// The reason, if you know it already
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Debug, Args)]
struct Place {
    /// The cluster
    #[arg(value_parser = pasted, add = offers(Kind::Clusters))]
    cluster: Option<String>,
    /// The namespaces, separated by commas
    #[arg(short, long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = pasted, conflicts_with = "cluster_wide", add = offers(Kind::Namespaces))]
    namespaces: Vec<String>,
    /// The whole cluster instead of namespaces
    #[arg(long)]
    cluster_wide: bool,
    /// A ClusterRole, or role/NAME for a Role of the namespace
    #[arg(long, value_parser = pasted, conflicts_with = "verbs", add = offers(Kind::Roles))]
    role: Option<String>,
    #[command(flatten)]
    exactly: Exactly,
    /// A field that the policy asks for, such as ticket=OPS-7
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// When the access begins, such as 22:30, +2h or 2026-12-24T22:30:00Z [default: at once]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Exact rules instead of a role.
#[derive(Debug, Args)]
struct Exactly {
    /// Only these verbs, instead of a role, such as get,list
    #[arg(long = "verb", value_name = "VERBS", value_delimiter = ',', value_parser = pasted, requires = "resources")]
    verbs: Vec<String>,
    /// The resources for --verb, such as pods,pods/log,deployments.apps
    #[arg(long = "resource", value_name = "RESOURCES", value_delimiter = ',', value_parser = pasted, requires = "verbs")]
    resources: Vec<String>,
    /// Only the resources with these names
    #[arg(long = "name", value_name = "NAMES", value_delimiter = ',', value_parser = pasted, requires = "verbs")]
    names: Vec<String>,
}

/// What an approver narrows a request to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Approve less than was requested")]
pub(crate) struct Less {
    /// Only for this long
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// Only in these namespaces
    #[arg(short, long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = pasted, add = offers(Kind::Namespaces))]
    namespaces: Vec<String>,
    #[command(flatten)]
    rules: Exactly,
}

impl Less {
    /// The body, if all words are valid; none if nothing is narrowed.
    pub(crate) fn body(&self) -> Result<Option<LessBody>, Failure> {
        let Self { duration, namespaces, rules } = self;
        let body = LessBody { duration: duration.clone(), namespaces: namespaces.clone(), rules: rules.rules() };
        if body == LessBody::default() {
            return Ok(None);
        }
        let _ = body
            .parse()
            .map_err(|wrong| malformed(&wrong, format!("`{} help approve` shows what to write", program())))?;
        Ok(Some(body))
    }
}

fn malformed(wrong: &[Malformed], hint: impl Into<String>) -> Failure {
    let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Failure::usage(all.join("; "), hint)
}

fn malformed_request(wrong: &[Malformed]) -> Failure {
    malformed(wrong, format!("`{} help request` shows what to write", program()))
}

impl Verb {
    /// Whether its result has rows.
    pub(crate) fn has_rows(&self) -> bool {
        matches!(self, Self::Ls { .. } | Self::Status { short: false, waiting: false, .. } | Self::Events { .. })
    }

    /// Checks the words of a command, as far as that is possible without the daemon.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Failure> {
        match self {
            Self::Request { ask, .. } if ask.again.is_none() => ask.body(None, now).map(drop),
            Self::Explain { ask } => ask.body(now).map(drop),
            Self::Approve { less, .. } => less.body().map(drop),
            Self::Ls { filters, at, .. } => filters.query(at.as_ref(), now).map(drop),
            Self::Events { filters, .. } | Self::Sessions { filters, .. } => filters.query(None, now).map(drop),
            _ => Ok(()),
        }
    }
}

impl Ask {
    /// The body, if all words are valid; missing values are taken from `before`.
    pub(crate) fn body(&self, before: Option<AskBody>, now: Timestamp) -> Result<AskBody, Failure> {
        let mut body = before.unwrap_or_else(nothing);
        for (to, from) in [(&mut body.duration, &self.duration), (&mut body.reason, &self.reason)] {
            if let Some(text) = from {
                to.clone_from(text);
            }
        }
        let body = self.place.put_into(body, now)?;
        body.parse().map_err(|wrong| malformed_request(&wrong))?;
        Ok(body)
    }
}

impl AskIf {
    /// The body, if all words are valid.
    pub(crate) fn body(&self, now: Timestamp) -> Result<AskBody, Failure> {
        let body = AskBody { duration: self.duration.clone(), reason: self.reason.clone(), ..nothing() };
        let body = self.place.put_into(body, now)?;
        body.parse_draft().map_err(|wrong| malformed_request(&wrong))?;
        Ok(body)
    }
}

/// An empty body.
fn nothing() -> AskBody {
    AskBody {
        cluster: String::new(),
        namespaces: Vec::new(),
        cluster_wide: false,
        role: None,
        rules: Vec::new(),
        duration: String::new(),
        reason: String::new(),
        fields: BTreeMap::new(),
        start: None,
    }
}

impl Place {
    fn put_into(&self, mut body: AskBody, now: Timestamp) -> Result<AskBody, Failure> {
        if let Some(cluster) = &self.cluster {
            body.cluster.clone_from(cluster);
        }
        if self.cluster_wide || !self.namespaces.is_empty() {
            body.cluster_wide = self.cluster_wide;
            body.namespaces.clone_from(&self.namespaces);
        }
        if self.role.is_some() || !self.exactly.verbs.is_empty() {
            body.role.clone_from(&self.role);
            body.rules = self.exactly.rules();
        }
        body.fields.extend(self.fields.iter().cloned());
        if let Some(at) = &self.at {
            let start = moment(at, now).ok_or_else(|| {
                Failure::usage(format!("`--at {at}` is not a time"), "write 22:30, +2h or 2026-12-24T22:30:00Z")
            })?;
            body.start = Some(start);
        }
        Ok(body)
    }
}

impl Exactly {
    fn rules(&self) -> Vec<Rule> {
        Rule::exactly(&self.verbs, &self.resources, &self.names)
    }
}

/// A word without the spaces, backticks and quotes that come with it when it is copied from a message.
fn pasted(text: &str) -> Result<String, Infallible> {
    let around = |c: char| c.is_whitespace() || "`'\"\u{2018}\u{2019}\u{201c}\u{201d}".contains(c);
    Ok(text.trim_matches(around).to_owned())
}

/// A grant's id or the beginning of one, in any common spelling.
fn id(text: &str) -> Result<String, Infallible> {
    Ok(GrantId::as_written(text.trim_matches(|c: char| !c.is_alphanumeric())))
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as ticket=OPS-7")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses a time: an RFC 3339 time, `+` and a duration from now, or a time of day, which means its next occurrence in the
/// host's time zone. In whole seconds, like the window.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(span) = text.strip_prefix('+') {
        let moment = now.checked_add(duration(span).ok()?).ok()?;
        return Timestamp::from_second(moment.as_second()).ok();
    }
    if let Ok(time) = text.parse::<jiff::civil::Time>() {
        let here = now.to_zoned(jiff::tz::TimeZone::system());
        let today = here.with().time(time).build().ok()?;
        let next = if today > here { today } else { today.tomorrow().ok()?.with().time(time).build().ok()? };
        return Some(next.timestamp());
    }
    text.parse().ok()
}

fn duration(text: &str) -> Result<Duration, Malformed> {
    Ok(Duration::from_secs(seconds(text)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
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
    fn a_repeated_request_needs_no_further_arguments() {
        let parse = |text: &str| Arguments::try_parse_from(text.split(' '));
        assert!(parse("jit-login request --again").is_ok() && parse("jit-login request --again 7k3m --for 5m").is_ok());
        assert!(parse("jit-login explain prod -n a --role view --for 5m").is_ok());
        assert!(parse("jit-login explain prod -n a --role view").is_err(), "how long is asked");
    }

    #[test]
    fn every_example_of_a_help_is_valid() {
        let command = Arguments::command();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            assert!(!jit_manual::examples(verb).is_empty(), "{} has no example", verb.get_name());
        }
        for (example, words) in jit_manual::examples(&command) {
            let parsed = Arguments::try_parse_from(words);
            let checked = parsed.map(|found| found.verb.check(Timestamp::UNIX_EPOCH).is_ok());
            assert!(matches!(checked, Ok(true)), "{example}: {checked:?}");
        }
    }

    #[test]
    fn the_command_for_run_follows_two_dashes() {
        let parse = |text: &str| Arguments::try_parse_from(text.split(' ')).map(|found| found.verb);
        assert!(
            matches!(parse("jit-login run -- kubectl get pods"), Ok(Verb::Run { id: None, command }) if command.len() == 3)
        );
        assert!(
            matches!(parse("jit-login run abcd -- k -n a"), Ok(Verb::Run { id: Some(_), command }) if command.len() == 3)
        );
        assert!(parse("jit-login run abcd").is_err());
    }

    fn asked(text: &str, before: Option<AskBody>) -> Result<AskBody, Failure> {
        let Verb::Request { ask, .. } = Arguments::try_parse_from(text.split(' ')).unwrap().verb else { panic!() };
        ask.body(before, "2026-11-23T18:00:00Z".parse().unwrap())
    }

    #[test]
    fn exact_rules_are_written_as_kubectl_writes_resources() {
        let body = asked(
            "jit-login request prod -n a,b --verb get,list --resource pods,pods/log,deployments.apps/scale --name w --for 5m --reason x",
            None,
        );
        let body = body.unwrap();
        assert_eq!(body.namespaces, ["a", "b"]);
        let rules: Vec<String> = body.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["get, list pods, pods/log named w", "get, list deployments/scale.apps named w"]);
        assert!(asked("jit-login request prod -n a --verb * --resource pods --for 5m --reason x", None).is_err());
    }

    #[test]
    fn a_repeated_request_changes_only_what_is_given() {
        let before = asked("jit-login request prod -n a --role view --for 5m --reason x --field ticket=OPS-1", None);
        let before = before.unwrap();
        assert_eq!(asked("jit-login request --again", Some(before.clone())).unwrap(), before);
        let changed = asked("jit-login request --again --for 9m --cluster-wide", Some(before.clone())).unwrap();
        let expected = AskBody { duration: "9m".into(), namespaces: vec![], cluster_wide: true, ..before };
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_start_is_a_moment_a_span_or_a_time_of_day() {
        let now: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
        for (text, expected) in [("2026-12-24T22:30:00Z", "2026-12-24T22:30:00Z"), ("+2h", "2026-11-23T20:00:00Z")] {
            assert_eq!(moment(text, now), Some(expected.parse().unwrap()), "{text}");
        }
        let next = moment("18:30", now).unwrap();
        assert!(next > now && next.duration_since(now) <= jiff::SignedDuration::from_hours(25));
        for text in ["", "soon", "25:00", "+", "+2d"] {
            assert_eq!(moment(text, now), None, "{text}");
        }
    }

    #[test]
    fn pasted_words_are_cleaned() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["jit-login"], words].concat()).unwrap().verb;
        for written in ["`7K3M-9X2Q`", " 7k3m9x2q.", "(7k3m9x2q)", "\u{201c}7k3m9x2q\u{201d}"] {
            assert!(
                matches!(parse(&["show", written]), Verb::Show { id } if id.as_deref() == Some("7k3m9x2q")),
                "{written}"
            );
        }
        let words = ["request", "`prod`", "-n", "'a', b", "--role", "`view`\n", "--for", "5m", "--reason", "`x`"];
        let Verb::Request { ask, .. } = parse(&words) else { panic!() };
        let body = ask.body(None, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((body.cluster.as_str(), body.role.as_deref(), body.reason.as_str()), ("prod", Some("view"), "`x`"));
        assert_eq!(body.namespaces, ["a", "b"]);
    }

    #[test]
    fn a_time_limit_has_a_unit() {
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(moment("+1h30m", Timestamp::UNIX_EPOCH), Timestamp::from_second(5400).ok());
        for text in ["10", "m", "-1m", "1d", "9999999999h", "", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
