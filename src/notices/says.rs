//! What happened, in one plain sentence.
//!
//! It has names, numbers and words of the daemon only. Reasons and other texts that people wrote are in the view of the
//! grant, so that each channel can show them as what they are.

use crate::grant::{Clock, EndCause, Event, Fact, Grant, Reading, ScanFinished, glass};

/// The sentence for a fact; `grant` is its grant after it.
pub(super) fn in_words(fact: &Fact, grant: Option<&Grant>) -> String {
    let by = fact.by().map_or("the daemon", |by| by.as_str());
    let Some(grant) = grant else { return of_daemon(fact, by) };
    let (who, id) = (&grant.requester, &grant.id);
    let ask = &grant.ask;
    match &fact.event {
        Event::Requested(_) => {
            format!("{who} requests {} in {} on {} for {}", ask.access, ask.scope, ask.cluster, ask.window)
        }
        Event::Agreed { .. } => format!("{by} approved {id}; more approvals are needed"),
        Event::Narrowed(_) => format!("{by} narrowed {id} to {} in {} for {}", ask.access, ask.scope, ask.window),
        Event::Reassessed(_) => {
            format!("the risk of {id} is higher than it was shown, so earlier approvals do not count")
        }
        Event::Approved { .. } if fact.by().is_none() => format!("{id} needs no approval"),
        Event::Approved { .. } => format!("{by} approved {id}"),
        Event::Denied { .. } => format!("{by} denied {id}"),
        Event::Withdrawn => format!("{by} withdrew {id}"),
        Event::Lapsed { clock: Clock::Pending } => format!("{id} lapsed: nobody answered in time"),
        Event::Lapsed { clock: Clock::Collect } => format!("{id} lapsed: {who} did not collect it in time"),
        Event::Refused { action, .. } => format!("{by} may not {action} {id}"),
        Event::CollectionFailed { .. } => format!("the cluster {} refused the access of {id}", ask.cluster),
        Event::IssueIntended { .. } => format!("a certificate for {id} is about to be signed"),
        Event::Issued { .. } => format!("a certificate for {id} was signed"),
        Event::BindIntended { .. } => format!("the bindings of {id} are about to be created"),
        Event::Bound { .. } => format!("the bindings of {id} were created"),
        Event::Live { until } => format!("the access of {id} works until {until}"),
        Event::BindingAltered { .. } => format!("a binding of {id} was changed in {}", ask.cluster),
        Event::PartUnbindIntended { namespace, .. } => {
            format!("the access of {id} in {namespace} is about to be removed")
        }
        Event::PartEnded { namespace, .. } => format!("the access of {id} in {namespace} ended"),
        Event::Logged { .. } => format!("the log of {id} has grown"),
        Event::LogContradicted { .. } => format!("the log of {id} was changed, or lines of it were removed"),
        Event::SessionsRead { what, .. } => {
            let what = match what {
                Reading::List => "the list of sessions",
                Reading::Log => "the log of requests",
                Reading::Recording => "a recording",
            };
            format!("{by} reads {what} of {id}")
        }
        Event::SessionsDeletionIntended { .. } => format!("what the gateway kept of {id} is about to be deleted"),
        Event::SessionsDeleted { .. } => format!("what the gateway kept of {id} was deleted"),
        Event::RoleChanged { .. } => format!("the role of {id} changed since it was approved"),
        Event::ExtensionAsked { window, .. } => format!("{who} requests {window} more for {id}"),
        Event::ExtensionAgreed { .. } => format!("{by} approved the extension of {id}; more approvals are needed"),
        Event::Extended { until, .. } if fact.by().is_none() => format!("{id} was extended to {until}"),
        Event::Extended { until, .. } => format!("{by} extended {id} to {until}"),
        Event::ExtensionDenied { .. } => format!("{by} denied the extension of {id}; the access continues to its end"),
        Event::GlassBroken { window, .. } => format!("{who} used break-glass for {id}: {window} without an approval"),
        Event::Reviewed { verdict, decides: true, .. } => {
            format!("{by} decided the review of {id}: {}", verdict.as_str())
        }
        Event::Reviewed { verdict, closes: true, .. } => format!("{by} reviewed {id}: {}", verdict.as_str()),
        Event::Reviewed { verdict, .. } if glass::is_disputed(grant) => format!(
            "{by} reviewed {id}: {}; the reviewers disagree, so a member of `admins` decides: \
             `jit-login review {id} --justified --words TEXT`, or `--not-justified`",
            verdict.as_str()
        ),
        Event::Reviewed { verdict, .. } => {
            format!("{by} reviewed {id}: {}; more reviews are needed", verdict.as_str())
        }
        Event::UnbindIntended { .. } => format!("the access of {id} is about to be removed"),
        Event::Ended { why, .. } => match why {
            EndCause::Expired => format!("{id} expired after {}", ask.window),
            EndCause::Released => format!("{who} released {id}"),
            EndCause::Revoked => match &grant.closed_by {
                Some(by) => format!("{by} revoked {id}"),
                None => format!("{id} was revoked"),
            },
            EndCause::Drifted => {
                format!("{id} ended: its role, a binding or its holder's groups are no longer what they were")
            }
            EndCause::Failed => format!("{id} failed before the access worked"),
        },
        Event::Started { .. }
        | Event::PolicyLoaded { .. }
        | Event::Stopped
        | Event::Drained { .. }
        | Event::Resumed
        | Event::ScanFinished(_)
        | Event::ScanFailed { .. }
        | Event::RequestRefused(_)
        | Event::RefusalsCounted { .. }
        | Event::Introduced { .. }
        | Event::Linked { .. }
        | Event::LoggedOut(_)
        | Event::Notified { .. } => of_daemon(fact, by),
    }
}

/// The sentence for a fact about no grant.
fn of_daemon(fact: &Fact, by: &str) -> String {
    match &fact.event {
        Event::Started { version, .. } => format!("jitd {version} started"),
        Event::PolicyLoaded { .. } => "a changed policy is in force".to_owned(),
        Event::Stopped => "jitd stopped".to_owned(),
        Event::Drained { .. } => format!("{by} drained the daemon: no new access is granted"),
        Event::Resumed => format!("{by} resumed the daemon: access is granted again"),
        Event::ScanFinished(scan) => {
            let new = scan.new.map(|new| format!(", {new} of them new")).unwrap_or_default();
            let ScanFinished { cluster, open, .. } = &**scan;
            format!("a scan of {cluster} finished: {} open findings{new}", open.values().sum::<u64>())
        }
        Event::ScanFailed { cluster, .. } => format!("a scan of {cluster} failed"),
        Event::RequestRefused(refused) => format!("a request of {by} was refused: {}", refused.code),
        Event::RefusalsCounted { codes, .. } => {
            format!("{} more requests of {by} were refused", codes.values().sum::<u64>())
        }
        Event::Introduced { called } => format!("{by} came from an identity provider, which calls them {called}"),
        Event::LoggedOut(logout) => format!("{} ended a login", logout.issuer),
        Event::Linked { was, .. } => format!("{by} accepted that {was} is the same person"),
        other => other.kind().to_owned(),
    }
}
