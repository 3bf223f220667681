//! How grants, decisions and entries of the trail are shown to people.
//!
//! An approver has to see within five seconds who requests what, why and for how long. All text of other people is
//! escaped. The commands call it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use jit_core::grant::Phase;
use jit_core::grant::policy::Outcome;
use jit_core::grant::request::AccessRequest;
use jit_core::rbac::risk::Severity;
use jit_core::rbac::role::Rule;
use jit_wire::{
    BreakGlassView, CameInView, DecisionView, DrainingView, EntitlementList, EntitlementView, FindingView, GrantView,
    NeedView, RestrictionView, ReviewView, SessionsView, StepView, TriedView,
};
use serde_json::Value;

use crate::failure::closed;
use crate::output::table;
use crate::text::{
    BOLD, DIM, GREEN, RED, YELLOW, ago, clock, folded, hanging, length, paint, phase_style, program, safe, safe_name,
    seconds_to, until,
};

/// `leads (mon-fri 08:00-18:00 Europe/Berlin; risk high and worse)`: who may approve in a step, when, and what requires it.
fn who(step: &StepView) -> String {
    let groups: Vec<String> = step.groups.iter().map(|group| safe_name(group)).collect();
    let more: Vec<String> = step.hours.iter().chain(&step.guardrail).map(|text| safe(text)).collect();
    if more.is_empty() { groups.join(", ") } else { format!("{} ({})", groups.join(", "), more.join("; ")) }
}

/// How many approvals are needed in total.
pub(crate) fn people(steps: &[StepView]) -> u32 {
    steps.iter().map(|step| step.count).sum()
}

/// `1 approval from leads and 2 approvals from security`: the missing approvals; empty if there are none.
pub(crate) fn missing_approvals(steps: &[StepView]) -> String {
    missing(steps, "approval")
}

/// `1 review from leads`: the missing reviews; empty if there are none.
fn missing_reviews(steps: &[StepView]) -> String {
    missing(steps, "review")
}

/// `needs 1 review from leads`, or who decides where the reviewers disagree.
pub(crate) fn needed_review(glass: &BreakGlassView) -> String {
    if glass.disputed {
        "the reviewers disagree; a member of `admins` decides".to_owned()
    } else {
        format!("needs {}", missing_reviews(&glass.steps))
    }
}

/// `1 of leads and 2 of security`: who has to approve, in a table.
fn approvers(steps: &[StepView]) -> String {
    steps.iter().map(|step| format!("{} of {}", step.count, who(step))).collect::<Vec<_>>().join(" and ")
}

fn missing(steps: &[StepView], noun: &str) -> String {
    let missing = steps.iter().filter(|step| step.missing > 0).map(|step| {
        let plural = if step.missing == 1 { "" } else { "s" };
        format!("{} {noun}{plural} from {}", step.missing, who(step))
    });
    missing.collect::<Vec<_>>().join(" and ")
}

/// `role view in namespace payments on cluster prod, for 15m`, with the start if it begins later.
pub(crate) fn sentence(grant: &GrantView) -> String {
    let cluster = safe_name(&grant.cluster);
    let place = match grant.namespaces.as_slice() {
        [] => format!("in all of cluster {cluster}"),
        names => format!("in {} on cluster {cluster}", place(names)),
    };
    let start = grant.start.map(|start| format!(", from {}", clock(start))).unwrap_or_default();
    format!("{} {place}, for {}{start}", safe(&grant.access), safe(&grant.duration))
}

/// `namespace payments`, `namespaces payments, shop`
pub(crate) fn place(names: &[String]) -> String {
    let noun = if names.len() > 1 { "namespaces" } else { "namespace" };
    format!("{noun} {}", safe_names(names))
}

fn safe_names(names: &[String]) -> String {
    names.iter().map(|name| safe_name(name)).collect::<Vec<_>>().join(", ")
}

/// `ended (expired)`
pub(crate) fn closed_word(grant: &GrantView) -> String {
    match grant.end_cause {
        Some(cause) => format!("{} ({})", grant.phase.as_str(), cause.as_str()),
        None => grant.phase.as_str().to_owned(),
    }
}

/// The current deadline in short; for a grant that is over, from when to when it was live.
fn running_clock(grant: &GrantView) -> String {
    let until = |words: &str, at: Timestamp| format!("{words} {} (until {})", length(seconds_to(at)), clock(at));
    match (grant.phase, grant.deadline, grant.ended_at) {
        (Phase::Pending, Some(at), _) => until("answer within", at),
        (Phase::Approved | Phase::Collecting, Some(at), _) => until("collect within", at),
        (Phase::Live, Some(at), _) if seconds_to(at) > 0 => {
            format!("{} left (until {})", length(seconds_to(at)), clock(at))
        }
        (_, _, Some(at)) => match grant.live_at {
            Some(live_at) => format!("{} ({} to {})", ago(at), clock(live_at), clock(at)),
            None => format!("{} ({})", ago(at), clock(at)),
        },
        _ => String::new(),
    }
}

/// Says that break-glass was used, and which reviews are missing; none if no review is owed.
pub(crate) fn glass_line(grant: &GrantView) -> Option<String> {
    let glass = grant.break_glass.as_ref().filter(|glass| glass.owed)?;
    let due = if glass.overdue { "overdue since" } else { "due at" };
    let words = format!(
        "break-glass by {} {}: {} ({}); {}, {due} {}: `{}`",
        safe_name(&grant.requester),
        ago(glass.broken_at),
        sentence(grant),
        safe(&glass.reason),
        needed_review(glass),
        clock(glass.review_until),
        review_command(&grant.id),
    );
    Some(paint(&words, RED))
}

/// The command for reviewing a grant.
fn review_command(id: &str) -> String {
    format!("{} review {} --justified --words TEXT", program(), safe_name(id))
}

/// Says that jitd is draining, and why.
pub(crate) fn draining_line(draining: &DrainingView) -> String {
    let why = draining.reason.as_deref().map_or(String::new(), |reason| format!(": {}", safe(reason)));
    let since = clock(draining.since);
    paint(&format!("no new access since {since}{why}; live grants continue"), YELLOW)
}

/// The output of `ls`: a table as wide as the terminal, or some lines for each grant if the terminal is too narrow.
pub(crate) fn list(grants: &[GrantView], width: Option<usize>) -> String {
    Rows::default().of(grants, width)
}

/// The rows of `ls`, which `ls --watch` prints in parts: the headings once, and columns that become only wider.
#[derive(Default)]
pub(crate) struct Rows {
    /// Of every column but the last, once the headings are printed.
    widths: Vec<usize>,
}

impl Rows {
    const HEADINGS: [&str; 9] = ["ID", "PHASE", "WHO", "CLUSTER", "NAMESPACE", "ROLE", "FOR", "CLOCK", "REASON"];
    const LEAST_REASON: usize = 20;

    /// The next rows. A narrow terminal has some lines for each grant instead.
    pub(crate) fn of(&mut self, grants: &[GrantView], width: Option<usize>) -> String {
        let mut rows: Vec<Vec<String>> = grants.iter().map(row).collect();
        if rows.is_empty() {
            return String::new();
        }
        if self.widths.is_empty() {
            rows.insert(0, Self::HEADINGS.map(str::to_owned).into());
            self.widths = vec![0; Self::HEADINGS.len() - 1];
        }
        for row in &rows {
            for (widest, cell) in self.widths.iter_mut().zip(row) {
                *widest = cell.chars().count().max(*widest);
            }
        }
        let before: usize = self.widths.iter().map(|width| width + 2).sum();
        let room = width.map_or(40, |width| width.saturating_sub(before));
        if room < Self::LEAST_REASON {
            let width = width.unwrap_or_default();
            return grants.iter().map(|grant| lines(grant, width)).collect::<Vec<_>>().join("\n");
        }
        let drawn = rows.into_iter().map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&self.widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            let reason = row.last().map(String::as_str).unwrap_or_default();
            if reason.chars().count() > room {
                line.extend(reason.chars().take(room - 1).chain(['…']));
            } else {
                line.push_str(reason);
            }
            line.truncate(line.trim_end().len());
            line
        });
        drawn.collect::<Vec<_>>().join("\n")
    }
}

/// A grant of `ls` on a narrow terminal.
fn lines(grant: &GrantView, width: usize) -> String {
    let [id, phase, who, .., clock, reason] = &row(grant)[..] else { return String::new() };
    let clock = if clock.is_empty() { String::new() } else { format!(", {clock}") };
    let [sentence, reason] = [&format!("{who}: {}", sentence(grant)), reason].map(|text| folded(text, width));
    // The absolute time goes to a separate line if it does not fit.
    let clock = match clock.rsplit_once(" (") {
        Some((left, at)) if id.len() + 2 + phase.chars().count() + clock.chars().count() > width => {
            format!("{left}\n  ({at}")
        }
        _ => clock,
    };
    format!("{}  {phase}{clock}\n{sentence}\n{reason}", paint(id, BOLD))
}

/// A row of `ls`.
fn row(grant: &GrantView) -> Vec<String> {
    let phase = if grant.phase.is_open() { grant.phase.as_str().to_owned() } else { closed_word(grant) };
    let phase = match &grant.break_glass {
        Some(glass) if glass.disputed => format!("{phase}, review disputed"),
        Some(glass) if glass.overdue => format!("{phase}, review overdue"),
        Some(glass) if glass.owed => format!("{phase}, review owed"),
        Some(glass) => {
            // A decision stands for the reviews that it decides between.
            let decision = glass.reviews.iter().find(|review| review.decides);
            let found = decision.map_or(&glass.reviews[..], std::slice::from_ref);
            let mut found: Vec<&str> = found.iter().map(|review| review.verdict.as_str()).collect();
            found.dedup();
            format!("{phase}, break-glass, found {}", found.join(" and "))
        }
        None => phase,
    };
    vec![
        safe_name(&grant.id),
        phase,
        safe_name(&grant.requester),
        safe_name(&grant.cluster),
        if grant.namespaces.is_empty() { "(all)".to_owned() } else { safe_names(&grant.namespaces) },
        grant.role.as_deref().map_or("(exact rules)".to_owned(), safe),
        safe(&grant.duration),
        match &grant.extension {
            Some(asked) => format!("{}, {} more requested", running_clock(grant), safe(&asked.duration)),
            None => running_clock(grant),
        },
        safe(&grant.reason),
    ]
}

/// The columns of a grant in CSV: the fields of `-o json` that matter for a search.
pub(crate) const GRANT_COLUMNS: [&str; 18] = [
    "id",
    "phase",
    "endCause",
    "requester",
    "cluster",
    "namespaces",
    "access",
    "duration",
    "reason",
    "rule",
    "agreed",
    "requestedAt",
    "liveAt",
    "endedAt",
    "closedBy",
    "closingWords",
    "breakGlass",
    "reviews",
];

/// A grant as CSV. Namespaces and names are separated by blanks; the whole cluster is `*`.
pub(crate) fn grant_cells(grant: &GrantView) -> Vec<String> {
    let at = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let namespaces = if grant.namespaces.is_empty() { "*".to_owned() } else { grant.namespaces.join(" ") };
    let glass = grant.break_glass.as_ref();
    let review = |review: &ReviewView| format!("{} by {}: {}", review.verdict.as_str(), review.by, review.words);
    let reviews: Vec<String> = glass.into_iter().flat_map(|glass| &glass.reviews).map(review).collect();
    [
        grant.id.clone(),
        grant.phase.as_str().to_owned(),
        grant.end_cause.map(|cause| cause.as_str().to_owned()).unwrap_or_default(),
        grant.requester.clone(),
        grant.cluster.clone(),
        namespaces,
        grant.access.clone(),
        grant.duration.clone(),
        grant.reason.clone(),
        grant.rule.clone(),
        grant.agreed.join(" "),
        grant.requested_at.to_string(),
        at(grant.live_at),
        at(grant.ended_at),
        grant.closed_by.clone().unwrap_or_default(),
        grant.closing_words.clone().unwrap_or_default(),
        glass.map(|glass| glass.reason.clone()).unwrap_or_default(),
        reviews.join("; "),
    ]
    .map(|cell| safe(&cell))
    .into()
}

/// Everything about a grant: the decision first, then what its role allows.
pub(crate) fn page(grant: &GrantView, width: Option<usize>) -> String {
    let line = |heading: &str, text: &str| line(heading, text, width);
    let mut parts = vec![decision(grant, width)];
    if !grant.namespace_uids.is_empty() {
        let uid = |(name, uid): (&String, &String)| format!("{} has uid {}", safe_name(name), safe_name(uid));
        let uids: Vec<String> = grant.namespace_uids.iter().map(uid).collect();
        parts.push(line("namespace", &paint(&uids.join(", "), DIM)));
    }
    parts.push(line("digest", &paint(&safe_name(&grant.digest), DIM)));
    if let Some(risks) = grant.risks.as_ref().filter(|risks| !risks.findings.is_empty()) {
        parts.push(String::new());
        parts.push(findings("WHAT IT ALLOWS", &risks.findings));
    }
    if !grant.together.is_empty() {
        parts.push(String::new());
        parts.push(together(&grant.together));
    }
    if let Some(rules) = &grant.rules {
        parts.push(String::new());
        parts.push(rule_table(rule_rows(rules)));
    }
    parts.join("\n")
}

/// What an approver needs for a decision, on one screen of 80 by 24 together with the question: the worst findings, and the
/// command that shows the rest.
pub(crate) fn summary(grant: &GrantView, width: Option<usize>) -> String {
    const WORST: usize = 3;
    let line = |heading: &str, text: &str| line(heading, text, width);
    let mut all: Vec<&FindingView> =
        grant.risks.iter().flat_map(|risks| &risks.findings).chain(&grant.together).collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut parts = vec![decision(grant, width)];
    if all.is_empty() {
        parts.push(line("allows", "nothing that the risk catalogue lists"));
    }
    for finding in all.iter().take(WORST) {
        let words = format!("{} {}", finding.severity.as_str(), safe(&finding.why));
        parts.push(line("allows", &paint(&words, risk_style(finding.severity))));
    }
    let more = match all.len().saturating_sub(WORST) {
        0 => String::new(),
        more => format!("{more} more findings, "),
    };
    parts.push(line("details", &format!("{more}rules and digest: `{} show {}`", program(), safe_name(&grant.id))));
    parts.join("\n")
}

/// Whether a stream that is open when the grant ends may continue: not through the gateway, and not if the role allows none.
/// Without the details of `GET /v1/grants/{id}` it may.
pub(crate) fn may_stream(grant: &GrantView) -> bool {
    grant.risks.as_ref().is_none_or(|risks| risks.may_stream) || grant.together.iter().any(|finding| finding.streams)
}

/// A line of a page, folded where the terminal ends.
fn line(heading: &str, text: &str, width: Option<usize>) -> String {
    const TEXT: usize = 14;
    hanging(&format!("  {heading:<12}"), text, TEXT, width.unwrap_or(usize::MAX))
}

fn decision(grant: &GrantView, width: Option<usize>) -> String {
    let phase = paint(grant.phase.as_str(), phase_style(grant.phase));
    let title = format!("{} requests {}", paint(&safe_name(&grant.requester), BOLD), paint(&sentence(grant), BOLD));
    let mut lines = vec![hanging("", &title, 2, width.unwrap_or(usize::MAX))];
    let mut line = |heading: &str, text: &str| lines.push(line(heading, text, width));
    if let Some(asked) = &grant.narrowed_from {
        line("narrowed", &format!("from {}", safe(asked)));
    }
    line("why", &safe(&grant.reason));
    for (name, value) in &grant.fields {
        line(&safe_name(name), &safe(value));
    }
    let risk = grant.risk.map(|severity| paint(severity.as_str(), risk_style(severity)));
    let marks = grant.risks.iter().flat_map(|risks| {
        let also = |mark: fn(&FindingView) -> bool| grant.together.iter().any(mark);
        let persists = risks.may_persist || also(|finding| finding.persists);
        let streams = may_stream(grant);
        let persists = persists.then_some("may persist after the window");
        let streams = streams.then_some("streams may outlive it");
        [persists, streams].into_iter().flatten()
    });
    let risk: Vec<String> = risk.into_iter().chain(marks.map(str::to_owned)).collect();
    if !risk.is_empty() {
        line("risk", &risk.join(", "));
    }
    if let Some(why) = grant.risks.as_ref().and_then(|risks| risks.not_ordinary.as_ref()) {
        line("", &format!("{}, so it is rated like cluster-wide access", safe(why)));
    }
    if let Some(sessions) = &grant.sessions {
        line("recorded", &safe(&sessions.says));
        for (number, sentence) in refusals(sessions).enumerate() {
            line(if number == 0 { "refused" } else { "" }, &sentence);
        }
    }
    if let Some(extension) = &grant.extension {
        let words = format!("{} more: {}", safe(&extension.duration), safe(&extension.reason));
        line("extension", &paint(&words, BOLD));
        let needed = missing_approvals(&extension.steps);
        line("", &format!("needs {needed} by {}", clock(extension.pending_until)));
    }
    for came_in in &grant.came_in_as {
        match came_in.issuer {
            Some(_) => line("login", &came_in_line(came_in)),
            None => line("warning", &paint(&came_in_line(came_in), RED)),
        }
    }
    if let Some(changed) = &grant.role_changed {
        line("warning", &paint(&safe(changed), RED));
    }
    for part in &grant.lost {
        let state = if part.over { "has ended" } else { "is ending" };
        let words = format!("{state} in namespace {}: {}", safe_name(&part.namespace), safe(&part.why));
        line("warning", &paint(&words, RED));
    }
    if let Some(why) = &grant.collection_failed {
        line("warning", &paint(&format!("could not be collected: {}", safe(why)), RED));
    }
    if let Some(from) = grant.break_glass_from {
        let available =
            if seconds_to(from) > 0 { format!("available {}", until(from)) } else { "available now".to_owned() };
        line("break-glass", &format!("{available} if nobody answers"));
    }
    if let Some(glass) = &grant.break_glass {
        let words = format!("used {}, without an approval: {}", ago(glass.broken_at), safe(&glass.reason));
        line("break-glass", &paint(&words, RED));
        for review in &glass.reviews {
            let heading = if review.decides { "decision" } else { "review" };
            let words = format!("{} by {}: {}", review.verdict.as_str(), safe_name(&review.by), safe(&review.words));
            line(heading, &words);
        }
        if glass.owed {
            let due = if glass.overdue { "overdue, was due" } else { "due" };
            let words = format!("{}, {due} {}", needed_review(glass), until(glass.review_until));
            line("review", &paint(&words, RED));
            if glass.disputed {
                line("", &paint(&format!("`{}`", review_command(&grant.id)), RED));
            }
        }
    }
    if let Some(denied) = &grant.denied_before {
        let (by, id) = (safe_name(&denied.by), safe_name(&denied.grant));
        let words = format!("{by} denied the same or less {} ({id}): {}", ago(denied.at), safe(&denied.reason));
        line("warning", &paint(&words, RED));
    }
    for held in &grant.holds {
        let place = if held.namespaces.is_empty() { "the whole cluster".to_owned() } else { place(&held.namespaces) };
        let heading = match (held.phase, grant.phase.is_open()) {
            (Phase::Pending, true) => "also wants",
            (_, true) => "also has",
            // As it was when this was answered.
            (Phase::Pending, false) => "also wanted",
            (_, false) => "also had",
        };
        let phase = if held.phase == Phase::Live { String::new() } else { format!(", {}", held.phase.as_str()) };
        line(heading, &format!("{} in {place} ({}{phase})", safe(&held.access), safe_name(&held.grant)));
    }
    if let Some(more) = grant.holds_more {
        line(if grant.phase.is_open() { "also has" } else { "also had" }, &format!("{more} more"));
    }
    line("grant", &format!("{}  {phase}  {}", safe_name(&grant.id), running_clock(grant)));
    line(
        "requested",
        &format!("{} ({}), under rule `{}`", clock(grant.requested_at), ago(grant.requested_at), safe(&grant.rule)),
    );
    let agreed: Vec<String> = grant.agreed.iter().map(|name| safe_name(name)).collect();
    let names = if agreed.is_empty() { String::new() } else { format!(": {}", agreed.join(", ")) };
    let met =
        |step: &StepView| format!("{} of {} from {}", step.count.saturating_sub(step.missing), step.count, who(step));
    let steps: Vec<String> = grant.steps.iter().map(met).collect();
    let steps = if steps.is_empty() { "not needed".to_owned() } else { steps.join(", ") };
    line("approved", &format!("{steps}{names}"));
    if !grant.phase.is_open() || grant.phase == Phase::Ending {
        line("ended", &closed(grant));
    }
    if grant.phase == Phase::Pending && grant.risks.as_ref().is_none_or(|risks| risks.may_stream) {
        let warning = "an exec, port-forward or watch that is open when the window ends continues until it is closed, \
                       unless `jit-login run` or `jit-login shell` started it on this host";
        line("warning", &paint(warning, DIM));
    }
    lines.join("\n")
}

/// `bob logged in as carol, login uid 1003`, `bob has a login that cannot be determined`
fn came_in_line(came_in: &CameInView) -> String {
    let login = came_in.login.as_deref().map_or("an unknown account".to_owned(), safe_name);
    if let (Some(issuer), Some(subject)) = (&came_in.issuer, &came_in.subject) {
        let asked = came_in.directory.map(|at| format!(", by the directory of {}", clock(at))).unwrap_or_default();
        return format!("{} logged in at {} as {}{asked}", safe_name(&came_in.who), safe(issuer), safe_name(subject));
    }
    match came_in.login_uid {
        Some(uid) => format!("{} logged in as {login}, login uid {uid}", safe_name(&came_in.who)),
        None => format!("{} has a login that cannot be determined", safe_name(&came_in.who)),
    }
}

/// Findings that arise only together with the requester's other access and requests.
fn together(arising: &[FindingView]) -> String {
    findings("WHAT IT ALLOWS TOGETHER WITH THEIR OTHER ACCESS AND REQUESTS", arising)
}

/// A table of findings, worst first.
fn findings(heading: &str, all: &[FindingView]) -> String {
    let row = |finding: &FindingView| {
        let marks = match (finding.persists, finding.streams) {
            (true, true) => "persists, streams",
            (true, false) => "persists",
            (false, true) => "streams",
            (false, false) => "",
        };
        vec![finding.severity.as_str().to_owned(), safe(&finding.id), safe(&finding.why), marks.to_owned()]
    };
    table(&["RISK", "ID", heading, "MARKS"], all.iter().map(row).collect(), true)
}

fn risk_style(severity: Severity) -> anstyle::Style {
    match severity {
        Severity::Low | Severity::Medium => DIM,
        Severity::High | Severity::Critical | Severity::Unclassified => RED,
    }
}

/// The table of rules, without an empty last column.
fn rule_table(mut rows: Vec<Vec<String>>) -> String {
    const HEADINGS: [&str; 4] = ["VERBS", "GROUP", "RESOURCES", "ONLY NAMED"];
    let columns = if rows.iter().all(|row| row.last().is_none_or(String::is_empty)) { 3 } else { 4 };
    rows.iter_mut().for_each(|row| row.truncate(columns));
    let headings: Vec<&str> = HEADINGS.into_iter().take(columns).collect();
    table(&headings, rows, true)
}

/// All rules: a row for each API group with the same verbs, with subresources after their resource.
fn rule_rows(rules: &[Rule]) -> Vec<Vec<String>> {
    let join = |words: &[String]| words.iter().map(|word| safe(word)).collect::<Vec<_>>().join(", ");
    let mut rows: BTreeMap<[String; 3], BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for rule in rules {
        let (verbs, names) = (join(&rule.verbs), join(&rule.resource_names));
        let groups = rule.api_groups.iter().map(|group| if group.is_empty() { "core".to_owned() } else { safe(group) });
        for group in groups {
            let row = rows.entry([verbs.clone(), group, names.clone()]).or_default();
            for resource in &rule.resources {
                let (name, sub) =
                    resource.split_once('/').map_or((resource.as_str(), None), |(name, sub)| (name, Some(sub)));
                row.entry(safe(name)).or_default().insert(sub.map(safe).unwrap_or_default());
            }
        }
        if !rule.non_resource_urls.is_empty() {
            let row = rows.entry([verbs, "URLs".to_owned(), names]).or_default();
            row.extend(rule.non_resource_urls.iter().map(|url| (safe(url), BTreeSet::from([String::new()]))));
        }
    }
    rows.into_iter()
        .map(|([verbs, group, names], resources)| {
            let resources: Vec<String> = resources.iter().map(|(name, subs)| with_subresources(name, subs)).collect();
            vec![verbs, group, resources.join(", "), names]
        })
        .collect()
}

/// `pods`; `pods (log, status)` for pods with two subresources; `pods/log` for a subresource only.
fn with_subresources(name: &str, subs: &BTreeSet<String>) -> String {
    let under: Vec<&str> = subs.iter().map(String::as_str).filter(|sub| !sub.is_empty()).collect();
    match (subs.contains(""), under.as_slice()) {
        (true, []) => name.to_owned(),
        (true, under) => format!("{name} ({})", under.join(", ")),
        (false, under) => under.iter().map(|sub| format!("{name}/{sub}")).collect::<Vec<_>>().join(", "),
    }
}

/// How the policy decides a request.
pub(crate) fn explained(decision: &DecisionView) -> String {
    let rule = decision.rule.as_deref().map(|rule| format!(" under rule `{}`", safe(rule))).unwrap_or_default();
    let needs: String = match decision.needs.as_slice() {
        [] => String::new(),
        needs => format!(", if you also give:{}", needs.iter().map(needed).collect::<String>()),
    };
    let answer = match decision.outcome {
        Outcome::Ask => {
            let needed = missing_approvals(&decision.steps);
            format!("{} you may request it{rule}{needs}\nneeds {needed}", paint("yes:", GREEN))
        }
        Outcome::PreApproved => format!("{} granted without an approval{rule}{needs}", paint("yes:", GREEN)),
        Outcome::Deny => {
            let no = match decision.rule.as_deref() {
                Some(rule) => format!("no rule allows it; the nearest is `{}`", safe(rule)),
                None => "you may not request it".to_owned(),
            };
            let missing: String = decision.missing.iter().map(|sentence| format!("\n- {}", safe(sentence))).collect();
            format!("{} {no}{missing}", paint("no:", RED))
        }
    };
    let mut answer = answer;
    if let Some(sessions) = &decision.sessions {
        answer.push_str(&format!("\nrecorded: {}", safe(&sessions.says)));
        refusals(sessions).for_each(|sentence| answer.push_str(&format!("\nrefused: {sentence}")));
    }
    let mut parts = vec![answer];
    if let Some(risks) = decision.risks.as_ref().filter(|risks| !risks.findings.is_empty()) {
        parts.push(findings("WHAT IT ALLOWS", &risks.findings).trim_end().to_owned());
    }
    if !decision.together.is_empty() {
        parts.push(together(&decision.together).trim_end().to_owned());
    }
    if !decision.tried.is_empty() {
        parts.push(decision.tried.iter().map(tried).collect::<Vec<_>>().join("\n"));
    }
    parts.join("\n\n")
}

/// A line about something that a request still lacks, with the option for it.
fn needed(need: &NeedView) -> String {
    let option = match &need.field {
        Some(field) => format!("--field {}=VALUE", safe_name(field)),
        None => "--reason TEXT".to_owned(),
    };
    format!("\n- {} ({option})", safe(&need.says))
}

/// The output of `can`: a table, or some lines for each entitlement if the terminal is too narrow; then the notes that do
/// not fit into a cell.
pub(crate) fn entitlements(list: &EntitlementList, width: Option<usize>) -> String {
    const HEADINGS: [&str; 7] = ["RULE", "CLUSTERS", "NAMESPACES", "ROLES", "LONGEST", "APPROVAL", "REQUIRED"];
    let rows: Vec<Vec<String>> = list.entitlements.iter().map(entitlement_row).collect();
    let drawn = table(&HEADINGS, rows.clone(), false);
    let widest = drawn.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let fold = |text: &str| width.map_or_else(|| format!("  {text}"), |width| folded(text, width));
    let is_too_wide = width.is_some_and(|width| widest > width);
    let mut parts: Vec<String> = Vec::new();
    if is_too_wide {
        for row in &rows {
            let (rule, cells) = row.split_first().map(|(rule, cells)| (rule.as_str(), cells)).unwrap_or_default();
            parts.push(paint(rule, BOLD));
            let named = HEADINGS.iter().skip(1).zip(cells);
            parts.extend(named.map(|(heading, cell)| fold(&format!("{}: {cell}", heading.to_lowercase()))));
        }
    } else {
        parts.push(drawn);
    }
    let mut notes: Vec<String> = Vec::new();
    for one in &list.entitlements {
        for note in entitlement_notes(one) {
            let note = format!("`{}`: {note}", safe(&one.rule));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes.extend(list.closed.iter().map(|closed| {
        let by: Vec<String> = closed.by.iter().map(|sentence| safe(sentence)).collect();
        format!("`{}`: closed to you: {}", safe(&closed.rule), by.join("; "))
    }));
    if !notes.is_empty() {
        parts.push(String::new());
        parts.extend(notes.iter().map(|note| fold(note)));
    }
    parts.join("\n")
}

fn entitlement_row(one: &EntitlementView) -> Vec<String> {
    let words = |words: &[String]| words.iter().map(|word| safe(word)).collect::<Vec<_>>().join(", ");
    let exact = (!one.rules.is_empty()).then(|| "(exact rules)".to_owned());
    let roles: Vec<String> = (!one.roles.is_empty()).then(|| words(&one.roles)).into_iter().chain(exact).collect();
    let required = one.needs.iter().filter(|need| need.required);
    let required: Vec<String> =
        required.map(|need| need.field.as_deref().map_or("reason".to_owned(), safe_name)).collect();
    vec![
        safe(&one.rule),
        words(&one.clusters),
        if one.namespaces.is_empty() { "(all)".to_owned() } else { words(&one.namespaces) },
        roles.join(", "),
        safe(&one.max_duration),
        if one.steps.is_empty() { "none, pre-approved".to_owned() } else { approvers(&one.steps) },
        required.join(", "),
    ]
}

/// What the gateway refuses although the role allows it, a sentence each, with what it cannot hold.
pub(crate) fn refusals(sessions: &SessionsView) -> impl Iterator<Item = String> {
    let sentence = |one: &RestrictionView| safe(&format!("{} (`{}`); {}", one.says, one.name, one.limit));
    sessions.refuses.iter().map(sentence)
}

/// Notes for which a row of `can` has no cell.
fn entitlement_notes(one: &EntitlementView) -> Vec<String> {
    let mut notes: Vec<String> = one.except.iter().map(|sentence| safe(sentence)).collect();
    // The table already shows that a reason is required.
    let needs = one.needs.iter().filter(|need| need.field.is_some() || need.says != "a reason");
    notes.extend(needs.map(|need| format!("{}{}", safe(&need.says), if need.required { "" } else { " (optional)" })));
    if one.max_total != one.max_duration {
        notes.push(format!("may be extended to {}", safe(&one.max_total)));
    }
    if let Some(within) = &one.start_within {
        notes.push(format!("may begin up to {} in the future", safe(within)));
    }
    if let Some(glass) = &one.break_glass {
        let after = glass.after.as_deref().map_or("at once".to_owned(), |after| format!("after {}", safe(after)));
        notes.push(format!("break-glass: {after}, for at most {}, reviewed afterwards", safe(&glass.max_duration)));
    }
    if let Some(sessions) = &one.sessions {
        notes.push(format!("recorded: {}", safe(&sessions.says)));
        notes.extend(refusals(sessions).map(|sentence| format!("refused: {sentence}")));
    }
    if !one.by_risk.is_empty() {
        notes.push(format!("depending on the role, also {}", approvers(&one.by_risk)));
    }
    notes.extend(one.rules.iter().map(|rule| format!("ceiling for exact rules: {}", safe(&rule.to_string()))));
    notes
}

/// How the cluster would answer for an object.
fn tried(object: &TriedView) -> String {
    let place = object.namespace.as_deref().map(|name| format!(" in {}", safe_name(name))).unwrap_or_default();
    let what = format!("{}{place}", safe(&object.kind));
    match &object.refused {
        None => format!("{} the cluster would accept the {what}", paint("yes:", GREEN)),
        Some(why) => format!("{} the cluster would refuse the {what}: {}", paint("no:", RED), safe(why)),
    }
}

/// The output of `events` and `sessions`: a table, or a line and the details below it for each event if the terminal is too narrow for a
/// hash or a uid in the last column.
pub(crate) fn events(headings: &[&str], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    const LEAST_DETAILS: usize = 50;
    let widest = |column: usize, heading: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading.len()]).max().unwrap_or_default()
    };
    let columns = headings.iter().enumerate().take(headings.len().saturating_sub(1));
    let before: usize = columns.map(|(column, heading)| widest(column, heading) + 2).sum();
    let Some(width) = width.filter(|width| before + LEAST_DETAILS > *width) else {
        return table(headings, rows, width.is_some());
    };
    let lines = rows.iter().filter_map(|row| {
        let (details, cells) = row.split_last()?;
        let cells: Vec<&str> = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        let details = if details.is_empty() { String::new() } else { format!("\n{}", folded(details, width)) };
        Some(format!("{}{details}", hanging("", &cells.join("  "), 2, width)))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line of `events` of one grant.
pub(crate) fn event_row(entry: &Value) -> Vec<String> {
    let [seq, at, _, by, kind, with] = event_parts(entry);
    vec![seq, at.parse().map_or(at, clock), by, kind, with]
}

/// A line of `events` of the whole trail.
pub(crate) fn event_row_with_grant(entry: &Value) -> Vec<String> {
    let [seq, at, grant, by, kind, with] = event_parts(entry);
    vec![seq, at.parse().map_or(at, clock), grant, by, kind, with]
}

/// The columns of an event as CSV.
pub(crate) const EVENT_COLUMNS: [&str; 6] = ["seq", "at", "grant", "by", "event", "with"];

/// An event as CSV.
pub(crate) fn event_cells(entry: &Value) -> Vec<String> {
    event_parts(entry).into()
}

/// Number, time, grant, author, kind, and details of an event.
fn event_parts(entry: &Value) -> [String; 6] {
    let part = |name: &str| entry.get(name).unwrap_or(&Value::Null);
    let event = part("event");
    let request = event.get("ask").and_then(request_sentence).or_else(|| log_sentence(event));
    let of_log = |key: &str| {
        request.is_some() && ["lines", "sha256", "what", "session", "keep", "files", "bytes", "texts"].contains(&key)
    };
    let others = event
        .as_object()
        .into_iter()
        .flatten()
        // Hashes, rules and the whole request are for programs; `-o json` shows them.
        .filter(|(key, value)| {
            *key != "kind"
                && !value.is_object()
                && !key.ends_with("Sha256")
                && *key != "digest"
                && *key != "key"
                && !of_log(key)
        })
        .map(|(key, value)| format!("{}={}", safe(key), plain(value)));
    let others: Vec<String> = others.collect();
    let rest: Vec<String> = request.into_iter().chain(others).collect();
    let kind = plain(event.get("kind").unwrap_or(&Value::Null));
    let by = author(part("by"), part("login"));
    [plain(part("seq")), plain(part("at")), plain(part("grant")), by, kind, rest.join(" ")]
}

/// `the gateway's log has 5 lines`, of the events that say where the log stands, who read it, and what `jit-notify` sent; none
/// of other events.
fn log_sentence(event: &Value) -> Option<String> {
    let part = |name: &str| plain(event.get(name).unwrap_or(&Value::Null));
    let head = |of: &Value| of.get("lines").and_then(Value::as_u64).map(|lines| format!("{lines} lines"));
    match part("kind").as_str() {
        "logged" => Some(format!("the gateway's log has {}", head(event)?)),
        "log_contradicted" => {
            let before = head(event.get("before")?)?;
            Some(format!(
                "the gateway's log has {}, which contradicts {before} before: lines were changed or removed",
                head(event)?
            ))
        }
        "sessions_read" => Some(match (part("what").as_str(), part("session")) {
            ("recording", session) => format!("played what session {} printed", safe(&session)),
            ("log", _) => "read every request through the gateway".to_owned(),
            _ => "listed the sessions".to_owned(),
        }),
        "sessions_deletion_intended" => {
            Some(format!("what was kept is about to be deleted, {} after the end", safe(&part("keep"))))
        }
        "sessions_deleted" => {
            Some(format!("deleted {} files with {} bytes", safe(&part("files")), safe(&part("bytes"))))
        }
        "ended" => Some(format!("the gateway's log has {};", head(event.get("log")?)?)),
        "notified" => {
            let texts = event.get("texts")?.as_array()?;
            let channels: BTreeSet<String> =
                texts.iter().map(|text| text.get("channel").map_or_else(String::new, plain)).collect();
            let by = channels.into_iter().collect::<Vec<_>>().join(", ");
            let count = texts.len();
            Some(format!("jit-notify sent {count} {} by {by}", if count == 1 { "message" } else { "messages" }))
        }
        _ => None,
    }
}

/// `role view in namespace payments on cluster prod, for 10m: INC-42`; none if this version cannot parse the request.
fn request_sentence(ask: &Value) -> Option<String> {
    let AccessRequest { cluster, scope, access, window, reason, .. } = serde_json::from_value(ask.clone()).ok()?;
    let names: Vec<String> = scope.namespaces().iter().map(ToString::to_string).collect();
    let place = if names.is_empty() { "the whole cluster".to_owned() } else { format!("{} on cluster", place(&names)) };
    Some(safe(&format!("{access} in {place} {cluster}, for {window}: {reason}")))
}

/// `bob`, `bob (came in as carol, 1003)`, `bob (login uid 1003)`, `bob (login unknown)`, `bob (at https://id.example)`
fn author(by: &Value, login: &Value) -> String {
    let part = |name: &str| login.get(name).filter(|value| !value.is_null()).map(plain);
    if let Some(issuer) = login.pointer("/provider/issuer") {
        return format!("{} (at {})", plain(by), plain(issuer));
    }
    match (part("uid"), part("person")) {
        (None, _) if part("unknown").is_some() => format!("{} (login unknown)", plain(by)),
        (None, _) => plain(by),
        (Some(_), Some(person)) if person == plain(by) => person,
        (Some(uid), Some(person)) => format!("{} (came in as {person}, {uid})", plain(by)),
        (Some(uid), None) => format!("{} (login uid {uid})", plain(by)),
    }
}

/// A value of the trail as text.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => safe(text),
        other => safe(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(rules: Value) -> Vec<Vec<String>> {
        rule_rows(&serde_json::from_value::<Vec<Rule>>(rules).unwrap())
    }

    /// On a narrow terminal the details are below their event, and no word is split.
    #[test]
    fn events_fit_the_terminal() {
        let headings = ["SEQ", "AT", "BY", "EVENT", "WITH"];
        let rows = || {
            let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
            let serial = "serial=6e661a5c46e64bb1f229487d2d872b96 notAfter=2026-11-30T00:32:03Z";
            vec![row(["4", "00:27:04 UTC", "", "issued", serial]), row(["5", "00:27:04 UTC", "bob", "agreed", ""])]
        };
        let narrow = "4  00:27:04 UTC  issued\n  serial=6e661a5c46e64bb1f229487d2d872b96\n  notAfter=2026-11-30T00:32:03Z\n\
                      5  00:27:04 UTC  bob  agreed";
        assert_eq!(events(&headings, rows(), Some(60)), narrow);
        assert!(
            events(&headings, rows(), None)
                .starts_with("SEQ  AT            BY   EVENT   WITH\n4    00:27:04 UTC       issued  serial=")
        );
    }

    #[test]
    fn every_resource_and_subresource_of_a_rule_is_shown() {
        let shown = rows(json!([
            {"apiGroups": ["", "apps"], "resources": ["pods/log"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"], "resourceNames": ["old"]},
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
        ]));
        assert_eq!(
            shown,
            [
                ["delete", "core", "secrets", "old"],
                ["get", "URLs", "/metrics", ""],
                ["get, list", "apps", "pods/log", ""],
                ["get, list", "core", "pods (log), secrets", ""],
            ]
        );
    }

    /// An auditor reads what the trail has about a log, and no hash.
    #[test]
    fn where_a_log_stands_is_a_sentence() {
        let with = |event: Value| event_row(&json!({ "seq": 1, "at": "x", "event": event })).pop().unwrap();
        let hash = "a".repeat(64);
        let session = "0198c2f3-5d1a-7000-8000-000000000001";
        let played = json!({ "kind": "sessions_read", "what": "recording", "session": session });
        assert_eq!(with(played), format!("played what session {session} printed"));
        assert_eq!(with(json!({ "kind": "sessions_read", "what": "list" })), "listed the sessions");
        let logged = json!({ "kind": "logged", "lines": 5, "sha256": hash });
        assert_eq!(with(logged), "the gateway's log has 5 lines");
        let contradicted = json!({
            "kind": "log_contradicted", "lines": 3, "sha256": hash, "before": { "lines": 5, "sha256": hash },
        });
        let says = "the gateway's log has 3 lines, which contradicts 5 lines before: lines were changed or removed";
        assert_eq!(with(contradicted), says);
        let ended = json!({
            "kind": "ended", "why": "expired", "proof": "denied", "cut": 2, "log": { "lines": 7, "sha256": hash },
        });
        assert_eq!(with(ended), "the gateway's log has 7 lines; cut=2 proof=denied why=expired");
        let text = |channel: &str| json!({ "channel": channel, "about": "fact", "seq": 1, "at": "x", "sha256": hash });
        let notified = json!({ "kind": "notified", "texts": [text("mail"), text("chat"), text("mail")] });
        assert_eq!(with(notified), "jit-notify sent 3 messages by chat, mail");
    }

    /// A request for a role with 17 findings and 40 rules, with a long reason: summary and question fit a small terminal.
    #[test]
    fn a_decision_fits_one_screen() {
        let finding = |number: usize| {
            let severity = if number == 9 { "critical" } else { "medium" };
            json!({"id": format!("E{number}"), "severity": severity, "persists": true, "streams": true,
                "why": format!("finding {number}: may change the pod templates of deployments, whose pods then run with their service account")})
        };
        let rule = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]});
        let view = json!({
            "id": "7k3m9x2q7k3m9x2q", "phase": "pending", "requester": "alice", "cluster": "prod", "role": "edit",
            "namespaces": ["payments"], "access": "role edit", "duration": "15m", "reason": "INC-42 ".repeat(20), "rule": "oncall",
            "fields": {"ticket": "OPS-7"}, "agreed": [], "digest": "d", "key": "k", "requestedAt": "2026-11-23T18:00:00Z",
            "steps": [{"groups": ["leads"], "count": 1, "missing": 1}], "certificates": 0, "answers": 0,
            "breakGlassFrom": "2026-11-23T18:00:00Z", "risk": "critical", "namespaceUids": {"payments": "u"},
            "risks": {"findings": (0..17).map(finding).collect::<Vec<_>>(), "mayPersist": true, "mayStream": true},
            "rules": vec![rule; 40],
        });
        let grant: GrantView = serde_json::from_value(view).unwrap();
        for (width, most) in [(80, 23), (60, 32)] {
            let summary = anstream::adapter::strip_str(&summary(&grant, Some(width))).to_string();
            let height = summary.lines().count();
            assert!(height <= most, "{height} lines and a question: {summary}");
            assert!(summary.lines().all(|line| line.chars().count() <= width), "{summary}");
        }
        let summary = summary(&grant, None);
        assert!(summary.contains("critical finding 9: ") && summary.contains("14 more findings, "), "{summary}");
        assert!(summary.contains("break-glass available now"), "{summary}");
        assert!(page(&grant, None).lines().count() > 24);
    }
}
