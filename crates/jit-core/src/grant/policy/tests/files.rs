//! The files themselves: every mistake is reported at its position, and the schema agrees with the parser.

use regex::Regex;
use serde_json::Value as Json;

use super::super::schema::{Format, Key, Object, Shape};
use super::super::yaml::Node;
use super::super::{Fault, Policy, Source, Way, keys, schema};

/// Files that use every key correctly.
const WHOLE: &str = include_str!("whole.yaml");
const WHOLE_GUARDRAILS: &str = include_str!("whole-guardrails.yaml");

fn told(policy: &str, guardrails: Option<&str>) -> String {
    let faults = Policy::read(policy, guardrails).err().unwrap_or_default();
    faults.iter().map(|fault| format!("{fault}; hint: {}\n", fault.hint)).collect()
}

#[test]
fn every_key_is_read() {
    assert_eq!(told(WHOLE, Some(WHOLE_GUARDRAILS)), "");
    let policy = Policy::read(WHOLE, Some(WHOLE_GUARDRAILS)).unwrap();
    assert_eq!((policy.len(), policy.cases().len(), policy.limits().per_hour), (3, 2, Some(20)));
    let reach = policy.reach(&"prod".parse().unwrap());
    let places: Vec<String> = reach[0].namespaces.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["payments", "team-*", "labels team=payments,env!=prod"]);
    assert_eq!((reach[0].narrow, reach[1].cluster_wide, reach[0].rules.len()), (true, true, 1));
}

/// The daemon creates roles only in namespaces of a rule with a ceiling, except those that a guardrail excludes.
#[test]
fn roles_are_created_only_in_namespaces_of_a_ceiling_that_no_guardrail_excludes() {
    let read = |keys: &str| {
        let rule = "name: a, who: [oncall], clusters: [prod], maxDuration: 5m, approval: [{groups: [leads]}]";
        Policy::read(&format!("rules: [{{{rule}, {keys}}}]"), None).unwrap()
    };
    let ceiling = "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]";
    let prod = "prod".parse().unwrap();
    for (keys, makes) in [
        (format!("namespaces: [a], {ceiling}"), true),
        ("namespaces: [a], roles: [view], narrow: true".to_owned(), true),
        ("namespaces: [a], roles: [view]".to_owned(), false),
        (format!("clusterWide: true, {ceiling}"), false),
    ] {
        let policy = read(&keys);
        assert_eq!(policy.makes_roles(&prod), makes, "{keys}");
        assert!(!policy.makes_roles(&"other".parse().unwrap()), "{keys}");
    }
    let policy = read(&format!("namespaces: [\"kube-*\", {{labels: \"team=a\"}}], {ceiling}"));
    let labels = [("labelled", "a"), ("other", "b"), ("kube-flannel", "b"), ("kube-system", "a")]
        .map(|(name, team)| (name.parse().unwrap(), [("team".to_owned(), team.to_owned())].into()))
        .into();
    let reach = policy.reach(&prod);
    let fits = ["labelled", "kube-flannel", "other", "unknown", "kube-system"]
        .map(|name| reach[0].is_for(&name.parse().unwrap(), &labels));
    assert_eq!(fits, [true, true, false, false, false]);
}

/// A cluster that the configuration lacks is a fault of the policy, reported at its position.
#[test]
fn a_cluster_that_is_not_configured_is_reported_with_the_other_faults() {
    let policy = "rules:\n- {name: a, who: [a], clusters: [prod, prdo], namespaces: [a], roles: [view], maxDuration: 1x, preApproved: true}\n\
        deny: [{name: d, clusters: [dev], why: x}]\n\
        tests: [{name: t, person: alice, groups: [], outcome: deny, ask: {cluster: tset, namespaces: [a], role: view, for: 1m, reason: x}}]\n";
    let clusters = ["prod", "test"].map(|name| (name.parse().unwrap(), Way::Directly)).into();
    let found = Policy::read_for(policy, None, &clusters).unwrap_err();
    let found: Vec<(usize, &str, &str)> =
        found.iter().map(|fault| (fault.line, fault.path.as_str(), fault.hint.as_str())).collect();
    let expected = [
        (2, "rules[0].clusters[1]", "did you mean `prod`?"),
        (2, "rules[0].maxDuration", "write hours, minutes and seconds like 1h30m, 15m or 90s"),
        (3, "deny[0].clusters[0]", "use one of `prod`, `test`"),
        (4, "tests[0].ask.cluster", "did you mean `test`?"),
    ];
    assert_eq!(found, expected);
    assert_eq!(Policy::read(policy, None).unwrap_err().len(), 1);
}

/// Every mistake of both files is reported at once, each at its position, in the order of the files.
#[test]
fn every_mistake_is_reported_at_its_position() {
    let told = told(include_str!("wrong.yaml"), Some(include_str!("wrong-guardrails.yaml")));
    assert_eq!(told, include_str!("wrong.txt"), "{told}");
}

/// Unsupported YAML is refused with its position, and a small file never expands into a large one.
#[test]
fn unsupported_yaml_is_refused() {
    let deep = "[".repeat(100);
    let bomb = "a: &a [1]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n";
    let table: &[(&str, &str)] = &[
        ("rules: [", ":"),
        ("rules: []\n\tx: 1", ":2:"),
        (&deep, ":1:"),
        (bomb, ":1:7: anchors are not supported"),
        (bomb, ":3:5: aliases are not supported"),
        ("rules: *x", ":1:8: "),
        ("rules: !!seq []", ": tags are not supported"),
        ("rules: []\n---\nrules: []\n", "a file contains one document only"),
        ("{<<: {rules: []}}", ":1:2: <<: merge keys are not supported"),
        ("? [a]\n: b\n", "the key is not a word"),
        ("rules: []\nrules: []\n", ":2:1: rules: is written twice, first in line 1"),
        ("[]", ":1:1: is a list; hint: write a map with rules"),
        ("", ":1:1: `rules` is missing"),
        ("%YAML 1.2\n---\nrules: []\n", ":1:1"),
    ];
    for (text, expected) in table {
        let told = told(text, None);
        assert!(told.contains(expected) && told.starts_with("policy.yaml:"), "{text}\n{told}");
    }
    assert!(told(&" ".repeat((1 << 20) + 1), None).contains("larger than 1 MiB"));
}

/// Both files are read even if the first has faults, and unreadable guardrails are never treated as absent.
#[test]
fn a_guardrails_file_with_faults_is_not_ignored() {
    let faults = Policy::read("rules: 1", Some("maxRisk: awful")).unwrap_err();
    let files: Vec<Source> = faults.iter().map(|fault| fault.file).collect();
    assert_eq!(files, [Source::Policy, Source::Guardrails]);
    assert!(Policy::read("rules: []", Some("maxRisk: [")).is_err());
    let fault = Fault { path: String::new(), ..faults[0].clone() };
    assert!(fault.at("/etc/jitd/p.yaml").starts_with("/etc/jitd/p.yaml:1:8: is a number"));
}

/// A key that no test uses could be parsed wrong without anybody noticing.
#[test]
fn the_whole_files_use_every_key() {
    fn unused(object: &'static Object, nodes: &[&Node], path: &str, found: &mut Vec<String>) {
        for Key { name, shape, .. } in object.keys {
            let values: Vec<&Node> = nodes.iter().filter_map(|node| node.get(name)).collect();
            if values.is_empty() {
                found.push(format!("{path}.{name}"));
            }
            below(shape, &values, &format!("{path}.{name}"), found);
        }
    }
    fn below(shape: &'static Shape, nodes: &[&Node], path: &str, found: &mut Vec<String>) {
        match shape {
            Shape::List(of, _) => {
                below(of, &nodes.iter().flat_map(|node| node.list()).collect::<Vec<_>>(), path, found)
            }
            Shape::Object(object) => unused(object, nodes, path, found),
            Shape::Either(one, other) => {
                below(one, nodes, path, found);
                below(other, nodes, path, found);
            }
            _ => {}
        }
    }
    for (source, text) in [(Source::Policy, WHOLE), (Source::Guardrails, WHOLE_GUARDRAILS)] {
        let mut found = Vec::new();
        below(keys::of(source), &[&Node::read(text).unwrap()], source.file_name(), &mut found);
        assert_eq!(found, [""; 0]);
    }
}

/// The schema has exactly the keys of the parser, with their descriptions.
#[test]
fn the_schema_has_the_keys_of_the_parser() {
    fn same(shape: &Shape, schema: &Json, path: &str) {
        match shape {
            Shape::Object(object) => {
                let there: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
                let mut keys: Vec<&str> = object.keys.iter().map(|key| key.name).collect();
                keys.sort_unstable();
                assert_eq!(there, keys, "{path}");
                assert_eq!(schema["additionalProperties"], false);
                for key in object.keys {
                    let schema = &schema["properties"][key.name];
                    assert_eq!(schema["description"], key.about);
                    same(key.shape, schema, &format!("{path}.{}", key.name));
                }
            }
            Shape::List(of, _) => same(of, &schema["items"], path),
            Shape::Either(one, other) => {
                same(one, &schema["anyOf"][0], path);
                same(other, &schema["anyOf"][1], path);
            }
            _ => {}
        }
    }
    for source in [Source::Policy, Source::Guardrails] {
        let schema = schema(source);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        same(keys::of(source), &schema, source.file_name());
    }
}

/// The schema accepts every value that the parser accepts.
#[test]
fn the_schema_accepts_every_value_of_the_parser() {
    fn formats(shape: &'static Shape, found: &mut Vec<Format>) {
        match shape {
            Shape::Text(format) => found.push(*format),
            Shape::List(of, _) => formats(of, found),
            Shape::Map(words, of) => {
                found.push(*words);
                formats(of, found);
            }
            Shape::Object(object) => object.keys.iter().for_each(|key| formats(key.shape, found)),
            Shape::Either(one, other) => {
                formats(one, found);
                formats(other, found);
            }
            Shape::Word(_) | Shape::Whole(..) | Shape::Flag | Shape::True => {}
        }
    }
    let words = [
        "payments",
        "team-*",
        "ns-?",
        "view",
        "role/restart",
        "clusterrole/a:b.c",
        "*admin*",
        "10m",
        "1h30m",
        "90s",
        "0s",
        "24h",
        "08:00",
        "24:00",
        "Europe/Berlin",
        "UTC",
        "Etc/GMT+1",
        "^INC-[0-9]+",
        "team in (a,b),!x",
        "a=b",
        "E25",
        "ticket",
        "https://a.example/b",
        "2026-11-23T18:00:00Z",
        "2026-11-23 18:00:00+01:00",
        "alice",
        "alice@example.com",
        "Größe",
        "a b c",
        "-",
        "",
        " ",
        "10 minutes",
        "é",
        "*",
        "kube-*",
    ];
    let mut all = Vec::new();
    formats(keys::of(Source::Policy), &mut all);
    formats(keys::of(Source::Guardrails), &mut all);
    assert!(all.len() > 40);
    for Format { name, pattern, check } in all {
        let pattern = Regex::new(pattern).unwrap();
        for word in words {
            assert!(check(word).is_err() || pattern.is_match(word), "{name}: `{word}`");
        }
    }
}
