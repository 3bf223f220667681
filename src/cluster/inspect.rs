//! Questions about the daemon itself: who it is to the API server, what it may do, what stands in the
//! cluster, and whether a binding would be taken.
//!
//! Nothing here may change a cluster: what is created is a dry run. `check` asks them.

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::core::params::{GetParams, ListParams, PostParams};
use kube::core::request::Request as Path;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Answer, Cluster, ClusterError, bindings, roles, unless_missing};
use crate::grant::Binding;

/// Who somebody is to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// The user name.
    pub name: String,
    /// The groups, those of the API server's own too.
    pub groups: Vec<String>,
}

/// One action on a resource, in all namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// For example `get`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// For example `pods` or `pods/log`.
    pub resource: String,
    /// Empty for all names.
    pub name: String,
}

impl std::fmt::Display for Right {
    /// For example `bind clusterroles.rbac.authorization.k8s.io view`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        for (mark, word) in [(".", &self.group), (" ", &self.name)] {
            if !word.is_empty() {
                write!(f, "{mark}{word}")?;
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Who our credential is to the API server.
    ///
    /// # Errors
    /// [`ClusterError`], of which [`ClusterError::Unauthorized`] says that our credential is not trusted.
    pub async fn identity(&self) -> Result<UserInfo, ClusterError> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answered: SelfSubjectReview = self.post(path, &SelfSubjectReview::default()).await?;
        let user = answered.status.and_then(|status| status.user_info);
        let groups = user.as_ref().and_then(|user| user.groups.clone()).unwrap_or_default();
        match user.and_then(|user| user.username) {
            Some(name) => Ok(UserInfo { name, groups }),
            None => Err(self.0.transport.unreadable("a review without a user name".to_owned())),
        }
    }

    /// The API server's clock, also when it refuses us; none when no proxy in between lets it through.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] or [`ClusterError::TimedOut`].
    pub async fn clock(&self) -> Result<Option<Timestamp>, ClusterError> {
        let path = Path::new("/version").list(&ListParams::default());
        Ok(self.0.transport.send(path).await?.date())
    }

    /// Whether the API server lets us list this, by doing it; what is listed is not looked at.
    ///
    /// # Errors
    /// [`ClusterError`], but for [`ClusterError::Forbidden`], which is an answer.
    pub async fn lists(&self, folder: &str) -> Result<bool, ClusterError> {
        let one = ListParams::default().limit(1);
        match self.0.transport.call::<Value>(Path::new(folder).list(&one)).await {
            Ok(_) => Ok(true),
            Err(ClusterError::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the API server lets us do this.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn may(&self, right: &Right) -> Result<Answer, ClusterError> {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(right.verb.clone()),
                    group: Some(right.group.clone()),
                    resource: Some(resource.to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(right.name.clone()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SelfSubjectAccessReview::default()
        };
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answered: SelfSubjectAccessReview = self.post(path, &review).await?;
        self.answer(answered.status)
    }

    /// The object at `folder`/`name`, as it is stored; none when there is none.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn object(&self, folder: &str, name: &str) -> Result<Option<Value>, ClusterError> {
        unless_missing(self.0.transport.call(Path::new(folder).get(name, &GetParams::default())).await)
    }

    /// Whether the API server would take what [`Cluster::bind`] makes: it runs its whole admission and stores nothing
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>). A role that is made for the binding
    /// is tried instead of the binding, which can't be without it.
    ///
    /// # Errors
    /// [`ClusterError`], of which [`ClusterError::Forbidden`] says who refused.
    pub async fn would_bind(&self, binding: &Binding) -> Result<(), ClusterError> {
        match (&binding.namespace, &binding.rules) {
            (Some(namespace), Some(rules)) => self.dry_run(roles(namespace), &self.role(binding, rules)).await,
            (namespace, _) => self.dry_run(bindings(namespace.as_ref()), &self.manifest(binding)).await,
        }
    }

    /// Whether the API server would create an empty role named like this binding; stores nothing.
    ///
    /// # Errors
    /// [`ClusterError`], of which [`ClusterError::Forbidden`] says who refused.
    pub async fn would_make_role(&self, binding: &Binding) -> Result<(), ClusterError> {
        let Some(namespace) = &binding.namespace else { return Ok(()) };
        self.dry_run(roles(namespace), &self.metadata("Role", binding)).await
    }

    async fn dry_run(&self, path: Path, object: &Value) -> Result<(), ClusterError> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        self.0.transport.call::<Value>(path.create(&dry, self.body(object)?)).await.map(drop)
    }

    pub(super) async fn post<T: Serialize + DeserializeOwned>(&self, path: &str, asked: &T) -> Result<T, ClusterError> {
        let body = self.body(asked)?;
        self.0.transport.call(Path::new(path).create(&PostParams::default(), body)).await
    }

    pub(super) fn body(&self, value: &impl Serialize) -> Result<Vec<u8>, ClusterError> {
        serde_json::to_vec(value).map_err(|why| self.0.transport.unreadable(format!("our own words: {why}")))
    }
}
