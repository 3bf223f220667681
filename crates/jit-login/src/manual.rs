//! `jit-login man` and `jit-login completion`: the prose of jit-login(1). The rest of the page is generated from the
//! definition of the command line.
//!
//! No command, option or exit code is described here. `tests/it/manual.rs` runs the examples. `main.rs` calls it.

use std::io::{ErrorKind, Write, stdout};

use clap::CommandFactory;

use jit_manual::{Page, Section, Shell};

use crate::arguments::Arguments;
use crate::complete::COMPLETE_VARIABLE;
use crate::failure::Failure;

pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    let script = jit_manual::completion("jit-login", COMPLETE_VARIABLE, shell);
    print(&script.map_err(|error| Failure::own(format!("cannot write the script: {error}"), ""))?)
}

pub(crate) fn man() -> Result<(), Failure> {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    print(jit_login_1(&date).render().as_bytes())
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match stdout().write_all(text) {
        // A reader that closes the pipe, as `head` does, is not a failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::own(format!("stdout: {error}"), "write it somewhere else"))
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
            "`jit-login` requests access from the daemon of this host, `jitd`(8): to one cluster, in some namespaces, with \
             one role, for some minutes, for a reason. Other people have to approve it, as the policy says. Then \
             `kubectl`(1) works until the window ends.",
        )
        .text(
            "The private key is generated here and stays in your private folder. kubectl's exec plugin, which is also this \
             program, renews the certificate inside the window. An exec or a watch that is open when the window ends is \
             ended if `run` or `shell` started it; otherwise it continues until it is closed.",
        )
        .text(
            "A grant has an id, which `request` prints; a unique beginning of it is enough. Commands about your own access \
             use your only grant if you give no id. stdout contains the result and nothing else; messages for people are on \
             stderr.",
        );
    page.options(&command).verbs(&command);
    page.heading("EXIT STATUS");
    let codes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for (code, meaning) in exit_codes(&codes) {
        page.item(&format!("`{code}`"), &format!("{meaning}."));
    }
    page.heading("ENVIRONMENT")
        .item("`JITD_SOCKET`", "The daemon's socket, or the URL of a bastion, like `--socket`.")
        .item("`JITD_USER`", "The account that the daemon runs as, like `--server-user`.")
        .item(
            "`KUBECONFIG`",
            "The kubeconfigs that kubectl reads; `kubeconfig --merge` writes to one of them, and `run` sets the variable for its \
             command.",
        )
        .item(
            "`HTTPS_PROXY`, `NO_PROXY`",
            "The proxy on the way to a bastion and to the identity provider, for `login` and where you are not on the bastion.",
        )
        .item("`NO_COLOR`", "If it is set, no colours, even on a terminal.");
    page.heading("FILES")
        .item(
            "/run/jitd/api.sock",
            "The daemon's socket. Before `jit-login` sends anything, it checks with the kernel which account serves there.",
        )
        .item(
            "$XDG_RUNTIME_DIR/jit-login",
            "Keys, certificates and kubeconfigs of your live grants, readable only by you. They are removed at logout. If \
             `XDG_RUNTIME_DIR` is not set, the next folder is used.",
        )
        .item(
            "$XDG_STATE_HOME/jit-login, ~/.local/state/jit-login",
            "The key of a request until its first certificate, readable only by you, so that you can log out while the request \
             waits. Also the session at a bastion that you logged in to from elsewhere: its key, and a refresh token of the \
             identity provider. With `login --store keyring` both are in the kernel's memory instead, in the persistent keyring of your \
             account (`persistent-keyring`(7)), until a reboot or some days without use.",
        )
        .item(
            "$XDG_CONFIG_HOME/jit-login/config.yaml, ~/.config/jit-login/config.yaml",
            "The bastions that you logged in to: URL, fingerprint, where the session is kept, and which one commands use where there is no daemon on this \
             host. `login` writes it.",
        );
    page.heading("EXAMPLES");
    page.example(
        "Alice requests access and does not wait; `$ID` stands for the id that is printed.",
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
        "Show how the policy would decide, without making a request:",
        "alice$ jit-login explain prod -n payments --role edit --for 10m \\\n\
         \x20   --reason \"INC-43 is web-0 up\"\n\
         no: no rule allows it",
    );
    page.example(
        "Request exact rules instead of a role:",
        "alice$ jit-login request prod -n payments --verb get,list \\\n\
         \x20   --resource pods,pods/log --for 10m \\\n\
         \x20   --reason \"INC-43 is web-0 up\" --no-wait\n\
         requested: exactly get, list pods, pods/log\n\
         alice$ jit-login withdraw $ID\n\
         withdrawn",
    );
    page.heading("SEE ALSO").text("`kubectl`(1), `jitd`(8), `jitd-policy`(5), `jit-gateway`(8)");
    page
}

/// The lines below `Exit codes:` in the help.
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
