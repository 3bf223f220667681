//! Waits for answers: one long poll of the daemon at a time, and a status line for the person who waits.
//!
//! On a terminal the line is updated in place; elsewhere each change is a new line. Ctrl-C and `--timeout` leave the request
//! open. It never polls the daemon once a second. `request` and `wait` call it.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jit_core::grant::Phase;
use jit_wire::client::{Client, ClientError, LONGEST_WAIT};
use jit_wire::{ErrorCode, GrantView};

use crate::failure::Failure;
use crate::now;
use crate::output::say;
use crate::terminal::on_terminal;
use crate::text::{ago, clock, program, safe, safe_name, seconds_to, until};
use crate::view::{missing_approvals, people, sentence};

/// How long to wait for a daemon that is unreachable.
pub(crate) const RECONNECT: Duration = Duration::from_secs(60);

/// Waits until the request is answered, and returns the grant if it was approved.
pub(crate) async fn until_answered(
    client: &mut Client,
    mut seen: GrantView,
    limit: Option<Duration>,
) -> Result<GrantView, Failure> {
    let line = Line::new(&seen);
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    let id = seen.id.clone();
    let work = async {
        let mut lost: Option<Instant> = None;
        loop {
            match seen.phase {
                Phase::Pending => line.show(&seen),
                Phase::Approved | Phase::Collecting | Phase::Live => {
                    line.finish(&answered(&seen));
                    return Ok(seen);
                }
                _ => {
                    line.clear();
                    return Err(Failure::Closed(Box::new(seen)));
                }
            }
            match client.wait(&seen, patience(&seen)).await {
                Ok(view) => {
                    if lost.take().is_some() {
                        line.say("jitd is back");
                    }
                    seen = view;
                }
                Err(error) if passes(&error) => {
                    let since = *lost.get_or_insert_with(|| {
                        line.say(&format!("lost the connection to jitd, trying again for {} s", RECONNECT.as_secs()));
                        Instant::now()
                    });
                    if since.elapsed() > RECONNECT {
                        line.clear();
                        return Err(error.into());
                    }
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                Err(error) => {
                    line.clear();
                    return Err(error.into());
                }
            }
        }
    };
    let late = async {
        match end {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
    };
    let given_up = id.clone();
    let done = interruptible(&id, async {
        tokio::select! {
            done = work => done,
            () = late => Err(Failure::TimedOut { id: given_up }),
        }
    })
    .await;
    line.clear();
    done
}

/// Does the work unless Ctrl-C comes first; the request stays open.
pub(crate) async fn interruptible<T>(id: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted { id: id.to_owned() }),
        done = work => done,
    }
}

/// How long the daemon may hold its answer: not beyond the time at which break-glass becomes available.
fn patience(grant: &GrantView) -> Duration {
    match grant.break_glass_from {
        Some(from) if from > now() => {
            Duration::from_secs(seconds_to(from).unsigned_abs().saturating_add(1)).min(LONGEST_WAIT)
        }
        _ => LONGEST_WAIT,
    }
}

/// Whether the requester may use break-glass now.
fn may_break_glass(grant: &GrantView) -> bool {
    grant.break_glass_from.is_some_and(|from| from <= now())
}

/// Whether a failure can be temporary: the daemon restarts, or is too busy.
pub(crate) fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Broken { .. } => true,
        ClientError::Problem(problem) => problem.status == 503 || problem.known() == Some(ErrorCode::RateLimited),
        // A daemon of another version would answer the same again.
        ClientError::WrongServer { .. } | ClientError::Protocol { .. } => false,
    }
}

/// Who approved, and what the request was narrowed to.
fn answered(grant: &GrantView) -> String {
    let names: Vec<String> = grant.agreed.iter().map(|name| safe_name(name)).collect();
    if grant.break_glass.is_some() {
        return "break-glass was used, nobody approved".to_owned();
    }
    if names.is_empty() {
        return "no approval needed".to_owned();
    }
    let narrowed = match &grant.narrowed_from {
        Some(requested) => format!("; narrowed from {} to {}", safe(requested), sentence(grant)),
        None => String::new(),
    };
    format!("approved by {}{narrowed}", names.join(", "))
}

fn how_to_answer(grant: &GrantView) -> String {
    format!("an approver runs `{} approve {}`", program(), safe(&grant.id))
}

/// Which approvals are missing, and until when.
fn waiting(grant: &GrantView) -> String {
    let already = if grant.agreed.is_empty() {
        String::new()
    } else {
        format!(
            ", {} of {} approved ({})",
            grant.agreed.len(),
            people(&grant.steps),
            grant.agreed.iter().map(|name| safe_name(name)).collect::<Vec<_>>().join(", ")
        )
    };
    let ends = grant.deadline.map(|at| format!(", lapses {} at {}", until(at), clock(at))).unwrap_or_default();
    let glass = if may_break_glass(grant) {
        format!("; if it cannot wait: `{} break-glass {} --reason TEXT`", program(), safe(&grant.id))
    } else {
        String::new()
    };
    let missing = missing_approvals(&grant.steps);
    format!("waiting for {missing}{already}, requested {}{ends}{glass}", ago(grant.requested_at))
}

struct Line {
    bar: ProgressBar,
    terminal: bool,
    spoken: std::cell::RefCell<String>,
}

impl Line {
    fn new(grant: &GrantView) -> Self {
        let terminal = on_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if terminal && grant.phase == Phase::Pending {
            say(&how_to_answer(grant));
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(2));
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar, terminal, spoken: std::cell::RefCell::default() }
    }

    fn show(&self, grant: &GrantView) {
        if self.terminal {
            let grant = grant.clone();
            // Formatted again for each tick, so that its times are current.
            self.bar.set_style(style(move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&waiting(&grant));
            }));
            return;
        }
        let state = format!("{}/{}/{}", grant.phase.as_str(), grant.agreed.len(), may_break_glass(grant));
        let mut spoken = self.spoken.borrow_mut();
        if *spoken != state {
            say(&waiting(grant));
            if spoken.is_empty() {
                say(&how_to_answer(grant));
            }
            *spoken = state;
        }
    }

    fn say(&self, words: &str) {
        if self.terminal { self.bar.println(words) } else { say(words) }
    }

    fn finish(&self, words: &str) {
        self.clear();
        say(words);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(words: impl indicatif::style::ProgressTracker + 'static) -> ProgressStyle {
    let plain = ProgressStyle::default_spinner();
    plain.clone().template("{spinner} {words}").unwrap_or(plain).with_key("words", words)
}
