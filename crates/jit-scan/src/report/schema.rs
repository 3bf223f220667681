//! The JSON Schema of the report, `docs/scan.schema.json`.

use serde_json::{Value, json};

use crate::baseline::FORMAT;

/// The schema of what `jitd scan -o json` writes. No object has other keys than those that it lists.
#[must_use]
pub fn schema() -> Value {
    let mut all = object(
        json!({
            "format": {"const": FORMAT, "description": "The version of this format; it changes when a key changes its meaning or goes away."},
            "findings": list(finding(), "Worst first; what Kubernetes itself ships comes last."),
            "notEvaluated": list(
                object(json!({"what": text("What could not be examined."), "why": text("Why.")}), &["what", "why"]),
                "What could not be examined: nothing is known about it.",
            ),
            "idleExceptions": list(idle_exception(), "Exceptions that accept nothing."),
            "resolved": list(kept(), "What the baseline has, and the scan did not find."),
        }),
        &["format", "findings", "notEvaluated"],
    );
    if let Some(all) = all.as_object_mut() {
        all.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        all.insert("title".to_owned(), "The report of jitd scan".into());
    }
    all
}

fn finding() -> Value {
    object(
        json!({
            "id": text("A row of the risk catalogue (E…), a long-lived credential (L…), or a binding or role without effect (H…)."),
            "severity": severity(),
            "title": text("What is wrong, in one sentence."),
            "subject": subject(),
            "path": list(
                object(
                    json!({
                        "object": text("An object, as kubectl names it."),
                        "grants": text("What it grants to whoever came this far."),
                    }),
                    &["object", "grants"],
                ),
                "How the subject has it, from the subject to what should not be reached.",
            ),
            "scope": list(text("A namespace."), "Where it holds; empty for the whole cluster."),
            "system": {"type": "boolean", "description": "Kubernetes itself ships it, in this form."},
            "fingerprint": fingerprint(),
            "score": object(
                json!({
                    "value": {"type": "integer", "minimum": 1, "maximum": 99},
                    "because": list(text("A part of the score."), "What adds up to it."),
                }),
                &["value", "because"],
            ),
            "state": {"enum": ["open", "known", "accepted", "system"], "description": "Only an open finding makes --fail-on fail."},
            "exception": object(exception(), EXCEPTION),
            "usage": usage(),
        }),
        &["id", "severity", "title", "path", "scope", "system", "fingerprint", "score", "state"],
    )
}

fn subject() -> Value {
    object(
        json!({
            "kind": {"enum": ["User", "Group", "ServiceAccount"]},
            "namespace": text("The namespace of a service account."),
            "name": text("The name."),
        }),
        &["kind", "name"],
    )
}

fn usage() -> Value {
    let used = object(
        json!({
            "verb": text("The verb."),
            "resource": text("`pods`, `pods/exec`, or a path."),
            "group": text("The API group; empty for the core group."),
            "namespace": text("The namespace; absent for the whole cluster."),
            "count": {"type": "integer", "minimum": 1},
            "last": time(),
        }),
        &["verb", "resource", "group", "count", "last"],
    );
    object(
        json!({
            "from": time(),
            "to": time(),
            "last": time(),
            "unusedDays": {"type": "integer", "minimum": 0, "description": "Whole days from the last use, or from the beginning of the logs, to their end."},
            "used": list(used, "What was used, most often first."),
        }),
        &["from", "to", "unusedDays", "used"],
    )
}

const EXCEPTION: &[&str] = &["finding", "severity", "scope", "owner", "reason", "expires"];

fn exception() -> Value {
    json!({
        "finding": fingerprint(),
        "severity": severity(),
        "scope": list(text("A namespace."), "Where it is accepted; empty for the whole cluster."),
        "owner": text("Who answers for it."),
        "reason": text("Why."),
        "expires": {"type": "string", "format": "date", "description": "The last day, in UTC."},
    })
}

fn idle_exception() -> Value {
    let mut keys = exception();
    if let Some(keys) = keys.as_object_mut() {
        keys.insert("why".to_owned(), text("Why it accepts nothing."));
    }
    let required: Vec<&str> = EXCEPTION.iter().copied().chain(["why"]).collect();
    object(keys, &required)
}

fn kept() -> Value {
    object(
        json!({
            "fingerprint": fingerprint(),
            "id": text("The finding's id."),
            "severity": severity(),
            "title": text("What was wrong."),
            "subject": subject(),
            "scope": list(text("A namespace."), "Where it held; empty for the whole cluster."),
        }),
        &["fingerprint", "id", "severity", "title", "scope"],
    )
}

fn fingerprint() -> Value {
    json!({
        "type": "string", "pattern": "^[0-9a-f]{16}$",
        "description": "Recognises the finding in the next scan: a digest of its id, its subject and what it is about.",
    })
}

fn severity() -> Value {
    json!({"enum": ["low", "medium", "high", "critical", "unclassified"]})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn text(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

fn list(items: Value, about: &str) -> Value {
    json!({"type": "array", "items": items, "description": about})
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}
