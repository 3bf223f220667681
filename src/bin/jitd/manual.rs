//! `jitd man` and `jitd completion`: the prose of jitd(8), jitd.yaml(5) and jit-policy(5) around what the
//! definitions say by themselves.
//!
//! No verb, option or key is listed here. The examples are run, and the files in them checked, by
//! `tests/it/manual.rs`. `main.rs` calls it.

use clap::CommandFactory;

use jit_manual::{Key, Page, Section, Shell};
use jitd::config::{KEYS, Need};
use jitd::grant::policy::{self, Source};

use crate::arguments::{Arguments, Topic};
use crate::{Failure, print};

/// Set by the completion scripts, to the shell that asks.
pub(crate) const COMPLETE_VARIABLE: &str = "JITD_COMPLETE";

pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    print::result(jit_manual::completion("jitd", COMPLETE_VARIABLE, shell)?)
}

pub(crate) fn man(topic: Topic) -> Result<(), Failure> {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    let page = match topic {
        Topic::Jitd => jitd_8(&date),
        Topic::Config => jitd_yaml_5(&date),
        Topic::Policy => jit_policy_5(&date),
    };
    print::result(page.render())
}

fn jitd_8(date: &str) -> Page {
    let about = "certificate authority for approved, short-lived access to Kubernetes clusters";
    let command = Arguments::command();
    let mut page = Page::new("jitd", Section::Administration, about, &["`jitd` [OPTIONS] COMMAND"], date);
    page.heading("DESCRIPTION")
        .text(
            "`jitd` gives people on a bastion host access to Kubernetes clusters for minutes. Somebody asks with \
             `jit-login`(1), somebody else agrees, and the daemon signs a certificate whose group is this grant's \
             alone and binds that group to one role in one scope. At the end it deletes the binding and asks the API \
             server until it says no.",
        )
        .text(
            "Every step stands in a trail: what is intended before it happens, and what came of it. A daemon that was \
             killed in between takes away at its next start what was half done.",
        )
        .text(
            "The same program is the daemon (`jitd serve`, run by systemd) and its administration. The other commands \
             work on the files of this host and need no running daemon, unless they say so.",
        );
    page.options(&command).verbs(&command);
    page.heading("SIGNALS")
        .item("`SIGHUP`", "Reads the policy and the guardrails again, as `systemctl reload jitd` does. A file with a fault changes nothing.")
        .item("`SIGTERM`, `SIGINT`", "Stops. What is live goes on, and the next start takes it up; what ends meanwhile is taken away then.");
    page.heading("EXIT STATUS")
        .item("`0`", "Done.")
        .item("`1`", "It could not be done.")
        .item("`2`", "The command line or a file can't be meant; everything that is wrong is told at once.")
        .item("`3`", "Done, and the answer is no: a test of the policy failed, a request is denied, nobody may, a cluster is not as it should be, there are differences.");
    page.heading("ENVIRONMENT")
        .item("`JITD_LOG`", "How much `jitd serve` logs, such as `info` or `jitd=debug`. Without it `info`.");
    page.heading("FILES")
        .item("/etc/jitd/config.yaml", "The configuration, `jitd.yaml`(5). Nothing starts before it is there.")
        .item("/etc/jitd/policy.yaml, /etc/jitd/guardrails.yaml", "Who may ask for what, `jit-policy`(5).")
        .item("/run/jitd/api.sock", "Where people and programs call, for the group `jit-users`.")
        .item("/run/jitd/admin.sock", "Where administrators call, for the group `jit-admins`.")
        .item("/var/lib/jitd/trail.db", "The trail. It outlives the removal of the package.")
        .item("/var/lib/jitd/ca/CLUSTER", "The authority of a cluster. The root key should lie elsewhere.");
    page.heading("EXAMPLES");
    page.example(
        "Is everything right with the files, and with the trail?",
        "root$ jitd check\n\
         root$ jitd audit verify\n\
         the chain holds",
    );
    page.example(
        "What would the policy say? No daemon and no cluster is asked.",
        "root$ jitd policy explain --as alice --group payments-oncall \\\n\
         \x20   --cluster prod -n payments \\\n\
         \x20   --role view --for 10m --reason \"INC-42\"\n\
         asks\n\
         root$ jitd policy who-can view -n payments\n\
         payments-oncall",
    );
    page.example(
        "How long does the issuing certificate last? `jitd ca renew prod` makes the next one.",
        "root$ jitd ca show prod\n\
         issuing",
    );
    page.heading("SEE ALSO").text("`jit-login`(1), `jitd.yaml`(5), `jit-policy`(5), `systemctl`(1), `kubectl`(1)");
    page
}

fn jitd_yaml_5(date: &str) -> Page {
    let mut page =
        Page::new("jitd.yaml", Section::Files, "the configuration of jitd", &["/etc/jitd/config.yaml"], date);
    page.heading("DESCRIPTION")
        .text(
            "YAML. It is read once, when `jitd` starts, and refused whole when anything in it is wrong or unknown; \
             `jitd check` tells every fault at once. `jitd init` writes a first one.",
        )
        .text(
            "A path is absolute or relative to the file's folder. A duration is written like `90s`, `10m` or `1h30m`. \
             In the names of the keys below, `[]` stands for each entry of a list.",
        );
    page.heading("KEYS");
    for key in KEYS {
        let form = match key.need {
            Need::Must => format!("{}, required", key.form),
            Need::Default(text) => format!("{}; the default is `{text}`", key.form),
            Need::May => key.form.to_owned(),
        };
        page.key(Key { path: key.path, form: &form, about: key.about });
    }
    page.heading("EXAMPLES");
    page.example("Two groups with a view of everything, one cluster, one person whom the host does not know:", CONFIG);
    page.heading("SEE ALSO").text("`jitd`(8), `jit-policy`(5)");
    page
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

fn jit_policy_5(date: &str) -> Page {
    let about = "who may ask jitd for what, and who has to agree";
    let synopsis = ["/etc/jitd/policy.yaml", "/etc/jitd/guardrails.yaml"];
    let mut page = Page::new("jit-policy", Section::Files, about, &synopsis, date);
    page.heading("DESCRIPTION")
        .text(
            "`policy.yaml` says who may ask for what, how long, and who has to agree. Denials are tried first, then the \
             rules from top to bottom; the first rule that fits decides, and what no rule gives is denied.",
        )
        .text(
            "`guardrails.yaml` says what no rule can lift. Without the file, and for each key that it does not have: \
             `cluster-admin` and the namespaces `kube-system`, `kube-public` and `kube-node-lease` are never given, \
             what can't be classified by its risk is refused, and access to a whole cluster takes two people.",
        )
        .text(
            "Both are YAML, and read again by `systemctl reload jitd`. A file with a fault changes nothing: each fault \
             is told at its line and column, and what was in force stays. What is live keeps its terms.",
        )
        .text(
            "A duration is written like `90s`, `10m` or `1h30m`. In the names of the keys below, `[]` stands for each \
             entry of a list. `jitd policy schema` prints the same as a JSON Schema, for editors.",
        );
    for source in [Source::Policy, Source::Guardrails] {
        page.heading(&format!("KEYS OF {}", source.file_name()));
        for told in policy::keys(source) {
            let mut form = told.form;
            if told.required {
                form.push_str(", required");
            }
            if !told.instead.is_empty() {
                let others: Vec<String> = told.instead.iter().map(|name| format!("`{name}`")).collect();
                form.push_str(&format!("; either this or {}", others.join(" or ")));
            }
            page.key(Key { path: &told.path, form: &form, about: told.about });
        }
    }
    page.heading("EXAMPLES");
    page.example(
        "One rule, with a step that counts in office hours only, one denial, and a case that has to hold:",
        POLICY,
    );
    page.example(
        "Guardrails: nothing for more than an hour, nothing worse than high, two people for a whole cluster:",
        GUARDRAILS,
    );
    page.heading("SEE ALSO").text("`jitd`(8), `jitd.yaml`(5), `jit-login`(1)");
    page
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
    says: gives at most 10m
"#;

const GUARDRAILS: &str = r#"maxDuration: 1h
maxRisk: high
clusterWide: {approvers: 2}
never:
  roles: [cluster-admin]
  namespaces: [kube-system, kube-public, kube-node-lease]
"#;
