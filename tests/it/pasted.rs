//! What people take out of a chat and put into a command line: ids in capitals, in backticks, with letters for digits, and
//! other words with what stood around them.

use crate::bastion::{ALICE, BOB, Bastion, text};

/// Each verb knows the grant, and kubectl works with a kubeconfig in which somebody wrote the id so.
#[test]
fn an_id_is_known_however_it_was_written_down() {
    let bastion = Bastion::start();
    let (ns, cluster) = (format!("`{}`", bastion.ns), "'play' ");
    let words = ["request", cluster, "-n", &ns, "--role", "`view`", "--for", "5m", "--reason", "INC-1 x", "--no-wait"];
    let asked = bastion.login(ALICE, &words);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    let id = text(&asked.stdout).trim().to_owned();
    let loud = id.to_uppercase().replace('0', "O").replace('1', "I");
    let parted = format!("{}-{}", &loud[..8], loud[8..].to_lowercase());
    let approved = bastion.login(BOB, &["approve", &format!("`{parted}`"), "--yes"]);
    assert_eq!(text(&approved.stdout), format!("{id} approved\n"), "{}", text(&approved.stderr));
    for words in
        [vec!["show", &loud, "-o", "name"], vec!["wait", &parted, "-o", "name"], vec!["show", &loud[..6], "-o", "name"]]
    {
        let said = bastion.login(ALICE, &words);
        assert_eq!(text(&said.stdout), format!("{id}\n"), "{words:?}: {}", text(&said.stderr));
    }
    let own = bastion.dir.join(format!("home/{}/.local/state/jit-login/{id}.kubeconfig", ALICE.uid));
    let written = std::fs::read_to_string(&own).unwrap();
    let other = bastion.dir.join("written.yaml");
    std::fs::write(&other, written.replace(&id, &loud)).unwrap();
    let mut kubectl = bastion.login_command(ALICE, "kubectl");
    let looked = kubectl.args(["get", "configmap", "seen", "-o", "name"]).env("KUBECONFIG", &other).output().unwrap();
    assert_eq!(text(&looked.stdout), "configmap/seen\n", "{}", text(&looked.stderr));
    let ended = bastion.login(ALICE, &["end", &format!("\u{201c}{loud}\u{201d}.")]);
    assert_eq!(text(&ended.stdout), format!("{id} ended (released)\n"), "{}", text(&ended.stderr));
}
