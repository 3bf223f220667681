//! What the README shows is what happens: its console blocks are run, its YAML is checked.

use std::process::Command;

use crate::bastion::{ALICE, BOB, Bastion, Options, repository, text};
use crate::plane::{Plane, root, scratch};

const POLICY: &str = r#"
rules:
  - name: NS
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS]
    roles: [view]
    rules: [{apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}]
    maxDuration: 10m
    reason: ^INC-[0-9]+
    approval: [{groups: [payments-leads]}]
    breakGlass: {after: 0s, maxDuration: 5m, review: {groups: [payments-leads], count: 2, within: 4h}}
"#;

/// Each command of the README does what is written below it.
#[test]
fn the_stories_in_the_readme_are_true() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let commands: Vec<usize> = blocks.iter().map(|block| is_true(block)).collect();
    assert_eq!(commands, [9, 9, 4, 3]);
}

/// Runs a block of its own bastion, and answers how many commands it has.
pub(crate) fn is_true(block: &str) -> usize {
    let bastion = Bastion::with(Plane::shared(), Options { policy: POLICY.to_owned(), ..Options::default() });
    let here = |written: &str| {
        // The names of this test's own cluster, namespaces and grant.
        written
            .replace("prod", "play")
            .replace("payments", &bastion.ns)
            .replace(&format!("{}-leads", bastion.ns), "payments-leads")
            .replace(&format!("{}-oncall", bastion.ns), "payments-oncall")
            .replace("-n shop", &format!("-n {}", bastion.shop))
    };
    let mut id = String::new();
    let mut output = String::new();
    let mut commands = 0;
    for line in block.lines() {
        let Some((who, command)) = line.split_once("$ ") else {
            let (expected, said) = (here(line), squeezed(&output));
            assert!(said.contains(&squeezed(&expected)), "`{expected}` is not in what was said:\n{output}");
            continue;
        };
        commands += 1;
        let words = words(&here(command).replace("$ID", &id));
        let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let done = match (who, words[0].as_str()) {
            ("alice", "jit-login") => bastion.login(ALICE, &arguments),
            ("bob", "jit-login") => bastion.login(BOB, &arguments),
            ("root", "jitd") => bastion.jitd(&arguments),
            other => panic!("who is {other:?}?"),
        };
        output = format!("{}{}", text(&done.stdout), text(&done.stderr));
        if id.is_empty() && command.ends_with("--no-wait") {
            text(&done.stdout).trim().clone_into(&mut id);
        }
    }
    commands
}

/// The configuration and the policy of the README pass `jitd check`.
#[test]
fn the_files_in_the_readme_are_right() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [policy, config] = blocks.as_slice() else { panic!("{} blocks of YAML", blocks.len()) };
    let folder = scratch("readme");
    std::fs::write(folder.join("policy.yaml"), policy).unwrap();
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    std::fs::copy(&Plane::shared().ca, folder.join("prod-ca.crt")).unwrap();
    let jitd = root().join("bin/jitd");
    let checked = Command::new(jitd).arg("--config").arg(folder.join("config.yaml")).arg("check").output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

/// A command as a shell splits it; double quotes keep words together.
fn words(command: &str) -> Vec<String> {
    let quoted = command.split('"').enumerate();
    quoted
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// Columns are for people; what counts are the words.
fn squeezed(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
