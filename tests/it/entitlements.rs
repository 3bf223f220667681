//! What a person may request, before a request: `jit-login can`, `explain` without a reason, and TAB.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, DAVE, ERIN, Options, Person, said, text};
use crate::plane::Plane;
use crate::screen::sees;

const POLICY: &str = r#"
rules:
  - name: payments
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS, SHOP, "team-*"]
    roles: [view, edit]
    maxDuration: 10m
    maxTotal: 20m
    reason: {pattern: "^INC-[0-9]+", prompt: which incident}
    fields: [{name: ticket, type: text, required: true, prompt: the ticket}, {name: note, type: text}]
    approval: [{groups: [payments-leads]}]
    breakGlass: {after: 1m, maxDuration: 5m, review: {groups: [payments-leads], within: 4h}}
  - name: look
    who: [payments-oncall]
    clusters: [play]
    namespaces: [SHOP]
    rules: [{apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}]
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
  - name: leads-only
    who: [payments-leads]
    clusters: [play]
    clusterWide: true
    roles: [NS-nodes]
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
deny:
  - {name: no-edit-in-shop, namespaces: [SHOP], roles: [edit], why: the shop is frozen}
  - {name: no-team-blue, namespaces: [team-blue], clusterWide: false, why: they said no}
  - {name: only-for-others, who: [auditors], why: hidden words}
"#;

fn bastion() -> Bastion<'static> {
    Bastion::with(Plane::shared(), Options { policy: POLICY.to_owned(), ..Options::default() })
}

/// Only the rules for the person's groups, with the limits of denials and guardrails.
#[test]
fn can_lists_only_what_the_person_may_request() {
    let bastion = bastion();
    let (code, out, err) = said(&bastion, ALICE, &["can"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("RULE      CLUSTERS  NAMESPACES"), "{out}");
    let row = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
    let (ns, shop) = (&bastion.ns, &bastion.shop);
    let everywhere: Vec<String> = row(lines[1]);
    let places = format!("{ns}, {shop}, team-*");
    let approval = "1 of payments-leads";
    assert_eq!(everywhere, ["payments", "play", &places, "view", "10m", approval, "reason, ticket"], "{out}");
    let but_the_shop: Vec<String> = row(lines[2]);
    let places = format!("{ns}, team-*");
    assert_eq!(but_the_shop, ["payments", "play", &places, "edit", "10m", approval, "reason, ticket"], "{out}");
    let exact: Vec<String> = row(lines[3]);
    assert_eq!(exact, ["look", "play", shop, "(exact rules)", "10m", approval, "reason"], "{out}");
    for note in [
        &format!("`payments`: denied by `no-edit-in-shop` (role edit in namespace {shop}): the shop is frozen"),
        "`payments`: denied by `no-team-blue`, in namespaces like team-blue (",
        "`payments`: a reason like `^INC-[0-9]+`: which incident",
        "`payments`: the field `ticket`, text: the ticket",
        "`payments`: the field `note`, text (optional)",
        "`payments`: may be extended to 20m",
        "`payments`: break-glass: after 1m, for at most 5m, reviewed afterwards",
        "`look`: ceiling for exact rules: get, list pods, pods/log",
    ] {
        assert!(out.contains(note), "{note}\n{out}");
    }
    assert!(!out.contains("leads-only") && !out.contains("hidden words"), "{out}");
    // The guardrails of this bastion ask for one person for the whole cluster.
    let (_, out, _) = said(&bastion, BOB, &["can"]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with("leads-only  play"), "{out}");
    assert!(lines[1].contains("(all)"), "{out}");
    assert_eq!(said(&bastion, ALICE, &["can", "-o", "name"]).1, "payments\nlook\n");
}

/// If a person may request nothing, the output says why, and programs get an empty list.
#[test]
fn can_says_why_there_is_nothing() {
    let bastion = bastion();
    let (code, out, err) = said(&bastion, DAVE, &["can"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.starts_with("you may request nothing: you are in no group\nhint: "), "{err}");
    let (_, _, err) = said(&bastion, ERIN, &["can"]);
    assert!(err.contains("no rule names any of your groups (auditors)"), "{err}");
    let (_, _, err) = said(&bastion, ALICE, &["can", "elsewhere"]);
    assert!(err.starts_with("you may request nothing in cluster elsewhere"), "{err}");
    let (_, out, _) = said(&bastion, ERIN, &["can", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json!({ "entitlements": [], "groups": ["auditors"] }));
    // A freeze closes every rule, and is what is told.
    let frozen = format!("{POLICY}  - {{name: freeze, why: the year ends}}\n");
    let bastion = Bastion::with(Plane::shared(), Options { policy: frozen, ..Options::default() });
    let (code, out, err) = said(&bastion, ALICE, &["can"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.contains("the rule `payments` is closed to you: denied by `freeze`: the year ends"), "{err}");
}

/// Each role in each namespace is listed exactly when `explain` says that it may be requested.
#[test]
fn what_is_listed_is_what_may_be_requested() {
    let bastion = bastion();
    let (_, list) = bastion.get(ALICE, "/v1/entitlements");
    let entitlements = list["entitlements"].as_array().unwrap();
    let has = |list: &Value, word: &str| list.as_array().is_some_and(|all| all.iter().any(|one| one == word));
    let mut allowed = 0;
    for namespace in [&bastion.ns, &bastion.shop, "kube-system"] {
        for role in ["view", "edit", "cluster-admin", "admin"] {
            let listed = entitlements.iter().any(|one| has(&one["namespaces"], namespace) && has(&one["roles"], role));
            let ask = json!({ "cluster": "play", "namespaces": [namespace], "role": role, "duration": "5m",
                "reason": "INC-1", "fields": { "ticket": "7" } });
            let (status, decision) = bastion.post(ALICE, "/v1/explain", &ask);
            assert_eq!(status, 200, "{decision}");
            assert_eq!(decision["outcome"] == "ask", listed, "{role} in {namespace}: {decision}");
            allowed += u32::from(listed);
        }
    }
    assert_eq!(allowed, 3);
}

/// The table is as wide as the terminal; if it does not fit, lines are printed instead.
#[test]
fn can_fits_the_terminal() {
    let bastion = bastion();
    for columns in [60, 160] {
        let seen = sees(&bastion, ALICE, &format!("stty cols {columns} rows 40; jit-login can"));
        assert_eq!(columns == 160, seen.starts_with("RULE "), "{seen}");
        assert!(seen.lines().all(|line| line.chars().count() <= columns), "{columns}: {seen}");
        for word in ["payments", "payments-leads", "no-edit-in-shop", "ticket", &bastion.shop] {
            assert!(seen.contains(word), "{columns}, {word}: {seen}");
        }
    }
}

/// A missing reason or field does not make the answer "no": the answer names it. A denial does.
#[test]
fn explain_distinguishes_missing_from_denied() {
    let bastion = bastion();
    let ns = bastion.ns.as_str();
    let explain = |more: &[&str]| {
        said(&bastion, ALICE, &[&["explain", "play", "-n", ns, "--role", "view", "--for", "5m"], more].concat())
    };
    let (code, out, err) = explain(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let expected = "yes: you may request it under rule `payments`, if you also give:\n\
                    - a reason like `^INC-[0-9]+`: which incident (--reason TEXT)\n\
                    - the field `ticket`, text: the ticket (--field ticket=VALUE)\n\
                    needs 1 approval from payments-leads";
    assert!(out.starts_with(expected), "{out}");
    let (code, out, _) = explain(&["--reason", "INC-7", "--field", "ticket=OPS-7"]);
    assert!(
        code == Some(0) && out.starts_with("yes: you may request it under rule `payments`\nneeds 1 approval"),
        "{out}"
    );
    // What is told and wrong is wrong.
    let (code, out, _) = explain(&["--reason", "because"]);
    assert!(code == Some(4) && out.contains("- requires a reason like"), "{out}");
    let (code, out, _) = explain(&["--for", "5m"]);
    assert_eq!(code, Some(2), "{out}");
    let denied = ["explain", "play", "-n", &bastion.shop, "--role", "edit", "--for", "5m"];
    let (code, out, _) = said(&bastion, ALICE, &denied);
    assert!(code == Some(4) && out.contains("denied by `no-edit-in-shop`: the shop is frozen"), "{out}");
    // A request that is tried is complete: there it is missing.
    let tried = ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-7", "--dry-run"];
    let (code, out, _) = said(&bastion, ALICE, &tried);
    assert!(code == Some(4) && out.contains("- requires the field `ticket`"), "{out}");
}

/// For exact rules, a rule for the right place with a ceiling is nearer than one with roles only.
#[test]
fn the_nearest_rule_is_the_one_that_lacks_least() {
    let bastion = bastion();
    let asked = ["explain", "play", "-n", &bastion.shop, "--verb", "get,list", "--resource", "secrets", "--for", "5m"];
    let (code, out, _) = said(&bastion, ALICE, &asked);
    assert_eq!(code, Some(4));
    assert_eq!(out, "no: no rule allows it; the nearest is `look`\n- does not allow `get, list secrets`\n");
}

/// The completions of the shell after these words, of which the last is incomplete.
fn offered(bastion: &Bastion<'_>, person: Person, shell: &str, words: &[&str]) -> Vec<String> {
    let line = words.join(" ");
    let count = words.len() - 1;
    let script = match shell {
        "bash" => format!(
            "source <(jit-login completion bash); f=$(complete -p jit-login); f=${{f##*-F }}; f=${{f% *}}; \
             COMP_WORDS=({line} ''); COMP_WORDS=(\"${{COMP_WORDS[@]:0:{}}}\"); COMP_CWORD={count}; $f jit-login \"${{COMP_WORDS[{count}]}}\" x; \
             ((${{#COMPREPLY[@]}} == 0)) || printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            count + 1
        ),
        _ => format!("jit-login completion fish | source; complete -C '{line}'"),
    };
    let mut command = bastion.login_command(person, "/usr/bin/env");
    let folder = bastion.home(person).join("files");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a-file"), "").unwrap();
    let done = command.args([shell, "-c", &script]).current_dir(&folder).output().unwrap();
    assert_eq!(text(&done.stderr), "", "{shell}: {line}");
    let mut words: Vec<String> =
        text(&done.stdout).lines().map(|line| line.split('\t').next().unwrap().trim().to_owned()).collect();
    words.retain(|word| !word.is_empty() && !word.starts_with('-'));
    words.sort();
    words
}

/// The screen of zsh after somebody typed this and TAB twice, with the script in the package's place.
fn typed_in_zsh(bastion: &Bastion<'_>, person: Person, line: &str) -> String {
    let folder = bastion.home(person).join("zsh");
    std::fs::create_dir_all(folder.join("files")).unwrap();
    std::fs::write(folder.join("files/a-file"), "").unwrap();
    std::fs::write(folder.join("_jit-login"), bastion.login(person, &["completion", "zsh"]).stdout).unwrap();
    std::os::unix::fs::chown(&folder, Some(person.uid), None).unwrap();
    let script = format!(
        "zmodload zsh/zpty; zpty z zsh -f -i; seen() {{ local out; zpty -r -m z out \"*$1*\"; print -r -- \"$out\" }}
         zpty -w z \"PS1=go''on; fpath=({0} \\$fpath); autoload -Uz compinit; compinit -u -d {0}/dump; cd {0}/files\"
         seen goon >/dev/null
         zpty -w -n z $'{line}\\t\\t'
         zpty -w -n z $'\\C-a\\C-k'
         zpty -w z \"echo do''ne\"
         seen done; zpty -d z",
        folder.display()
    );
    let mut command = bastion.login_command(person, "/usr/bin/timeout");
    let done = command.args(["30", "zsh", "-f", "-c", &script]).env("TERM", "xterm").output().unwrap();
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

/// TAB offers the clusters, namespaces, roles and grants of this person, and never a file.
#[test]
fn shells_offer_what_the_daemon_knows() {
    let bastion = bastion();
    let (ns, shop) = (bastion.ns.as_str(), bastion.shop.as_str());
    let asked =
        ["request", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-1", "--field", "ticket=7"];
    let (code, id, _) = said(&bastion, ALICE, &[&asked[..], &["--no-wait"]].concat());
    assert_eq!(code, Some(0));
    let id = id.trim();
    for shell in ["bash", "fish"] {
        let offers = |person: Person, words: &[&str]| offered(&bastion, person, shell, words);
        assert_eq!(offers(ALICE, &["jit-login", "request", "pl"]), ["play"], "{shell}");
        assert_eq!(offers(ALICE, &["jit-login", "request", "play", "-n", ""]), [ns, shop], "{shell}");
        assert_eq!(offers(ALICE, &["jit-login", "explain", "play", "--role", ""]), ["edit", "view"], "{shell}");
        assert_eq!(offers(ALICE, &["jit-login", "ls", "--cluster", "play", "-n", ""]), [ns, shop], "{shell}");
        assert_eq!(offers(BOB, &["jit-login", "approve", ""]), [id], "{shell}");
        assert_eq!(offers(BOB, &["jit-login", "approve", &id[..1]]), [id], "{shell}");
        assert_eq!(offers(DAVE, &["jit-login", "approve", ""]), [""; 0], "{shell}");
        assert_eq!(offers(DAVE, &["jit-login", "request", "play", "-n", ""]), [""; 0], "{shell}");
        assert_eq!(offers(ALICE, &["jit-login", "deny", id, "--reason", ""]), [""; 0], "{shell}");
        // The option wins over the environment. bash makes three words of it.
        let elsewhere = if shell == "bash" { vec!["--socket", "=", "/nowhere"] } else { vec!["--socket=/nowhere"] };
        let line = [&["jit-login"][..], &elsewhere, &["request", "pl"]].concat();
        assert_eq!(offers(ALICE, &line), [""; 0], "{shell}");
    }
    let seen = typed_in_zsh(&bastion, ALICE, "jit-login request pl");
    assert!(seen.contains("jit-login request play") && !seen.contains("a-file"), "{seen}");
    let seen = typed_in_zsh(&bastion, ALICE, "jit-login request play -n ");
    assert!(seen.contains(shop) && !seen.contains("a-file"), "{seen}");
    let seen = typed_in_zsh(&bastion, BOB, "jit-login approve ");
    assert!(seen.contains(id) && seen.contains("alice") && !seen.contains("a-file"), "{seen}");
    let seen = typed_in_zsh(&bastion, ALICE, "jit-login deny 7 --reason ");
    assert!(!seen.contains("a-file"), "{seen}");
    // What readline would put in where nothing is offered.
    let registered = text(&bastion.login(ALICE, &["completion", "bash"]).stdout);
    assert!(!registered.contains("-o default") && !registered.contains("-o filenames"), "{registered}");
}

/// Without a daemon, and with one that does not answer, TAB offers nothing, prints nothing and returns soon.
#[test]
fn shells_offer_nothing_without_a_daemon() {
    let mut bastion = bastion();
    let begun = Instant::now();
    let pid = bastion.pid().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let asked = offered(&bastion, ALICE, "bash", &["jit-login", "request", ""]);
    let waited = begun.elapsed();
    assert!(Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    assert_eq!(asked, [""; 0]);
    assert!(waited < std::time::Duration::from_secs(3), "{waited:?}");
    bastion.kill();
    for shell in ["bash", "fish"] {
        assert_eq!(offered(&bastion, ALICE, shell, &["jit-login", "request", ""]), [""; 0], "{shell}");
        assert_eq!(offered(&bastion, ALICE, shell, &["jit-login", "requ"]), ["request"], "{shell}");
    }
}
