//! What of a body gives power: the images, commands and privileges of a pod, and the type of a Secret.
//!
//! ```text
//!  body ─► up to 1 MiB of it ─► JSON, YAML or protobuf ─► Content, in the log
//!                └──────────────────────────────────────► sent on, byte for byte
//! ```
//! Nothing else of a body is kept. It is read as the API server reads it; whatever it might read in another way, and what is
//! too long, is said to be unread.

use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming};
use jit_wire::session::{ContainerAsked, Content};
use prost::Message;
use serde::Deserialize;

use super::asked::cut;
use crate::answer::{Body, BoxError};
use crate::request::{Kind, Request, Verb};

/// The longest body that is read, in bytes: etcd takes no object that is larger than 1.5 MiB, and a Secret has at most 1 MiB.
const LONGEST: usize = 1 << 20;

/// Containers that are kept of one body.
const CONTAINERS: usize = 32;

/// At most so many bytes are kept of a name, an image or a word of a command.
const LONGEST_WORD: usize = 512;

/// Whether a request's body says something that has to be kept.
pub(crate) fn has_power(meant: &Request) -> bool {
    let Kind::Resource(resource) = &meant.kind else { return false };
    let is_written = matches!(resource.verb, Verb::Create | Verb::Update | Verb::Patch);
    let subresource = resource.subresource.as_deref();
    is_written
        && resource.group.is_empty()
        && matches!(
            (resource.resource.as_str(), subresource),
            ("pods", None | Some("ephemeralcontainers")) | ("secrets", None)
        )
}

/// Reads a body, and returns it whole again with what of it is kept.
///
/// # Errors
/// That of the client's connection.
pub(crate) async fn read(mut body: Incoming, headers: &HeaderMap) -> Result<(Body, Content), hyper::Error> {
    let mut frames: Vec<Frame<Bytes>> = Vec::new();
    let mut bytes = Vec::new();
    let mut is_whole = body.is_end_stream();
    while bytes.len() <= LONGEST {
        match body.frame().await.transpose()? {
            None => {
                is_whole = true;
                break;
            }
            Some(frame) => {
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                frames.push(frame);
            }
        }
    }
    let content = if is_whole {
        let kind = headers.get(header::CONTENT_TYPE).map_or(Some(""), |kind| kind.to_str().ok());
        let is_encoded = headers.contains_key(header::CONTENT_ENCODING);
        content(kind.filter(|_| !is_encoded), &bytes)
    } else {
        unread("it is longer than 1 MiB")
    };
    let before = futures::stream::iter(frames.into_iter().map(Ok::<_, BoxError>));
    let rest = futures::StreamExt::map(http_body_util::BodyStream::new(body), |frame| frame.map_err(BoxError::from));
    let whole = http_body_util::StreamBody::new(futures::StreamExt::chain(before, rest));
    Ok((BodyExt::boxed_unsync(whole), content))
}

fn unread(why: &str) -> Content {
    Content { unread: Some(why.to_owned()), ..Content::default() }
}

/// What is kept of a body of this content type; `None` for a type that is no text.
fn content(kind: Option<&str>, bytes: &[u8]) -> Content {
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let read = match kind.as_deref() {
        // Kubernetes reads what has no type as JSON.
        Some("" | "application/json" | "application/merge-patch+json" | "application/strategic-merge-patch+json") => {
            serde_json::from_slice(bytes).map_err(|_| "it is not the JSON of an object")
        }
        Some("application/yaml" | "application/apply-patch+yaml") => match std::str::from_utf8(bytes) {
            Ok(text) => serde_saphyr::from_str(text).map_err(|_| "it is not the YAML of an object"),
            Err(_) => Err("it is not the YAML of an object"),
        },
        Some("application/vnd.kubernetes.protobuf") => of_protobuf(bytes).ok_or("it is not the protobuf of an object"),
        Some("application/json-patch+json") => Err("it is a JSON patch"),
        _ => Err("its content type is not read"),
    };
    read.map_or_else(unread, kept)
}

/// An object, or the part of one that a patch has
/// (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>).
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    /// Of a Secret.
    r#type: Option<String>,
    spec: Option<Spec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Volume>>,
    node_name: Option<String>,
    service_account_name: Option<String>,
    #[serde(rename = "hostPID")]
    host_pid: Option<bool>,
    host_network: Option<bool>,
    #[serde(rename = "hostIPC")]
    host_ipc: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: Option<String>,
    image: Option<String>,
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
    target_container_name: Option<String>,
    security_context: Option<SecurityContext>,
}

#[derive(Default, Deserialize)]
struct SecurityContext {
    privileged: Option<bool>,
    capabilities: Option<Capabilities>,
}

#[derive(Default, Deserialize)]
struct Capabilities {
    add: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    host_path: Option<HostPath>,
}

#[derive(Default, Deserialize)]
struct HostPath {
    path: Option<String>,
}

fn kept(object: Object) -> Content {
    let word = |text: String| cut(&text, LONGEST_WORD);
    let words = |texts: Option<Vec<String>>| texts.unwrap_or_default().into_iter().take(CONTAINERS).map(word);
    let spec = object.spec.unwrap_or_default();
    let mut node: Vec<String> =
        [(spec.host_pid, "hostPID"), (spec.host_network, "hostNetwork"), (spec.host_ipc, "hostIPC")]
            .into_iter()
            .filter(|(is_set, _)| *is_set == Some(true))
            .map(|(_, name)| name.to_owned())
            .collect();
    let paths = spec.volumes.unwrap_or_default().into_iter().filter_map(|volume| volume.host_path);
    node.extend(paths.take(CONTAINERS).map(|path| format!("hostPath {}", word(path.path.unwrap_or_default()))));
    node.extend(spec.node_name.map(|name| format!("nodeName {}", word(name))));
    let all = [spec.containers, spec.init_containers, spec.ephemeral_containers].into_iter().flatten().flatten();
    let mut more = 0;
    let mut containers = Vec::new();
    for container in all {
        if containers.len() == CONTAINERS {
            more += 1;
            continue;
        }
        let security = container.security_context.unwrap_or_default();
        containers.push(ContainerAsked {
            name: word(container.name.unwrap_or_default()),
            image: container.image.map(word),
            command: words(container.command).chain(words(container.args)).collect(),
            target: container.target_container_name.map(word),
            privileged: security.privileged == Some(true),
            capabilities: words(security.capabilities.unwrap_or_default().add).collect(),
        });
    }
    Content {
        unread: (more > 0).then(|| format!("{more} more containers")),
        containers,
        node,
        service_account: spec.service_account_name.map(word),
        secret_type: object.r#type.map(word),
    }
}

/// The same in Kubernetes' protobuf: four bytes, an envelope, and the object
/// (`apimachinery/pkg/runtime/serializer/protobuf`, `api/core/v1/generated.proto`).
fn of_protobuf(bytes: &[u8]) -> Option<Object> {
    let envelope = proto::Unknown::decode(bytes.strip_prefix(b"k8s\0")?).ok()?;
    let is_plain = envelope.content_encoding.is_empty() && matches!(envelope.content_type.as_str(), "" | PROTOBUF);
    let meta = envelope.type_meta.filter(|meta| is_plain && meta.api_version == "v1")?;
    match meta.kind.as_str() {
        "Secret" => {
            let secret = proto::Secret::decode(&*envelope.raw).ok()?;
            Some(Object { r#type: Some(secret.r#type).filter(|kind| !kind.is_empty()), spec: None })
        }
        "Pod" => Some(Object { r#type: None, spec: Some(proto::Pod::decode(&*envelope.raw).ok()?.spec?.into()) }),
        _ => None,
    }
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The fields that are read of the messages; all others are skipped.
mod proto {
    use super::{Capabilities, Container, HostPath, SecurityContext, Spec, Volume};

    #[derive(prost::Message)]
    pub(super) struct Unknown {
        #[prost(message, optional, tag = "1")]
        pub(super) type_meta: Option<TypeMeta>,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) raw: prost::bytes::Bytes,
        #[prost(string, tag = "3")]
        pub(super) content_encoding: String,
        #[prost(string, tag = "4")]
        pub(super) content_type: String,
    }

    #[derive(prost::Message)]
    pub(super) struct TypeMeta {
        #[prost(string, tag = "1")]
        pub(super) api_version: String,
        #[prost(string, tag = "2")]
        pub(super) kind: String,
    }

    #[derive(prost::Message)]
    pub(super) struct Secret {
        #[prost(string, tag = "3")]
        pub(super) r#type: String,
    }

    #[derive(prost::Message)]
    pub(super) struct Pod {
        #[prost(message, optional, tag = "2")]
        pub(super) spec: Option<PodSpec>,
    }

    #[derive(prost::Message)]
    pub(super) struct PodSpec {
        #[prost(message, repeated, tag = "1")]
        volumes: Vec<PodVolume>,
        #[prost(message, repeated, tag = "2")]
        containers: Vec<PodContainer>,
        #[prost(string, tag = "8")]
        service_account_name: String,
        #[prost(string, tag = "10")]
        node_name: String,
        #[prost(bool, tag = "11")]
        host_network: bool,
        #[prost(bool, tag = "12")]
        host_pid: bool,
        #[prost(bool, tag = "13")]
        host_ipc: bool,
        #[prost(message, repeated, tag = "20")]
        init_containers: Vec<PodContainer>,
        #[prost(message, repeated, tag = "34")]
        ephemeral_containers: Vec<EphemeralContainer>,
    }

    #[derive(prost::Message)]
    pub(super) struct PodVolume {
        #[prost(message, optional, tag = "2")]
        source: Option<VolumeSource>,
    }

    #[derive(prost::Message)]
    pub(super) struct VolumeSource {
        #[prost(message, optional, tag = "1")]
        host_path: Option<HostPathSource>,
    }

    #[derive(prost::Message)]
    pub(super) struct HostPathSource {
        #[prost(string, tag = "1")]
        path: String,
    }

    #[derive(prost::Message)]
    pub(super) struct EphemeralContainer {
        #[prost(message, optional, tag = "1")]
        common: Option<PodContainer>,
        #[prost(string, tag = "2")]
        target_container_name: String,
    }

    #[derive(prost::Message)]
    pub(super) struct PodContainer {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        image: String,
        #[prost(string, repeated, tag = "3")]
        command: Vec<String>,
        #[prost(string, repeated, tag = "4")]
        args: Vec<String>,
        #[prost(message, optional, tag = "15")]
        security_context: Option<Security>,
    }

    #[derive(prost::Message)]
    pub(super) struct Security {
        #[prost(message, optional, tag = "1")]
        capabilities: Option<Added>,
        #[prost(bool, tag = "2")]
        privileged: bool,
    }

    #[derive(prost::Message)]
    pub(super) struct Added {
        #[prost(string, repeated, tag = "1")]
        add: Vec<String>,
    }

    /// An empty text is an absent one.
    fn some(text: String) -> Option<String> {
        Some(text).filter(|text| !text.is_empty())
    }

    impl From<PodSpec> for Spec {
        fn from(spec: PodSpec) -> Self {
            let containers = |all: Vec<PodContainer>| Some(all.into_iter().map(Container::from).collect());
            let ephemeral = spec.ephemeral_containers.into_iter().map(|one| Container {
                target_container_name: some(one.target_container_name),
                ..one.common.unwrap_or_default().into()
            });
            let paths = spec.volumes.into_iter().map(|volume| Volume {
                host_path: volume
                    .source
                    .and_then(|source| source.host_path)
                    .map(|path| HostPath { path: some(path.path) }),
            });
            Self {
                containers: containers(spec.containers),
                init_containers: containers(spec.init_containers),
                ephemeral_containers: Some(ephemeral.collect()),
                volumes: Some(paths.collect()),
                node_name: some(spec.node_name),
                service_account_name: some(spec.service_account_name),
                host_pid: Some(spec.host_pid),
                host_network: Some(spec.host_network),
                host_ipc: Some(spec.host_ipc),
            }
        }
    }

    impl From<PodContainer> for Container {
        fn from(container: PodContainer) -> Self {
            let security = container.security_context.map(|security| SecurityContext {
                privileged: Some(security.privileged),
                capabilities: security.capabilities.map(|capabilities| Capabilities { add: Some(capabilities.add) }),
            });
            Self {
                name: some(container.name),
                image: some(container.image),
                command: Some(container.command),
                args: Some(container.args),
                target_container_name: None,
                security_context: security,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","labels":{"a":"b"}},"spec":{
        "hostPID":true,"hostNetwork":false,"nodeName":"n1","serviceAccountName":"deploy",
        "volumes":[{"name":"a","emptyDir":{}},{"name":"b","hostPath":{"path":"/var/run"}}],
        "containers":[{"name":"main","image":"busybox","command":["sh"],"args":["-c","id"],
            "env":[{"name":"TOKEN","value":"s3cret"}],
            "securityContext":{"privileged":true,"runAsUser":0,"capabilities":{"add":["SYS_ADMIN"],"drop":["X"]}}}],
        "ephemeralContainers":[{"name":"debugger","image":"alpine","targetContainerName":"main"}]}}"#;

    fn expected() -> Content {
        let main = ContainerAsked {
            name: "main".to_owned(),
            image: Some("busybox".to_owned()),
            command: ["sh", "-c", "id"].map(str::to_owned).to_vec(),
            target: None,
            privileged: true,
            capabilities: vec!["SYS_ADMIN".to_owned()],
        };
        let debugger = ContainerAsked {
            name: "debugger".to_owned(),
            image: Some("alpine".to_owned()),
            target: Some("main".to_owned()),
            ..ContainerAsked::default()
        };
        Content {
            unread: None,
            containers: vec![main, debugger],
            node: ["hostPID", "hostPath /var/run", "nodeName n1"].map(str::to_owned).to_vec(),
            service_account: Some("deploy".to_owned()),
            secret_type: None,
        }
    }

    /// The same pod in JSON and YAML, as an object and as a patch: what gives power, and no value of anything else.
    #[test]
    fn a_pod_is_read_in_each_form() {
        for kind in [
            "",
            "application/json",
            "application/json; charset=utf-8",
            "application/strategic-merge-patch+json",
            "application/merge-patch+json",
            "application/yaml",
            "application/apply-patch+yaml",
        ] {
            assert_eq!(content(Some(kind), POD.as_bytes()), expected(), "{kind}");
        }
    }

    #[test]
    fn the_type_of_a_secret_is_read_and_nothing_that_it_holds() {
        let secret = br#"{"kind":"Secret","type":"kubernetes.io/service-account-token","stringData":{"a":"s3cret"}}"#;
        let found = content(Some("application/json"), secret);
        let kind = Some("kubernetes.io/service-account-token".to_owned());
        assert_eq!(found, Content { secret_type: kind, ..Content::default() });
    }

    /// What might mean something else to the API server is never taken for harmless.
    #[test]
    fn what_cannot_be_read_is_said_to_be_unread() {
        for (kind, body, why) in [
            (Some("application/json"), &b"{"[..], "it is not the JSON of an object"),
            (Some("application/json"), br#"{"spec":{},"spec":{"hostPID":true}}"#, "it is not the JSON of an object"),
            (Some("application/json"), br#"{"spec":{"hostPID":"yes"}}"#, "it is not the JSON of an object"),
            (Some("application/json-patch+json"), b"[]", "it is a JSON patch"),
            (Some("application/yaml"), b"a: [", "it is not the YAML of an object"),
            (Some("application/yaml"), b"\xff", "it is not the YAML of an object"),
            (Some("application/vnd.kubernetes.protobuf"), b"k8s\0\xff", "it is not the protobuf of an object"),
            (Some("application/vnd.kubernetes.protobuf"), b"{}", "it is not the protobuf of an object"),
            (Some("application/cbor"), b"", "its content type is not read"),
            (None, b"{}", "its content type is not read"),
        ] {
            assert_eq!(content(kind, body), unread(why), "{kind:?} {}", String::from_utf8_lossy(body));
        }
        let many: Vec<_> = (0..40).map(|_| r#"{"name":"x"}"#).collect();
        let many = format!(r#"{{"spec":{{"containers":[{}]}}}}"#, many.join(","));
        let found = content(Some("application/json"), many.as_bytes());
        assert_eq!((found.containers.len(), found.unread.as_deref()), (32, Some("8 more containers")));
    }
}
