//! What the README shows is what happens: its console blocks are run, its YAML is checked.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::bastion::{Bastion, Options, repository, text};
use crate::console::{Console, blocks};
use crate::plane::{Plane, root, scratch};

pub(crate) const POLICY: &str = r#"
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
    let commands: Vec<usize> = blocks(&readme).into_iter().map(is_true).collect();
    assert_eq!(commands, [9, 10, 4, 3]);
}

/// Runs a block on a bastion of its own, and answers how many commands it has.
pub(crate) fn is_true(block: &str) -> usize {
    let options = Options { policy: POLICY.to_owned(), ..Options::default() };
    Console::at(Bastion::with(Plane::shared(), options)).is_true(block)
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

/// What `make demo` prepares changes nothing on the host: what is missing is named, with the command to type.
#[test]
fn the_first_command_installs_nothing() {
    let folder = scratch("first");
    let path = std::env::var_os("PATH").unwrap();
    for name in ["bash", "sed", "sort", "head", "cut", "dirname", "make", "setpriv", "nsenter", "unshare", "flock"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("apt-get"), format!("#!/bin/sh\n: >{}/installed\n", folder.display())).unwrap();
    std::fs::set_permissions(folder.join("apt-get"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let setup = |wanted: &str| {
        let script = repository().join("tests/setup.sh");
        Command::new(script).arg(wanted).env("PATH", &folder).output().unwrap()
    };
    let said = setup("build");
    assert_eq!(said.status.code(), Some(1));
    let said = text(&said.stderr);
    assert!(said.contains("missing: gcc libc6-dev") && said.contains("apt-get install"), "{said}");
    assert!(!folder.join("installed").exists());
    // What has more to prepare does install, as root.
    setup("check");
    assert!(folder.join("installed").exists());
}

/// Where to report a vulnerability is the address that the packages have.
#[test]
fn the_security_policy_has_the_address_of_the_packages() {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let address = manifest.split_once("authors = [\"").unwrap().1.split_once(['<', '>']).unwrap().1;
    let address = address.split_once('>').unwrap().0;
    let policy = std::fs::read_to_string(repository().join("SECURITY.md")).unwrap();
    assert!(policy.contains(&format!("<{address}>")), "{address}");
}
