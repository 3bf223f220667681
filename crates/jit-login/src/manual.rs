//! `jit-login man` and `jit-login completion`: the prose of jit-login(1) around what the command line says by
//! itself.
//!
//! No verb, option or exit code is listed here. The examples are run by `tests/it/manual.rs`. `main.rs` calls it.

use std::io::{ErrorKind, Write, stdout};

use clap::CommandFactory;

use jit_manual::{Page, Section, Shell};

use crate::arguments::Arguments;
use crate::complete::COMPLETE_VARIABLE;
use crate::failure::Failure;

pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    let script = jit_manual::completion("jit-login", COMPLETE_VARIABLE, shell);
    print(&script.map_err(|error| Failure::own(format!("can't write the script, {error}"), ""))?)
}

pub(crate) fn man() -> Result<(), Failure> {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    print(jit_login_1(&date).render().as_bytes())
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match stdout().write_all(text) {
        // A reader that has gone away, as `head` does, is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::own(format!("stdout: {error}"), "send it somewhere else"))
        }
        _ => Ok(()),
    }
}

fn jit_login_1(date: &str) -> Page {
    let about = "request short-lived access to Kubernetes clusters, and answer requests";
    let synopsis = ["`jit-login` [OPTIONS] COMMAND", "`kubectl jit` [OPTIONS] COMMAND"];
    let command = Arguments::command();
    let mut page = Page::new("jit-login", Section::Commands, about, &synopsis, date);
    page.heading("DESCRIPTION")
        .text(
            "`jit-login` asks the daemon of this host, `jitd`(8), for access: to one cluster, in some namespaces, with \
             one role, for some minutes, for a reason. Somebody else has to agree, as the policy says. Then `kubectl`(1) \
             works until the window ends, and no longer.",
        )
        .text(
            "The private key is made here and stays in a folder of your own. kubectl's exec plugin, which is this program \
             too, renews the certificate inside the window. What is running when the window ends, such as an exec or a \
             watch, ends with it if `run` or `shell` started it, and otherwise goes on until it is closed.",
        )
        .text(
            "A grant is called by its id, which `request` prints; a unique beginning of any length is enough. Verbs about your \
             own access take your only grant where no id is given. stdout has the result and \
             nothing else, stderr everything that is for people.",
        );
    page.options(&command).verbs(&command);
    page.heading("EXIT STATUS");
    let codes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for (code, meaning) in exit_codes(&codes) {
        page.item(&format!("`{code}`"), &format!("{meaning}."));
    }
    page.heading("ENVIRONMENT")
        .item("`JITD_SOCKET`", "The daemon's socket, as `--socket` names it.")
        .item("`JITD_USER`", "The account that the daemon runs as, as `--server-user` names it.")
        .item(
            "`KUBECONFIG`",
            "The files that `kubeconfig --merge` writes to, as kubectl reads it; what `run` sets for its command.",
        )
        .item("`NO_COLOR`", "No colours, also on a terminal.");
    page.heading("FILES")
        .item(
            "/run/jitd/api.sock",
            "Where the daemon answers. Before anything is sent, the kernel is asked who serves there.",
        )
        .item(
            "$XDG_RUNTIME_DIR/jit-login",
            "Keys, certificates and kubeconfigs of your live grants, for you alone. They go with the login; without that \
             folder they are in the next one.",
        )
        .item(
            "$XDG_STATE_HOME/jit-login, ~/.local/state/jit-login",
            "The key of a request until its first certificate, for you alone: an approval outlives the logout of who asked.",
        );
    page.heading("EXAMPLES");
    page.example(
        "Alice asks, and goes on with something else; `$ID` stands for what is printed.",
        "alice$ jit-login request prod -n payments --role view --for 10m \\\n\
         \x20   --reason \"INC-42 queue stuck\" --no-wait\n\
         requested: role view in namespace payments on cluster prod, for 10m\n\
         bob$ jit-login show $ID\n\
         INC-42 queue stuck\n\
         bob$ jit-login approve $ID --yes\n\
         approved\n\
         alice$ jit-login wait $ID\n\
         ready: role view on prod in namespace payments\n\
         alice$ jit-login run $ID -- kubectl get configmaps\n\
         seen\n\
         alice$ jit-login end $ID\n\
         ended (released)",
    );
    page.example(
        "What would be said, without asking anybody:",
        "alice$ jit-login explain prod -n payments --role edit --for 10m \\\n\
         \x20   --reason \"INC-43 is web-0 up\"\n\
         no: no rule allows it",
    );
    page.example(
        "Exactly what is needed instead of a role:",
        "alice$ jit-login request prod -n payments --verb get,list \\\n\
         \x20   --resource pods,pods/log --for 10m \\\n\
         \x20   --reason \"INC-43 is web-0 up\" --no-wait\n\
         requested: exactly get, list pods, pods/log\n\
         alice$ jit-login withdraw $ID\n\
         withdrawn",
    );
    page.heading("SEE ALSO").text("`kubectl`(1), `jitd`(8), `jitd-policy`(5)");
    page
}

/// The lines below `Exit codes:`, as the help has them.
fn exit_codes(text: &str) -> Vec<(&str, String)> {
    let codes = text.split("Exit codes:").nth(1).unwrap_or_default().lines();
    codes
        .filter_map(|code| code.trim().split_once(' '))
        .map(|(code, meaning)| {
            let mut letters = meaning.trim().chars();
            let capital = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
            (code, capital + letters.as_str())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_exit_code_of_the_help() {
        let help = Arguments::command().get_after_help().map(ToString::to_string).unwrap_or_default();
        let codes: Vec<String> = exit_codes(&help).into_iter().map(|(code, _)| code.to_owned()).collect();
        assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130"]);
    }
}
