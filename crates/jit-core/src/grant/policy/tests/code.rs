//! The policy as code: its own test cases, who may request what, and the differences between two policies.

use proptest::prelude::*;

use super::super::pattern::witness;
use super::*;

/// The result of a case with these keys in addition to the usual ones.
fn tested(policy: &str, keys: &str) -> Tested {
    let case = format!(
        "tests:\n- name: c\n  person: alice\n  groups: [oncall]\n  ask: {{cluster: prod, namespaces: [payments], role: view, for: 10m, reason: INC-42}}\n{keys}"
    );
    let policy = read(&format!("{policy}{case}"));
    policy.cases()[0].test(&policy)
}

/// Each key of a case is compared; absent keys are not.
#[test]
fn a_case_passes_if_everything_it_expects_happens() {
    let denied = format!("{}deny: [{{name: freeze, why: not now}}]\n", with(""));
    let free = with("approval: -\npreApproved: true");
    let table = [
        (with(""), "  outcome: ask\n", true),
        (with(""), "  outcome: ask\n  rule: payments\n  says: 1 of leads\n", true),
        (with(""), "  outcome: preApproved\n", false),
        (with(""), "  outcome: ask\n  says: 2 of leads\n", false),
        (free.clone(), "  outcome: preApproved\n  rule: payments\n  says: no approval needed\n", true),
        (free, "  outcome: ask\n", false),
        (denied.clone(), "  outcome: deny\n  rule: freeze\n  says: not now\n", true),
        (denied.clone(), "  outcome: deny\n  rule: thaw\n", false),
        (denied, "  outcome: ask\n", false),
        // No rule decided, so none can be expected.
        (with("roles: [edit]"), "  outcome: deny\n  says: does not allow role `view`\n", true),
        (with("roles: [edit]"), "  outcome: deny\n  rule: payments\n", false),
        (with("namespaces: [{labels: team=a}]"), "  labels: {payments: {team: a}}\n  outcome: ask\n", true),
        (with("namespaces: [{labels: team=a}]"), "  outcome: deny\n  says: labels are unknown\n", true),
        // The risk is judged by the rules that the case tells, as the daemon judges it by the role's.
        (
            with(""),
            "  roleRules: [{apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [\"*\"]}]\n  outcome: deny\n  says: never granted here\n",
            true,
        ),
    ];
    for (policy, keys, passes) in table {
        let tested = tested(&policy, keys);
        assert_eq!(tested.passed, passes, "{policy}{keys}{tested:?}");
    }
}

/// A case can expect every term that `jitd policy explain` prints.
#[test]
fn a_case_can_expect_every_term() {
    let glass = "breakGlass: {after: 0s, maxDuration: 5m, review: {groups: [security], count: 2, within: 60h}}";
    let policy = with(&format!("{glass}\nmaxTotal: 1h\nnarrow: true\ndrift: warn\npending: 30m\ncertificate: 5m"));
    let says = [
        "approval 1 of leads",
        "at most 1h",
        "pending 30m",
        "collect as config.yaml says",
        "certificate 5m",
        "narrow an approver may",
        "drift a changed role is recorded",
        "break-glass at once, for 5m, reviewed by 2 of security within 60h",
    ];
    let case = |says: &[&str]| tested(&policy, &format!("  outcome: ask\n  says: {}\n", serde_json::json!(says)));
    let found = case(&says);
    assert!(found.passed, "{found}", found = found.came);
    for wrong in says.map(|right| format!("{right}!")) {
        let mut says = says.to_vec();
        says.push(&wrong);
        assert!(!case(&says).passed, "{wrong}");
    }
    assert!(!tested(&with(""), "  outcome: ask\n  says: break-glass\n").passed);
}

/// Without `now`, a case with a start time would have another result tomorrow.
#[test]
fn a_start_needs_the_time_of_the_request() {
    let case = "tests: [{name: c, person: alice, groups: [oncall], ask: {cluster: prod, namespaces: [payments], role: view, for: 10m, reason: x, at: 2026-11-24T12:00:00Z}, NOW outcome: ask}]\n";
    let policy = with("startWithin: 2h");
    let faults = Policy::read(&format!("{policy}{}", case.replace("NOW", "")), None).unwrap_err();
    assert!(faults[0].path == "tests[0].ask.at" && faults[0].hint.contains("under `now`"), "{faults:?}");
    let policy = read(&format!("{policy}{}", case.replace("NOW", "now: 2026-11-24T11:00:00Z,")));
    assert!(policy.cases()[0].test(&policy).passed);
}

/// An answer says why each similar rule did not decide, and nothing about others.
#[test]
fn an_answer_names_every_similar_rule() {
    let rule =
        |name: &str, keys: &str| with(keys).replace("rules:\n", "").replace("name: payments", &format!("name: {name}"));
    let written = format!(
        "rules:\n{}{}{}{}{}",
        rule("short", "maxDuration: 5m"),
        rule("first", ""),
        rule("second", ""),
        rule("leads", "who: [leads]"),
        rule("far", "who: [leads]\nroles: [edit]"),
    );
    let (policy, labels) = (read(&written), Labels::new());
    let (alice, ask) = (alice(), ask());
    let question = Question { person: &alice, ask: &ask, now: now(), labels: &labels, rules: None };
    let answer = policy.answer(&question);
    let near: Vec<(&str, &str)> =
        answer.near.iter().map(|near| (near.rule.as_str(), near.missing[0].as_str())).collect();
    assert_eq!(
        near,
        [
            ("short", "allows at most 5m, not 10m"),
            ("second", "matches too, but `first` comes first"),
            ("leads", "is only for leads"),
        ]
    );
    assert_eq!((answer.by.as_deref(), answer.risk_judged), (Some("first"), false));
    let exact = AccessRequest { access: exactly(&["pods"], &["get"]), ..ask.clone() };
    assert!(policy.answer(&Question { ask: &exact, ..question }).risk_judged, "exact rules are known");
}

#[test]
fn a_witness_matches_all_patterns() {
    let selector = |text: &str| NamespacePattern::Labels(text.parse().unwrap());
    let name = |text: &str| text.parse::<NamespacePattern>().unwrap();
    let table: &[(&[NamespacePattern], Option<&str>)] = &[
        (&[name("payments")], Some("payments")),
        (&[name("team-*")], Some("team-x")),
        (&[name("*")], Some("x")),
        (&[name("team-*"), name("*-prod")], Some("team-prod")),
        (&[name("team-*"), name("team-a")], Some("team-a")),
        (&[name("a?"), name("*b")], Some("ab")),
        (&[name("team-*"), name("shop-*")], None),
        (&[name("team-*"), name("shop")], None),
        (&[selector("team=a,env!=prod"), selector("env")], Some("labelled")),
        (&[selector("team in (a,b)"), selector("team!=a")], Some("labelled")),
        (&[selector("team=a"), selector("team=b")], None),
        (&[selector("frozen"), name("team-*")], Some("team-x")),
        (&[selector("frozen"), selector("!frozen")], None),
        // Begins with a dash, as no name does.
        (&[name("-*")], None),
    ];
    for (patterns, expected) in table {
        let found = witness(&patterns.iter().collect::<Vec<_>>());
        assert_eq!(found.as_ref().map(|(name, _)| name.as_str()), *expected, "{patterns:?}");
    }
}

/// The differences after a change of one rule's keys, one per line.
#[test]
fn a_change_is_a_gain_a_loss_or_other_terms() {
    let table = [
        ("", "", "", vec![]),
        ("", "roles: [view, edit]", "", vec!["+ oncall payments role edit"]),
        (
            "",
            "who: [oncall, leads]\nroles: [edit]",
            "",
            vec!["+ leads payments role edit", "+ oncall payments role edit", "- oncall payments role view"],
        ),
        ("", "maxDuration: 20m", "", vec!["~ oncall payments role view"]),
        ("", "approval: [{groups: [leads], count: 2}]", "", vec!["~ oncall payments role view"]),
        ("", "reason: ^INC-", "", vec!["~ oncall payments role view"]),
        ("reason: {prompt: which}", "reason: {prompt: why}", "", vec!["unseen"]),
        ("", "namespaces: [payments, \"team-*\"]", "", vec!["+ oncall team-* role view"]),
        ("", "clusterWide: true", "", vec!["+ oncall the whole cluster role view"]),
        ("", "", "deny: [{name: f, why: w}]", vec!["- oncall payments role view"]),
        ("", "", "deny: [{name: f, why: w, roles: [edit]}]", vec!["unseen"]),
        // Only those who are in both groups lose it.
        ("", "", "deny: [{name: f, why: w, who: [guests]}]", vec!["- guests+oncall payments role view"]),
        // Only where both patterns meet.
        (
            "namespaces: [\"team-*\"]",
            "namespaces: [\"team-*\"]",
            "deny: [{name: f, why: w, namespaces: [\"*-prod\"]}]",
            vec!["- oncall team-* and *-prod role view"],
        ),
        (
            "namespaces: [{labels: team=a}]",
            "namespaces: [{labels: team=a}]",
            "deny: [{name: f, why: w, namespaces: [{labels: frozen}]}]",
            vec!["- oncall labels team=a and labels frozen role view"],
        ),
        (
            "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get, list]}]",
            "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]",
            "",
            vec!["- oncall payments exactly list pods"],
        ),
        (
            "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]",
            "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [\"*\"]}]",
            "",
            vec!["+ oncall payments exactly any pods"],
        ),
        ("", "", "limits: {live: 2}", vec!["~ limits.live none -> 2"]),
    ];
    for (old, new, more, expected) in table {
        let difference = diff(&read(&with(old)), &read(&format!("{}{more}\n", with(new))));
        let mut lines: Vec<String> = difference
            .cells
            .iter()
            .map(|change| format!("{} {} {} {}", change.sign, change.groups.join("+"), change.place, change.access))
            .collect();
        lines.extend(difference.settings.iter().map(|one| format!("~ {} {} -> {}", one.key, one.before, one.now)));
        lines.extend(difference.unseen.then(|| "unseen".to_owned()));
        assert_eq!(lines, expected, "{old} | {new} | {more}");
    }
}

/// A rule that no request reaches changes nothing, and neither does another name.
#[test]
fn a_rule_behind_a_wider_one_changes_nothing() {
    let second = with("maxDuration: 5m\napproval: [{groups: [security]}]")
        .replace("rules:\n", "")
        .replace("name: payments", "name: later");
    let difference = diff(&read(&with("")), &read(&format!("{}{second}", with(""))));
    assert!(difference.cells.is_empty() && difference.unseen, "{difference:?}");
    let first = with("maxDuration: 5m\napproval: [{groups: [security]}]").replace("name: payments", "name: before");
    let usual = with("").replace("rules:\n", "");
    let difference = diff(&read(&with("")), &read(&format!("{first}{usual}")));
    assert_eq!((difference.cells.len(), difference.cells[0].now.len()), (1, 2), "it is reached for up to 5m");
    let renamed = diff(&read(&with("")), &read(&with("").replace("name: payments", "name: other")));
    assert!(renamed.cells.is_empty(), "{renamed:?}");
}

#[test]
fn who_can_lists_the_denials_too() {
    let policy = read(&format!(
        "{}deny: [{{name: freeze, why: not now, namespaces: [shop]}}, {{name: guests, why: no, who: [guests]}}]\n",
        with("who: [oncall, leads]\nnamespaces: [payments, shop, {labels: team=a}]")
    ));
    let (role, cluster) = ("view".parse().unwrap(), "prod".parse().unwrap());
    let holders = |name: &str, known: &Labels| policy.who_can(&role, Some(&cluster), &namespaces(&[name]), known);
    let found = holders("payments", &Labels::new());
    assert_eq!(found.iter().map(|one| one.group.as_str()).collect::<Vec<_>>(), ["oncall", "leads"]);
    assert!(found[0].closed.is_none() && !found[0].if_labels);
    assert_eq!(found[0].except, ["guests (denied by `guests`)"]);
    assert_eq!(
        (found[0].offer.terms["maxDuration"].as_str(), found[0].offer.terms["approval"].as_str()),
        ("10m", "1 of leads")
    );
    assert_eq!(holders("shop", &Labels::new())[0].closed.as_deref(), Some("denied by `freeze`: not now"));
    assert!(holders("other", &Labels::new())[0].if_labels);
    assert!(!holders("other", &labels(&[("other", &[("team", "a")])]))[0].if_labels);
    assert!(holders("other", &labels(&[("other", &[])])).is_empty());
    assert!(
        holders("kube-system", &labels(&[("kube-system", &[("team", "a")])]))[0]
            .closed
            .as_ref()
            .unwrap()
            .contains("never.namespaces")
    );
    assert!(
        policy.who_can(&role, Some(&"test".parse().unwrap()), &namespaces(&["payments"]), &Labels::new()).is_empty()
    );
}

fn arbitrary_policy() -> impl Strategy<Value = String> {
    (arbitrary_rules(), proptest::sample::subsequence(DENIALS.to_vec(), 0..=2)).prop_map(|(rules, denials)| {
        let denials =
            denials.iter().enumerate().map(|(number, keys)| format!("{{name: d{number}, why: not now{keys}}}"));
        format!("{rules}deny: [{}]\n", denials.collect::<Vec<_>>().join(", "))
    })
}

proptest! {
    #[test]
    fn a_policy_does_not_differ_from_itself(written in arbitrary_policy()) {
        let difference = diff(&read(&written), &read(&written));
        prop_assert!(difference.is_empty(), "{:?}", difference);
    }

    /// One more denial is a loss wherever it is seen.
    #[test]
    fn a_denial_only_takes_away(rules in arbitrary_rules(), which in 0..DENIALS.len()) {
        let denied = format!("{rules}deny: [{{name: freeze, why: not now{}}}]\n", DENIALS[which]);
        for change in diff(&read(&rules), &read(&denied)).cells {
            prop_assert_eq!(change.sign, '-');
        }
        for change in diff(&read(&denied), &read(&rules)).cells {
            prop_assert_eq!(change.sign, '+');
        }
    }

    /// No line is made up: what it says of its witness is what the daemon would decide.
    #[test]
    fn each_line_is_what_would_be_decided(old in arbitrary_policy(), new in arbitrary_policy()) {
        let (old, new) = (read(&old), read(&new));
        for change in diff(&old, &new).cells {
            let (scope, access) = change.asked.clone();
            let asked = AccessRequest { scope, access, window: Window::LEAST, ..ask() };
            let person = Person { groups: change.groups.iter().cloned().collect(), ..alice() };
            let moment = Moment { labels: change.witness.clone(), ..Moment::usual() };
            for (policy, offers) in [(&old, &change.before), (&new, &change.now)] {
                let given = matches!(moment.decide(policy, &person, &asked), Decision::Ask(_));
                prop_assert_eq!(given, !offers.is_empty(), "{:?}", change);
            }
        }
    }
}
