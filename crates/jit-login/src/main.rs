//! `jit-login`, or `kubectl jit`: requests access from `jitd`, answers requests, and provides kubectl with certificates.
//!
//! ```text
//!  arguments ─► credential, from its file          (no runtime, no connection)
//!          └──► clap ─► verbs ─► client ─► jitd ─► stdout: the result · stderr: words · exit code
//! ```
//! It decides nothing and has no rights of its own. Invalid input ends with a message and an exit code, never with a panic.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic if the reader has closed the pipe; the functions in `output` do not"
)]

mod access;
mod arguments;
mod bastion;
mod cache;
mod complete;
mod credential;
mod daemon;
mod doctor;
mod failure;
mod folder;
mod follow;
mod front;
mod issue;
mod kept;
mod key;
mod kubeconfig;
mod login;
mod loopback;
mod manual;
mod oidc;
mod output;
mod past;
mod probe;
#[cfg(test)]
mod schemas;
mod session;
mod status;
mod store;
mod terminal;
mod text;
mod verbs;
mod view;
mod wait;
mod waiting;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};
use jiff::Timestamp;
use jit_core::grant::GrantId;
use jit_manual::Misuse;
use jit_wire::FilterQuery;

use crate::arguments::{Arguments, Verb};
use crate::credential::Wanted;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::login::LogIn;
use crate::output::Format;
use crate::verbs::Caller;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if jit_manual::answer("jit-login", complete::COMPLETE_VARIABLE, &words, Arguments::command) {
        return ExitCode::SUCCESS;
    }
    let plugin = words.first().and_then(|word| Path::new(word).file_stem()).is_some_and(|stem| stem == "kubectl-jit");
    text::called_as(if plugin { "kubectl jit" } else { "jit-login" });
    let (done, format) = match words.get(1..) {
        Some(arguments) if status::is_all_of(arguments) => (status::run(Format::Table), Format::Table),
        arguments => match arguments.and_then(Wanted::in_short) {
            Some(wanted) => (credential::run(&wanted), Format::Table),
            None => {
                let arguments = parsed(words, plugin);
                let format = arguments.output;
                (with_verb(arguments), format)
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure, format);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Parses the command line; a mistake in it, or help, is printed here and ends the program.
fn parsed(words: Vec<OsString>, plugin: bool) -> Arguments {
    let command = Arguments::command();
    let command = if plugin { command.name("kubectl jit").bin_name("kubectl jit") } else { command };
    let (help, written) = (command.clone(), words.clone());
    let matches = command.try_get_matches_from(words).unwrap_or_else(|error| match error.kind() {
        // clap's own message lists all commands, including hidden ones.
        ErrorKind::MissingSubcommand if jit_manual::wants_json(&written) => {
            let hint = format!("`{} --help` lists the commands", text::program());
            output::complain(&Failure::usage("there is no command", hint), Format::Json);
            std::process::exit(error.exit_code())
        }
        ErrorKind::MissingSubcommand => no_verb(help),
        kind => {
            let hint = if matches!(kind, ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument) {
                forgotten_dashes(&written)
            } else {
                None
            };
            if error.use_stderr() && jit_manual::wants_json(&written) {
                let Misuse { what, hint: usual } = Misuse::from(&error);
                output::complain(&Failure::usage(what, hint.unwrap_or(usual)), Format::Json);
                std::process::exit(error.exit_code());
            }
            match hint {
                Some(hint) => {
                    output::say(error.render().ansi().to_string().trim_end());
                    output::hint(&hint);
                    std::process::exit(error.exit_code())
                }
                None => error.exit(),
            }
        }
    });
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn with_verb(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { output, socket, server_user, verb } = arguments;
    if output == output::Format::Csv && !verb.has_rows() {
        return Err(Failure::usage("`-o csv` is for `ls`, `status` and `events`", ""));
    }
    if let Verb::Credential { grant } = verb {
        return credential::run(&Wanted { grant, socket, server_user });
    }
    match verb {
        Verb::Status { short: true, .. } => return status::run(output),
        Verb::Status { waiting: true, .. } => return waiting::run(socket, server_user.as_deref(), output),
        Verb::Completion { shell } => return manual::completion(shell),
        Verb::Man => return manual::man(),
        Verb::Login { bastion, root, provider, port, device, no_browser, store } => {
            let arguments = LogIn { bastion, root, provider, port, device, no_browser, store };
            return daemon::runtime()?.block_on(login::log_in(arguments, output));
        }
        Verb::Logout { bastion } => return daemon::runtime()?.block_on(login::log_out(bastion.as_deref())),
        _ => {}
    }
    let daemon = Daemon::new(socket, server_user.as_deref())?;
    if let Verb::Watch { grant, until } = &verb {
        return daemon::runtime()?.block_on(session::watch(&daemon, grant, *until));
    }
    if let Verb::Play(play) = &verb {
        return kept::play(&daemon, play);
    }
    if let Verb::Doctor = verb {
        return doctor::run(&daemon, output);
    }
    daemon::runtime()?.block_on(perform(verb, daemon, output))
}

/// The hint for `run kubectl get pods`: without `--`, its words look like a grant's id and unknown arguments.
fn forgotten_dashes(words: &[OsString]) -> Option<String> {
    let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str()).collect::<Option<_>>()?;
    let at = words.iter().position(|word| *word == "run")?;
    let command = words.get(at.checked_add(1)?..)?;
    let first = command.first()?;
    let is_id = command.len() == 1 && GrantId::is_beginning(first);
    if first.starts_with('-') || is_id || command.contains(&"--") {
        return None;
    }
    // A shorter beginning of an id may be a command.
    let (id, command) = match first.parse::<GrantId>() {
        Ok(id) => (format!("{id} "), command.get(1..)?),
        Err(_) => (String::new(), command),
    };
    Some(format!("write the command after `--`: `{} run {id}-- {}`", text::program(), command.join(" ")))
}

/// Prints the help if no command was given.
fn no_verb(mut command: Command) -> ! {
    output::say(command.render_help().ansi().to_string().trim_end());
    std::process::exit(Failure::usage("", "").exit_code().into())
}

/// The client's only clock.
#[expect(clippy::disallowed_methods, reason = "this is a main, which may read the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

async fn perform(verb: Verb, daemon: Daemon, format: Format) -> Result<(), Failure> {
    // Invalid arguments are reported before connecting.
    verb.check(now())?;
    let client = daemon.connect().await?;
    let mut caller = Caller { daemon, client, format };
    match verb {
        Verb::Can { cluster } => caller.can(cluster.as_deref()).await,
        Verb::Request { ask, dry_run: true, .. } => caller.try_request(&ask).await,
        Verb::Request { ask, no_wait, timeout, .. } => caller.request(&ask, no_wait, timeout).await,
        Verb::Explain { ask } => caller.explain(&ask.body(now())?, false).await,
        Verb::Ls { all, limit, filters, at, break_glass, watch, bell } => {
            let filter = FilterQuery { break_glass, ..filters.query(at.as_ref(), now())? };
            if watch { caller.follow(all, limit, &filter, bell).await } else { caller.list(all, limit, &filter).await }
        }
        Verb::Status { all, limit, .. } => caller.status(all, limit).await,
        Verb::Show { id } => caller.show(id).await,
        Verb::Wait { id, timeout } => caller.wait(id, timeout).await,
        Verb::Approve { id, yes, digest, details, less } => caller.approve(&id, yes, digest, &less, details).await,
        Verb::Deny { id, reason } => caller.deny(&id, &reason).await,
        Verb::Withdraw { id } => caller.withdraw(id).await,
        Verb::Extend { id, duration, reason, no_wait } => caller.extend(id, &duration, &reason, no_wait).await,
        Verb::BreakGlass { id, reason } => caller.break_glass(id, &reason).await,
        Verb::Review { id, verdict, words } => caller.review(&id, verdict.meant(), &words).await,
        Verb::End { id } => caller.end(id).await,
        Verb::Revoke { id, reason } => caller.revoke(&id, &reason).await,
        Verb::Whoami => caller.whoami().await,
        Verb::Link { code: None, .. } => caller.offer_link().await,
        Verb::Link { code: Some(code), yes } => caller.accept_link(&code, yes).await,
        Verb::Kubeconfig { id, merge, make_current, file } => caller.kubeconfig(id, merge, make_current, file).await,
        Verb::Run { id, command } => caller.run(id, &command).await,
        Verb::Shell { id } => caller.shell(id).await,
        Verb::Events { id: Some(id), .. } => caller.events(&id).await,
        Verb::Events { id: None, filters, limit } => caller.all_events(limit, &filters.query(None, now())?).await,
        Verb::Sessions { id: Some(id), reads, .. } => caller.sessions_of(&id, reads).await,
        Verb::Sessions { id: None, filters, limit, .. } => caller.sessions(limit, &filters.query(None, now())?).await,
        Verb::Export => caller.export().await,
        // These were handled without a connection.
        Verb::Credential { .. }
        | Verb::Login { .. }
        | Verb::Logout { .. }
        | Verb::Watch { .. }
        | Verb::Play(_)
        | Verb::Doctor
        | Verb::Completion { .. }
        | Verb::Man => Ok(()),
    }
}
