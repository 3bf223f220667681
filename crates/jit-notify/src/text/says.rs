//! The words about a grant: what an approver needs for a decision, what became of a request, and what its requester has to
//! know.
//!
//! Pure: the grant and the time go in, a [`Card`] comes out, in the words of a [`template`](super::template). Times are absolute and name their zone, because a message is read
//! later than it is sent.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::policy::Zone;
use jit_core::grant::{EndCause, Phase};
use jit_core::rbac::risk::Severity;
use jit_wire::notice::{Audience, Notice};
use jit_wire::{FindingView, GrantView, StepView};

use super::Card;
use super::template::{Templates, Values};
use crate::present::Subject;

/// Where messages come from, in which zone they give times, and in which words they say it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name of this host.
    pub host: String,
    /// The zone of all times.
    pub zone: Zone,
    /// The words.
    pub templates: Arc<Templates>,
}

impl Origin {
    /// `2026-11-29 14:32 CET`
    fn clock(&self, at: Timestamp) -> String {
        self.zone.local(at).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }

    fn card(&self, subject: Subject, values: &Values) -> Card {
        self.templates.of(subject).card(values)
    }
}

/// What a message should say now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The words.
    pub card: Card,
    /// Whether an answer is still possible and needed.
    pub open: bool,
    /// Until when.
    pub until: Option<Timestamp>,
    /// The highest severity of what the access allows.
    pub risk: Option<Severity>,
}

/// What those who have to answer read about `subject` at `now`; `None` if the grant never had that subject, and for news.
///
/// `answered` is the last sentence about an extension, because a grant does not keep what became of it.
#[must_use]
pub fn question(
    origin: &Origin,
    grant: &GrantView,
    audience: &Audience,
    subject: Subject,
    answered: Option<&str>,
    now: Timestamp,
) -> Option<Wanted> {
    match subject {
        Subject::Request => request(origin, grant, audience, now),
        Subject::Extension => extension(origin, grant, audience, answered, now),
        Subject::Review => review(origin, grant, audience),
        Subject::News => None,
    }
}

fn request(origin: &Origin, grant: &GrantView, audience: &Audience, now: Timestamp) -> Option<Wanted> {
    if grant.steps.is_empty() {
        return None;
    }
    let until = grant.deadline.filter(|_| grant.phase == Phase::Pending);
    let open = grant.phase == Phase::Pending && until.is_none_or(|until| until > now);
    let mut values = about(origin, grant);
    if open {
        asked(&mut values, &grant.steps, audience);
        values.set("answerBy", until.map(|until| origin.clock(until)));
        values.set("breakGlassFrom", grant.break_glass_from.map(|from| origin.clock(from)));
    }
    let mut card = origin.card(Subject::Request, &values);
    if open {
        card = card.command(&format!("jit-login approve {}", grant.id));
    }
    let outcome = match grant.phase {
        Phase::Pending if !open => Some("nobody answered in time".to_owned()),
        Phase::Pending if grant.agreed.is_empty() => None,
        Phase::Pending => Some(so_far(&grant.steps, &grant.agreed)),
        _ => Some(became(origin, grant)),
    };
    Some(Wanted { card: card.outcome(outcome.as_deref()), open, until, risk: grant.risk })
}

fn extension(
    origin: &Origin,
    grant: &GrantView,
    audience: &Audience,
    answered: Option<&str>,
    now: Timestamp,
) -> Option<Wanted> {
    let mut values = about(origin, grant);
    let Some(asked_for) = &grant.extension else {
        values.set("more", ["more time".to_owned()]);
        let card = origin.card(Subject::Extension, &values).outcome(Some(answered?));
        return Some(Wanted { card, open: false, until: None, risk: grant.risk });
    };
    let open = asked_for.pending_until > now && matches!(grant.phase, Phase::Live);
    values.set("more", [format!("{} more", asked_for.duration)]);
    values.set("moreReason", [asked_for.reason.clone()]);
    if open {
        asked(&mut values, &asked_for.steps, audience);
        values.set("answerBy", [origin.clock(asked_for.pending_until)]);
    }
    let mut card = origin.card(Subject::Extension, &values);
    if open {
        card = card.command(&format!("jit-login approve {}", grant.id));
    }
    let outcome = match asked_for.agreed.as_slice() {
        _ if !open => Some("nobody answered in time".to_owned()),
        [] => None,
        agreed => Some(so_far(&asked_for.steps, agreed)),
    };
    let until = open.then_some(asked_for.pending_until);
    Some(Wanted { card: card.outcome(outcome.as_deref()), open, until, risk: grant.risk })
}

fn review(origin: &Origin, grant: &GrantView, audience: &Audience) -> Option<Wanted> {
    let glass = grant.break_glass.as_ref()?;
    let mut values = about(origin, grant);
    values.set("breakGlassReason", [glass.reason.clone()]);
    values.set("brokenAt", [origin.clock(glass.broken_at)]);
    if glass.owed {
        asked(&mut values, &glass.steps, audience);
        if glass.disputed {
            values.set("needs", ["a decision by a member of admins, because the reviewers disagree".to_owned()]);
        }
        values.set("answerBy", [origin.clock(glass.review_until)]);
    }
    let mut card = origin.card(Subject::Review, &values);
    if glass.owed {
        card = card.command(&format!("jit-login review {} --justified --words TEXT", grant.id));
    }
    let found: Vec<String> = glass
        .reviews
        .iter()
        .map(|review| format!("{} by {}: {}", review.verdict.as_str(), review.by, review.words))
        .collect();
    let outcome = (!found.is_empty()).then(|| found.join("; "));
    let until = glass.owed.then_some(glass.review_until);
    Some(Wanted { card: card.outcome(outcome.as_deref()), open: glass.owed, until, risk: grant.risk })
}

/// What the requester has to know at `now`: what was decided, that the end is near, and why it ended. `None` while there is
/// nothing that they do not know, because they did it.
///
/// `answered` is the last sentence about an extension.
#[must_use]
pub fn news(origin: &Origin, grant: &GrantView, answered: Option<&str>, now: Timestamp) -> Option<Wanted> {
    let left = |at: Timestamp| at.duration_since(now);
    let (said, command, until) = match grant.phase {
        Phase::Approved if grant.break_glass.is_none() => {
            let by = grant.deadline.map(|at| format!("; collect it by {}", origin.clock(at))).unwrap_or_default();
            (format!("{}{by}", approved(grant)), Some(format!("jit-login wait {}", grant.id)), grant.deadline)
        }
        Phase::Live => match grant.deadline {
            Some(at) if left(at) <= NEAR_THE_END => {
                let command = format!("jit-login extend {} --for 10m --reason TEXT", grant.id);
                (format!("ends at {}", origin.clock(at)), Some(command), Some(at))
            }
            _ => (answered?.to_owned(), None, None),
        },
        Phase::Denied | Phase::Lapsed => (became(origin, grant), None, None),
        Phase::Ended if grant.end_cause != Some(EndCause::Released) => (became(origin, grant), None, None),
        _ => return None,
    };
    let mut card = origin.card(Subject::News, &about(origin, grant)).outcome(Some(&said));
    if let Some(command) = &command {
        card = card.command(command);
    }
    Some(Wanted { card, open: command.is_some(), until, risk: grant.risk })
}

/// The requester hears of the end this long before.
pub const NEAR_THE_END: SignedDuration = SignedDuration::from_mins(5);

/// Facts for the administrators, the first one first: a drain, a revocation by an operator, trouble. `left_out` facts before
/// these are not here.
#[must_use]
pub fn operations(origin: &Origin, facts: &[Arc<Notice>], left_out: u64) -> Card {
    if let ([fact], 0) = (facts, left_out) {
        return Card::new(&format!("jitd on {}: {}", origin.host, fact.says)).line("at", &origin.clock(fact.at));
    }
    let mut card = Card::new(&format!("jitd on {}: {} things happened", origin.host, facts.len()));
    if left_out > 0 {
        card = card.line("before", &format!("{left_out} more, which are in the audit trail"));
    }
    facts.iter().fold(card, |card, fact| card.line(&origin.clock(fact.at), &fact.says))
}

/// More questions than people want messages: one message with a line for each. It says what was true at `now`, because it is
/// not changed when one of them is answered.
#[must_use]
pub fn digest(origin: &Origin, several: &[(String, Wanted)], now: Timestamp) -> Wanted {
    let title = format!("{} requests wait on {} at {}", several.len(), origin.host, origin.clock(now));
    let mut card = Card::new(&title);
    for (grant, wanted) in several {
        card = card.line(grant, wanted.card.title().as_str());
    }
    let until = several.iter().filter_map(|(_, wanted)| wanted.until).max();
    let risk = several.iter().filter_map(|(_, wanted)| wanted.risk).max();
    Wanted { card: card.command("jit-login ls"), open: true, until, risk }
}

/// `role view in namespace payments on cluster prod, for 15m`
fn sentence(origin: &Origin, grant: &GrantView) -> String {
    let where_to = match grant.namespaces.as_slice() {
        [] => format!("in all of cluster {}", grant.cluster),
        [one] => format!("in namespace {one} on cluster {}", grant.cluster),
        several => format!("in namespaces {} on cluster {}", several.join(", "), grant.cluster),
    };
    let start = grant.start.map(|start| format!(", from {}", origin.clock(start))).unwrap_or_default();
    format!("{} {where_to}, for {}{start}", grant.access, grant.duration)
}

/// Who wants what and why, and what it really grants, the worst first.
fn about(origin: &Origin, grant: &GrantView) -> Values {
    const WORST: usize = 3;
    let mut values = Values::new(grant.fields.clone());
    values.set("requester", [grant.requester.clone()]);
    values.set("what", [sentence(origin, grant)]);
    values.set("access", [grant.access.clone()]);
    values.set("cluster", [grant.cluster.clone()]);
    let namespaces = if grant.namespaces.is_empty() { "*".to_owned() } else { grant.namespaces.join(", ") };
    values.set("namespaces", [namespaces]);
    values.set("duration", [grant.duration.clone()]);
    values.set("rule", [grant.rule.clone()]);
    values.set("grant", [grant.id.clone()]);
    values.set("host", [origin.host.clone()]);
    values.set("start", grant.start.map(|start| origin.clock(start)));
    values.set("reason", [grant.reason.clone()]);
    let mut findings: Vec<&FindingView> =
        grant.risks.iter().flat_map(|risks| &risks.findings).chain(&grant.together).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let risk = grant.risk.map(|severity| severity.as_str().to_owned());
    let persists = findings.iter().any(|finding| finding.persists).then(|| "may persist after the window".to_owned());
    let marks: Vec<String> = risk.into_iter().chain(persists).collect();
    values.set("risk", (!marks.is_empty()).then(|| marks.join(", ")));
    let worst = findings.iter().take(WORST).map(|finding| format!("{}: {}", finding.severity.as_str(), finding.why));
    let more = (findings.len() > WORST)
        .then(|| format!("{} more: jit-login show {}", findings.len().saturating_sub(WORST), grant.id));
    values.set("allows", worst.chain(more));
    values.set("narrowed", grant.narrowed_from.as_ref().map(|from| format!("from {from}")));
    let came_in = grant.came_in_as.iter().map(|came_in| {
        let login = came_in.login.as_deref().unwrap_or("an unknown account");
        format!("{} logged in as {login}", came_in.who)
    });
    let denied = grant.denied_before.iter().map(|denied| {
        let at = origin.clock(denied.at);
        format!("{} denied the same or less at {at}: {}", denied.by, denied.reason)
    });
    values.set("warnings", came_in.chain(denied));
    values
}

/// Who is asked, and how many of them have to answer.
fn asked(values: &mut Values, steps: &[StepView], audience: &Audience) {
    let needed: Vec<String> = steps
        .iter()
        .filter(|step| step.missing > 0)
        .map(|step| {
            let hours = step.hours.as_ref().map(|hours| format!(" ({hours})")).unwrap_or_default();
            format!("{} of {}{hours}", step.missing, step.groups.join(", "))
        })
        .collect();
    values.set("needs", (!needed.is_empty()).then(|| needed.join(" and ")));
    let people = &audience.to_answer_people;
    values.set("asked", (!people.is_empty()).then(|| people.join(", ")));
}

/// `1 of 2, by bob`
fn so_far(steps: &[StepView], agreed: &[String]) -> String {
    let needed: u32 = steps.iter().map(|step| step.count).fold(0, u32::saturating_add);
    let missing: u32 = steps.iter().map(|step| step.missing).fold(0, u32::saturating_add);
    format!("{} of {needed} approvals, by {}", needed.saturating_sub(missing), agreed.join(", "))
}

fn approved(grant: &GrantView) -> String {
    match (&grant.break_glass, grant.agreed.as_slice()) {
        (Some(_), _) => "taken by break-glass, without an approval".to_owned(),
        (None, []) => "approved by the policy".to_owned(),
        (None, agreed) => format!("approved by {}", agreed.join(", ")),
    }
}

/// What became of a request that is no longer pending.
fn became(origin: &Origin, grant: &GrantView) -> String {
    let by = grant.closed_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let words = grant.closing_words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
    let at = grant.ended_at.map(|at| format!(" at {}", origin.clock(at))).unwrap_or_default();
    match grant.phase {
        Phase::Pending => "waits".to_owned(),
        Phase::Denied => format!("denied{by}{words}"),
        Phase::Withdrawn => format!("withdrawn{by}"),
        Phase::Lapsed if grant.break_glass.is_none() && grant.steps.iter().any(|step| step.missing > 0) => {
            "nobody answered in time".to_owned()
        }
        Phase::Lapsed => format!("{}, but not collected in time", approved(grant)),
        Phase::Approved | Phase::Collecting => approved(grant),
        Phase::Live => {
            let until = grant.deadline.map(|at| format!("; live until {}", origin.clock(at))).unwrap_or_default();
            format!("{}{until}", approved(grant))
        }
        Phase::Ending | Phase::Ended => {
            let cause = grant.end_cause.map(|cause| format!(" ({})", cause.as_str())).unwrap_or_default();
            format!("{}; ended{cause}{by}{at}{words}", approved(grant))
        }
    }
}
