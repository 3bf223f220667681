//! Resources as people write them: `pods`, `pods/exec`, `deployments.apps/scale`, `gadgets.example.com`.
//!
//! A dump does not say which resources the API server serves, so the group of Kubernetes' own resources is known here, and
//! that of others has to be written: to guess the core group would answer "nobody" to a question that nobody asked.

use std::borrow::Cow;
use std::str::FromStr;

use jit_host::escape::escaped;
use jit_host::hint::Hint;

/// A resource with its group and subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group; empty for the core group, `*` for all.
    pub group: String,
    /// The resource: `pods`.
    pub resource: String,
    /// The subresource; empty for the object itself.
    pub subresource: String,
}

/// A resource without a group that is not one of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a resource of Kubernetes itself", escaped(.0))]
pub struct UnknownResource(String);

impl Hint for UnknownResource {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("write the plural name, and the group of other resources: `applications.argoproj.io`".into())
    }
}

impl FromStr for Resource {
    type Err = UnknownResource;
    fn from_str(text: &str) -> Result<Self, UnknownResource> {
        let (dotted, subresource) = text.split_once('/').unwrap_or((text, ""));
        let (resource, group) = match dotted.split_once('.') {
            Some((resource, group)) => (resource, group),
            None if dotted == "*" => (dotted, "*"),
            None => {
                let known = OWN.iter().find(|(_, names)| names.split_whitespace().any(|name| name == dotted));
                (dotted, known.ok_or_else(|| UnknownResource(text.to_owned()))?.0)
            }
        };
        let owned = str::to_owned;
        Ok(Self { group: owned(group), resource: owned(resource), subresource: owned(subresource) })
    }
}

/// The groups of Kubernetes 1.36 with their resources, and those that only its authorizer knows. The first that has a name
/// is meant, as kubectl reads it.
const OWN: &[(&str, &str)] = &[
    (
        "",
        "pods secrets configmaps services serviceaccounts namespaces nodes events endpoints persistentvolumes \
         persistentvolumeclaims replicationcontrollers podtemplates limitranges resourcequotas bindings componentstatuses \
         users groups",
    ),
    ("apps", "deployments daemonsets statefulsets replicasets controllerrevisions"),
    ("batch", "jobs cronjobs"),
    ("rbac.authorization.k8s.io", "roles clusterroles rolebindings clusterrolebindings"),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies \
         validatingadmissionpolicybindings mutatingadmissionpolicies mutatingadmissionpolicybindings",
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("authentication.k8s.io", "tokenreviews selfsubjectreviews uids userextras"),
    (
        "authorization.k8s.io",
        "subjectaccessreviews localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews",
    ),
    ("autoscaling", "horizontalpodautoscalers"),
    ("certificates.k8s.io", "certificatesigningrequests clustertrustbundles podcertificaterequests signers"),
    ("coordination.k8s.io", "leases leasecandidates"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas prioritylevelconfigurations"),
    ("networking.k8s.io", "networkpolicies ingresses ingressclasses servicecidrs ipaddresses"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "resourceclaims resourceclaimtemplates deviceclasses resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
    (
        "storage.k8s.io",
        "storageclasses volumeattachments csidrivers csinodes csistoragecapacities volumeattributesclasses",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_resource_is_known_or_written() {
        for (text, group, resource, subresource) in [
            ("pods", "", "pods", ""),
            ("pods/exec", "", "pods", "exec"),
            ("deployments", "apps", "deployments", ""),
            ("deployments/scale", "apps", "deployments", "scale"),
            ("deployments.extensions", "extensions", "deployments", ""),
            ("events.events.k8s.io", "events.k8s.io", "events", ""),
            ("gadgets.example.com/status", "example.com", "gadgets", "status"),
            ("userextras/scopes", "authentication.k8s.io", "userextras", "scopes"),
            ("pods.", "", "pods", ""),
            ("*", "*", "*", ""),
            ("*.apps", "apps", "*", ""),
        ] {
            let expected = Resource {
                group: group.to_owned(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "gadgets", "pod", "po/exec", "\u{1b}[31m"] {
            let error = text.parse::<Resource>().unwrap_err();
            assert!(!error.to_string().contains(char::is_control), "{error}");
        }
    }
}
