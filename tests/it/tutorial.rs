//! The commands of `docs/tutorial.md`, in their order, on a host that has nothing and a cluster that does not trust us yet.
//!
//! Not run: the `sh` blocks of the page, the package and the accounts, which `tests/machine` has. The people are declared
//! here instead, with the groups that the page gives their accounts.

use std::fs;
use std::io::Write;

use crate::bastion::{Bastion, repository};
use crate::console::{Console, blocks};
use crate::plane::Plane;

const PEOPLE: &str = "
people:
  - {name: alice, uids: [420001], groups: [payments-oncall]}
  - {name: bob, uids: [420002], groups: [payments-leads]}
  - {name: erin, uids: [420005], groups: [auditors]}
";

/// It runs from `a_minute.rs`.
pub(crate) fn the_tutorial_is_true() {
    let plane = Plane::start();
    let cluster_ca = plane.client_ca.with_extension("own");
    fs::copy(&plane.client_ca, &cluster_ca).unwrap();
    let bastion = Bastion::empty(&plane);
    fs::create_dir(bastion.dir.join("root")).unwrap();
    fs::copy(&plane.kubeconfig, bastion.dir.join("root/admin.kubeconfig")).unwrap();
    let mut console = Console::at(bastion);
    console.cluster_ca = Some(cluster_ca);
    let page = fs::read_to_string(repository().join("docs/tutorial.md")).unwrap();
    let mut commands = 0;
    for (number, block) in blocks(&page).into_iter().enumerate() {
        commands += console.is_true(block);
        if number == 0 {
            let config = fs::OpenOptions::new().append(true).open(console.bastion.dir.join("config.yaml"));
            config.unwrap().write_all(PEOPLE.as_bytes()).unwrap();
        }
    }
    assert_eq!(commands, 22, "every command of the page was run");
}
