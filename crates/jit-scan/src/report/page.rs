//! The report as one HTML page that needs no network and works from a file.
//!
//! Its policy allows nothing but its own style and script, each by its digest, so nothing that a cluster contains can run or be
//! fetched. The report is data in the page, from which no text of it can get out: `<`, `>` and `&` are escaped there, and the
//! script writes names as text only.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jit_host::escape::escaped;
use serde_json::Value;

use super::{Document, json};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const BODY: &str = include_str!("page/page.html");

/// The report as a page.
///
/// # Errors
/// None in practice: all of it is text, numbers and lists.
pub fn page(document: &Document) -> Result<String, serde_json::Error> {
    let mut data: Value = serde_json::from_str(&json::compact(document)?)?;
    if let Some(keys) = data.as_object_mut() {
        keys.insert("summary".to_owned(), document.summary().into());
        if let Some(findings) = keys.get_mut("findings").and_then(Value::as_array_mut) {
            for (finding, entry) in findings.iter_mut().zip(&document.entries) {
                let Some(finding) = finding.as_object_mut() else { continue };
                finding.insert("holder".to_owned(), entry.holder().into());
                finding.insert("place".to_owned(), entry.place().into());
                if let Some(usage) = &entry.usage {
                    finding.insert("used".to_owned(), super::table::used(usage).into());
                }
            }
        }
    }
    escape(&mut data);
    let data = data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        fingerprint(STYLE),
        fingerprint(SCRIPT)
    );
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>Standing access</title>\n\
         <style>{STYLE}</style>\n</head>\n{BODY}\
         <script type=\"application/json\" id=\"report\">{data}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    ))
}

fn fingerprint(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

/// Escapes what nobody sees, such as characters that turn the direction of a line.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) => *text = escaped(text),
        Value::Array(values) => values.iter_mut().for_each(escape),
        Value::Object(keys) => keys.values_mut().for_each(escape),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
