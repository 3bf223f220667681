//! The places of the authority's key: moved from its file into a credential that systemd decrypts for the service, and
//! renewed with a root key that is elsewhere.

use std::time::Duration;

use crate::bastion::Bastion;
use crate::install::ROOT_KEY;
use crate::machine::Machine;
use crate::plane::until_within;

/// `jitd ca seal`, as it instructs: the line for the configuration, a restart, and the command again; then there is no
/// plain key, and access works.
pub(crate) fn a_sealed_key_signs_and_no_plain_one_is_left(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let before = machine.root("jitd ca show play");
    let line = machine.root("jitd ca seal play");
    assert_eq!(line, "key: {credential: jitd-ca-play}\n");
    // `jitd init` wrote this line already, behind a #.
    machine.root(
        "sed -i 's/^#    key: {credential: jitd-ca-play}$/    key: {credential: jitd-ca-play}/' /etc/jitd/config.yaml",
    );
    machine.root("grep -Fx '    key: {credential: jitd-ca-play}' /etc/jitd/config.yaml");
    machine.root("systemctl daemon-reload && systemctl restart jitd");
    machine.run("root", "jitd ca seal play").must(0).says("the plain key was removed");
    assert_eq!(machine.root("jitd ca show play"), before, "the key and its certificates are the same");

    let plain = machine.run("root", "grep -rl 'PRIVATE KEY' /var/lib/jitd /etc/jitd /etc/credstore.encrypted");
    assert_eq!((plain.code, plain.out.as_str()), (1, ""), "a plain key is left");
    assert_eq!(machine.root("stat -c '%U %a' /etc/credstore.encrypted/jitd-ca-play"), "root 600\n");
    let id = bastion.live("10m");
    machine.does("alice", &format!("jit-login end {id}"));
    assert!(!bastion.is_bound(&id));
    machine.run("root", "jitd ca seal play").must(0).says("nothing remains to be done");
}

/// A renewal creates another certificate for the same key, which the daemon uses without a restart.
pub(crate) fn a_renewed_certificate_of_the_same_key_is_taken_up_by_itself(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let (before, key) = (issuing(machine), public_key(machine));
    let pid = machine.property("jitd", "MainPID");
    machine.root(&format!("jitd ca renew play --root-key {ROOT_KEY}"));
    assert_ne!(issuing(machine), before, "it is another certificate");
    assert_eq!(public_key(machine), key, "of the same key");
    until_within(Duration::from_secs(30), "the daemon has taken it up", || {
        let journal = machine.root("journalctl --quiet -u jitd -o cat -n 20");
        journal.contains("using the renewed authority").then_some(())
    });
    let id = bastion.live("10m");
    assert_eq!(machine.property("jitd", "MainPID"), pid, "it was the same daemon all the time");
    machine.does("alice", &format!("jit-login end {id}"));
    machine.root("jitd doctor");
}

/// The output of `jitd ca show` about the issuing certificate.
fn issuing(machine: &Machine) -> String {
    let shown = machine.root("jitd ca show play");
    shown.split("root").next().unwrap().to_owned()
}

/// That of the issuing certificate.
fn public_key(machine: &Machine) -> Vec<u8> {
    let chain = machine.root("cat /var/lib/jitd/ca/play/issuing.crt");
    let (_, first) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).unwrap();
    first.parse_x509().unwrap().public_key().raw.to_vec()
}
