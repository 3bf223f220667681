//! `jitd man` and `jitd completion`: the prose of jitd(8), jitd-config(5), jitd-policy(5) and jitd-guardrails(5). The rest
//! of these pages is generated from the definitions.
//!
//! No command, option or key is described here. `tests/it/manual.rs` runs the examples, checks the files in them, and
//! compares the Markdown with `docs/`. `main.rs` calls it.

use clap::CommandFactory;

use jit_manual::{Key, Page, Section, Shell};
use jitd::config::KEYS;
use jitd::grant::policy::{self, Presence, Source};
use jitd::rbac::risk;

use crate::arguments::{Arguments, Topic};
use crate::{Failure, print};

/// The completion scripts set it to the name of the shell.
pub(crate) const COMPLETE_VARIABLE: &str = "JITD_COMPLETE";

pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    print::result(jit_manual::completion("jitd", COMPLETE_VARIABLE, shell)?)
}

pub(crate) fn man(topic: Topic, markdown: bool) -> Result<(), Failure> {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    let page = match topic {
        Topic::Jitd => jitd_8(&date),
        Topic::Config => jitd_config_5(&date),
        Topic::Policy => jitd_policy_5(&date),
        Topic::Guardrails => jitd_guardrails_5(&date),
    };
    print::result(if markdown { page.markdown() } else { page.render() })
}

fn jitd_8(date: &str) -> Page {
    let about = "certificate authority for approved, short-lived access to Kubernetes clusters";
    let command = Arguments::command();
    let mut page = Page::new("jitd", Section::Administration, about, &["`jitd` [OPTIONS] COMMAND"], date);
    page.heading("DESCRIPTION")
        .text(
            "`jitd` gives people on a bastion host access to Kubernetes clusters for minutes. A requester runs \
             `jit-login`(1), an approver approves, and the daemon signs a certificate with a group that only this grant \
             has and binds that group to one role in one scope. When the window ends, it deletes the binding and checks \
             that the API server answers `denied`.",
        )
        .text(
            "The audit trail records every step: the intent before it happens, and its outcome. If the daemon is killed in \
             between, it removes incomplete access at its next start.",
        )
        .text(
            "The same program is the daemon (`jitd serve`, run by systemd) and its administration. The other commands \
             work on the files of this host and need no running daemon, unless they say so.",
        );
    page.options(&command).verbs(&command);
    page.heading("SIGNALS")
        .item("`SIGHUP`", "Reads the policy and the guardrails again, as `systemctl reload jitd` does. A file with a fault changes nothing.")
        .item("`SIGTERM`, `SIGINT`", "Stops. Live access continues. The next start resumes it, and ends access whose window ended in the meantime.");
    page.heading("EXIT STATUS")
        .item("`0`", "Success.")
        .item("`1`", "Failure.")
        .item("`2`", "The command line or a file is invalid; all faults are reported at once.")
        .item("`3`", "Success, with a negative result: a test of the policy failed, a request would be denied, nobody may have the access, a cluster differs from what it should be, or two policies differ.");
    page.heading("ENVIRONMENT")
        .item("`JITD_LOG`", "The log level of `jitd serve`, such as `info` or `jitd=debug`. The default is `info`.");
    page.heading("FILES")
        .item("/etc/jitd/config.yaml", "The configuration, `jitd-config`(5). The daemon does not start without it.")
        .item("/etc/jitd/policy.yaml", "Who may request what, `jitd-policy`(5).")
        .item("/etc/jitd/guardrails.yaml", "The limits that no rule can lift, `jitd-guardrails`(5).")
        .item("/run/jitd/api.sock", "The socket for people and programs, open to the group `jit-users`.")
        .item("/run/jitd/admin.sock", "The admin socket, open to the group `jit-admins`.")
        .item("/var/lib/jitd/trail.db", "The audit trail. Removing the package leaves it in place.")
        .item(
            "/var/lib/jit-gateway/sessions",
            "What was done through the gateway, for `jitd audit sessions` and `play`.",
        )
        .item("/var/lib/jitd/ca/CLUSTER", "The authority of a cluster. Keep the root key elsewhere.")
        .item("/usr/share/doc/jitd/docs", "Tutorial, guides, runbooks and reference.");
    page.heading("EXAMPLES");
    page.example(
        "Validate the files and the trail:",
        "root$ jitd check\n\
         root$ jitd audit verify\n\
         the chain holds",
    );
    page.example(
        "Evaluate a request against the policy, without a daemon or a cluster:",
        "root$ jitd policy explain --as alice --group payments-oncall \\\n\
         \x20   --cluster prod -n payments \\\n\
         \x20   --role view --for 10m --reason \"INC-42\"\n\
         asks\n\
         root$ jitd policy who-can view -n payments\n\
         payments-oncall",
    );
    page.example(
        "Show how long the issuing certificate is valid; `jitd ca renew prod` issues the next one.",
        "root$ jitd ca show prod\n\
         issuing",
    );
    page.heading("SEE ALSO")
        .text(
            "`jit-login`(1), `jitd-config`(5), `jitd-policy`(5), `jitd-guardrails`(5), `jit-gateway`(8), `jit-frontend`(8), \
             `jit-notify`(8), `systemctl`(1), `kubectl`(1)",
        );
    page
}

fn jitd_config_5(date: &str) -> Page {
    let about = "the configuration of jitd";
    let mut page = Page::new("jitd-config", Section::Files, about, &["/etc/jitd/config.yaml"], date);
    page.heading("DESCRIPTION")
        .text(
            "YAML, read when `jitd` starts. A file with an error or an unknown key is refused as a whole; `jitd check` \
             reports every fault at once. `jitd init` writes a first one. `systemctl reload jitd` applies changed \
             `people`, `admins` and `auditors`; all other keys need a restart.",
        )
        .text(
            "A path is absolute, or relative to the file's folder. A duration is written like `90s`, `10m` or `1h30m` and \
             is between `5s` and `24h`. In the names of the keys below, `[]` stands for each entry of a list.",
        );
    page.heading("KEYS");
    for key in KEYS {
        page.key(Key { path: key.path, form: &with_need(key.form, key.need), about: key.about });
    }
    page.heading("EXAMPLES");
    page.example("Two groups that see everything, one cluster, and one person whom the host does not know:", CONFIG);
    page.heading("SEE ALSO").text("`jitd`(8), `jitd-policy`(5), `jitd-guardrails`(5)");
    page
}

/// The form of a value, and what applies without it.
fn with_need(form: &str, need: Presence) -> String {
    match need {
        Presence::Must => format!("{form}, required"),
        Presence::Default(text) => format!("{form}; the default is `{text}`"),
        Presence::May => form.to_owned(),
    }
}

const CONFIG: &str = r#"host: bastion1
auditors: [security]
admins: [platform]
times: {answer: 1h, collect: 10m, certificate: 15m}
clusters:
  - name: prod
    server: https://10.0.0.1:6443
    certificateAuthority: prod-ca.crt
people:
  - {name: alice, uids: [4001], groups: [payments-oncall]}
"#;

/// Applies to both files of the policy.
const BOTH_FILES: [&str; 2] = [
    "The file is YAML, and `systemctl reload jitd` reads it again. A file with a fault changes nothing: the log has each \
     fault with its line and column, and the previous policy stays in force. Live grants keep their terms.",
    "A duration is written like `90s`, `10m` or `1h30m` and is between `5s` and `24h`. In the names of the keys below, \
     `[]` stands for each entry of a list.",
];

fn jitd_policy_5(date: &str) -> Page {
    let about = "who may request what from jitd, and who has to approve";
    let mut page = Page::new("jitd-policy", Section::Files, about, &["/etc/jitd/policy.yaml"], date);
    page.heading("DESCRIPTION").text(
        "`policy.yaml` says who may request what, for how long, and who has to approve. Denials are evaluated first, then \
         the rules from top to bottom; the first rule that matches decides. A request is denied unless a rule allows it.",
    );
    for paragraph in BOTH_FILES {
        page.text(paragraph);
    }
    page.text("`jitd policy schema` prints the same keys as a JSON Schema, for editors.");
    keys(&mut page, Source::Policy);
    page.heading("EXAMPLES");
    page.example("One rule with an approval step that counts in office hours only, one denial, and a test:", POLICY);
    page.heading("SEE ALSO").text("`jitd`(8), `jitd-guardrails`(5), `jitd-config`(5), `jit-login`(1)");
    page
}

fn jitd_guardrails_5(date: &str) -> Page {
    let about = "limits that no rule of the policy can lift";
    let mut page = Page::new("jitd-guardrails", Section::Files, about, &["/etc/jitd/guardrails.yaml"], date);
    page.heading("DESCRIPTION").text(
        "`guardrails.yaml` contains limits that no rule of `policy.yaml` can lift. The defaults below apply to each key that \
         the file does not set, and to all keys if there is no file. `cluster-admin` and the system namespaces are never granted, a \
         request whose risk cannot be classified is refused, and access to a whole cluster needs two approvers and is \
         never pre-approved.",
    );
    for paragraph in BOTH_FILES {
        page.text(paragraph);
    }
    page.text("`jitd policy schema guardrails` prints the same keys as a JSON Schema, for editors.");
    keys(&mut page, Source::Guardrails);
    page.heading("RISKS").text(
        "What a role allows its holder to do, or what is wrong with a binding, by the id for `risks[].ids`. The severity \
         applies to the whole cluster; in one namespace it is one class lower, unless a service account of the namespace \
         has permissions beyond it. An id is never reused for another risk.",
    );
    for (id, severity, why) in risk::catalogue() {
        page.item(&format!("`{id}` ({severity})"), &jit_manual::sentence(why));
    }
    page.heading("EXAMPLES");
    page.example("Windows of at most an hour, no risk above high, and two approvers for a whole cluster:", GUARDRAILS);
    page.heading("SEE ALSO").text("`jitd`(8), `jitd-policy`(5), `jitd-config`(5)");
    page
}

fn keys(page: &mut Page, source: Source) {
    page.heading("KEYS");
    for key in policy::keys(source) {
        let mut form = with_need(&key.form, key.need);
        if !key.instead.is_empty() {
            let others: Vec<String> = key.instead.iter().map(|name| format!("`{name}`")).collect();
            form.push_str(&format!("; either this or {}", others.join(" or ")));
        }
        page.key(Key { path: &key.path, form: &form, about: key.about });
    }
}

const POLICY: &str = r#"rules:
  - name: payments
    who: [payments-oncall]
    clusters: [prod]
    namespaces: [payments, "team-*"]
    roles: [view]
    maxDuration: 10m
    reason: ^INC-[0-9]+
    approval:
      - groups: [payments-leads]
        hours:
          days: [mon, tue, wed, thu, fri]
          from: "08:00"
          to: "18:00"
          zone: Europe/Berlin
deny:
  - name: freeze
    who: [contractors]
    why: contractors have no business there
limits: {pending: 5, live: 3, perHour: 20, afterDenial: 1h}
tests:
  - name: an access is short
    person: alice
    groups: [payments-oncall]
    ask:
      cluster: prod
      namespaces: [payments]
      role: view
      for: 11m
      reason: INC-42
    outcome: deny
    says: allows at most 10m
"#;

const GUARDRAILS: &str = r#"maxDuration: 1h
maxRisk: high
clusterWide: {approvers: 2}
never:
  roles: [cluster-admin]
  namespaces: [kube-system, kube-public, kube-node-lease]
classify:
  - group: example.com
    resources: [widgets]
    verbs: [get, list, watch]
    severity: low
    reason: they hold no secrets
"#;
