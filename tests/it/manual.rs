//! The manual as a reader sees it: rendered, then its examples are run, its files are checked, and no
//! program that reads manual pages has a remark. And the completions, in the shells that they are for.
//!
//! How examples are run is `readme.rs`'s.

use std::process::{Command, Stdio};

use crate::bastion::{repository, text};
use crate::plane::{Plane, root, scratch};
use crate::readme::is_true;

/// The pages and who prints them.
const PAGES: &[(&str, &[&str])] = &[
    ("jitd", &["man"]),
    ("jitd", &["man", "jitd-config"]),
    ("jitd", &["man", "jitd-policy"]),
    ("jitd", &["man", "jitd-guardrails"]),
    ("jit-login", &["man"]),
];

/// What the program prints when it is called so, as on a terminal of any width.
fn said(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(root().join("bin").join(program))
        .args(arguments)
        .env("SOURCE_DATE_EPOCH", "1764028800")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout)
}

/// Runs a command on a text and answers what it printed, on both; it has to succeed.
fn piped(command: &mut Command, input: &str) -> (String, String) {
    let file = scratch("manual").join("page");
    std::fs::write(&file, input).unwrap();
    let done = command.arg(&file).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").output().unwrap();
    assert!(done.status.success(), "{command:?}: {}{}", text(&done.stdout), text(&done.stderr));
    (text(&done.stdout), text(&done.stderr))
}

/// The page as it is read, wide enough that nothing but what the page wants is broken.
fn rendered(page: &str) -> String {
    let (shown, _) = piped(Command::new("mandoc").args(["-Tutf8", "-Owidth=78", "-Kutf-8"]), page);
    // Bold and underlined letters are overstruck.
    let mut plain = String::new();
    for letter in shown.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// The blocks of the examples, without the margin.
fn examples(page: &str) -> Vec<String> {
    let shown = rendered(page);
    let section = shown.split("\nEXAMPLES\n").nth(1).unwrap().split("\nSEE ALSO").next().unwrap();
    let mut blocks = vec![String::new()];
    for line in section.lines() {
        match line.strip_prefix("           ") {
            Some(line) => *blocks.last_mut().unwrap() += &format!("{line}\n"),
            // A sentence stands between two blocks.
            None if !line.trim().is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.into_iter().filter(|block| !block.is_empty()).collect()
}

/// Neither man-db nor mandoc has a remark, and no line is wider than a terminal.
#[test]
fn pages_are_right_in_the_eyes_of_who_renders_them() {
    for (program, arguments) in PAGES {
        let page = said(program, arguments);
        let (remarks, _) = piped(Command::new("mandoc").args(["-Tlint", "-Wwarning"]), &page);
        assert_eq!(remarks, "", "{program} {arguments:?}");
        let mut man = Command::new("man");
        let (_, warnings) =
            piped(man.args(["--warnings", "-Tutf8", "-l"]).env("MANWIDTH", "80").env("MANROFFSEQ", ""), &page);
        assert_eq!(warnings, "", "{program} {arguments:?}");
        let wide = rendered(&page).lines().find(|line| line.chars().count() > 80).map(str::to_owned);
        assert_eq!(wide, None, "{program} {arguments:?}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"] {
            assert!(
                page.contains(&format!("\n.SH {section}\n").replace("SEE ALSO", "\"SEE ALSO\"")),
                "{arguments:?}: {section}"
            );
        }
    }
}

/// What the manual says about calling a program is so.
#[test]
fn the_examples_of_the_manual_are_true() {
    for ((program, arguments), commands) in [(PAGES[0], [2, 2, 1]), (PAGES[4], [6, 1, 2])] {
        let blocks = examples(&said(program, arguments));
        let run: Vec<usize> = blocks.iter().map(|block| is_true(block)).collect();
        assert_eq!(run, commands, "{program}: {blocks:#?}");
    }
}

/// The pages of `docs/` that describe files are those of the manual. `UPDATE_GOLDEN=1` writes them.
#[test]
fn the_reference_in_docs_is_the_manual() {
    for name in ["config", "policy", "guardrails"] {
        let note = "<!-- Made from the definitions that jitd reads: UPDATE_GOLDEN=1 cargo test --test it manual:: -->";
        let made = format!("{note}\n\n{}", said("jitd", &["man", &format!("jitd-{name}"), "--markdown"]));
        crate::docs::is_golden(&format!("{name}.md"), &made);
    }
}

/// The files in the pages of section 5 pass `jitd check`, together.
#[test]
fn the_files_in_the_manual_are_right() {
    let folder = scratch("manual");
    let config = examples(&said(PAGES[1].0, PAGES[1].1));
    let policies = examples(&said(PAGES[2].0, PAGES[2].1));
    let guardrails = examples(&said(PAGES[3].0, PAGES[3].1));
    let ([config], [policy], [guardrails]) = (config.as_slice(), policies.as_slice(), guardrails.as_slice()) else {
        panic!("{config:#?} {policies:#?} {guardrails:#?}")
    };
    for (name, written) in [("config.yaml", config), ("policy.yaml", policy), ("guardrails.yaml", guardrails)] {
        std::fs::write(folder.join(name), written).unwrap();
    }
    std::fs::copy(&Plane::shared().ca, folder.join("prod-ca.crt")).unwrap();
    let jitd = Command::new(root().join("bin/jitd"))
        .arg("--config")
        .arg(folder.join("config.yaml"))
        .arg("check")
        .output()
        .unwrap();
    assert!(jitd.status.success(), "{}", text(&jitd.stderr));
}

/// Each shell reads its script without a word, and offers what begins so: verbs, options, words of an option;
/// what is hidden it does not offer.
#[test]
fn shells_complete_what_there_is() {
    let folder = scratch("completion");
    for program in ["jitd", "jit-login"] {
        for shell in ["bash", "zsh", "fish"] {
            std::fs::write(folder.join(format!("{program}.{shell}")), said(program, &["completion", shell])).unwrap();
        }
    }
    // Where nothing else fits, fish has the names of files to offer; here are none.
    std::fs::create_dir(folder.join("empty")).unwrap();
    let offered = |shell: &str, script: &str| -> Vec<String> {
        let done = Command::new(shell)
            .args(["-c", script])
            .current_dir(folder.join("empty"))
            .env("HOME", &folder)
            .env("PATH", format!("{}:{}", root().join("bin").display(), std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        assert!(
            done.status.success() && done.stderr.is_empty(),
            "{shell} {script}: {}{}",
            text(&done.stdout),
            text(&done.stderr)
        );
        // What fish says about a word stands behind a tab.
        text(&done.stdout).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    // program, words before, the beginning, what is offered
    let table: &[(&str, &[&str], &str, &[&str])] = &[
        ("jit-login", &[], "req", &["request"]),
        ("jit-login", &[], "m", &[]),
        ("jit-login", &["deny"], "--rea", &["--reason"]),
        ("jit-login", &["ls", "-o"], "j", &["json"]),
        ("jitd", &[], "m", &["manifest"]),
        ("jitd", &["ca"], "re", &["renew"]),
        ("jitd", &["policy", "who-can"], "--cluster-", &["--cluster-wide"]),
    ];
    for (program, before, begin, expected) in table {
        let words: Vec<&str> = [*program].into_iter().chain(before.iter().copied()).chain([*begin]).collect();
        let previous = words[words.len() - 2];
        let bash = format!(
            "source ../{program}.bash; f=$(complete -p {program}); f=${{f##*-F }}; f=${{f% *}}; COMP_WORDS=({}); COMP_CWORD={}; \
             $f {program} '{begin}' '{previous}'; \
             ((${{#COMPREPLY[@]}} == 0)) || printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
        );
        assert_eq!(offered("bash", &bash), *expected, "bash: {words:?}");
        let fish = format!("source ../{program}.fish; complete -C '{}'", words.join(" "));
        // fish also offers what has the letters elsewhere.
        let seen: Vec<String> = offered("fish", &fish).into_iter().filter(|word| word.starts_with(begin)).collect();
        assert_eq!(seen, *expected, "fish: {words:?}");
    }
    for program in ["jitd", "jit-login"] {
        // zsh completes on a terminal only, which `entitlements.rs` gives it; here it reads the script and has the function.
        let function = format!("_clap_dynamic_completer_{}", program.replace('-', "_"));
        let zsh =
            format!("autoload -Uz compinit; compinit -u -d ../dump; source ../{program}.zsh; whence -w {function}");
        assert_eq!(offered("zsh", &zsh), [format!("{function}: function")]);
    }
}

/// kubectl asks `kubectl_complete-jit` for what may follow `kubectl jit`.
#[test]
fn kubectl_is_told_what_may_follow() {
    let folder = scratch("plugin");
    let plugin = folder.join("kubectl_complete-jit");
    std::fs::copy(repository().join("packaging/kubectl_complete-jit"), &plugin).unwrap();
    std::fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (words, expected) in
        [(&["req"][..], "request\n:4\n"), (&["ls", "-o", "y"], "yaml\n:4\n"), (&["nothing-begins-so"], ":4\n")]
    {
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let kubectl = Command::new(root().join("bin/kubectl"))
            .args(["__complete", "jit"])
            .args(words)
            .env("PATH", format!("{}:{path}", root().join("bin").display()))
            .output()
            .unwrap();
        assert_eq!(text(&kubectl.stdout), expected, "{words:?}: {}", text(&kubectl.stderr));
    }
}
