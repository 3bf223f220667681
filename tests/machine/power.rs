//! The machine itself goes down with live access: before its end, and until after it.

use std::time::{Duration, Instant};

use crate::bastion::{Bastion, PAYMENTS};
use crate::plane::until_within;

/// Access that was live before a reboot is live after it, without any command.
pub(crate) fn access_outlives_a_reboot(bastion: &mut Bastion) {
    // In her home, because the runtime folder of a login does not survive a reboot.
    bastion.machine.does("alice", "printf 'unset XDG_RUNTIME_DIR\\n' | cat - .bashrc > new && mv new .bashrc");
    let id = bastion.live("10m");
    bastion.machine.reboot();
    bastion.works(&id);
    assert_eq!(bastion.phase(&id), "live");
    assert!(bastion.is_bound(&id));
    bastion.machine.does("alice", &format!("jit-login end {id}"));
    assert!(!bastion.is_bound(&id));
    bastion.looks(&id, PAYMENTS).must(7);
}

/// The window ends while the machine is off. The next daemon first removes the access.
pub(crate) fn what_ended_while_the_machine_was_off_is_taken_away_before_the_first_answer(bastion: &mut Bastion) {
    let window = Duration::from_secs(20);
    let id = bastion.live("20s");
    let lives = Instant::now();
    bastion.machine.power_off();
    until_within(window * 2, "the window is over", || (lives.elapsed() > window).then_some(()));
    assert!(bastion.is_bound(&id), "nobody was there to take it away");
    bastion.machine.boot();
    // This may be the first call, and then it waits.
    let phase = bastion.phase(&id);
    assert!(!bastion.is_bound(&id), "it answered before it had taken away what is over");
    assert_eq!(phase, "ended");
    bastion.looks(&id, PAYMENTS).must(7);
    bastion.machine.run("erin", &format!("jit-login events {id}")).must(0).says("expired");
}
