//! Queries: what each person may see, and that no answer takes longer in a longer trail.

use super::super::queries::{
    ASKED, ASKED_SINCE, BEFORE, CLOSED, CLOSED_BEGINNING, CLOSED_FOR_WATCHER, CLOSED_OF_PERSON, EVENTS_FROM, EVENTS_OF,
    IS_DENIED, LINES_AFTER, LINES_BEFORE, MADE, OPEN, REQUEST, WATCHES,
};
use super::*;
use crate::grant::approval;

/// Whatever the number of events and grants, single entries are found by key, and lists in the order of an index.
#[test]
fn no_query_reads_the_whole_trail() {
    let connection = Connection::open_in_memory().unwrap();
    layout::create(&connection).unwrap();
    let latest = format!("{EVENTS_OF} WHERE kind IN ('requested', 'narrowed', 'reassessed') ORDER BY seq DESC LIMIT 1");
    for (query, key) in [
        (&*format!("{EVENTS_OF} ORDER BY seq"), "events USING INTEGER PRIMARY KEY"),
        (&latest, "events USING INTEGER PRIMARY KEY"),
        (OPEN, "grants USING INDEX grants_in_order"),
        (CLOSED, "grants USING INDEX grants_in_order (open=? AND rowid>? AND rowid<?)"),
        (CLOSED_OF_PERSON, "grants USING INDEX grants_of_person (requester=? AND rowid>? AND rowid<?)"),
        (CLOSED_FOR_WATCHER, "watchers USING PRIMARY KEY (watcher=? AND seq>? AND seq<?)"),
        (CLOSED_BEGINNING, "grants USING INDEX sqlite_autoindex_grants_1 (id>? AND id<?)"),
        (MADE, "closed USING INTEGER PRIMARY KEY (rowid=?)"),
        (LINES_BEFORE, "events USING INTEGER PRIMARY KEY (rowid<?)"),
        (LINES_AFTER, "events USING INTEGER PRIMARY KEY (rowid>?)"),
        (REQUEST, "events USING INTEGER PRIMARY KEY (rowid=?)"),
        (WATCHES, "watchers USING PRIMARY KEY (watcher=? AND seq=?)"),
        (BEFORE, "events USING INTEGER PRIMARY KEY"),
        (EVENTS_FROM, "events USING INTEGER PRIMARY KEY"),
        (ASKED_SINCE, "grants USING INDEX grants_of_person (requester=?)"),
        (ASKED, "grants USING INDEX grants_of_person (requester=?)"),
        (IS_DENIED, "events USING COVERING INDEX once (grant_id=? AND kind=?)"),
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let parameters = vec!["grant"; plan.parameter_count()];
        let rows = plan.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
        let steps: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
        assert!(steps.iter().any(|step| step.starts_with(&format!("SEARCH {key}"))), "{query}: {steps:?}");
        let tables = ["events", "grants", "watchers", "links", "closed"].map(|table| format!("SCAN {table}"));
        assert!(!steps.iter().any(|step| tables.iter().any(|scan| step.starts_with(scan))), "{query}: {steps:?}");
        let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
        assert!(!sorts || query.starts_with(EVENTS_OF) || query == OPEN, "{query}: {steps:?}");
    }
}

/// Who may see what is over, whichever way it is found: by whom it was asked, by their groups, by the beginning of an id.
#[tokio::test]
async fn what_is_over_is_shown_to_whom_it_may_be_newest_first() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    let asked = |number: u8, by: &str, groups: [&str; 2]| {
        let mut fact = requested(number);
        fact.author = Author::Person { name: by.parse().unwrap(), login: None };
        let Event::Requested(requested) = &mut fact.event else { panic!("it was asked for") };
        requested.terms = serde_json::from_value(serde_json::json!({ "rule": "payments", "steps": [{ "groups": groups, "count": 1 }], "maxTotal": "1h", "narrow": false, "drift": "revoke" })).unwrap();
        fact
    };
    // Every third stays open.
    for number in 0..30 {
        let (by, groups) = match number % 5 {
            0 => ("alice", ["leads", "payments"]),
            1 => ("bob", ["leads", "search"]),
            _ => ("leads", ["search", "payments"]),
        };
        trail.append(vec![asked(number, by, groups)], None).await.unwrap();
    }
    for number in (0..30).filter(|number| number % 3 != 0) {
        append_each(&trail, &[withdrawn(number)]).await;
    }
    let person = |name: &str, groups: &[&str]| Person {
        name: name.parse().unwrap(),
        groups: groups.iter().map(ToString::to_string).collect(),
        login: None,
    };
    for viewer in [
        person("alice", &[]),
        person("bob", &["payments"]),
        person("carol", &["leads", "payments"]),
        person("carol", &["leads", "none", "search"]),
        person("erin", &["auditors"]),
        person("dave", &["none"]),
        // A group of that name is not a person of that name.
        person("leads", &[]),
    ] {
        let overseers = ["auditors".to_owned()];
        let mut seen = Vec::new();
        for number in (0..30).rev().filter(|number| number % 3 != 0) {
            let lines = lines(&trail, &id(number)).await;
            let grant = Grant::begin(&parse(&lines[0]).unwrap().fact).unwrap();
            if approval::may_see(&grant, &viewer, &overseers) {
                seen.push(grant.id);
            }
        }
        for limit in [0, 1, 2, 3, 7, 20, 100] {
            let (found, next) = trail.closed(&viewer, &overseers, &Filter::default(), i64::MAX, limit).await.unwrap();
            let found: Vec<GrantId> = found.into_iter().map(|(_, grant)| grant.id).collect();
            assert_eq!(found, seen[..limit.min(seen.len())], "{viewer:?}, {limit}");
            assert_eq!(next.is_some(), seen.len() > limit, "{viewer:?}, {limit}");
        }
        // Page by page it is the same.
        let (mut paged, mut below) = (Vec::new(), i64::MAX);
        loop {
            let (page, next) = trail.closed(&viewer, &overseers, &Filter::default(), below, 3).await.unwrap();
            paged.extend(page.into_iter().map(|(_, grant)| grant.id));
            let Some(next) = next else { break };
            below = next;
        }
        assert_eq!(paged, seen, "{viewer:?}");
        for number in 0..30 {
            let whole = id(number);
            for prefix in [whole.as_str(), &whole.as_str()[..8]] {
                let found = trail.closed_beginning(&viewer, &overseers, prefix, 2).await.unwrap();
                let found: Vec<GrantId> = found.into_iter().map(|grant| grant.id).collect();
                assert_eq!(found.contains(&whole), seen.contains(&whole), "{viewer:?}, {prefix}");
                assert!(found.iter().all(|id| id.as_str().starts_with(prefix)));
            }
        }
    }
}

/// A list reads what was kept of a grant when it was over, and none of its events; what is not kept is made from them.
#[tokio::test]
async fn a_list_reads_no_events_of_what_is_over() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    append_each(&trail, &[requested(1), refused(1), withdrawn(1), requested(2)]).await;
    let erin = Person { name: "erin".parse().unwrap(), groups: ["auditors".to_owned()].into(), login: None };
    let overseers = ["auditors".to_owned()];
    let (listed, _) = trail.closed(&erin, &overseers, &Filter::default(), i64::MAX, 10).await.unwrap();
    assert_eq!(listed, [(1, trail.grant(&id(1)).await.unwrap().unwrap().grant)]);

    let connection = Connection::open(folder.trail()).unwrap();
    connection.execute_batch("DROP TRIGGER events_are_not_updated; UPDATE events SET line = 'x'").unwrap();
    assert!(trail.grant(&id(1)).await.is_err());
    assert_eq!(trail.closed(&erin, &overseers, &Filter::default(), i64::MAX, 10).await.unwrap().0, listed);
    let found = trail.closed_beginning(&erin, &overseers, id(1).as_str(), 2).await.unwrap();
    assert_eq!(found, [listed[0].1.clone()]);
    connection.execute_batch("DELETE FROM closed").unwrap();
    assert!(trail.closed(&erin, &overseers, &Filter::default(), i64::MAX, 10).await.is_err());
}

/// Requests of a person are counted by their moments, to the one that was asked about and not beyond what is asked for.
#[tokio::test]
async fn requests_are_counted_since_a_moment() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    for number in 0..20 {
        let mut fact = requested(number);
        fact.at = at(i64::from(number) * 10);
        if number % 2 == 1 {
            fact.author = Author::Person { name: "bob".parse().unwrap(), login: None };
        }
        trail.append(vec![fact], None).await.unwrap();
    }
    let alice = "alice".parse().unwrap();
    for (since, most, count) in [
        (Timestamp::MIN, 100, 10),
        (Timestamp::MIN, 1, 1),
        (at(0), 100, 10),
        (at(1), 100, 9),
        (at(180), 100, 1),
        (at(181), 100, 0),
        (at(100), 3, 3),
        (at(170), 3, 1),
    ] {
        assert_eq!(trail.asked_since(&alice, since, most).await.unwrap(), count, "{since}, {most}");
    }
    assert_eq!(trail.asked_since(&"carol".parse().unwrap(), Timestamp::MIN, 1).await.unwrap(), 0);
}

/// A long list does not delay a query for one grant.
#[tokio::test]
async fn a_long_list_delays_no_other_query() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1)], None).await.unwrap();
    let listing = (trail.lists.turn().await.unwrap(), trail.lists.turn().await.unwrap());
    let erin = Person { name: "erin".parse().unwrap(), groups: ["auditors".to_owned()].into(), login: None };
    let overseers = ["auditors".to_owned()];
    let filter = Filter::default();
    let mut list = std::pin::pin!(trail.closed(&erin, &overseers, &filter, i64::MAX, 10));
    assert!(futures::poll!(list.as_mut()).is_pending());
    assert!(trail.grant(&id(1)).await.unwrap().is_some());
    assert!(trail.closed_beginning(&erin, &overseers, id(1).as_str(), 2).await.unwrap().is_empty());
    drop(listing);
    assert_eq!(list.await.unwrap(), (vec![], None));
}

/// The events of a grant come in pages, newest page first; from an event of another grant no way leads into one.
#[tokio::test]
async fn events_of_a_grant_come_in_pages() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    append_each(&trail, &[requested(1), refused(1), requested(2), refused(1), refused(2), refused(1), refused(1)])
        .await;
    let (all, more) = trail.lines_of(&id(1), None, 5).await.unwrap();
    assert_eq!((all.len(), more), (5, false));
    let seqs = |lines: &[String]| -> Vec<i64> { lines.iter().map(|line| parse(line).unwrap().seq).collect() };
    assert_eq!(seqs(&all), [1, 2, 4, 6, 7]);
    for (before, limit, page, more) in [
        (None, 2, &[6, 7][..], true),
        (Some(6), 2, &[2, 4], true),
        (Some(2), 2, &[1], false),
        (Some(1), 2, &[], false),
        (Some(6), 3, &[1, 2, 4], false),
        (Some(5), 9, &[], false),
        (Some(99), 9, &[], false),
    ] {
        let (lines, has_more) = trail.lines_of(&id(1), before, limit).await.unwrap();
        assert_eq!((&*seqs(&lines), has_more), (page, more), "{before:?}, {limit}");
    }
}

/// A cycle of links, which somebody else wrote, is reported as damage and does not loop.
#[tokio::test]
async fn a_cycle_of_links_ends() {
    let folder = Folder::new();
    let trail = Trail::open(&folder.trail()).unwrap().trail;
    trail.append(vec![requested(1), refused(1), refused(1)], None).await.unwrap();
    Connection::open(folder.trail()).unwrap().execute_batch("UPDATE links SET before = seq").unwrap();
    assert_eq!(lines(&trail, &id(1)).await.len(), 1);
    trail.close();
    drop(trail);
    let Err(error) = Trail::open(&folder.trail()) else { panic!("it was opened") };
    assert!(matches!(error, TrailError::Damaged { seq: 3, .. }), "{error}");
}

/// What is searched for among all that is over is found however long the trail is, a part of it an answer; each answer says
/// where to continue, and together they have all of it once.
#[tokio::test]
async fn a_search_looks_at_a_part_of_the_trail_an_answer() {
    const FEW: usize = 3;
    let folder = Folder::new();
    let trail = simulated(&folder);
    let wanted = [0, 40, 255];
    for number in 0..=255 {
        let mut fact = requested(number);
        fact.at = at(i64::from(number) * 10);
        if wanted.contains(&number) {
            fact.author = Author::Person { name: "carol".parse().unwrap(), login: None };
        }
        let mut over = withdrawn(number);
        over.author = fact.author.clone();
        trail.append(vec![fact, over], None).await.unwrap();
    }
    let erin = Person { name: "erin".parse().unwrap(), groups: ["auditors".to_owned()].into(), login: None };
    let bob = Person { name: "bob".parse().unwrap(), groups: ["payments-leads".to_owned()].into(), login: None };
    let overseers = ["auditors".to_owned()];
    let by_carol = Filter { person: Some("carol".parse().unwrap()), ..Filter::default() };
    for viewer in [&erin, &bob] {
        let (found, next) = trail.closed(viewer, &overseers, &by_carol, i64::MAX, FEW + 1).await.unwrap();
        let found: Vec<GrantId> = found.into_iter().map(|(_, grant)| grant.id).collect();
        assert_eq!((found, next), ([255, 40, 0].map(id).to_vec(), None), "{viewer:?}");
    }
    let (first, next) = trail.closed(&erin, &overseers, &by_carol, i64::MAX, 1).await.unwrap();
    let (second, _) = trail.closed(&erin, &overseers, &by_carol, next.unwrap(), 1).await.unwrap();
    assert_eq!((&first[0].1.id, &second[0].1.id), (&id(255), &id(40)));
    let between = Filter { since: Some(at(100)), until: Some(at(120)), ..Filter::default() };
    let (found, _) = trail.closed(&erin, &overseers, &between, i64::MAX, 100).await.unwrap();
    assert_eq!(found.len(), 3);
    let ids: Vec<GrantId> = found.into_iter().map(|(_, grant)| grant.id).collect();
    assert_eq!(ids, [12, 11, 10].map(id));

    let seqs = |lines: &[String]| -> Vec<i64> { lines.iter().map(|line| parse(line).unwrap().seq).collect() };
    let (lines, next) = trail.lines_before(&by_carol, None, 4).await.unwrap();
    assert_eq!((seqs(&lines), next), (vec![81, 82, 511, 512], Some(81)));
    let (lines, next) = trail.lines_before(&by_carol, next, 4).await.unwrap();
    assert_eq!((seqs(&lines), next), (vec![1, 2], None));
}

/// The lines of all pages, one behind another, are the trail.
#[tokio::test]
async fn the_pages_of_an_export_are_the_trail() {
    let folder = Folder::new();
    let trail = simulated(&folder);
    for number in 0..=255 {
        let mut fact = requested(number);
        let Event::Requested(requested) = &mut fact.event else { panic!("it was asked for") };
        requested.ask.reason = "x".repeat(500).parse().unwrap();
        trail.append(vec![fact, refused(number), refused(number), refused(number)], None).await.unwrap();
    }
    let (mut exported, mut pages, mut after) = (Vec::new(), 0, Some(0));
    while let Some(from) = after {
        let (lines, next) = trail.lines_after(from).await.unwrap();
        (pages, after) = (pages + 1, next);
        exported.extend(lines.into_iter().flat_map(|line| [line.into_bytes(), b"\n".to_vec()].concat()));
    }
    let mut whole = Vec::new();
    export(&folder.trail(), &mut whole).unwrap();
    assert!(exported == whole && whole.len() > 512 * 1024, "{}", whole.len());
    assert!(pages > 1, "{pages}");
    assert_eq!(trail.lines_after(1024).await.unwrap(), (vec![], None));
}
