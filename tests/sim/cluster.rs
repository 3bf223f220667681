//! The API server: a function from a request to an answer, on objects in memory. It implements only what the daemon
//! calls, with the meaning of the real one: preconditions, finalizers, terminating namespaces, pages of a list that may
//! expire, and an authorizer that follows the stored objects with a delay.
//!
//! Strangers change the objects directly, through [`Server::store`] and [`Server::remove`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jitd::grant::{ACT_AS, IMPERSONATE};
use serde_json::{Value, json};

use crate::network::IMPERSONATING;
use crate::world::World;

/// Who created an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Daemon,
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Namespace,
    ClusterRole,
    Role,
    RoleBinding,
    ClusterRoleBinding,
}

impl Kind {
    fn of(plural: &str) -> Option<Self> {
        Some(match plural {
            "namespaces" => Self::Namespace,
            "clusterroles" => Self::ClusterRole,
            "roles" => Self::Role,
            "rolebindings" => Self::RoleBinding,
            "clusterrolebindings" => Self::ClusterRoleBinding,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ClusterRole => "ClusterRole",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
        }
    }

    pub(crate) fn is_binding(self) -> bool {
        matches!(self, Self::RoleBinding | Self::ClusterRoleBinding)
    }
}

/// The place of an object; the namespace is empty for an object without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) by: By,
    /// Whether somebody else has changed it since.
    pub(crate) is_altered: bool,
    /// When it was created.
    pub(crate) since: i64,
}

impl Object {
    pub(crate) fn uid(&self) -> &str {
        self.value["metadata"]["uid"].as_str().unwrap()
    }

    /// Whether it is marked for deletion, but kept by a finalizer.
    pub(crate) fn is_held(&self) -> bool {
        !self.value["metadata"]["deletionTimestamp"].is_null()
    }

    fn has_finalizer(&self) -> bool {
        self.value["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
    }

    /// Whether its only subject is this group or the gateway.
    pub(crate) fn has_only_ours(&self, group: &str) -> bool {
        let is = |kind: &str, name: &str| {
            let subjects = self.value["subjects"].as_array();
            subjects.is_some_and(|all| all.len() == 1 && all[0]["kind"] == kind && all[0]["name"] == name)
        };
        is("Group", group) || is("User", crate::life::GATEWAY)
    }
}

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) objects: BTreeMap<Place, Object>,
    /// The bindings and roles that the authorizer knows, and when it learns of later ones.
    known: BTreeMap<Place, Object>,
    coming: VecDeque<(i64, Place, Option<Object>)>,
    /// The questions that were asked about each group.
    asked: BTreeMap<String, BTreeSet<String>>,
    uids: u64,
    /// The rest of each list in progress, by its token.
    rest: BTreeMap<String, Vec<(Place, Value)>>,
    tokens: u64,
}

pub(crate) type Answer = (u16, Value);

/// The parts of a request's path.
#[derive(Debug)]
pub(crate) enum Target {
    Version,
    Review,
    All(Kind, String),
    One(Place),
}

impl Target {
    pub(crate) fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let kind =
            |plural| Kind::of(plural).unwrap_or_else(|| panic!("a path that the API server does not have: {path}"));
        match parts.as_slice() {
            ["version"] => Self::Version,
            ["apis", "authorization.k8s.io", "v1", "subjectaccessreviews"] => Self::Review,
            ["api", "v1", "namespaces", name] => Self::One(Place::new(Kind::Namespace, "", name)),
            ["apis", _, "v1", "namespaces", namespace, plural] => Self::All(kind(plural), (*namespace).to_owned()),
            ["apis", _, "v1", "namespaces", namespace, plural, name] => {
                Self::One(Place::new(kind(plural), namespace, name))
            }
            ["apis", _, "v1", plural] => Self::All(kind(plural), String::new()),
            ["apis", _, "v1", plural, name] => Self::One(Place::new(kind(plural), "", name)),
            _ => panic!("a path that the API server does not have: {path}"),
        }
    }
}

pub(crate) fn failure(code: u16, reason: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    });
    (code, status)
}

/// The most objects on a page, whatever limit was requested: the tests have few objects.
const PAGE: usize = 4;

impl World {
    /// What kube-apiserver does with a request.
    pub(crate) fn serve(&mut self, method: &str, path: &str, query: &[(String, String)], body: &Value) -> Answer {
        let said = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (method, Target::of(path)) {
            ("GET", Target::Version) if said(IMPERSONATING).is_some() => {
                let right = if self.impersonation.is_constrained() { ACT_AS } else { IMPERSONATE };
                let (code, mut status) = failure(403, "Forbidden");
                status["message"] = json!(format!("cannot {right} resource \"users\""));
                (code, status)
            }
            ("GET", Target::Version) => {
                // The first version that limits a gateway, and an older one.
                let version = if self.impersonation.is_constrained() { "v1.36.0" } else { "v1.33.0" };
                (200, json!({ "gitVersion": version }))
            }
            ("POST", Target::Review) => self.review(body),
            ("GET", Target::One(place)) => {
                let found = self.server.objects.get(&place);
                found.map_or_else(|| failure(404, "NotFound"), |object| (200, object.value.clone()))
            }
            ("GET", Target::All(kind, _)) => self.list(kind, said("labelSelector"), said("continue")),
            ("POST", Target::All(kind, namespace)) => {
                let name = body["metadata"]["name"].as_str().unwrap();
                self.create(Place::new(kind, &namespace, name), body, said("dryRun").is_some())
            }
            ("DELETE", Target::One(place)) => self.delete(&place, &body["preconditions"]["uid"]),
            (method, target) => panic!("no such request: {method} {target:?}"),
        }
    }

    fn create(&mut self, place: Place, body: &Value, is_dry: bool) -> Answer {
        if !place.namespace.is_empty() {
            match self.server.objects.get(&Place::new(Kind::Namespace, "", &place.namespace)) {
                None => return failure(404, "NotFound"),
                Some(namespace) if namespace.is_held() => {
                    let (code, mut status) = failure(403, "Forbidden");
                    status["details"] =
                        json!({ "causes": [{ "reason": "NamespaceTerminating", "message": "", "field": "" }] });
                    return (code, status);
                }
                Some(_) => {}
            }
        }
        if self.server.objects.contains_key(&place) {
            return failure(409, "AlreadyExists");
        }
        if is_dry {
            return (201, body.clone());
        }
        let uid = self.store(place.clone(), body.clone(), By::Daemon);
        self.oracle_saw_created(&place, &uid);
        (201, self.server.objects[&place].value.clone())
    }

    fn delete(&mut self, place: &Place, uid: &Value) -> Answer {
        let Some(object) = self.server.objects.get(place) else { return failure(404, "NotFound") };
        if !uid.is_null() && *uid != *object.uid() {
            return failure(409, "Conflict");
        }
        let object = object.clone();
        self.oracle_saw_deleted(place, &object);
        if object.has_finalizer() {
            let held = self.server.objects.get_mut(place).unwrap();
            held.value["metadata"]["deletionTimestamp"] = json!("2027-12-28T10:40:00Z");
            let answer = held.value.clone();
            self.authorizer_follows(place);
            return (200, answer);
        }
        self.remove(place);
        (200, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
    }

    fn list(&mut self, kind: Kind, labels: Option<&str>, token: Option<&str>) -> Answer {
        let fits = |value: &Value| {
            labels.into_iter().flat_map(|labels| labels.split(',')).all(|label| {
                let (key, wanted) = label.split_once('=').unwrap();
                value["metadata"]["labels"][key] == wanted
            })
        };
        let all = |server: &Server, after: Option<&Place>| -> Vec<(Place, Value)> {
            let all = server.objects.iter().filter(|(place, object)| place.kind == kind && fits(&object.value));
            let rest = all.filter(|(place, _)| after.is_none_or(|after| *place > after));
            rest.map(|(place, object)| (place.clone(), object.value.clone())).collect()
        };
        let mut rest = match token {
            None => all(&self.server, None),
            Some(token) => {
                let rest = self.server.rest.remove(token).expect("a token that was given out");
                if self.fails(60, "a list expired") {
                    // The rest would come from another moment.
                    let before = rest.first().map(|(place, _)| place.clone());
                    let mut newer = all(&self.server, before.as_ref());
                    newer.splice(0..0, rest.into_iter().take(1));
                    let (code, mut status) = failure(410, "Expired");
                    status["metadata"]["continue"] = json!(self.server.keep(newer));
                    return (code, status);
                }
                rest
            }
        };
        let later = rest.split_off(rest.len().min(PAGE));
        let token = if later.is_empty() {
            String::new()
        } else {
            self.count("list of several pages");
            self.server.keep(later)
        };
        let items: Vec<Value> = rest.into_iter().map(|(_, value)| value).collect();
        (200, json!({ "kind": "List", "metadata": { "resourceVersion": "1", "continue": token }, "items": items }))
    }

    // ---- what strangers may do too ----

    /// Stores an object and returns its uid.
    pub(crate) fn store(&mut self, place: Place, mut value: Value, by: By) -> String {
        self.server.uids += 1;
        let uid = format!("uid-{}", self.server.uids);
        value["kind"] = json!(place.kind.word());
        value["metadata"]["name"] = json!(place.name);
        value["metadata"]["uid"] = json!(uid);
        value["metadata"]["resourceVersion"] = json!(self.server.uids.to_string());
        if !place.namespace.is_empty() {
            value["metadata"]["namespace"] = json!(place.namespace);
        }
        let object = Object { value, by, is_altered: false, since: self.now() };
        self.server.objects.insert(place.clone(), object);
        self.authorizer_follows(&place);
        uid
    }

    /// Changes an object in place.
    pub(crate) fn alter(&mut self, place: &Place, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.server.objects.get_mut(place) {
            change(&mut object.value);
            object.is_altered = true;
            self.authorizer_follows(place);
        }
    }

    pub(crate) fn remove(&mut self, place: &Place) {
        self.server.objects.remove(place);
        self.authorizer_follows(place);
    }

    /// Removes the finalizers of an object, and the object if it only waited for that.
    pub(crate) fn release(&mut self, place: &Place) {
        let Some(object) = self.server.objects.get_mut(place) else { return };
        object.value["metadata"]["finalizers"] = json!([]);
        if object.is_held() {
            self.remove(place);
        }
    }

    // ---- the authorizer ----

    fn authorizer_follows(&mut self, place: &Place) {
        if place.kind == Kind::Namespace {
            return;
        }
        let lag = if self.fails(10, "the authorizer is slow") { 100 + self.below(2_000) } else { 1 + self.below(15) };
        let after = self.server.coming.back().map_or(0, |(at, ..)| *at);
        let at = after.max(self.now() + i64::try_from(lag).unwrap());
        let object = self.server.objects.get(place).cloned();
        self.server.coming.push_back((at, place.clone(), object));
    }

    /// What the authorizer knows now.
    fn authorizer_catches_up(&mut self) {
        let now = self.now();
        while self.server.coming.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, place, object) = self.server.coming.pop_front().unwrap();
            match object {
                Some(object) => drop(self.server.known.insert(place, object)),
                None => drop(self.server.known.remove(&place)),
            }
        }
    }

    fn review(&mut self, body: &Value) -> Answer {
        self.authorizer_catches_up();
        let spec = &body["spec"];
        let allowed = self
            .server
            .known
            .iter()
            .find(|(place, object)| place.kind.is_binding() && self.server.lets(place, object, spec))
            .map(|(place, _)| place.clone());
        let group = spec["groups"][0].as_str().unwrap_or("").to_owned();
        self.server.asked.entry(group).or_default().insert(spec.to_string());
        let status = match allowed {
            Some(place) => json!({ "allowed": true, "reason": format!("allowed by {}", place.name) }),
            None => json!({ "allowed": false }),
        };
        let kind = "SubjectAccessReview";
        (
            201,
            json!({ "apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": {}, "spec": spec, "status": status }),
        )
    }
}

impl World {
    /// Whether the API server still allows anything that was ever asked about this group, by a binding of the daemon.
    pub(crate) fn still_allows(&mut self, group: &str) -> bool {
        self.authorizer_catches_up();
        let asked = self.server.asked.get(group).into_iter().flatten().map(|spec| serde_json::from_str(spec).unwrap());
        asked.into_iter().any(|spec: Value| {
            self.server.known.iter().any(|(place, object)| {
                place.kind.is_binding() && object.by == By::Daemon && self.server.lets(place, object, &spec)
            })
        })
    }
}

impl Server {
    fn keep(&mut self, rest: Vec<(Place, Value)>) -> String {
        self.tokens += 1;
        let token = format!("page-{}", self.tokens);
        self.rest.insert(token.clone(), rest);
        token
    }

    /// Whether a binding allows the subject of a review what it asks, as in Kubernetes' `rbac/validation`.
    fn lets(&self, place: &Place, binding: &Object, spec: &Value) -> bool {
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let namespace = resource["namespace"].as_str().unwrap_or("");
        if place.kind == Kind::RoleBinding && place.namespace != namespace {
            return false;
        }
        let is_subject = |subject: &Value| match subject["kind"].as_str() {
            Some("Group") => spec["groups"].as_array().is_some_and(|groups| groups.contains(&subject["name"])),
            Some("User") => spec["user"] == subject["name"],
            _ => false,
        };
        if !binding.value["subjects"].as_array().is_some_and(|subjects| subjects.iter().any(is_subject)) {
            return false;
        }
        let role = &binding.value["roleRef"];
        let name = role["name"].as_str().unwrap();
        let role = match role["kind"].as_str() {
            Some("Role") => Place::new(Kind::Role, &place.namespace, name),
            _ => Place::new(Kind::ClusterRole, "", name),
        };
        let rules = self.known.get(&role).and_then(|role| role.value["rules"].as_array());
        let holds = |list: &Value, word: &str| {
            list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word || entry == "*"))
        };
        let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
        rules.into_iter().flatten().any(|rule| {
            if !path.is_null() {
                return holds(&rule["verbs"], &word(&path["verb"]))
                    && holds(&rule["nonResourceURLs"], &word(&path["path"]));
            }
            let sub = word(&resource["subresource"]);
            let what = if sub.is_empty() {
                word(&resource["resource"])
            } else {
                format!("{}/{sub}", word(&resource["resource"]))
            };
            let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
            holds(&rule["verbs"], &word(&resource["verb"]))
                && holds(&rule["apiGroups"], &word(&resource["group"]))
                && holds(&rule["resources"], &what)
                && names.is_none_or(|names| names.contains(&resource["name"]))
        })
    }
}
