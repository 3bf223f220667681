//! One line of an audit log, as far as it is needed.
//!
//! Texts are borrowed from the line where JSON allows it, and everything else is skipped without being built.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    stage: Cow<'a, str>,
    #[serde(borrow, default)]
    verb: Cow<'a, str>,
    #[serde(borrow, default, rename = "requestURI")]
    request_uri: Cow<'a, str>,
    #[serde(borrow)]
    user: Option<User<'a>>,
    #[serde(borrow)]
    impersonated_user: Option<User<'a>>,
    #[serde(borrow)]
    object_ref: Option<ObjectRef<'a>>,
    response_status: Option<Status>,
    #[serde(borrow, default)]
    stage_timestamp: Cow<'a, str>,
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
    /// Of a list, which is no event.
    items: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow, default)]
    username: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef<'a> {
    #[serde(borrow, default)]
    resource: Cow<'a, str>,
    #[serde(borrow, default)]
    subresource: Cow<'a, str>,
    #[serde(borrow, default)]
    api_group: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Status {
    code: Option<i64>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, default, rename = "authorization.k8s.io/decision")]
    decision: Cow<'a, str>,
    #[serde(borrow, default, rename = "authorization.k8s.io/reason")]
    reason: Cow<'a, str>,
}

impl<'a> Event<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let event: Self = serde_json::from_slice(text).map_err(|why| why.to_string())?;
        if event.items.is_some() {
            return Err(format!("it is a {}; one event a line is wanted", event.kind));
        }
        if event.kind != "Event" || event.verb.is_empty() {
            return Err("it is another object".to_owned());
        }
        Ok(event)
    }

    pub(super) fn time(&self) -> Result<Timestamp, String> {
        self.stage_timestamp.parse().map_err(|_| "its `stageTimestamp` is no time".to_owned())
    }

    /// Whether the request was allowed, and by what reason, if the event says so. `None` if it was refused, or if a later
    /// event of the same request will say.
    pub(super) fn allowed(&self) -> Option<Option<&str>> {
        if self.stage == "RequestReceived" {
            return None;
        }
        let annotations = self.annotations.as_ref().filter(|annotations| !annotations.decision.is_empty());
        match annotations {
            Some(annotations) => (annotations.decision == "allow").then_some(Some(annotations.reason.as_ref())),
            // A request that failed before anybody decided about it has none either, for example with too many others.
            None => {
                let code = self.response_status.as_ref().and_then(|status| status.code);
                code.is_none_or(|code| code < 400).then_some(None)
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.stage != "ResponseStarted"
    }

    /// The one whose rights were used.
    pub(super) fn user(&self) -> &str {
        let user = self.impersonated_user.as_ref().or(self.user.as_ref());
        user.map(|user| user.username.as_ref()).unwrap_or_default()
    }

    pub(super) fn verb(&self) -> &str {
        &self.verb
    }

    pub(super) fn group(&self) -> &str {
        self.object_ref.as_ref().map(|object| object.api_group.as_ref()).unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.object_ref.as_ref().map(|object| object.namespace.as_ref()).unwrap_or_default()
    }

    pub(super) fn write_resource(&self, into: &mut String) {
        match &self.object_ref {
            Some(object) => {
                into.push_str(&object.resource);
                if !object.subresource.is_empty() {
                    into.push('/');
                    into.push_str(&object.subresource);
                }
            }
            None => into.push_str(self.request_uri.split('?').next().unwrap_or_default()),
        }
    }
}
