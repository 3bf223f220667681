//! Questions about a cluster: its clock, its objects, and whether it would accept a binding.
//!
//! Nothing here may change a cluster: every create and delete is a dry run. `check` asks them.

use hyper::header::{self, HeaderName, HeaderValue};
use jiff::Timestamp;
use kube::core::params::{DeleteParams, GetParams, ListParams, PostParams, WatchParams};
use kube::core::request::Request as Path;
use serde_json::Value;

use super::failure::unless_missing;
use super::names::{bindings, roles};
use super::{Cluster, ClusterError};
use crate::grant::names::SUBJECT;
use crate::grant::{ACT_AS, Binding, on};
use crate::rbac::role::Rule;

impl Cluster {
    /// The API server's clock, even if it refuses us; `None` if a proxy removes the header.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] or [`ClusterError::TimedOut`].
    pub async fn clock(&self) -> Result<Option<Timestamp>, ClusterError> {
        let path = Path::new("/version").list(&ListParams::default());
        Ok(self.0.transport.send(path).await?.date())
    }

    /// Whether the API server lets us list a collection, found by listing it; the result is ignored.
    ///
    /// # Errors
    /// [`ClusterError`], except [`ClusterError::Forbidden`], which is an answer.
    pub async fn lists(&self, collection: &str) -> Result<bool, ClusterError> {
        let one = ListParams::default().limit(1);
        match self.0.transport.call::<Value>(Path::new(collection).list(&one)).await {
            Ok(_) => Ok(true),
            Err(ClusterError::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the API server does when we try to act as somebody who does not exist, by asking for its version.
    ///
    /// # Errors
    /// [`ClusterError`], except [`ClusterError::Forbidden`], which is an answer.
    pub async fn tries_to_act(&self) -> Result<Impersonating, ClusterError> {
        let user = HeaderValue::from_str(&format!("{SUBJECT}{TRIED}"))
            .map_err(|why| self.0.transport.unreadable(why.to_string()))?;
        let request = Path::new("/version").list(&ListParams::default()).map(|mut request| {
            request.headers_mut().insert("impersonate-user", user);
            request
        });
        match self.0.transport.call::<Value>(request).await {
            Ok(_) => Ok(Impersonating::Allowed),
            Err(ClusterError::Forbidden { why, .. }) => Ok(Impersonating::refused(why)),
            Err(error) => Err(error),
        }
    }

    /// What becomes of a request to upgrade to a WebSocket: that of a watch of the ClusterRole `name`, because it is the only
    /// one that needs no pod. It ends after a second.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Forbidden`] if the API server does not let us watch that role.
    pub async fn opens_web_socket(&self, name: &str) -> Result<WebSocket, ClusterError> {
        const HANDSHAKE: [(HeaderName, &str); 5] = [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            // Any 16 bytes: nothing is sent on it.
            (header::SEC_WEBSOCKET_KEY, "AAAAAAAAAAAAAAAAAAAAAA=="),
            // The API server refuses a watch without one.
            (header::ORIGIN, "https://jitd"),
        ];
        let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(1);
        let request = roles(None).watch(&only, "0").map(|mut request| {
            request.headers_mut().extend(HANDSHAKE.map(|(name, value)| (name, HeaderValue::from_static(value))));
            request
        });
        let reply = self.0.transport.send(request).await?;
        match reply.code {
            101 => Ok(WebSocket::Opened),
            200..300 => Ok(WebSocket::Ignored),
            // A proxy has no Status.
            _ if reply.status().is_some() => Err(ClusterError::of_reply(self.name().clone(), &reply)),
            code => Ok(WebSocket::Refused { code, why: reply.beginning() }),
        }
    }

    /// The object at `collection`/`name`, as it is stored; `None` if it does not exist.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn object(&self, collection: &str, name: &str) -> Result<Option<Value>, ClusterError> {
        unless_missing(self.0.transport.call(Path::new(collection).get(name, &GetParams::default())).await)
    }

    /// Tries in a dry run what [`Cluster::bind`] creates: the API server runs its whole admission and stores nothing
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>). If the binding has a role of its own,
    /// the role is tried instead, because the binding cannot exist without it.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Forbidden`] says who refused.
    pub async fn would_bind(&self, binding: &Binding) -> Result<(), ClusterError> {
        match &binding.rules {
            Some(rules) => self.would_make_role(binding, rules).await,
            None => self.dry_run(bindings(binding.namespace.as_ref()), self.binding_body(binding)?).await,
        }
    }

    /// Tries in a dry run to create a role with these rules, named like this binding.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Forbidden`] says who refused.
    pub async fn would_make_role(&self, binding: &Binding, rules: &[Rule]) -> Result<(), ClusterError> {
        self.dry_run(roles(binding.namespace.as_ref()), self.role_body(binding, rules)?).await
    }

    /// Tries in a dry run to delete the object at `collection`/`name`.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Forbidden`] says who refused.
    pub async fn would_delete(&self, collection: &str, name: &str) -> Result<(), ClusterError> {
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        self.0.transport.call::<Value>(Path::new(collection).delete(name, &dry)).await.map(drop)
    }

    async fn dry_run(&self, path: Path, body: Vec<u8>) -> Result<(), ClusterError> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        self.0.transport.call::<Value>(path.create(&dry, body)).await.map(drop)
    }
}

/// What became of a request to upgrade to a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSocket {
    /// It was upgraded.
    Opened,
    /// The answer is that to a request without an upgrade.
    Ignored,
    /// Somebody who is no API server answered.
    Refused {
        /// The HTTP status.
        code: u16,
        /// The beginning of the answer, escaped.
        why: String,
    },
}

/// What an API server does with somebody who tries to act as another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Impersonating {
    /// It allows it.
    Allowed,
    /// It refuses it, and knows limits for it (constrained impersonation).
    Limited,
    /// It refuses it for lack of the verb `impersonate`, the only one that it knows.
    Unlimited,
    /// It refuses it for another reason.
    Refused {
        /// Its message.
        why: String,
    },
}

impl Impersonating {
    /// It tries the unlimited right last, but where it knows limits its message is about the first right that was missing
    /// (k8s.io/apiserver `endpoints/filters/impersonation`).
    fn refused(why: String) -> Self {
        if why.contains(ACT_AS) || why.contains(&on("")) {
            Self::Limited
        } else if why.contains("cannot impersonate resource \"users\"") {
            Self::Unlimited
        } else {
            Self::Refused { why }
        }
    }
}

/// The name that is tried; no person has it.
const TRIED: &str = "tried-by-jitd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_shows_whether_the_limits_are_known() {
        let forbidden = |verb: &str, what: &str| format!(r#"{what} is forbidden: User "jit:daemon:h" cannot {verb}"#);
        for why in [
            forbidden(r#"impersonate-on:user-info:get path "/version""#, "jit:x"),
            forbidden(r#"impersonate:user-info resource "users""#, r#"users "jit:x""#),
        ] {
            assert_eq!(Impersonating::refused(why), Impersonating::Limited);
        }
        let old = forbidden(r#"impersonate resource "users" in API group "" at the cluster scope"#, r#"users "jit:x""#);
        assert_eq!(Impersonating::refused(old), Impersonating::Unlimited);
        for why in ["", "denied by a proxy", "jit:x cannot impersonate"] {
            assert_eq!(Impersonating::refused(why.to_owned()), Impersonating::Refused { why: why.to_owned() });
        }
    }
}
