//! A generated audit log of a given size: what the people of the estate did in a month, as the API server writes it at level
//! `Metadata`.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use serde_json::json;

/// Different events; they follow one another until the log is long enough.
const EVENTS: usize = 100_000;

/// Writes a log of at least so many bytes.
pub(crate) fn write(path: &Path, bytes: usize) -> Result<()> {
    let lines: Vec<Vec<u8>> = (0..EVENTS).map(line).collect::<Result<_>>()?;
    let mut out = BufWriter::new(File::create(path)?);
    let mut written = 0;
    for line in lines.iter().cycle() {
        if written >= bytes {
            break;
        }
        out.write_all(line)?;
        written += line.len();
    }
    out.flush()
}

fn line(number: usize) -> Result<Vec<u8>> {
    let (space, person) = (format!("space-{}", number % 500), format!("person-{}-1@example.com", number % 20_000));
    let (day, minute, second) = (number % 28 + 1, number / 60 % 60, number % 60);
    let at = format!("2026-11-{day:02}T10:{minute:02}:{second:02}.000000Z");
    let binding = format!("binding-{}/{space}", number % 20_000);
    let reason =
        format!(r#"RBAC: allowed by RoleBinding "{binding}" of Role "role-{}" to User "{person}""#, number % 5000);
    let verb = ["get", "list", "watch", "patch"][number % 4];
    let event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
        "auditID": format!("{number:08x}-7a54-4a1e-9f50-0d8d0c1a2b3c"),
        "requestURI": format!("/api/v1/namespaces/{space}/pods/web-{}", number % 1000),
        "verb": verb,
        "user": { "username": person, "groups": ["team-a", "team-b", "system:authenticated"] },
        "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl/v1.36.0 (linux/amd64) kubernetes/abcdef0",
        "objectRef": { "resource": "pods", "namespace": space, "name": format!("web-{}", number % 1000), "apiVersion": "v1" },
        "responseStatus": { "metadata": {}, "code": 200 },
        "requestReceivedTimestamp": at, "stageTimestamp": at,
        "annotations": { "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": reason },
    });
    let mut line = serde_json::to_vec(&event)?;
    line.push(b'\n');
    Ok(line)
}
