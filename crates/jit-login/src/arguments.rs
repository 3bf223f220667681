//! The command line as people write it. Words are parsed further by the types of the library, the same
//! ones that the daemon uses.
//!
//! What is here is an interface: a verb or a flag that was released keeps its meaning. `main` reads it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use jit_core::grant::GrantId;
use jit_core::grant::glass::Verdict;
use jit_core::grant::request::Malformed;
use jit_core::rbac::role::Rule;
use jit_manual::Shell;
use jit_wire::{AskBody, LessBody};

use crate::failure::Failure;
use crate::output::Format;

/// Ask for access to a Kubernetes cluster for minutes, and answer those who ask.
#[derive(Debug, Parser)]
#[command(name = "jit-login", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Exit codes: 0 done · 1 our failure · 2 usage · 3 denied by an approver · 4 denied by policy · 5 timed out · \
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
        /// Ask nobody; say what the policy would say, and the cluster to the objects
        #[arg(long, conflicts_with_all = ["no_wait", "timeout"])]
        dry_run: bool,
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
    /// The same as `ls`; with --short what access you have, in one line for a prompt
    Status {
        /// One line such as `prod/payments view 7m` from this account's files, or nothing; asks nobody, never fails
        #[arg(long, conflicts_with_all = ["all", "limit"])]
        short: bool,
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
        #[arg(value_parser = id)]
        id: String,
    },
    /// Wait for the answer to a request; collect it when it is yours
    Wait {
        /// A grant's id [default: your only open one]
        #[arg(value_parser = id)]
        id: Option<String>,
        /// Wait at most so long; the request stays open after that
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Say yes to somebody's request
    Approve {
        /// A grant's id
        #[arg(value_parser = id)]
        id: String,
        /// Without asking back
        #[arg(short, long)]
        yes: bool,
        /// Only if the request has this digest
        #[arg(long, value_name = "HEX", value_parser = pasted)]
        digest: Option<String>,
        /// To what it is cut down.
        #[command(flatten)]
        less: Less,
    },
    /// Say no to somebody's request
    Deny {
        /// A grant's id
        #[arg(value_parser = id)]
        id: String,
        /// Why; the requester reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take your own request back
    Withdraw {
        /// A grant's id
        #[arg(value_parser = id)]
        id: String,
    },
    /// Ask for more time while your access works
    Extend {
        /// A grant's id [default: your only live one]
        #[arg(value_parser = id)]
        id: Option<String>,
        /// How much more, such as 10m
        #[arg(long = "for", value_name = "DURATION")]
        duration: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only ask
        #[arg(long)]
        no_wait: bool,
    },
    /// Take your access when nobody answers, where the policy lets it; people review it afterwards
    BreakGlass {
        /// A grant's id [default: your only open request]
        #[arg(value_parser = id)]
        id: Option<String>,
        /// Why it can't wait; every approver and reviewer reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Say what you found about access that was taken without an answer
    Review {
        /// A grant's id
        #[arg(value_parser = id)]
        id: String,
        /// What you found.
        #[command(flatten)]
        verdict: Found,
        /// … in words; they stay in the trail
        #[arg(long, value_name = "TEXT")]
        words: String,
    },
    /// Give your own access back before its time
    End {
        /// A grant's id
        #[arg(value_parser = id)]
        id: String,
    },
    /// Take somebody's access away
    Revoke {
        /// A grant's id
        #[arg(value_parser = id)]
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
        #[arg(long, value_name = "ID", value_parser = id)]
        grant: String,
    },
    /// Print how to point kubectl to a grant, or put it into your kubeconfig
    Kubeconfig {
        /// A grant's id [default: your only one]
        #[arg(value_parser = id)]
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
    /// Run a command with access; it is ended with the grant where this login has a systemd manager of its own
    #[command(after_help = COVERS)]
    Run {
        /// A grant's id [default: your only one]
        #[arg(value_parser = id)]
        id: Option<String>,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run your shell with access, as `run` does; its prompt shows the time that is left
    #[command(after_help = COVERS)]
    Shell {
        /// A grant's id [default: your only one]
        #[arg(value_parser = id)]
        id: Option<String>,
    },
    /// End what was started with a grant when the grant ends (started by `run` and `shell`)
    #[command(hide = true)]
    Watch {
        /// The grant
        grant: String,
        /// The end of its window as it is known
        until: Timestamp,
    },
    /// Show what the trail holds about a grant
    Events {
        /// A grant's id
        #[arg(value_parser = id)]
        id: String,
    },
    /// Look for what keeps things from working
    Doctor,
    /// Print what a shell reads to complete the words of jit-login
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Print the source of the manual page
    #[command(hide = true)]
    Man,
}

/// What `run` and `shell` end, and what not.
const COVERS: &str = "\
When the grant ends, what was started here gets SIGTERM and SIGHUP, and five seconds later SIGKILL: a watch, an exec \
or a port-forward of it is cut. Not ended are: what was started elsewhere with the same kubeconfig, what you move to \
another place of your own, streams that another program keeps open, and all of it where it is said that it will not be \
ended. The certificate ends by itself, wherever it was copied.";

/// What a reviewer found.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Found {
    /// There was reason enough
    #[arg(long)]
    justified: bool,
    /// There was not
    #[arg(long)]
    not_justified: bool,
}

impl Found {
    /// What was said.
    pub(crate) fn meant(&self) -> Verdict {
        if self.justified { Verdict::Justified } else { Verdict::NotJustified }
    }
}

/// What is asked.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    place: Place,
    /// How long the access lasts, such as 15m
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "again")]
    duration: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present = "again")]
    reason: Option<String>,
    /// What you asked for before once more; what else is said here is changed [default: the last one]
    #[arg(long, value_name = "ID", num_args = 0..=1, value_parser = id)]
    pub(crate) again: Option<Option<String>>,
}

/// What would be asked.
#[derive(Debug, Args)]
#[command(mut_arg("cluster", |argument| argument.required(true)))]
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
    #[arg(value_parser = pasted)]
    cluster: Option<String>,
    /// The namespaces, several with commas
    #[arg(short, long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = pasted, conflicts_with = "cluster_wide")]
    namespaces: Vec<String>,
    /// The whole cluster
    #[arg(long)]
    cluster_wide: bool,
    /// A ClusterRole, or role/NAME for a Role of the namespace
    #[arg(long, value_parser = pasted, conflicts_with = "verbs")]
    role: Option<String>,
    #[command(flatten)]
    exactly: Exactly,
    /// What else the policy wants to know
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// Only from then on, such as 22:30, +2h or 2026-12-24T22:30:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Exact rules instead of a role.
#[derive(Debug, Args)]
struct Exactly {
    /// Exactly these verbs instead of the role, such as get,list
    #[arg(long = "verb", value_name = "VERBS", value_delimiter = ',', value_parser = pasted, requires = "resources")]
    verbs: Vec<String>,
    /// … on these resources, such as pods,pods/log,deployments.apps
    #[arg(long = "resource", value_name = "RESOURCES", value_delimiter = ',', value_parser = pasted, requires = "verbs")]
    resources: Vec<String>,
    /// … of these names only
    #[arg(long = "name", value_name = "NAMES", value_delimiter = ',', value_parser = pasted, requires = "verbs")]
    names: Vec<String>,
}

/// What an approver leaves of a request.
#[derive(Debug, Args)]
#[command(next_help_heading = "To less than was asked")]
pub(crate) struct Less {
    /// Only for so long
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// Only in these namespaces
    #[arg(short, long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = pasted)]
    namespaces: Vec<String>,
    #[command(flatten)]
    rules: Exactly,
}

impl Less {
    /// The body, if every word is of its form; none when nothing is cut off.
    pub(crate) fn body(&self) -> Result<Option<LessBody>, Failure> {
        let Self { duration, namespaces, rules } = self;
        let body = LessBody { duration: duration.clone(), namespaces: namespaces.clone(), rules: rules.rules() };
        if body == LessBody::default() {
            return Ok(None);
        }
        let _ = body.parse().map_err(|wrong| malformed(&wrong))?;
        Ok(Some(body))
    }
}

fn malformed(wrong: &[Malformed]) -> Failure {
    let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Failure::usage(all.join("; "), "nothing was sent")
}

impl Verb {
    /// Whether what would be asked is of its form, as far as that can be told without the daemon.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Failure> {
        match self {
            Self::Request { ask, .. } if ask.again.is_none() => ask.body(None, now).map(drop),
            Self::Explain { ask } => ask.body(now).map(drop),
            Self::Approve { less, .. } => less.body().map(drop),
            _ => Ok(()),
        }
    }
}

impl Ask {
    /// The body, if every word is of its form; what is not said is as it was `before`.
    pub(crate) fn body(&self, before: Option<AskBody>, now: Timestamp) -> Result<AskBody, Failure> {
        let mut body = before.unwrap_or_else(nothing);
        for (to, from) in [(&mut body.duration, &self.duration), (&mut body.reason, &self.reason)] {
            if let Some(text) = from {
                to.clone_from(text);
            }
        }
        self.place.put_into(body, now)
    }
}

impl AskIf {
    /// The body, if every word is of its form.
    pub(crate) fn body(&self, now: Timestamp) -> Result<AskBody, Failure> {
        let body = AskBody { duration: self.duration.clone(), reason: self.reason.clone(), ..nothing() };
        self.place.put_into(body, now)
    }
}

/// A body in which nothing is said yet.
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
                Failure::usage(format!("`--at {at}` is no time"), "write 22:30, +2h or 2026-12-24T22:30:00Z")
            })?;
            body.start = Some(start);
        }
        let _ = body.parse().map_err(|wrong| malformed(&wrong))?;
        Ok(body)
    }
}

impl Exactly {
    fn rules(&self) -> Vec<Rule> {
        Rule::exactly(&self.verbs, &self.resources, &self.names)
    }
}

/// A word without what comes along when it is taken out of a message: spaces, backticks, quotes.
fn pasted(text: &str) -> Result<String, Infallible> {
    let around = |c: char| c.is_whitespace() || "`'\"\u{2018}\u{2019}\u{201c}\u{201d}".contains(c);
    Ok(text.trim_matches(around).to_owned())
}

/// A grant's id, or the beginning of one, as people write it down.
fn id(text: &str) -> Result<String, Infallible> {
    Ok(GrantId::as_written(text.trim_matches(|c: char| !c.is_alphanumeric())))
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as ticket=OPS-7")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A moment as people write it: an RFC 3339 time, a span from now on, or the next time that a clock on the wall
/// shows.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(span) = text.strip_prefix('+') {
        return now.checked_add(duration(span).ok()?).ok();
    }
    if let Ok(time) = text.parse::<jiff::civil::Time>() {
        let here = now.to_zoned(jiff::tz::TimeZone::system());
        let today = here.with().time(time).build().ok()?;
        let next = if today > here { today } else { today.tomorrow().ok()?.with().time(time).build().ok()? };
        return Some(next.timestamp());
    }
    text.parse().ok()
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
        let nowhere = parse("jit-login request prod --role view --for 5m --reason x").unwrap();
        assert!(nowhere.verb.check(Timestamp::UNIX_EPOCH).is_err());
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
        let told: Vec<String> = body.rules.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["get, list pods, pods/log named w", "get, list deployments/scale.apps named w"]);
        assert!(asked("jit-login request prod -n a --verb * --resource pods --for 5m --reason x", None).is_err());
    }

    #[test]
    fn what_is_asked_again_is_as_before_but_for_what_is_said() {
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
    fn what_is_pasted_is_read_as_it_is_meant() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["jit-login"], words].concat()).unwrap().verb;
        for written in ["`7K3M-9X2Q`", " 7k3m9x2q.", "(7k3m9x2q)", "\u{201c}7k3m9x2q\u{201d}"] {
            assert!(matches!(parse(&["show", written]), Verb::Show { id } if id == "7k3m9x2q"), "{written}");
        }
        let words = ["request", "`prod`", "-n", "'a', b", "--role", "`view`\n", "--for", "5m", "--reason", "`x`"];
        let Verb::Request { ask, .. } = parse(&words) else { panic!() };
        let body = ask.body(None, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((body.cluster.as_str(), body.role.as_deref(), body.reason.as_str()), ("prod", Some("view"), "`x`"));
        assert_eq!(body.namespaces, ["a", "b"]);
    }

    #[test]
    fn a_time_limit_has_a_unit() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for text in ["10", "m", "-1m", "1d", "9999999999h", "", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
