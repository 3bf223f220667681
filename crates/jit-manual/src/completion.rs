//! Completion: a short script makes a shell ask the program itself, which knows its own words and may ask others.
//!
//! ```text
//!  TAB ─► the shell's function ─► jit-login with JIT_LOGIN_COMPLETE=bash ─► candidates, one a line
//! ```
//! clap's own engine does it. Its scripts of fixed words would need a part by hand for each of three shells to ask the daemon,
//! and offer the names of files wherever they know nothing better. It is called unstable, so its version is pinned in
//! `Cargo.lock` and the scripts are run in the real shells by `tests/it/manual.rs`. The mains are the callers.

use std::ffi::OsString;

use clap::{Command, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

/// A shell that words are completed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "their names")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What a shell reads to complete the words of the program `name`, which it asks with `variable` set to the shell.
///
/// # Errors
/// None that can happen: it is written to memory.
pub fn completion(name: &str, variable: &str, shell: Shell) -> std::io::Result<Vec<u8>> {
    let mut script = Vec::new();
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Fish => &Fish,
        Shell::Zsh => &Zsh,
    };
    shell.write_registration(variable, name, name, name, &mut script)?;
    if shell.name() != "zsh" {
        return Ok(script);
    }
    // A file of `fpath` is read at the first TAB as the body of the function `_NAME`, and has to answer that one too.
    let script = String::from_utf8_lossy(&script);
    let function = format!("_clap_dynamic_completer_{}", name.replace('-', "_"));
    let register = format!("compdef {function} {name}\n");
    let both =
        format!("if [ \"$funcstack[1]\" = \"_{name}\" ]; then\n    {function} \"$@\"\nelse\n    {}fi\n", register);
    Ok(script.replace(&register, &both).into_bytes())
}

/// Answers a shell that asks what may follow, and says whether one asked. Whatever fails is answered with nothing: the person
/// is in the middle of a line.
pub fn answer(name: &'static str, variable: &'static str, words: &[OsString], command: impl Fn() -> Command) -> bool {
    // Made anew of what is to be seen, for clap offers a hidden verb where nothing else begins so.
    let seen = || {
        let command = command();
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
        Command::new(name).args(command.get_arguments().cloned()).subcommands(verbs)
    };
    let folder = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(seen).var(variable).try_complete(words.iter().cloned(), folder.as_deref());
    asked.unwrap_or(true)
}
