//! Messages for wrong command lines, and the examples in every help: they parse, and do what they say.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::bastion::{ALICE, BOB, Bastion, Options, said, text};
use crate::console::Console;
use crate::plane::{Plane, root};
use crate::screen::shown;

/// A request of alice's in this namespace, and its id.
fn asked(bastion: &Bastion<'_>, namespace: &str) -> String {
    let words = ["request", "play", "-n", namespace, "--role", "view", "--for", "5m", "--reason", "INC-1", "--no-wait"];
    let (code, id, err) = said(bastion, ALICE, &words);
    assert_eq!(code, Some(0), "{err}");
    id.trim().to_owned()
}

/// A revocation that names nothing is shown every way to name it, the one that revokes most last.
#[test]
fn a_revocation_that_names_nothing_does_not_suggest_all() {
    for words in [&["revoke"][..], &["revoke", "--reason", "x"]] {
        let done = Command::new(root().join("bin/jitd")).args(words).env("JITD_ADMIN_SOCKET", "/x").output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        let err = text(&done.stderr);
        assert!(err.contains("<ID|--person <NAME>|--cluster <NAME>|--all>"), "{err}");
        assert!(!err.contains("--socket"), "{err}");
    }
}

/// An administrator revokes one grant by the beginning of its id; a beginning of several ids is refused and lists them.
#[test]
fn an_operator_revokes_by_id() {
    let bastion = Bastion::start();
    let (one, other) = (asked(&bastion, &bastion.ns), asked(&bastion, &bastion.shop));
    let revoke = |id: &str| bastion.jitd(&["revoke", id, "--reason", "over", "--yes"]);
    let common = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let done = revoke(&one[..=common]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let phase = |id: &str| bastion.get(ALICE, &format!("/v1/grants/{id}")).1["phase"].as_str().unwrap().to_owned();
    assert_eq!(phase(&other), "pending");
    assert_ne!(phase(&one), "pending");
    let over = revoke(&one);
    assert!(!over.status.success() && text(&over.stderr).contains("no grant"), "{}", text(&over.stderr));
    let nothing = bastion.jitd(&["revoke", "zzzz", "--reason", "over", "--yes"]);
    assert!(!nothing.status.success(), "{}", text(&nothing.stdout));
    assert_eq!(phase(&other), "pending");
    let both = bastion.jitd(&["revoke", &other, "--all", "--reason", "over", "--yes"]);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
}

/// Whoever looks for the channels in `jitd` is told which command to type.
#[test]
fn the_verbs_of_the_channels_are_found_in_jit_notify() {
    for (words, command) in [
        (&["notify"][..], "`jit-notify --help`"),
        (&["notify", "test", "--all"], "`jit-notify test --all`"),
        (&["notify", "replay", "siem", "--since", "2h"], "`jit-notify replay siem --since 2h`"),
    ] {
        let done = Command::new(root().join("bin/jitd")).args(words).output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        let err = text(&done.stderr);
        assert!(err.contains("the channels run in `jit-notify`") && err.contains(command), "{err}");
    }
}

/// A message names each missing part by its flag, and nothing that was given.
#[test]
fn a_request_is_told_which_parts_are_missing() {
    let bastion = Bastion::start();
    let (code, _, err) = said(&bastion, ALICE, &["request"]);
    assert_eq!(code, Some(2));
    for part in [
        "<CLUSTER>",
        "--namespace <NS>|--cluster-wide",
        "--role <ROLE>|--verb <VERBS>",
        "--for <DURATION>",
        "--reason <TEXT>",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(!err.contains("--socket") && !err.contains("nothing was sent"), "{err}");
    let (_, _, err) = said(&bastion, ALICE, &["deny"]);
    assert!(err.contains("Usage: jit-login deny --reason <TEXT> <ID>"), "{err}");
    let words = ["request", "play", "-n", "A B", "--role", "view", "--for", "5m", "--reason", "x"];
    let (code, _, err) = said(&bastion, ALICE, &words);
    assert_eq!(code, Some(2));
    assert!(err.contains("hint: `jit-login help request`") && !err.contains("nothing was sent"), "{err}");
}

/// `run` without `--` shows where the two dashes go.
#[test]
fn a_command_without_dashes_is_told_where_they_go() {
    let bastion = Bastion::start();
    for (words, hint) in [
        (
            &["run", "kubectl", "get", "pods"][..],
            "hint: write the command after `--`: `jit-login run -- kubectl get pods`",
        ),
        (&["run", "kubectl"], "hint: write the command after `--`: `jit-login run -- kubectl`"),
    ] {
        let (code, _, err) = said(&bastion, ALICE, words);
        assert_eq!(code, Some(2));
        assert!(err.contains(hint), "{err}");
    }
    for words in [&["run", "7k3m"][..], &["run", "--role", "x"], &["run"]] {
        let (code, _, err) = said(&bastion, ALICE, words);
        assert!(code == Some(2) && !err.contains("write the command"), "{err}");
    }
}

/// `help` is a command, as it is git's and kubectl's.
#[test]
fn help_is_a_command() {
    let bastion = Bastion::start();
    assert_eq!(said(&bastion, ALICE, &["help"]).1, said(&bastion, ALICE, &["--help"]).1);
    assert_eq!(said(&bastion, ALICE, &["help", "deny"]).1, said(&bastion, ALICE, &["deny", "--help"]).1);
}

/// One letter is enough if only one grant begins with it; if several do, each is listed.
#[test]
fn an_id_can_be_shortened_to_any_unique_beginning() {
    let bastion = Bastion::start();
    let mut ids = vec![asked(&bastion, &bastion.ns)];
    assert_eq!(said(&bastion, BOB, &["show", &ids[0][..1], "-o", "name"]).1.trim(), ids[0]);
    // Over, it is found as well.
    assert_eq!(said(&bastion, ALICE, &["withdraw", &ids[0][..2]]).0, Some(0));
    assert_eq!(said(&bastion, ALICE, &["show", &ids[0][..1], "-o", "name"]).1.trim(), ids[0]);
    // There are 32 letters, so two of 33 begin alike.
    let mut shared = None;
    for _ in 0..33 {
        let id = asked(&bastion, &bastion.ns);
        shared = ids.iter().find(|other| other[..1] == id[..1]).map(|other| (other.clone(), id.clone()));
        said(&bastion, ALICE, &["withdraw", &id]);
        ids.push(id);
        if shared.is_some() {
            break;
        }
    }
    let (one, other) = shared.unwrap();
    let (code, _, err) = said(&bastion, ALICE, &["show", &one[..1]]);
    assert_eq!(code, Some(2));
    assert!(err.contains("ambiguous-id") && err.contains(&one) && err.contains(&other), "{err}");
}

/// Without an id the only grant is used; if there are several, none is used and each is listed.
#[test]
fn of_several_grants_none_is_used_silently() {
    let bastion = Bastion::start();
    let verbs: [&[&str]; 8] = [
        &["show"],
        &["run", "--", "true"],
        &["shell"],
        &["extend", "--for", "1m", "--reason", "INC-1"],
        &["kubeconfig"],
        &["wait"],
        &["end"],
        &["break-glass", "--reason", "INC-1"],
    ];
    let each_names = |ids: &[&String], verbs: &[&[&str]]| {
        for verb in verbs {
            let (code, _, err) = said(&bastion, ALICE, verb);
            assert_eq!(code, Some(2), "{verb:?}: {err}");
            assert!(err.contains("you have 2 grants") && ids.iter().all(|id| err.contains(*id)), "{verb:?}: {err}");
        }
    };
    let (one, other) = (asked(&bastion, &bastion.ns), asked(&bastion, &bastion.shop));
    each_names(&[&one, &other], &verbs);
    each_names(&[&one, &other], &[&["withdraw"]]);
    for id in [&one, &other] {
        assert_eq!(said(&bastion, BOB, &["approve", id, "--yes"]).0, Some(0));
        assert_eq!(said(&bastion, ALICE, &["wait", id]).0, Some(0));
    }
    each_names(&[&one, &other], &verbs[..7]);
    assert_eq!(said(&bastion, ALICE, &["end", &other]).0, Some(0));
    // The only one.
    assert_eq!(said(&bastion, ALICE, &["show", "-o", "name"]).1.trim(), one);
    assert_eq!(said(&bastion, ALICE, &["run", "--", "true"]).0, Some(0));
    let (code, out, _) = said(&bastion, ALICE, &["end"]);
    assert!(code == Some(0) && out.contains(&one), "{out}");
    assert_eq!(said(&bastion, ALICE, &["end"]).0, Some(2));
}

/// What a message says is so, and what it tells people to type is right.
#[test]
fn a_message_says_only_what_is_so() {
    let bastion = Bastion::start();
    let says = |person, words: &[&str], code: i32, parts: &[&str]| {
        let (found, out, err) = said(&bastion, person, words);
        assert!(found == Some(code) && parts.iter().all(|part| err.contains(part)), "{words:?}: {found:?} {out}{err}");
        err
    };
    says(ALICE, &["can", "paly"], 0, &["you may request nothing in cluster paly\n", "you may request access in play"]);
    let id = asked(&bastion, &bastion.ns);
    says(BOB, &["approve", &id, "--digest", "1234"], 4, &["digest-mismatch"]);
    let approved = says(BOB, &["approve", &id, "--yes", "--for", "5m"], 0, &["approved"]);
    assert!(!approved.contains("narrowed"), "{approved}");
    let collected = says(ALICE, &["wait"], 0, &["approved by bob"]);
    assert!(!collected.contains("narrowed"), "{collected}");
    says(ALICE, &["withdraw"], 2, &["none of your grants is pending or approved"]);
    says(ALICE, &["run", &id, "kubectl", "get", "pods"], 2, &[&format!("run {id} -- kubectl get pods`")]);
    says(ALICE, &["extend", "--for", "1m", "--reason", "INC-1", "--no-wait"], 0, &[]);
    says(BOB, &["deny", &id, "--reason", "no more"], 0, &["the extension was denied; the access continues until "]);
    let (_, _, err) = said(&bastion, BOB, &["ls", "--all", "--person", "carol"]);
    assert!(err.contains("no such grants that you may see"), "{err}");
    // Her own only.
    let (_, out, _) = said(&bastion, BOB, &["status", "-o", "name"]);
    assert_eq!(out.trim(), "");
    assert_eq!(said(&bastion, ALICE, &["status", "-o", "name"]).1.trim(), id);
}

/// `--again` does not repeat a request that is still pending.
#[test]
fn again_does_not_repeat_what_is_pending() {
    let bastion = Bastion::start();
    let id = asked(&bastion, &bastion.ns);
    let (code, out, err) = said(&bastion, ALICE, &["request", "--again", "--no-wait"]);
    assert_eq!((code, out.as_str()), (Some(6), ""));
    assert!(err.contains("the same request is pending already") && err.contains(&format!("wait {id}")), "{err}");
    // Another one is another one.
    assert_eq!(said(&bastion, ALICE, &["request", "--again", "--for", "4m", "--no-wait"]).0, Some(0));
    let list = said(&bastion, ALICE, &["ls", "-o", "name"]).1;
    assert_eq!(list.lines().count(), 2, "{list}");

    // Namespaces are the same in any order.
    let [ns, shop] = [bastion.ns.as_str(), bastion.shop.as_str()];
    let both = ["-n", ns, "-n", shop, "--for", "3m", "--no-wait"];
    let first = said(&bastion, ALICE, &[&["request", "--again", &id][..], &both].concat());
    assert_eq!(first.0, Some(0), "{}", first.2);
    let turned = ["-n", shop, "-n", ns, "--for", "3m", "--no-wait"];
    assert_eq!(said(&bastion, ALICE, &[&["request", "--again", &id][..], &turned].concat()).0, Some(6));
}

/// The first examples of the verbs of a usual day do what they say, one after the other.
#[test]
fn the_examples_in_the_help_are_true() {
    let example = |verb: &str, number: usize| {
        let help = Command::new(root().join("bin/jit-login")).args([verb, "--help"]).output().unwrap();
        let help = text(&help.stdout).replace("\\\n", "");
        let examples = help.split("\nExamples:\n").nth(1).unwrap();
        examples.lines().nth(number).unwrap().trim().replace("7k3m", "$ID")
    };
    let day = [
        ("alice", example("can", 0), "", "RULE"),
        ("alice", example("can", 1), "", "RULE"),
        ("alice", example("explain", 0), "", "yes: you may request it"),
        ("alice", example("request", 0), " --no-wait", "requested: role view"),
        ("bob", example("ls", 0), "", "pending"),
        ("alice", example("show", 0), "", "INC-42"),
        ("bob", example("show", 1), "", "INC-42"),
        ("bob", example("approve", 2), "", "approved"),
        ("alice", example("wait", 0), "", "ready"),
        ("alice", example("run", 0), "", "No resources found"),
        ("alice", example("run", 1), "", "NotFound"),
        ("alice", example("kubeconfig", 1), "", "added to"),
        ("alice", example("kubeconfig", 2), "", "export KUBECONFIG="),
        ("alice", example("status", 0), "", "live"),
        ("alice", example("status", 1), "", "view"),
        ("bob", example("events", 0), "", "requested"),
        ("alice", example("end", 0), "", "ended (released)"),
        ("alice", example("request", 3), " --for 9m --no-wait", "for 9m"),
        ("bob", example("deny", 0), "", "denied"),
        ("alice", example("whoami", 0), "", "alice on"),
    ];
    let block: String =
        day.iter().map(|(who, command, more, says)| format!("{who}$ {command}{more}\n{says}\n")).collect();
    let options = Options { policy: crate::readme::POLICY.to_owned(), ..Options::default() };
    assert_eq!(Console::at(Bastion::with(Plane::shared(), options)).is_true(&block), day.len());
}

/// Every help has examples; no line of a help is torn, at any usual width.
#[test]
fn every_help_has_examples_and_no_torn_lines() {
    let mut examples = BTreeSet::new();
    for program in ["jit-login", "jitd", "jit-gateway", "jit-notify", "jit-frontend"] {
        collect_examples(program, "", &mut examples);
    }
    assert!(examples.len() > 80, "{examples:#?}");
}

/// The lines below `Examples:` in the help of a verb and of those below it.
fn collect_examples(program: &str, verb: &str, examples: &mut BTreeSet<String>) {
    let help = |columns: &str| {
        let words = format!("stty cols {columns} rows 40; {program} {verb} --help");
        let path = format!("{}:/usr/bin:/bin", root().join("bin").display());
        shown(Command::new("script").env("PATH", path), &words)
    };
    for columns in ["80", "100", "140"] {
        let help = help(columns);
        let mut lines = help.lines().peekable();
        while let Some(line) = lines.next() {
            // A paragraph that was wrapped twice has a short line in its middle.
            let next = lines.peek().map_or("", |next| next.trim());
            let begins = next.split(' ').next().unwrap_or_default().chars().count();
            let is_prose = line.chars().count() > 20 && !line.starts_with(' ') && next.starts_with(char::is_lowercase);
            let room = columns.parse::<usize>().unwrap().min(100).saturating_sub(line.chars().count() + 1);
            assert!(!(is_prose && begins > 0 && begins <= room), "{program} {verb} at {columns}: {line}\n{next}");
        }
    }
    let help = help("80");
    let (_, below) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{program} {verb}: {help}"));
    let found: Vec<&str> = below.lines().take_while(|line| !line.is_empty()).collect();
    assert!(found.iter().all(|line| line.starts_with("  ")), "{found:?}");
    assert!(found.iter().any(|line| line.contains(program)), "{found:?}");
    examples.extend(found.iter().map(|line| line.trim().to_owned()));
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return };
    for line in list.lines().take_while(|line| !line.is_empty()) {
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        if let Some(name) = name.and_then(|rest| rest.split_whitespace().next()).filter(|name| *name != "help") {
            collect_examples(program, &format!("{verb} {name}"), examples);
        }
    }
}

/// What each program says about a configuration that is not there, or has a mistake: one line, and what to do.
#[test]
fn a_mistake_in_a_configuration_is_one_line_with_its_place() {
    let folder = std::env::temp_dir().join(format!("jit-usage-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("config.yaml");
    let check = |program: &str| {
        let mut command = Command::new(root().join("bin").join(program));
        let done = command.arg("--config").arg(&path).arg("check").output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{program}");
        text(&done.stderr).replace(&path.display().to_string(), "PATH")
    };
    const PROGRAMS: [(&str, &str); 4] = [
        ("jitd", "`jitd init` writes it"),
        ("jit-gateway", "gateway.md says how to write it"),
        ("jit-notify", "notify.md says how to write it"),
        ("jit-frontend", "frontend.md says how to write it"),
    ];
    for (program, hint) in PROGRAMS {
        let said = check(program);
        assert!(said.contains("`PATH`") && said.contains("does not exist") && said.contains(hint), "{program}: {said}");
    }
    std::fs::write(&path, "# a comment\nservre: https://h\n").unwrap();
    for (program, _) in PROGRAMS {
        let said = check(program);
        assert!(said.contains("PATH:2:1: unknown field `servre`"), "{program}: {said}");
        let (first, rest) = said.trim_end().split_once('\n').unwrap_or((said.trim_end(), ""));
        assert!(first.contains("servre") && !rest.contains("servre"), "{program}: {said}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// `check` of the gateway and the front end finds what would keep them from starting, and makes nothing.
#[test]
fn the_gateway_and_the_front_end_are_checked_before_they_start() {
    let folder = std::env::temp_dir().join(format!("jit-usage-check-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("config.yaml");
    let check = |program: &str, lines: &str| {
        std::fs::write(&path, lines).unwrap();
        let mut command = Command::new(root().join("bin").join(program));
        let done = command.arg("--config").arg(&path).arg("check").output().unwrap();
        let said = format!("{}{}", text(&done.stdout), text(&done.stderr));
        (done.status.code(), said.replace(&folder.display().to_string(), "FOLDER"))
    };
    let gateway =
        "server: https://127.0.0.1:6444\nstate: state\nclusters: [{name: prod, kubeconfig: prod.kubeconfig}]\n";
    let (code, said) = check("jit-gateway", gateway);
    assert!(code == Some(2) && said.contains("cluster `prod`: ") && said.contains("FOLDER/prod.kubeconfig"), "{said}");
    std::fs::copy(Plane::shared().token_kubeconfig("jit-gateway"), folder.join("prod.kubeconfig")).unwrap();
    assert_eq!(check("jit-gateway", gateway), (Some(0), "FOLDER/config.yaml: ok, for prod\n".to_owned()));

    let provider = "{name: corp, issuer: https://login.example.com, audience: jit-login, displayName: {claim: /name}}";
    let frontend = format!("server: https://bastion.example.com:6445\nstate: state\nproviders: [{provider}]\n");
    assert_eq!(
        check("jit-frontend", &frontend),
        (Some(0), "FOLDER/config.yaml: ok, for https://login.example.com\n".to_owned())
    );
    let invited =
        Command::new(root().join("bin/jit-frontend")).arg("--config").arg(&path).arg("invite").output().unwrap();
    let said = text(&invited.stderr);
    assert!(invited.status.code() == Some(1) && said.contains("error: there is no serving root yet"), "{said}");
    assert!(said.contains("hint: the first start of the front end makes it"), "{said}");
    let (code, said) = check("jit-frontend", &format!("{frontend}certificate: {{chain: chain.pem, key: key.pem}}\n"));
    assert!(code == Some(2) && said.contains("FOLDER/chain.pem"), "{said}");
    assert!(!folder.join("state").exists(), "a check makes nothing");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What root can read says nothing about the service: a check that root starts goes on as the account of the unit.
#[test]
fn a_check_reads_with_the_rights_of_the_service() {
    let folder = std::env::temp_dir().join(format!("jit-usage-account-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let (uid, kubeconfig) = (7301, folder.join("prod.kubeconfig"));
    std::fs::write(folder.join("passwd"), format!("root:x:0:0::/:/bin/sh\njit-gateway:x:{uid}:{uid}::/:/bin/false\n"))
        .unwrap();
    std::fs::write(
        folder.join("config.yaml"),
        "server: https://127.0.0.1:6444\nclusters: [{name: prod, kubeconfig: prod.kubeconfig}]\n",
    )
    .unwrap();
    std::fs::copy(Plane::shared().token_kubeconfig("jit-gateway"), &kubeconfig).unwrap();
    std::fs::set_permissions(&kubeconfig, std::fs::Permissions::from_mode(0o600)).unwrap();
    let check = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", "mount --bind \"$0/passwd\" /etc/passwd; exec \"$@\""]).arg(&folder);
        let gateway = root().join("bin/jit-gateway");
        let done = command.arg(gateway).arg("--config").arg(folder.join("config.yaml")).arg("check").output().unwrap();
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let (code, said) = check();
    assert!(code == Some(2) && said.starts_with("error: as account `jit-gateway`: cluster `prod`: "), "{said}");
    assert!(said.contains("prod.kubeconfig") && said.contains("Permission denied"), "{said}");
    std::os::unix::fs::chown(&kubeconfig, Some(uid), None).unwrap();
    let (code, said) = check();
    assert!(code == Some(0) && said.ends_with("config.yaml: ok, for prod\n"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A URL that `jit-login` cannot call is not taken for the path of a socket.
#[test]
fn a_url_without_tls_is_no_socket() {
    for url in ["http://bastion.example.com:6445", "ftp://bastion.example.com"] {
        let mut command = Command::new(root().join("bin/jit-login"));
        let done = command.args(["--socket", url, "ls"]).output().unwrap();
        let err = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{err}");
        assert!(err.contains(&format!("`{url}` is neither a path nor the URL of a bastion")), "{err}");
        assert!(err.contains("https://HOST:PORT"), "{err}");
    }
}
