//! The daemon is killed or restarted, gets a broken policy, or has a store that hangs: live access continues, and
//! callers wait.

use std::time::Duration;

use crate::bastion::Bastion;
use crate::install::POLICY;
use crate::machine::Machine;
use crate::plane::{until, until_within};

/// After `kill -9`, systemd starts another daemon. Meanwhile callers wait on the socket that systemd kept.
pub(crate) fn a_daemon_that_was_killed_comes_back_and_no_call_is_refused(bastion: &mut Bastion) {
    let id = bastion.live("10m");
    let machine = &bastion.machine;
    let (before, restarts) = (machine.property("jitd", "MainPID"), restarts(machine));
    // In one command, so that the call comes before the next daemon starts.
    machine.root(&format!("kill -9 {before}; ! kill -0 {before} 2>/dev/null; runuser -u alice -- jit-login whoami"));
    serves_again(machine, &before);
    assert_eq!(self::restarts(machine), restarts + 1);
    bastion.works(&id);
    assert_eq!(bastion.phase(&id), "live");
    machine.does("alice", &format!("jit-login end {id}"));
    assert!(!bastion.is_bound(&id));
}

/// A restart completes the calls in progress, and the others wait.
pub(crate) fn a_restart_refuses_no_call(bastion: &mut Bastion) {
    let before = bastion.machine.property("jitd", "MainPID");
    bastion.no_call_fails_while(|machine| {
        machine.root("systemctl restart jitd");
    });
    serves_again(&bastion.machine, &before);
}

/// A policy with a fault is not used: the previous one stays in force, the status line and the journal report it, and
/// the reload of a corrected one clears that.
pub(crate) fn a_broken_policy_changes_nothing_and_is_told(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let pid = machine.property("jitd", "MainPID");
    let policy = machine.root(&format!("cat {POLICY}"));
    machine.write(POLICY, &policy.replace("\n    approval:\n", "\n    aproval:\n"));
    machine.root("systemctl reload jitd");
    until("the status line says it", || {
        machine.property("jitd", "StatusText").contains("the policy was not reloaded").then_some(())
    });
    let journal = machine.root("journalctl --quiet -u jitd -o cat -n 20");
    assert!(journal.contains("not reloaded") && journal.contains("aproval"), "{journal}");
    assert_eq!(machine.root(&format!("stat -c '%U:%G %a' {POLICY}")), "root:jitd 640\n");
    let id = bastion.live("10m");
    machine.write(POLICY, &policy);
    machine.root("systemctl reload jitd");
    until("the status line is clear", || (machine.property("jitd", "StatusText") == "1 live, 0 waiting").then_some(()));
    assert_eq!(machine.property("jitd", "MainPID"), pid, "it was the same daemon all the time");
    machine.does("alice", &format!("jit-login end {id}"));
}

/// The store does not answer: the watchdog is not notified, systemd ends the daemon with SIGABRT and starts another
/// one, and live access stays live.
pub(crate) fn a_store_that_hangs_gets_the_daemon_ended_and_started(bastion: &mut Bastion) {
    let id = bastion.live("10m");
    let machine = &bastion.machine;
    let before = machine.property("jitd", "MainPID");
    let patience = Duration::from_secs(60);
    // A process that holds the write lock looks to the daemon like a disk that hangs. It stays connected, as a disk
    // does: the last process that closes the file would write the log back into it, in the daemon's place.
    let other = rusqlite::Connection::open(machine.root.join("var/lib/jitd/trail.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    until_within(patience, "the watchdog has ended it", || {
        (machine.property("jitd", "MainPID") != before).then_some(())
    });
    other.execute_batch("ROLLBACK").unwrap();
    serves_again(machine, &before);
    drop(other);
    let journal = machine.root("journalctl --quiet -u jitd -o cat -n 60");
    for told in ["Watchdog timeout", "the watchdog was not notified", "6/ABRT"] {
        assert!(journal.contains(told), "`{told}` is not in\n{journal}");
    }
    bastion.works(&id);
    assert_eq!(bastion.phase(&id), "live");
    machine.does("alice", &format!("jit-login end {id}"));
}

fn restarts(machine: &Machine) -> u32 {
    machine.property("jitd", "NRestarts").parse().unwrap()
}

/// A daemon other than `before` serves.
#[track_caller]
fn serves_again(machine: &Machine, before: &str) {
    machine.does("alice", "jit-login whoami");
    until_within(Duration::from_secs(30), "systemd knows that it serves", || {
        (machine.property("jitd", "ActiveState") == "active").then_some(())
    });
    assert_ne!(machine.property("jitd", "MainPID"), before);
}
