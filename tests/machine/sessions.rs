//! What `jit-login run` and `shell` start ends with its grant, by the systemd of alice's own login, and nothing else
//! does.
//!
//! All of them use a stream that kube-apiserver does not end: `kubectl get --watch`, which ends only when its process
//! on this side ends.

use std::process::Child;
use std::time::Duration;

use crate::bastion::{Bastion, PAYMENTS};
use crate::machine::Machine;
use crate::plane::{until, until_within};

/// The end of the window needs no process of ours: the watch is stopped, and systemd's timer ends the stream.
pub(crate) fn the_end_of_the_window_ends_a_stream_without_anybody(bastion: &mut Bastion) {
    let id = bastion.live("15s");
    let machine = &bastion.machine;
    let mut stream = watching(machine, &id);
    let end = window_end(machine, &id);
    assert!(alice_has(machine, &format!("jit-{id}-end-{end}.timer")), "systemd knows the end");
    machine.does("alice", &format!("systemctl --user stop jit-{id}-watch.service"));
    let left = machine.does("alice", "jit-login status --short");
    assert!(left.starts_with("play/payments view ") && left.ends_with("s\n"), "{left}");

    until_within(Duration::from_secs(30), "the stream ends", || ended(&mut stream));
    let late = second(machine) - end;
    assert!((0..=2).contains(&late), "it ended {late} s after the window");
    nothing_is_left(machine, &id);
    assert_eq!(machine.does("alice", "jit-login status --short"), "");
}

/// A revocation ends a stream, a shell at a terminal, and a process that ignores signals, but nothing that another
/// grant started. Releasing that one ends it too.
pub(crate) fn a_revocation_ends_what_was_started_with_it_and_nothing_else(bastion: &mut Bastion) {
    let (id, other) = (bastion.live("5m"), bastion.live("5m"));
    let machine = &bastion.machine;
    let mut stream = watching(machine, &id);
    let mut others = watching(machine, &other);
    let deaf = "'trap \"\" TERM HUP; while :; do sleep 1; done'";
    let mut deaf = machine.ssh("alice", &format!("jit-login run {id} -- bash -c {deaf}")).spawn().unwrap();
    let mut shell = machine.at_a_terminal("alice", &format!("SHELL=/bin/bash jit-login shell {id}"));
    until("the shell asks for a command and says what is left", || {
        let screen = shell.screen();
        screen.rsplit('\n').next().is_some_and(|line| line.contains("play/payments view 4m")).then_some(())
    });
    until("three of them are in the grant's slice", || (scopes(machine, &id).lines().count() >= 3).then_some(()));

    machine.does("bob", &format!("jit-login revoke {id} --reason 'enough'"));
    until("the stream ends", || ended(&mut stream));
    until("the shell ends", || ended(&mut shell.ssh));
    until_within(Duration::from_secs(15), "what takes no notice is killed", || ended(&mut deaf));
    nothing_is_left(machine, &id);
    assert!(in_slice(machine, &other, "kubectl"), "the stream of another grant ended too");

    machine.does("alice", &format!("jit-login end {other}"));
    until("giving it back ends its stream", || ended(&mut others));
    nothing_is_left(machine, &other);
}

/// An extension moves the timer: the stream survives the first end and ends at the second.
pub(crate) fn more_time_moves_the_end_of_a_session(bastion: &mut Bastion) {
    let id = bastion.live("20s");
    let machine = &bastion.machine;
    let before = window_end(machine, &id);
    let mut stream = watching(machine, &id);
    machine.does("alice", &format!("jit-login extend {id} --for 5s --reason 'INC-42 more' --no-wait"));
    machine.does("bob", &format!("jit-login approve {id} --yes"));
    let after = window_end(machine, &id);
    assert_eq!(after, before + 5);
    until("the timer has moved", || alice_has(machine, &format!("jit-{id}-end-{after}.timer")).then_some(()));
    until("the earlier one is gone", || (!alice_has(machine, &format!("jit-{id}-end-{before}.timer"))).then_some(()));
    until_within(Duration::from_secs(40), "the stream ends", || ended(&mut stream));
    assert!(second(machine) >= after, "it ended before its new end");
    nothing_is_left(machine, &id);
}

/// A restart of the daemon ends no stream, and a revocation after it arrives.
pub(crate) fn a_session_outlives_a_restart_of_the_daemon_and_hears_of_its_end(bastion: &mut Bastion) {
    let id = bastion.live("5m");
    let machine = &bastion.machine;
    let mut stream = watching(machine, &id);
    machine.root("systemctl restart jitd");
    assert_eq!(bastion.phase(&id), "live");
    assert!(ended(&mut stream).is_none(), "a restart of the daemon ended the stream");
    machine.does("bob", &format!("jit-login revoke {id} --reason 'enough'"));
    // The watch calls again after half a minute at most.
    until_within(Duration::from_secs(35), "the stream ends", || ended(&mut stream));
    nothing_is_left(machine, &id);
}

/// Alice's `kubectl get --watch` in a separate login, once it is in the slice of its grant.
fn watching(machine: &Machine, id: &str) -> Child {
    let watch = format!("jit-login run {id} -- kubectl get configmaps -n {PAYMENTS} --watch");
    let stream = machine.ssh("alice", &watch).spawn().unwrap();
    until("the stream is in the grant's slice", || in_slice(machine, id, "kubectl").then_some(()));
    stream
}

fn ended(command: &mut Child) -> Option<()> {
    command.try_wait().unwrap().map(drop)
}

// ---- what alice's systemd knows ----

fn alice_has(machine: &Machine, unit: &str) -> bool {
    machine.run("alice", &format!("systemctl --user is-active --quiet {unit}")).code == 0
}

fn in_slice(machine: &Machine, id: &str, program: &str) -> bool {
    machine.run("alice", &format!("systemctl --user status --no-pager jit-{id}.slice")).out.contains(program)
}

fn scopes(machine: &Machine, id: &str) -> String {
    machine.does("alice", &format!("systemctl --user list-units --plain --no-legend 'jit-{id}-*.scope'"))
}

#[track_caller]
fn nothing_is_left(machine: &Machine, id: &str) {
    assert_eq!(scopes(machine, id), "", "something of {id} is left");
}

// ---- the machine's time ----

fn second(machine: &Machine) -> i64 {
    machine.root("date +%s").trim().parse().unwrap()
}

fn window_end(machine: &Machine, id: &str) -> i64 {
    let shown = machine.does("alice", &format!("jit-login show {id} -o json"));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let deadline: jiff::Timestamp = shown["deadline"].as_str().unwrap().parse().unwrap();
    deadline.as_second()
}
