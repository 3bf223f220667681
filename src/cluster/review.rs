//! Access reviews: who a caller is to the API server, and whether it would allow an action.
//!
//! Nothing here may change a cluster. The broker asks about the holder of a grant, `check` about the daemon itself.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::core::params::PostParams;
use kube::core::request::Request as Path;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cluster, ClusterError, Probe};
use crate::grant::{Binding, GatewayUser};

/// Whether the API server would allow an action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It would.
    Allowed {
        /// The binding that allows it, in the API server's words.
        why: String,
    },
    /// It would not.
    Denied,
}

impl Answer {
    /// Whether the answer is [`Answer::Allowed`].
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Who a caller is to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// The user name.
    pub name: String,
    /// The groups, including those that the API server adds.
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
    /// The object's name; empty for all names.
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

impl Right {
    fn attributes(&self) -> ResourceAttributes {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        ResourceAttributes {
            verb: Some(self.verb.clone()),
            group: Some(self.group.clone()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(self.name.clone()),
            ..ResourceAttributes::default()
        }
    }
}

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

impl Cluster {
    /// Whether the API server would allow `probe` to the holder of this binding's certificate. The question contains
    /// the user and the grant's group, but not `system:authenticated`, so that what everybody may do does not count. If
    /// the binding is the gateway's, the question is about the gateway's user.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn ask(&self, binding: &Binding, probe: &Probe) -> Result<Answer, ClusterError> {
        match &binding.gateway {
            Some(user) => self.review(Some(user.to_string()), None, probe).await,
            None => self.review(Some(binding.user()), Some(binding.group.clone()), probe).await,
        }
    }

    /// Whether the API server would allow `probe` to the holder's user name alone but not to the grant's group. Then
    /// somebody else's binding allows it.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn is_given_by_user_name(&self, binding: &Binding, probe: &Probe) -> Result<bool, ClusterError> {
        Ok(self.review(Some(binding.user()), None, probe).await?.is_allowed()
            && !self.review(None, Some(binding.group.clone()), probe).await?.is_allowed())
    }

    async fn review(&self, user: Option<String>, group: Option<String>, probe: &Probe) -> Result<Answer, ClusterError> {
        let (resource_attributes, non_resource_attributes) = probe.attributes();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user,
                groups: group.map(|group| vec![group]),
                resource_attributes,
                non_resource_attributes,
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answered: SubjectAccessReview = self.post(REVIEWS, &review).await?;
        self.answer(answered.status)
    }

    fn answer(&self, status: Option<SubjectAccessReviewStatus>) -> Result<Answer, ClusterError> {
        let status =
            status.ok_or_else(|| self.0.transport.unreadable("an access review without a status".to_owned()))?;
        Ok(if status.allowed { Answer::Allowed { why: status.reason.unwrap_or_default() } } else { Answer::Denied })
    }

    /// Whether the API server would allow this action to the gateway's user.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn gateway_may(&self, gateway: &GatewayUser, right: &Right) -> Result<Answer, ClusterError> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(gateway.to_string()),
                groups: Some(gateway.groups()),
                resource_attributes: Some(right.attributes()),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answered: SubjectAccessReview = self.post(REVIEWS, &review).await?;
        self.answer(answered.status)
    }

    /// Whether the API server allows this action to the daemon.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn may(&self, right: &Right) -> Result<Answer, ClusterError> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(right.attributes()),
                non_resource_attributes: None,
            },
            ..SelfSubjectAccessReview::default()
        };
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answered: SelfSubjectAccessReview = self.post(path, &review).await?;
        self.answer(answered.status)
    }

    /// Who we are to the API server with our credential.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Unauthorized`] if our credential is not trusted.
    pub async fn identity(&self) -> Result<UserInfo, ClusterError> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answered: SelfSubjectReview = self.post(path, &SelfSubjectReview::default()).await?;
        let user = answered.status.and_then(|status| status.user_info);
        let groups = user.as_ref().and_then(|user| user.groups.clone()).unwrap_or_default();
        match user.and_then(|user| user.username) {
            Some(name) => Ok(UserInfo { name, groups }),
            None => Err(self.0.transport.unreadable("a self subject review without a user name".to_owned())),
        }
    }

    async fn post<T: Serialize + DeserializeOwned>(&self, path: &str, review: &T) -> Result<T, ClusterError> {
        let body = self.body(review)?;
        self.0.transport.call(Path::new(path).create(&PostParams::default(), body)).await
    }

    pub(super) fn body(&self, value: &impl Serialize) -> Result<Vec<u8>, ClusterError> {
        serde_json::to_vec(value).map_err(|why| self.0.transport.unreadable(format!("our own request: {why}")))
    }
}
