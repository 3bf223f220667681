//! What a person may request, compared with the decisions.

use super::*;
use crate::grant::policy::pattern::Overlap;

/// `CLUSTERS NAMESPACES ROLES | except`, a line an entitlement.
fn told(policy: &Policy, person: &Person) -> Vec<String> {
    let words = |all: &[String]| all.join(",");
    let (entitlements, closed) = policy.entitlements(person);
    let open = entitlements.into_iter().map(|one| {
        let clusters: Vec<String> = one.clusters.iter().map(ToString::to_string).collect();
        let namespaces: Vec<String> = one.namespaces.iter().map(ToString::to_string).collect();
        let roles: Vec<String> = one.roles.iter().map(ToString::to_string).collect();
        let place = if namespaces.is_empty() { "*all*".to_owned() } else { words(&namespaces) };
        format!("{} {place} {} | {}", words(&clusters), words(&roles), one.except.join("; ")).trim_end().to_owned()
    });
    open.chain(closed.into_iter().map(|one| format!("closed {}: {}", one.rule, one.by.join("; ")))).collect()
}

/// Only denials that match the person and the rule are listed; whatever they deny completely is omitted.
#[test]
fn a_denial_removes_exactly_what_it_denies() {
    let rule = with("clusters: [prod, lab]\nnamespaces: [payments, \"team-*\"]\nroles: [view, edit]");
    let open = "payments,team-* view,edit |";
    for (deny, expected) in [
        ("who: [others]", vec![format!("prod,lab {open}")]),
        ("clusters: [elsewhere]", vec![format!("prod,lab {open}")]),
        ("namespaces: [shop]", vec![format!("prod,lab {open}")]),
        ("roles: [admin]", vec![format!("prod,lab {open}")]),
        ("clusterWide: true", vec![format!("prod,lab {open}")]),
        ("roles: [edit]", vec!["prod,lab payments,team-* view | denied by `d` (role edit): no".to_owned()]),
        ("clusters: [lab]", vec![format!("prod {open}")]),
        (
            "namespaces: [payments]",
            vec!["prod,lab team-* view,edit | denied by `d` (namespace payments): no".to_owned()],
        ),
        (
            "namespaces: [\"team-blue\"]",
            vec![format!("prod,lab {open} denied by `d`, in namespaces like team-blue (namespace team-*): no")],
        ),
        ("who: [oncall]", vec!["closed payments: denied by `d`: no".to_owned()]),
    ] {
        let policy = read(&format!("{rule}deny:\n- {{name: d, why: no, {deny}}}\n"));
        assert_eq!(told(&policy, &alice()), expected, "{deny}");
    }
    let stranger = Person { groups: ["others".to_owned()].into(), ..alice() };
    assert_eq!(told(&read(&rule), &stranger), [""; 0]);
}

/// A step of the guardrails is listed unless the rule's own steps satisfy it, as in the decision.
#[test]
fn a_step_that_a_risk_adds_is_listed_unless_the_rule_has_it() {
    let guardrails = "risks: [{ids: [E25], step: {groups: [security]}}, {severity: high, step: {groups: [leads, security], count: 2}}]\n";
    let listed = |approval: &str| {
        let (entitlements, _) = guarded(&with(approval), guardrails).entitlements(&alice());
        entitlements[0].by_risk.iter().map(|step| step.groups.join("+")).collect::<Vec<_>>()
    };
    assert_eq!(listed("approval: [{groups: [leads]}]"), ["security", "leads+security"]);
    assert_eq!(listed("approval: [{groups: [security]}]"), ["leads+security"]);
    assert_eq!(listed("approval: [{groups: [security], count: 2}]"), [""; 0]);
}

/// How much of a pattern another one matches; if that is unknown, it is a part.
#[test]
fn patterns_overlap_as_far_as_known() {
    let pattern = |text: &str| -> NamespacePattern {
        match text.strip_prefix("labels ") {
            Some(selector) => NamespacePattern::Labels(selector.parse().unwrap()),
            None => text.parse().unwrap(),
        }
    };
    for (one, other, expected) in [
        ("a", "a", Overlap::All),
        ("a", "b", Overlap::No),
        ("a", "*", Overlap::All),
        ("a-1", "a-?", Overlap::All),
        ("a-*", "a-1", Overlap::Some),
        ("a-*", "b-1", Overlap::No),
        ("a-*", "a*", Overlap::All),
        ("a*", "a-*", Overlap::Some),
        ("a*", "a?", Overlap::Some),
        ("a-*", "b-*", Overlap::No),
        ("a*", "*b", Overlap::Some),
        ("a", "labels x=y", Overlap::Some),
        ("labels x=y", "a", Overlap::Some),
        ("labels x=y", "labels x=y", Overlap::All),
        ("labels x=y", "*", Overlap::Some),
    ] {
        assert_eq!(pattern(one).overlap(&pattern(other)), expected, "{one} {other}");
    }
}

/// A rule for the right place is nearer than any rule for another place, whatever fields are missing.
#[test]
fn the_nearest_rule_lacks_least() {
    let rule = |name: &str, keys: &str| with(keys).replacen("name: payments", &format!("name: {name}"), 1);
    let elsewhere = rule("elsewhere", "namespaces: [shop]");
    let here = rule("here", "roles: [edit]\nmaxDuration: 1m\nreason: ^OPS").replace("rules:\n", "");
    let policy = read(&format!("{elsewhere}{here}"));
    let denied = could_be_asked(&policy, &alice(), &ask(), now(), Usage::default()).unwrap_err();
    assert_eq!(denied.nearest(), Some("here"));
}

/// Fields that are not given yet are asked for; given fields must satisfy the rule.
#[test]
fn a_draft_lacks_the_fields_that_are_not_given() {
    let policy =
        read(&with("reason: ^INC\nfields: [{name: ticket, type: text, required: true}, {name: note, type: text}]"));
    let draft = |ask: &AccessRequest, reason: bool| {
        let words = Words::Draft { reason };
        draft_could_be_asked(&policy, &alice(), ask, words, now(), Usage::default()).is_ok()
    };
    let wrong = AccessRequest { reason: "OPS".parse().unwrap(), ..ask() };
    assert!(could_be_asked(&policy, &alice(), &ask(), now(), Usage::default()).is_err(), "the field is missing");
    assert!(draft(&ask(), true) && draft(&wrong, false) && !draft(&wrong, true));
    let needs = |ask: &AccessRequest, reason| policy.rules()[0].still_needs(ask, Words::Draft { reason });
    let says: Vec<String> = needs(&ask(), false).into_iter().map(|need| need.says).collect();
    assert_eq!(says, ["a reason like `^INC`", "the field `ticket`, text"]);
    let told = AccessRequest { fields: [("ticket".parse().unwrap(), "7".parse().unwrap())].into(), ..ask() };
    assert_eq!(needs(&told, true), []);
}
