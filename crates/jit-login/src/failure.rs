//! Why a command failed: its code, sentence and hint, and the exit code for scripts.
//!
//! [`ErrorCode`](jit_wire::ErrorCode) defines the exit codes for the daemon's answers, [`Failure::exit_code`] the others.
//! Nothing here writes to a terminal; `main` does. Every command returns it.

use jit_core::grant::{EndCause, Phase};
use jit_wire::client::ClientError;
use jit_wire::{FailureView, GrantView};

use crate::text::{ago, program, safe, safe_name, until};

/// Any outcome but success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon refused, failed, or cannot be reached.
    Client(ClientError),
    /// The command line is wrong.
    Usage {
        /// What is wrong.
        why: String,
        /// What to write instead.
        hint: String,
    },
    /// The grant was denied, lapsed, was withdrawn or is over.
    Closed(Box<GrantView>),
    /// The grant's window is over, according to its stored credential.
    Over {
        /// The message.
        why: String,
        /// How to request it again.
        hint: String,
    },
    /// An approver denied the extension.
    ExtensionDenied,
    /// Nobody answered the extension in time.
    ExtensionLapsed,
    /// `--timeout` ran out; the request stays open.
    TimedOut {
        /// The grant.
        id: String,
    },
    /// The grant cannot be used yet.
    StillPending(Box<GrantView>),
    /// `explain` answered "deny"; the result already says it.
    WouldBeDenied,
    /// Ctrl-C while waiting; the request stays open.
    Interrupted {
        /// The grant.
        id: String,
    },
    /// Only an exit code, because nobody would read a message.
    Unsaid(u8),
    /// The person did not confirm an approval.
    Declined {
        /// The grant.
        id: String,
    },
    /// A failure of this program.
    Own {
        /// What is wrong.
        why: String,
        /// What to do.
        hint: String,
    },
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    /// A failure of this program.
    pub(crate) fn own(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Own { why: why.into(), hint: hint.into() }
    }

    /// The command line is wrong.
    pub(crate) fn usage(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { why: why.into(), hint: hint.into() }
    }

    /// 0 done · 1 failure · 2 usage · 3 denied by an approver · 4 denied by policy · 5 timed out ·
    /// 6 still pending · 7 grant ended · 8 cannot reach jitd · 130 Ctrl-C.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unreachable { .. } | ClientError::WrongServer { .. }) => 8,
            Self::Client(ClientError::Problem(problem)) => problem.exit().code(),
            Self::Client(ClientError::Protocol { .. } | ClientError::Broken { .. })
            | Self::Own { .. }
            | Self::Declined { .. } => 1,
            Self::Usage { .. } => 2,
            Self::WouldBeDenied => 4,
            Self::Closed(grant) => match grant.phase {
                Phase::Denied => 3,
                Phase::Lapsed => 5,
                _ => 7,
            },
            Self::ExtensionDenied => 3,
            Self::ExtensionLapsed | Self::TimedOut { .. } => 5,
            Self::StillPending(_) => 6,
            Self::Over { .. } => 7,
            Self::Unsaid(code) => *code,
            Self::Interrupted { .. } => 130,
        }
    }

    /// The code and the sentence; none if everything is already printed.
    pub(crate) fn sentence(&self) -> Option<(String, String)> {
        Some(match self {
            Self::Client(error) => (safe(error.code()), self.client_text()),
            Self::Usage { why, .. } => ("usage".to_owned(), safe(why)),
            Self::Own { why, .. } => ("failed".to_owned(), safe(why)),
            Self::Closed(grant) => (grant.phase.as_str().to_owned(), closed(grant)),
            Self::Over { why, .. } => ("ended".to_owned(), safe(why)),
            Self::ExtensionDenied => {
                ("denied".to_owned(), "the extension was denied; the access ends as before".to_owned())
            }
            Self::ExtensionLapsed => {
                ("lapsed".to_owned(), "nobody answered the extension in time; the access ends as before".to_owned())
            }
            Self::TimedOut { id } => {
                ("timed-out".to_owned(), format!("nobody answered `{}` yet; the request stays open", safe(id)))
            }
            Self::StillPending(grant) => ("pending".to_owned(), format!("`{}` is still pending", safe(&grant.id))),
            Self::Interrupted { id } => ("interrupted".to_owned(), format!("the request `{}` stays open", safe(id))),
            Self::Declined { id } => ("declined".to_owned(), format!("not approved; `{}` stays pending", safe(id))),
            Self::WouldBeDenied | Self::Unsaid(_) => return None,
        })
    }

    /// The problem document; none if everything is already printed.
    pub(crate) fn view(&self) -> Option<FailureView> {
        let (code, sentence) = self.sentence()?;
        let view = FailureView::own(&code, sentence, self.hint());
        Some(match self {
            Self::Client(ClientError::Problem(problem)) => view.answered(problem),
            _ => view,
        })
    }

    /// What to do about it; empty if there is nothing to do.
    pub(crate) fn hint(&self) -> String {
        let program = program();
        match self {
            Self::Client(ClientError::Problem(problem)) => safe(&problem.hint),
            Self::Client(ClientError::Unreachable { .. }) => {
                format!("run `systemctl status jitd` on this host, or `{program} doctor`")
            }
            Self::Client(ClientError::WrongServer { .. }) => {
                "nothing was sent; if this is the right socket, name its account with --server-user".to_owned()
            }
            Self::Client(ClientError::Protocol { .. } | ClientError::Broken { .. }) => {
                format!("`{program} doctor` finds which part is at fault")
            }
            Self::Usage { hint, .. } | Self::Own { hint, .. } | Self::Over { hint, .. } => safe(hint),
            Self::Closed(grant) => match (grant.phase, &grant.closed_by) {
                (Phase::Denied, Some(by)) => {
                    format!("ask {} what would be approved, then {}", safe(by), again(&grant.id))
                }
                _ => again(&grant.id),
            },
            Self::TimedOut { id } | Self::Interrupted { id } => {
                format!("continue with `{program} wait {0}`, or withdraw it with `{program} withdraw {0}`", safe(id))
            }
            Self::StillPending(grant) => format!("`{program} wait {}` waits for an answer", safe(&grant.id)),
            Self::ExtensionDenied | Self::ExtensionLapsed => {
                format!("`{program} ls` shows when it ends; you can make a new request before that")
            }
            Self::Declined { id } => format!("`{program} deny {} --reason TEXT` tells the requester", safe(id)),
            Self::WouldBeDenied | Self::Unsaid(_) => String::new(),
        }
    }

    fn client_text(&self) -> String {
        match self {
            Self::Client(error) => safe(&error.to_string()),
            _ => String::new(),
        }
    }
}

/// How a request or a grant ended, in one sentence.
pub(crate) fn closed(grant: &GrantView) -> String {
    let id = safe(&grant.id);
    let by = grant.closed_by.as_deref().map(|name| format!(" by {}", safe(name))).unwrap_or_default();
    let words = grant.closing_words.as_deref().map(|words| format!(": {}", safe(words))).unwrap_or_default();
    let when = grant.ended_at.map(|at| format!(" {}", ago(at))).unwrap_or_default();
    match (grant.phase, grant.end_cause) {
        (Phase::Denied, _) => format!("`{id}` was denied{by}{words}"),
        (Phase::Lapsed, _) if grant.break_glass.is_some() => {
            format!("break-glass was used for `{id}`, but the access was not collected in time")
        }
        (Phase::Lapsed, _) if grant.steps.iter().any(|step| step.missing > 0) => {
            format!("nobody answered `{id}` in time")
        }
        (Phase::Lapsed, _) => format!("`{id}` was approved, but not collected in time"),
        (Phase::Withdrawn, _) => format!("`{id}` was withdrawn{by}"),
        (Phase::Ending, _) => format!("`{id}` is ending{by}{words}"),
        (_, Some(EndCause::Expired)) => format!("`{id}` expired{when}, after {}", safe(&grant.duration)),
        (_, Some(EndCause::Released)) => format!("`{id}` was released{when}"),
        (_, Some(EndCause::Revoked)) => format!("`{id}` was revoked{by}{when}{words}"),
        (_, Some(EndCause::Drifted)) if words.is_empty() => {
            format!("`{id}` ended{when} because the role changed since it was approved")
        }
        (_, Some(EndCause::Drifted)) => format!("`{id}` ended{when}{words}"),
        (_, Some(EndCause::Failed)) => format!("`{id}` failed{when}, before the access worked{words}"),
        (phase, _) => format!(
            "`{id}` is {}{}",
            phase.as_str(),
            grant.deadline.map(|at| format!(", {}", until(at))).unwrap_or_default()
        ),
    }
}

/// The command that repeats the request.
pub(crate) fn again(grant: &str) -> String {
    format!("request it again with `{} request --again {}`", program(), safe_name(grant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_wire::{ErrorCode, Problem};

    fn problem(code: &str, status: u16) -> Failure {
        let (code, detail, hint) = (code.to_owned(), String::new(), String::new());
        Failure::Client(ClientError::Problem(Problem { code, status, detail, hint, retry_after: None }))
    }

    pub(crate) fn grant(phase: &str) -> Box<GrantView> {
        let view = serde_json::json!({
            "id": "7k3m9x2q7k3m9x2q", "phase": phase, "requester": "alice", "cluster": "prod", "role": "view",
            "namespaces": ["payments"], "access": "role view", "duration": "15m", "reason": "r", "rule": "x", "agreed": [], "digest": "d",
            "steps": [{"groups": ["leads"], "count": 1, "missing": 1}], "key": "k", "requestedAt": "2026-11-23T18:00:00Z",
            "certificates": 0, "answers": 0,
        });
        Box::new(serde_json::from_value(view).unwrap())
    }

    #[test]
    fn every_outcome_has_the_exit_code_that_scripts_rely_on() {
        let id = || "x".to_owned();
        let socket = || "/run/jitd/api.sock".into();
        let table = [
            (Failure::own("x", ""), 1),
            (Failure::Client(ClientError::Protocol { why: id() }), 1),
            (Failure::Client(ClientError::Broken { why: id() }), 1),
            (problem("something-new", 500), 1),
            (problem("something-new", 503), 1),
            (Failure::usage("x", ""), 2),
            (problem("malformed", 422), 2),
            (problem("something-new", 422), 2),
            (Failure::Closed(grant("denied")), 3),
            (problem("not-less", 422), 4),
            (problem("something-new", 403), 4),
            (Failure::WouldBeDenied, 4),
            (Failure::ExtensionDenied, 3),
            (Failure::ExtensionLapsed, 5),
            (Failure::TimedOut { id: id() }, 5),
            (Failure::Closed(grant("lapsed")), 5),
            (Failure::StillPending(grant("pending")), 6),
            (Failure::Closed(grant("ended")), 7),
            (Failure::Closed(grant("ending")), 7),
            (Failure::Closed(grant("withdrawn")), 7),
            (Failure::Over { why: id(), hint: id() }, 7),
            (problem("too-late", 410), 7),
            (problem("something-new", 410), 4),
            (Failure::Client(ClientError::Unreachable { socket: socket(), why: id() }), 8),
            (Failure::Client(ClientError::WrongServer { socket: socket(), why: id() }), 8),
            (Failure::Interrupted { id: id() }, 130),
        ];
        for (failure, code) in table {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn every_code_of_the_daemon_has_its_exit_code() {
        for code in ErrorCode::all() {
            let failure = Failure::Client(ClientError::Problem(Problem::new(code, "")));
            assert_eq!(failure.exit_code(), code.exit().code(), "{code:?}");
        }
    }

    #[test]
    fn escape_codes_in_what_an_approver_said_do_not_reach_the_terminal() {
        let mut view = grant("denied");
        view.closing_words = Some("no\u{1b}[2J\u{202e}".to_owned());
        let (_, sentence) = Failure::Closed(view).sentence().unwrap();
        assert!(!sentence.chars().any(char::is_control) && !sentence.contains('\u{202e}'), "{sentence}");
    }
}
