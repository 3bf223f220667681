//! The OpenAPI document that the daemon serves: well-formed, equal to the routes, and true about every answer.

use std::collections::BTreeSet;

use jitd::grant::GrantId;
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, ERIN, Key, Options, Person, ROOT, path, repository, text};
use crate::frontend;
use crate::plane::{Plane, until};
use crate::playback::{Kept, SESSION};

/// Every word of the document stands where OpenAPI 3.1 has it, and every reference leads somewhere
/// (<https://spec.openapis.org/oas/v3.1.1.html>).
#[test]
fn the_document_is_well_formed() {
    let bastion = Bastion::start();
    let document = document(&bastion);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for reference in references(&document) {
        let pointer = reference.strip_prefix('#').expect("only what is in the document is referred to");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'));
        let templates: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for (method, operation) in methods.as_object().unwrap() {
            assert!(["get", "post"].contains(&method.as_str()), "{method} {path}");
            let mut named = BTreeSet::new();
            let mut in_path = BTreeSet::new();
            for parameter in operation["parameters"].as_array().unwrap() {
                let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
                assert!(named.insert((name, place)), "{name} is there twice in {method} {path}");
                assert!(["path", "query"].contains(&place) && parameter["schema"].is_object());
                if place == "path" {
                    assert_eq!(parameter["required"], true);
                    in_path.insert(name);
                }
            }
            assert_eq!(in_path, templates, "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("default") && responses.len() == 2, "{method} {path}");
            for (status, response) in responses {
                assert!(status == "default" || (status.len() == 3 && status.starts_with('2')), "{status}");
                assert!(response["description"].is_string());
                assert!(response["content"].as_object().unwrap().values().all(|content| content["schema"].is_object()));
            }
            let takes_a_body = method == "post" && !path_takes_no_body(path);
            assert_eq!(operation.get("requestBody").is_some(), takes_a_body, "{method} {path}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if schema["enum"].is_array() || schema["oneOf"].is_array() {
            // Words of ours, or one of several forms.
            assert!(schema["properties"].is_null(), "{name}");
        } else {
            assert_eq!(schema["type"], "object", "{name}");
            let properties = schema["properties"].as_object().unwrap();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            assert!(required.iter().all(|field| properties.contains_key(field.as_str().unwrap())), "{name}");
        }
        let used = references(&document).iter().any(|reference| reference.ends_with(&format!("/{name}")));
        assert!(used, "{name} is referred to by nothing");
    }
}

/// The document has the routes of the table in the source and no other, and the server has all of them.
#[test]
fn the_document_has_every_route_and_no_other() {
    let bastion = Bastion::start();
    let document = document(&bastion);
    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let source = std::fs::read_to_string(repository().join("src/api/mod.rs")).unwrap();
    let written: BTreeSet<&str> =
        source.split('"').filter(|word| word.starts_with('/') && !word.contains(' ')).collect();
    assert_eq!(paths, written);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "0000000000000000");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            // One account has not so many connections a second as this has calls.
            let (status, answer) = until("a place for a connection", || {
                let answered = bastion.call(ALICE, method, &path, &Value::Null);
                (answered.1["code"] != "busy").then_some(answered)
            });
            let is_there = methods.get(method.to_lowercase()).is_some();
            assert_eq!(answer["code"] != "no-such-route", is_there, "{method} {path}: {status} {answer}");
            assert_eq!(status != 405, is_there, "{method} {path}: {status} {answer}");
        }
    }
}

/// One answer of every route, and what was sent for it, has exactly the fields of its schema; so has every
/// refusal.
#[test]
fn every_answer_is_as_the_document_says() {
    let policy = crate::glass::policy("0s", "4h");
    let config = frontend::CONFIG.to_owned();
    let bastion = Bastion::with(Plane::shared(), Options { policy, config, ..Options::default() });
    let document = document(&bastion);
    let mut sample = Sample { bastion: &bastion, document: &document, seen: BTreeSet::new() };
    let (key, ask) = (Key::new(), bastion.ask("5m"));
    let (null, body) = (Value::Null, json!({ "ask": ask, "csr": key.csr() }));
    for path in ["/healthz", "/metrics", "/v1/openapi.json", "/v1/whoami", "/v1/clusters", "/v1/entitlements"] {
        sample.call(ALICE, "get", path, path, &null);
    }
    sample.call(ALICE, "post", "/v1/explain", "/v1/explain", &ask);
    // Only people of a provider offer a link, through the front end's socket.
    let (mut wire, _) = frontend::Wire::introduced(&bastion, &frontend::introduction("frieda", &[])).unwrap();
    let (status, link) = wire.call("POST", "/v1/links", &null);
    let answers = &document["paths"]["/v1/links"]["post"]["responses"][status.to_string()]["content"];
    sample.fits(&answers["application/json"]["schema"], &link, "the answer to post /v1/links");
    sample.seen.insert(("post".to_owned(), "/v1/links".to_owned()));
    let code = json!({ "code": link["code"] });
    let query = format!("/v1/links?code={}", link["code"].as_str().unwrap());
    sample.call(BOB, "get", "/v1/links", &query, &null);
    sample.call(BOB, "post", "/v1/links/accept", "/v1/links/accept", &code);
    let mut denied = ask.clone();
    denied["role"] = json!("cluster-admin");
    sample.call(ALICE, "post", "/v1/explain", "/v1/explain", &denied);
    sample.call(BOB, "post", "/v1/explain", "/v1/explain", &denied);

    let of = |grant: &Value, rest: &str| (format!("/v1/grants/{{id}}{rest}"), path(grant, rest));
    let ask_again = |sample: &mut Sample| sample.call(ALICE, "post", "/v1/grants", "/v1/grants", &body);
    let on = |sample: &mut Sample, person, method: &str, grant: &Value, rest: &str, query: &str, body: &Value| {
        let (route, path) = of(grant, rest);
        sample.call(person, method, &route, &format!("{path}{query}"), body)
    };
    let reason = json!({ "reason": "not now" });
    let withdrawn = ask_again(&mut sample);
    on(&mut sample, ALICE, "post", &withdrawn, "/withdraw", "", &null);
    for end in ["/end", "/revoke"] {
        let grant = ask_again(&mut sample);
        on(&mut sample, ALICE, "get", &grant, "", "", &null);
        on(&mut sample, BOB, "post", &grant, "/approve", "", &json!({ "digest": grant["digest"] }));
        on(&mut sample, ALICE, "post", &grant, "/certificate", "", &json!({ "csr": key.csr() }));
        on(&mut sample, ALICE, "get", &grant, "/wait", "?phase=pending&answers=0&timeout=1", &null);
        let more = json!({ "duration": "1m", "reason": "INC-42 not done" });
        on(&mut sample, ALICE, "post", &grant, "/extend", "", &more);
        on(&mut sample, BOB, "get", &grant, "", "", &null);
        let id: GrantId = id_of(&grant).parse().unwrap();
        Kept::of(bastion.dir.join("gateway/sessions"), id).session(&[(0.1, "o", "hello")]);
        on(&mut sample, ALICE, "get", &grant, "/sessions", "?reads=true", &null);
        on(&mut sample, BOB, "get", &grant, "/recording", &format!("?session={SESSION}"), &null);
        sample.call(ERIN, "get", "/v1/sessions", "/v1/sessions?limit=9", &null);
        let read = json!({ "grant": id_of(&grant), "what": "recording", "session": SESSION });
        sample.call(ROOT, "post", "/v1/sessions/read", "/v1/sessions/read", &read);
        let (person, body) = if end == "/end" { (ALICE, &null) } else { (BOB, &reason) };
        on(&mut sample, person, "post", &grant, end, "", body);
        on(&mut sample, ERIN, "get", &grant, "/events", "", &null);
        on(&mut sample, ERIN, "get", &grant, "", "", &null);
    }
    let broken = ask_again(&mut sample);
    let glass = on(&mut sample, ALICE, "post", &broken, "/break-glass", "", &reason)["breakGlass"].clone();
    let review = json!({ "digest": glass["digest"], "verdict": "justified", "words": "fine" });
    let reviewed = on(&mut sample, BOB, "post", &broken, "/review", "", &review);
    assert_eq!(reviewed["breakGlass"]["reviews"][0]["by"], "bob", "{reviewed}");
    // Now, for it keeps the glass whole.
    let denied = ask_again(&mut sample);
    on(&mut sample, BOB, "post", &denied, "/deny", "", &reason);
    sample.call(ERIN, "get", "/v1/grants", "/v1/grants?all=true&limit=3", &null);
    sample.call(ERIN, "get", "/v1/events", "/v1/events?person=alice&limit=9", &null);
    sample.call(ERIN, "get", "/v1/trail", "/v1/trail?after=3", &null);
    sample.call(ALICE, "get", "/v1/changes", "/v1/changes?since=0&timeout=1", &null);

    sample.call(ROOT, "get", "/v1/operations", "/v1/operations", &null);
    let numbers =
        json!({ "open": { "high": 2 }, "new": 1, "gone": 0, "notEvaluated": 3, "reportSha256": "0".repeat(64) });
    sample.call(ROOT, "post", "/v1/scans", "/v1/scans", &json!({ "cluster": "play", "finished": numbers }));
    sample.call(ROOT, "post", "/v1/drain", "/v1/drain", &json!({ "reason": "kernel update" }));
    sample.call(ALICE, "get", "/v1/whoami", "/v1/whoami", &null);
    sample.call(ALICE, "get", "/v1/grants", "/v1/grants", &null);
    sample.call(ROOT, "post", "/v1/resume", "/v1/resume", &null);
    ask_again(&mut sample);
    let all = json!({ "all": true, "reason": "stolen laptop", "drain": true });
    sample.call(ROOT, "post", "/v1/revoke", "/v1/revoke?dryRun=true", &all);
    let revoked = sample.call(ROOT, "post", "/v1/revoke", "/v1/revoke", &all);
    assert_eq!(revoked["grants"][0]["proof"], "never-bound", "{revoked}");

    let routes: BTreeSet<(String, String)> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    assert_eq!(sample.seen, routes, "every route was in the sample");
}

fn id_of(grant: &Value) -> &str {
    grant["id"].as_str().unwrap()
}

fn of_path((path, methods): (&String, &Value)) -> Vec<(String, String)> {
    methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())).collect()
}

struct Sample<'a> {
    bastion: &'a Bastion<'static>,
    document: &'a Value,
    seen: BTreeSet<(String, String)>,
}

impl Sample<'_> {
    /// Calls a route so that it works, and then once more with an id or a body that it refuses.
    fn call(&mut self, person: Person, method: &str, route: &str, path: &str, body: &Value) -> Value {
        let operation = &self.document["paths"][route][method];
        if let Some(known) = operation["requestBody"]["content"].as_object() {
            self.fits(&known["application/json"]["schema"], body, &format!("the body for {method} {path}"));
        }
        let answer = self.ask(person, method, path, body, operation);
        self.ask(person, method, &path.replace("/v1/grants/", "/v1/grants/0"), &json!({ "unknown": 1 }), operation);
        self.seen.insert((method.to_owned(), route.to_owned()));
        answer
    }

    fn ask(&self, person: Person, method: &str, path: &str, body: &Value, operation: &Value) -> Value {
        let url = format!("http://jitd{path}");
        let method = method.to_uppercase();
        let mut arguments = vec!["--request", &method, &url];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        if !body.is_empty() {
            arguments.extend(["--header", "content-type: application/json", "--data-binary", "@-"]);
        }
        let socket = if operation["description"].as_str().unwrap().contains("admin socket") {
            self.bastion.admin_socket()
        } else {
            self.bastion.socket()
        };
        let output = Bastion::curl_at(&socket, person, &arguments, body.as_bytes());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let told = text(&output.stdout);
        let (answer, status_and_kind) = told.rsplit_once('\n').unwrap();
        let (status, kind) = status_and_kind.split_once(' ').unwrap();
        let responses = operation["responses"].as_object().unwrap();
        let response = responses.get(status).unwrap_or(&responses["default"]);
        assert_eq!(status.starts_with('2'), responses.contains_key(status), "{method} {path}: {told}");
        let kind = kind.split(';').next().unwrap().trim();
        let content = &response["content"][kind];
        assert!(content.is_object(), "{method} {path} answered {kind}, which is not in the document");
        let answer = if kind.ends_with("json") { serde_json::from_str(answer).unwrap() } else { json!(answer) };
        self.fits(&content["schema"], &answer, &format!("{status} of {method} {path}"));
        answer
    }

    /// The value has the type of the schema or is one of its words, and has every required field, and no field that the schema does not name.
    fn fits(&self, schema: &Value, value: &Value, whose: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.fits(self.document.pointer(&reference[1..]).unwrap(), value, whose);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            // An optional reference: null, or what it refers to.
            let choice = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null()).unwrap();
            return self.fits(choice, value, whose);
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            one => vec![one.clone()],
        };
        assert!(kinds.contains(&json!(kind)), "{whose}: {value} is no {kinds:?}");
        assert!(
            schema["enum"].as_array().is_none_or(|words| words.contains(value)),
            "{whose}: {value} is no word of it"
        );
        if schema["format"] == "date-time" {
            assert!(value.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok()), "{whose}: {value}");
        }
        if let Some(items) = value.as_array() {
            items.iter().for_each(|item| self.fits(&schema["items"], item, whose));
        }
        let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return };
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{whose} has no {required}");
        }
        for (name, field) in fields {
            let property =
                properties.get(name).unwrap_or_else(|| panic!("{whose} has {name}, which is not in the document"));
            self.fits(property, field, &format!("{name} of {whose}"));
        }
    }
}

fn document(bastion: &Bastion<'_>) -> Value {
    let (status, document) = bastion.get(ALICE, "/v1/openapi.json");
    assert_eq!(status, 200);
    document
}

/// Actions that need no word more than their path.
fn path_takes_no_body(path: &str) -> bool {
    path.ends_with("/withdraw") || path.ends_with("/end") || path.ends_with("/resume") || path.ends_with("/links")
}

/// Every `$ref` of the document.
fn references(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| match field {
                Value::String(reference) if name == "$ref" => BTreeSet::from([reference.clone()]),
                other => references(other),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}
