//! The OpenAPI document, generated from the route table, so that the two cannot differ.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{May, Route, routes};
use crate::wire::kept::{ASCIICAST, LogList, ReadingBody};
use crate::wire::{
    ApproveBody, AskBody, CertificateBody, CertificateView, ChangesView, ClusterList, DecisionView, DrainBody,
    EntitlementList, EventList, EventPage, ExtendBody, GrantList, GrantView, LinePage, LinkBody, LinkView,
    OperationsView, Problem, ReasonBody, RequestBody, ReviewBody, RevocationView, RevokeBody, ScanBody, WhoamiView,
};

/// Generated once: it never changes, and generating it takes longer than most calls.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub(super) fn answer() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Bytes::clone(&DOCUMENT)).into_response()
}

/// OpenAPI 3.1 of every route.
fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let method = if route.method == Method::POST { "post" } else { "get" };
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(method.to_owned(), operation(&route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "jitd",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Request, approve, collect and end short-lived access to Kubernetes. Served on a Unix socket; the kernel identifies the caller.",
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let who = match route.may {
        May::Anyone(_) => "Everybody who can open the socket.",
        May::Person(_) => "Every person that the host or the configuration knows.",
        May::Viewer(_) => {
            "The requester, approvers, reviewers, auditors and admins; for everybody else the grant does not exist (404)."
        }
        May::Auditor(_) => "Members of `auditors` and `admins`.",
        May::Operator(_) => "Root and members of `admins`, through the admin socket only.",
    };
    let mut parameters: Vec<Value> = route
        .query
        .iter()
        .map(
            |name| json!({ "name": name, "in": "query", "required": *name == "phase", "schema": { "type": "string" } }),
        )
        .collect();
    if route.path.contains("{id}") {
        parameters.push(json!({
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "A grant's id, or a unique beginning of it.",
        }));
    }
    let (status, schema) = route.answer;
    let content = match schema {
        "text" => json!({ "text/plain": { "schema": { "type": "string" } } }),
        "openmetrics" => json!({ "application/openmetrics-text": { "schema": { "type": "string" } } }),
        "asciicast" => json!({ ASCIICAST: { "schema": { "type": "string" } } }),
        "object" => json!({ "application/json": { "schema": { "type": "object" } } }),
        name => json!({ "application/json": { "schema": reference(name) } }),
    };
    let mut operation = json!({
        "summary": route.summary,
        "description": who,
        "parameters": parameters,
        "responses": {
            status.as_str(): { "description": "done", "content": content },
            "default": {
                "description": "refused or failed",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            },
        },
    });
    if let (Some(name), Some(operation)) = (route.body, operation.as_object_mut()) {
        let body = json!({ "required": true, "content": { "application/json": { "schema": reference(name) } } });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What the routes name, and what that refers to.
fn schemas() -> Map<String, Value> {
    fn named<T: ToSchema + PartialSchema>() -> Vec<(String, RefOr<Schema>)> {
        let mut all = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut all);
        all
    }
    let all = [
        named::<ApproveBody>(),
        named::<AskBody>(),
        named::<CertificateBody>(),
        named::<CertificateView>(),
        named::<ChangesView>(),
        named::<ClusterList>(),
        named::<DecisionView>(),
        named::<EntitlementList>(),
        named::<EventList>(),
        named::<EventPage>(),
        named::<GrantList>(),
        named::<GrantView>(),
        named::<LinePage>(),
        named::<LinkBody>(),
        named::<LinkView>(),
        named::<Problem>(),
        named::<ReasonBody>(),
        named::<RequestBody>(),
        named::<ExtendBody>(),
        named::<ReviewBody>(),
        named::<LogList>(),
        named::<ReadingBody>(),
        named::<WhoamiView>(),
        named::<DrainBody>(),
        named::<OperationsView>(),
        named::<RevocationView>(),
        named::<RevokeBody>(),
        named::<ScanBody>(),
    ];
    let value = |schema| serde_json::to_value(schema).unwrap_or_default();
    all.into_iter().flatten().map(|(name, schema)| (name, value(schema))).collect()
}
