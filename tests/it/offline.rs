//! The verbs of `jitd policy`, which need files and no daemon: what they say, and with which exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::bastion::{Bastion, Options, repository, text};
use crate::plane::{Plane, root, scratch};

const POLICY: &str = r#"rules:
  - name: payments
    who: [payments-oncall]
    clusters: [prod]
    namespaces: [payments, "team-*"]
    roles: [view, debug]
    maxDuration: 10m
    reason: ^INC-[0-9]+
    approval: [{groups: [payments-leads]}]
  - name: look
    who: [security]
    clusters: [prod, test]
    clusterWide: true
    roles: [view]
    maxDuration: 5m
    approval: [{groups: [security]}]
deny:
  - {name: freeze, who: [contractors], namespaces: ["*-prod"], clusterWide: false, why: contractors have no business there}
tests:
  - name: on-call looks at payments
    person: alice
    groups: [payments-oncall]
    ask: {cluster: prod, namespaces: [payments], role: view, for: 10m, reason: INC-42 queue stuck}
    outcome: ask
    rule: payments
    says: 1 of payments-leads
  - name: the freeze holds
    person: carol
    groups: [payments-oncall, contractors]
    ask: {cluster: prod, namespaces: [team-prod], role: view, for: 10m, reason: INC-42 queue stuck}
    outcome: deny
    rule: freeze
"#;

/// A folder with this policy in it.
fn folder(policy: &str) -> PathBuf {
    let folder = scratch("offline");
    std::fs::write(folder.join("policy.yaml"), policy).unwrap();
    folder
}

/// `jitd policy …` in a folder, the words as a person writes them; double quotes keep words together.
fn run(folder: &Path, command: &str) -> Output {
    let words = command.split('"').enumerate().flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    Command::new(root().join("bin/jitd")).arg("policy").args(words).current_dir(folder).output().unwrap()
}

#[track_caller]
fn says(folder: &Path, command: &str, code: i32, stdout: &str) -> String {
    let done = run(folder, command);
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), (stdout, Some(code)), "{}", text(&done.stderr));
    text(&done.stderr)
}

fn json(folder: &Path, command: &str) -> Value {
    serde_json::from_slice(&run(folder, command).stdout).unwrap()
}

#[test]
fn the_cases_of_a_policy_are_a_line_each() {
    let here = folder(POLICY);
    says(
        &here,
        "test --policy policy.yaml",
        0,
        "ok     policy.yaml:20: on-call looks at payments\nok     policy.yaml:27: the freeze holds\n\
         cases: 2, ok: 2, failed: 0\n",
    );
    let broken = folder(&POLICY.replace("maxDuration: 10m", "maxDuration: 9m"));
    says(
        &broken,
        "test --policy policy.yaml",
        3,
        "FAILED policy.yaml:20: on-call looks at payments: expected ask by `payments`, saying `1 of payments-leads`; \
         got deny, saying `no rule allows this; the nearest is `payments`, but it allows at most 9m, not 10m`\n\
         ok     policy.yaml:27: the freeze holds\ncases: 2, ok: 1, failed: 1\n",
    );
    let results = json(&broken, "test --policy policy.yaml -o json");
    assert_eq!((&results[0]["passed"], &results[0]["came"]["outcome"]), (&false.into(), &"deny".into()));
    assert_eq!((&results[1]["passed"], &results[1]["line"]), (&true.into(), &27.into()));
    let none = folder("rules: []\n");
    says(&none, "test --policy policy.yaml", 0, "policy.yaml: no cases; hint: add some under `tests:`\n");
    let faulty = folder("rules: 1\n");
    let told = says(&faulty, "test --policy policy.yaml", 2, "");
    assert!(told.contains("policy.yaml:1:8: rules: is a number"), "{told}");
}

#[test]
fn a_request_is_explained_with_every_rule_that_came_near() {
    let here = folder(POLICY);
    let told = says(
        &here,
        r#"explain --policy policy.yaml --as alice --group payments-oncall --cluster prod -n payments --role view --for 5m --reason "INC-42 stuck""#,
        0,
        "alice (payments-oncall) requests role view in namespace payments on cluster prod, for 5m\n\
         ask          by rule `payments`\napproval     1 of payments-leads\nat most      10m, extensions included\npending      as config.yaml says\n\
         collect      as config.yaml says\ncertificate  as config.yaml says\n\
         narrow       to the role as it is\ndrift        a changed role ends the grant\n\
         notify       payments-leads to answer; the requester of what becomes of it\n\
         record       each request, without content, of clusters behind the gateway\n",
    );
    assert!(told.contains("the risk of role view is not judged here") && told.contains("hint: "), "{told}");
    says(
        &here,
        "explain --policy policy.yaml --as alice --group payments-oncall --cluster prod --cluster-wide --role view --for 5m --reason because",
        3,
        "alice (payments-oncall) requests role view in all of cluster prod, for 5m\ndeny\n\
         why          no rule allows this; the nearest is `payments`, but it is not for the whole cluster (only `payments`, `team-*`), and it requires a reason like `^INC-[0-9]+`\n\
         near         `payments` is not for the whole cluster (only `payments`, `team-*`), requires a reason like `^INC-[0-9]+`\n\
         near         `look` is only for security\n",
    );
    let guarded = "explain --policy policy.yaml --as carol --group payments-oncall --group contractors --cluster prod -n team-prod --role view --for 5m --reason INC-1 -o json";
    let answer = json(&here, guarded);
    assert_eq!((&answer["outcome"], &answer["by"]), (&"deny".into(), &"freeze".into()));
    assert_eq!(answer["near"][0]["missing"][0], "matches, but no rule can override what denies it");
    std::fs::write(here.join("guardrails.yaml"), "maxDuration: 24h\nnever: {namespaces: [\"team-*\"]}\n").unwrap();
    let beside = json(&here, &guarded.replace(" --group contractors", ""));
    assert_eq!(beside["by"], "never.namespaces", "the guardrails beside the policy hold");
}

/// The people and their groups are the configuration's when its policy is asked.
#[test]
fn the_files_of_the_configuration_are_asked_and_their_people_are_known() {
    let bastion = Bastion::prepared(Plane::shared(), Options::default());
    let ns = bastion.ns.as_str();
    let place = ["--cluster", "play", "-n", ns, "--role", "view", "--for", "5m", "--reason", "INC-1"];
    for (person, code) in [("alice", 0), ("bob", 3), ("nobody-here", 2)] {
        let done = bastion.jitd(&[&["policy", "explain", "--as", person], place.as_slice()].concat());
        assert_eq!(done.status.code(), Some(code), "{person} {}{}", text(&done.stdout), text(&done.stderr));
    }
    let who = text(&bastion.jitd(&["policy", "who-can", "view", "-n", ns]).stdout);
    assert!(
        who.starts_with("play  payments-oncall (alice, carol)  rule `payments`: approval 1 of payments-leads; "),
        "{who}"
    );

    // A policy whose own tests fail does not pass, and says which.
    let policy = Options::default().policy;
    let case = |outcome: &str| {
        format!(
            "{policy}tests: [{{name: alice looks, person: alice, groups: [payments-oncall], ask: {{cluster: play, namespaces: [NS], role: view, for: 5m, reason: INC-1}}, outcome: {outcome}}}]\n"
        )
    };
    bastion.write_policy(&case("ask"));
    let checked = bastion.jitd(&["check"]);
    assert!(checked.status.success() && text(&checked.stdout).contains("1 case passes"), "{}", text(&checked.stdout));
    bastion.write_policy(&case("preApproved"));
    let checked = bastion.jitd(&["check"]);
    assert_eq!((checked.status.code(), text(&checked.stdout).as_str()), (Some(3), ""));
    let told = text(&checked.stderr);
    assert!(
        told.contains("alice looks: expected preApproved; got ask by `payments`") && told.contains("1 of 1"),
        "{told}"
    );
}

#[test]
fn who_can_ask_is_a_line_each_with_what_closes_it() {
    let here = folder(POLICY);
    says(
        &here,
        "who-can view --policy policy.yaml -n team-prod",
        0,
        "prod  payments-oncall  rule `payments`: approval 1 of payments-leads; maxDuration 10m; maxTotal 10m; \
         reason like `^INC-[0-9]+`; record metadata; not for contractors (denied by `freeze`)\n",
    );
    says(
        &here,
        "who-can view --policy policy.yaml --cluster-wide --cluster test",
        0,
        "test  security  rule `look`: approval 1 of security, and 1 of security (guardrail: cluster-wide access needs 2 approvers); \
         maxDuration 5m; maxTotal 5m; record metadata\n",
    );
    let told = says(&here, "who-can edit --policy policy.yaml -n payments", 3, "");
    assert!(told.contains("no rule allows anybody to request role edit there"), "{told}");
    std::fs::write(here.join("strict.yaml"), "never: {namespaces: [\"*-prod\"]}\n").unwrap();
    let closed = json(&here, "who-can view --policy policy.yaml --guardrails strict.yaml -n team-prod -o json");
    assert!(closed[0]["closed"].as_str().unwrap().contains("never.namespaces"), "{closed}");
    assert_eq!(
        run(&here, "who-can view --policy policy.yaml --guardrails strict.yaml -n team-prod").status.code(),
        Some(3)
    );
}

#[test]
fn two_policies_are_compared_by_who_gains_and_who_loses() {
    let here = folder(POLICY);
    let new = POLICY
        .replace("roles: [view, debug]", "roles: [view, edit]")
        .replace("maxDuration: 5m", "maxDuration: 15m")
        .replace("who: [contractors], namespaces: [\"*-prod\"]", "namespaces: [\"*-prod\"]");
    std::fs::write(here.join("new.yaml"), new).unwrap();
    std::fs::write(here.join("strict.yaml"), "clusterWide: {approvers: 3}\n").unwrap();
    let terms = "rule `payments`: approval 1 of payments-leads; maxDuration 10m; maxTotal 10m; reason like `^INC-[0-9]+`; record metadata";
    says(
        &here,
        "diff policy.yaml new.yaml --new-guardrails strict.yaml",
        3,
        &format!(
            "- prod  payments-oncall  payments  role debug  {terms}\n\
             + prod  payments-oncall  payments  role edit  {terms}\n\
             - prod  payments-oncall  team-* (such as team-x)  role debug  {terms}\n\
             + prod  payments-oncall  team-* (such as team-x)  role edit  {terms}\n\
             - prod  payments-oncall  team-* and *-prod (such as team-prod)  role view  {terms}\n\
             {}{}~ guardrails.clusterWide.approvers  2 -> 3\n",
            LOOK.replace("CLUSTER", "prod"),
            LOOK.replace("CLUSTER", "test"),
        ),
    );
    // Who records less gives other terms.
    let recorded = POLICY.replacen("maxDuration: 10m", "maxDuration: 10m\n    record: required\n    idle: 5m", 1);
    std::fs::write(here.join("recorded.yaml"), recorded).unwrap();
    let told = text(&run(&here, "diff recorded.yaml policy.yaml").stdout);
    let line =
        "~ prod  payments-oncall  payments  role view  rule `payments`: idle 5m -> none; record required -> metadata";
    assert!(told.lines().any(|told| told == line), "{told}");
    says(&here, "diff policy.yaml policy.yaml", 0, "");
    assert_eq!(json(&here, "diff policy.yaml policy.yaml -o json")["cells"], serde_json::json!([]));
    let renamed = POLICY.replace("{name: freeze", "{name: winter");
    std::fs::write(here.join("renamed.yaml"), renamed).unwrap();
    let told = says(&here, "diff policy.yaml renamed.yaml", 3, "");
    assert!(told.contains("no line shows it") && told.contains("hint: "), "{told}");
    says(&here, "diff policy.yaml missing.yaml", 2, "");
}

const LOOK: &str = "~ CLUSTER  security  the whole cluster  role view  rule `look`: approval 1 of security, and 1 of security \
    (guardrail: cluster-wide access needs 2 approvers) -> 1 of security, and 2 of security (guardrail: cluster-wide \
    access needs 3 approvers); maxDuration 5m -> 15m; maxTotal 5m -> 15m\n";

/// The schemas are JSON of the right file; that they say what the reader says is shown beside the reader.
#[test]
fn the_schemas_are_printed() {
    let here = folder(POLICY);
    for (command, title) in
        [("schema", "policy.yaml"), ("schema policy", "policy.yaml"), ("schema guardrails", "guardrails.yaml")]
    {
        assert_eq!(json(&here, command)["title"], title);
    }
}

/// The policy of the play passes its own tests.
#[test]
fn the_policy_of_the_play_is_tested() {
    let done = run(repository(), "test --policy tests/play/policy.yaml");
    assert!(
        done.status.success() && text(&done.stdout).ends_with("cases: 6, ok: 6, failed: 0\n"),
        "{}",
        text(&done.stdout)
    );
}
