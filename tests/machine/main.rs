//! The bastion as its users have it: a Debian 12 that boots, the package installed on it, real accounts, and a real
//! control plane outside. `make bastion` runs it as root, with the two packages as its arguments; with a third one, an
//! earlier .deb, only the upgrade from that one to this one is tested (`make upgrade`).
//!
//! ```text
//!  this process ─┬─ boot.sh ─► the machine: systemd, sshd, jitd from the package, alice, bob, carol, dave, erin
//!                └─ launch ──► kube-apiserver on 127.0.0.1, which is the machine's loopback too
//! ```
//! The tutorial has a machine and a cluster of its own. The other scenarios are one story in a fixed order. The first one that
//! fails ends all. Each prints a line with its time.
//! Everything that was started ends with this process, however it ends.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod access;
mod bastion;
#[path = "../it/client.rs"]
mod client;
mod faults;
mod install;
mod keys;
mod machine;
mod operations;
#[allow(dead_code, reason = "shared with tests/it, which uses all of it")]
#[path = "../it/plane.rs"]
mod plane;
mod power;
mod sessions;
mod tutorial;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::bastion::Bastion;

type Scenario = (&'static str, fn(&mut Bastion));

macro_rules! scenarios {
    ($($module:ident::$name:ident,)+) => { &[$((stringify!($name), $module::$name)),+] };
}

const TUTORIAL: &[Scenario] = scenarios![tutorial::a_newcomer_follows_the_tutorial,];

const STORY: &[Scenario] = scenarios![
    install::nothing_runs_before_init,
    install::an_administrator_sets_it_up,
    install::the_doctor_finds_nothing_once_the_root_key_is_elsewhere,
    install::the_service_can_do_nothing_else,
    access::access_works_for_minutes_and_then_it_does_not,
    access::who_is_not_in_the_group_does_not_even_get_to_ask,
    access::a_login_is_known_by_its_login_uid,
    access::sudo_makes_nobody_another_human,
    access::who_somebody_is_comes_from_the_directory_at_each_call,
    access::nobody_loses_a_right_while_the_name_service_is_away,
    access::a_name_service_that_is_stuck_holds_up_nobody_else,
    sessions::the_end_of_the_window_ends_a_stream_without_anybody,
    sessions::a_revocation_ends_what_was_started_with_it_and_nothing_else,
    sessions::more_time_moves_the_end_of_a_session,
    sessions::a_session_outlives_a_restart_of_the_daemon_and_hears_of_its_end,
    operations::draining_refuses_with_the_reason_and_live_access_goes_on,
    operations::an_operator_takes_everything_away_and_the_trail_knows_who_became_root,
    operations::a_backup_while_it_serves_refuses_no_call,
    keys::a_sealed_key_signs_and_no_plain_one_is_left,
    keys::a_renewed_certificate_of_the_same_key_is_taken_up_by_itself,
    faults::a_daemon_that_was_killed_comes_back_and_no_call_is_refused,
    faults::a_restart_refuses_no_call,
    faults::a_broken_policy_changes_nothing_and_is_told,
    faults::a_store_that_hangs_gets_the_daemon_ended_and_started,
    power::access_outlives_a_reboot,
    power::what_ended_while_the_machine_was_off_is_taken_away_before_the_first_answer,
    install::an_upgrade_keeps_live_grants_and_refuses_no_call,
    install::a_purge_keeps_the_trail_and_says_so,
    install::the_rpm_brings_the_same_service,
];

/// If there is an earlier build, it is installed first. The trail that both have written is verified at the end.
const UPGRADE: &[Scenario] = scenarios![
    install::nothing_runs_before_init,
    install::an_administrator_sets_it_up,
    access::access_works_for_minutes_and_then_it_does_not,
    install::an_upgrade_keeps_live_grants_and_refuses_no_call,
    access::access_works_for_minutes_and_then_it_does_not,
    install::a_purge_keeps_the_trail_and_says_so,
];

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (stories, packages) = match arguments.as_slice() {
        [deb, rpm] => (&[TUTORIAL, STORY][..], [deb, deb, rpm]),
        [deb, rpm, earlier] => (&[UPGRADE][..], [earlier, deb, rpm]),
        _ => {
            eprintln!("bastion: not two packages, nor these and an earlier one; hint: `make bastion`");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = impossible() {
        let names: Vec<String> = stories.concat().iter().map(|(name, _)| words(name)).collect();
        println!("bastion: not tested, for {why}: {}", names.join("; "));
        // In CI, a skipped test is a failure.
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let mut left = stories.concat();
    let all = left.len();
    for story in stories {
        let mut bastion = Bastion::new(packages.map(Clone::clone));
        for (name, scenario) in *story {
            left.remove(0);
            if !holds(name, *scenario, &mut bastion) {
                left.iter().for_each(|(name, _)| println!("not run: {}", words(name)));
                println!("{} passed, 1 failed", all - left.len() - 1);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{all} passed, 0 failed");
    ExitCode::SUCCESS
}

/// Plays a scenario, and says how it went.
fn holds(name: &str, scenario: fn(&mut Bastion), bastion: &mut Bastion) -> bool {
    let begin = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| scenario(bastion)));
    let took = begin.elapsed().as_secs_f32();
    match done {
        Ok(()) => println!("ok     {} ({took:.1} s)", words(name)),
        Err(_) => {
            eprintln!("---- journal of the daemon\n{}", bastion.machine.journal());
            println!("FAILED {} ({took:.1} s)", words(name));
        }
    }
    done.is_ok()
}

/// Why no machine can be booted here; none if one can.
fn impossible() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("booting a machine takes root".to_owned());
    }
    let there = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    if let Some(missing) = ["systemd-nspawn", "debootstrap", "ssh-keygen", "ssh"].iter().find(|name| !there(name)) {
        return Some(format!("there is no `{missing}`"));
    }
    let namespaces =
        Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).stderr(Stdio::null()).status();
    (!namespaces.is_ok_and(|done| done.success())).then(|| "namespaces can't be made".to_owned())
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}
