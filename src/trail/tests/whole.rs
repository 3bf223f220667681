//! Whatever comes in whatever order: what is opened, exported and verified is what the facts make.

use proptest::prelude::*;

use super::*;
use crate::grant::glass::Verdict;
use crate::grant::{Clock, EndCause, EndProof, Impersonation, LogHead};

/// Every event that a grant can have; which of them may follow is for the fold to say.
fn events() -> Vec<Event> {
    let text = || "x".to_owned();
    let mut events = vec![
        requested(0).event,
        Event::Agreed { digest: text(), groups: [text()].into() },
        Event::Approved { digest: text(), groups: [text()].into(), collect_until: at(600) },
        Event::Denied { reason: text() },
        Event::Withdrawn,
        Event::Lapsed { clock: Clock::Pending },
        Event::Lapsed { clock: Clock::Collect },
        Event::Refused { action: text(), code: text() },
        Event::IssueIntended { serial: text(), tbs_sha256: text(), not_before: at(0), not_after: at(9) },
        Event::Issued { serial: text(), leaf_sha256: text() },
        Event::BindIntended { binding: text(), gateway: None, impersonation: Impersonation::default() },
        Event::Bound { uids: vec![text()] },
        Event::Live { until: at(300) },
        Event::Logged { lines: 1, sha256: "a".repeat(64) },
        Event::LogContradicted {
            lines: 1,
            sha256: "a".repeat(64),
            before: LogHead { lines: 2, sha256: "b".repeat(64) },
        },
        Event::UnbindIntended { why: EndCause::Revoked, reason: Some(text()) },
        Event::GlassBroken {
            reason: "x".parse().unwrap(),
            window: "1m".parse().unwrap(),
            digest: text(),
            collect_until: at(600),
            review_until: at(3600),
        },
    ];
    let reviewed = |verdict, closes, decides| Event::Reviewed {
        digest: text(),
        groups: [text()].into(),
        verdict,
        words: "x".parse().unwrap(),
        closes,
        decides,
    };
    events.extend([
        reviewed(Verdict::Justified, false, false),
        reviewed(Verdict::Justified, true, false),
        reviewed(Verdict::NotJustified, true, true),
    ]);
    for why in [EndCause::Expired, EndCause::Released, EndCause::Revoked, EndCause::Drifted, EndCause::Failed] {
        events.extend([EndProof::Denied, EndProof::NeverBound].map(|proof| Event::Ended {
            why,
            proof,
            reason: None,
            cut: None,
            log: None,
        }));
    }
    events
}

/// What comes next about one of three grants: in most cases one of those that may, else any.
#[derive(Clone, Debug)]
struct Step {
    grant: u8,
    by: &'static str,
    second: i64,
    any: bool,
    may_end: bool,
    which: prop::sample::Index,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop::sample::select(vec!["alice", "bob", "carol"]);
    let one_in_ten = || prop::bool::weighted(0.1);
    let step = (0_u8..3, by, 0_i64..5000, one_in_ten(), one_in_ten(), any::<prop::sample::Index>());
    let step =
        step.prop_map(|(grant, by, second, any, may_end, which)| Step { grant, by, second, any, may_end, which });
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes in whatever order: the fold takes or refuses it and never panics, and what is stored
    /// of it is afterwards loaded as the same grants, open and over, and passes every check.
    #[test]
    fn what_is_reloaded_is_what_the_facts_make(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let folder = Folder::new();
        let trail = simulated(&folder);
        let mut grants: BTreeMap<GrantId, Grant> = BTreeMap::new();
        let mut stored = Vec::new();
        for step in steps {
            let after = |event: &Event| {
                let fact = fact(Some(step.grant), Some(step.by), step.second, event.clone());
                let next = match grants.get(&id(step.grant)) {
                    Some(before) => before.clone().apply(&fact),
                    None => Grant::begin(&fact),
                };
                next.ok().map(|next| (fact, next))
            };
            let mut events = events();
            if !step.any {
                events.retain(|event| after(event).is_some_and(|(_, next)| step.may_end || !next.is_over()));
            }
            if !events.is_empty()
                && let Some((fact, next)) = after(step.which.get(&events))
            {
                grants.insert(next.id.clone(), next);
                stored.push(fact);
            }
        }
        runtime.block_on(append_each(&trail, &stored));
        trail.close();
        drop(trail);

        let Opened { trail, open, .. } = Trail::open(&folder.trail()).unwrap();
        for open in &open {
            let lines = runtime.block_on(lines(&trail, &open.grant.id));
            prop_assert_eq!(open.last, parse(lines.last().unwrap()).unwrap().seq);
        }
        let open: BTreeMap<GrantId, Grant> =
            open.into_iter().map(|open| (open.grant.id.clone(), open.grant)).collect();
        let erin = Person { name: "erin".parse().unwrap(), groups: ["auditors".to_owned()].into(), login: None };
        let filter = Filter::default();
        let (over, next) = runtime.block_on(trail.closed(&erin, &["auditors".to_owned()], &filter, i64::MAX, 10)).unwrap();
        let reloaded: BTreeMap<GrantId, Grant> = over.into_iter().map(|(_, grant)| (grant.id.clone(), grant)).chain(open.clone()).collect();
        prop_assert!(next.is_none());
        prop_assert_eq!(&reloaded, &grants);
        prop_assert!(open.values().all(|grant| !grant.is_over()));

        let report = verify_file(&folder.trail(), |_| {}).unwrap();
        prop_assert_eq!(usize::try_from(report.events).unwrap(), stored.len());
        let count = |of: fn(&Grant) -> bool| u64::try_from(open.values().filter(|grant| of(grant)).count()).unwrap();
        prop_assert_eq!(report.open, count(|grant| grant.phase.is_open()));
        prop_assert_eq!(report.reviews_owed, count(Grant::owes_review));
        let mut lines = Vec::new();
        export(&folder.trail(), &mut lines).unwrap();
        prop_assert_eq!(verify_lines(lines.as_slice(), Path::new("export"), |_| {}).unwrap(), report);
    }

    /// Lines from anywhere are checked, not believed: a changed byte of an export is an error or, in the
    /// very last line, another head.
    #[test]
    fn a_changed_byte_of_an_export_is_seen(place in 0_usize..10_000, bits in 1_u8..=255) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let folder = Folder::new();
        let trail = simulated(&folder);
        runtime.block_on(trail.append(vec![requested(1), refused(1), requested(2), withdrawn(1)], None)).unwrap();
        trail.close();
        let mut lines = Vec::new();
        export(&folder.trail(), &mut lines).unwrap();
        let before = verify_lines(lines.as_slice(), Path::new("export"), |_| {}).unwrap();
        // The last byte only ends the last line.
        let place = place % (lines.len() - 1);
        lines[place] ^= bits;
        if let Ok(report) = verify_lines(lines.as_slice(), Path::new("export"), |_| {}) {
            prop_assert_ne!(report.head, before.head);
        }
    }
}

/// A file that is no export, and one that was cut, are not called damaged.
#[tokio::test]
async fn a_cut_export_is_told_from_a_damaged_one() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    trail.append(vec![requested(1), requested(2), requested(3)], None).await.unwrap();
    trail.close();
    let mut lines = Vec::new();
    export(&folder.trail(), &mut lines).unwrap();
    let verified = |lines: &[u8]| verify_lines(lines, Path::new("export"), |_| {});
    let whole = lines.len();
    assert_eq!(verified(&lines[..whole - 1]).unwrap().events, 3, "only the end of the last line is missing");
    assert!(matches!(verified(&lines[..whole - 9]), Err(TrailError::CutOff { line: 3, .. })));
    let ended = [&lines[..whole - 9], b"\n"].concat();
    assert!(matches!(verified(&ended), Err(TrailError::Damaged { seq: 3, .. })));
    for other in [&b"rules: []\n"[..], b"{}", b"\n", b"\x1f\x8b\xff\n"] {
        assert!(matches!(verified(other), Err(TrailError::NotAnExport(_))), "{other:?}");
    }
}
