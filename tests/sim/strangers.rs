//! What others do in the cluster: they change or delete roles, alter or delete bindings, create bindings that name our
//! group or have our labels, add finalizers, recreate namespaces, and stop the API server.
//!
//! An administrator repairs things after a while, and everything at the end ([`World::put_right`]).

use jitd::grant::{acting_on, names};
use serde_json::{Value, json};

use crate::cluster::{By, Kind, Place};
use crate::world::World;

/// The cluster before anybody did anything.
pub(crate) fn furnish(world: &mut World) {
    for (name, team) in NAMESPACES {
        world.store(Place::new(Kind::Namespace, "", name), namespace(team), By::Stranger);
    }
    for (name, rules) in roles() {
        world.store(Place::new(Kind::ClusterRole, "", name), role(&rules), By::Stranger);
    }
    world.store(
        viewer(),
        role(&json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }])),
        By::Stranger,
    );
    if world.has_gateway {
        let place = Place::new(Kind::ClusterRole, "", &names::gateway_on_role(crate::life::HOST));
        world.store(place, role(&json!(acting_on())), By::Stranger);
    }
    for n in 0..5 {
        let place = Place::new(Kind::RoleBinding, "billing", &format!("team-{n}"));
        world.store(place, binding("ClusterRole", "view", "billing-team"), By::Stranger);
    }
    let place = Place::new(Kind::ClusterRoleBinding, "", "admins");
    world.store(place, binding("ClusterRole", "view", "admins"), By::Stranger);
    let wait = 5_000 + world.below(30_000);
    world.later(wait, meddle);
}

const NAMESPACES: [(&str, &str); 5] =
    [("payments", "pay"), ("billing", "pay"), ("shop-1", "shop"), ("shop-2", "shop"), ("sandbox", "play")];

fn namespace(team: &str) -> Value {
    json!({ "metadata": { "labels": { "team": team } } })
}

fn roles() -> [(&'static str, Value); 3] {
    let pods = json!({ "apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"] });
    let change = json!({ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch"] });
    [("view", json!([pods])), ("edit", json!([pods, change])), ("nothing", json!([]))]
}

fn role(rules: &Value) -> Value {
    json!({ "metadata": {}, "rules": rules })
}

fn viewer() -> Place {
    Place::new(Kind::Role, "sandbox", "viewer")
}

fn binding(kind: &str, role: &str, group: &str) -> Value {
    json!({
        "metadata": {},
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group }],
    })
}

/// One thing that somebody does, and the next one after a while.
fn meddle(world: &mut World) {
    if world.quiet {
        return;
    }
    let ours: Vec<Place> = world
        .server
        .objects
        .iter()
        .filter(|(_, object)| object.by == By::Daemon)
        .map(|(place, _)| place.clone())
        .collect();
    let bindings: Vec<Place> = ours.iter().filter(|place| place.kind.is_binding()).cloned().collect();
    let roles: Vec<Place> = ours.iter().filter(|place| !place.kind.is_binding()).cloned().collect();
    match world.below(28) {
        0 | 1 => drifts(world),
        2 if !bindings.is_empty() => {
            let place = world.one_of(&bindings);
            did(world, "a binding is deleted", &place);
            world.remove(&place);
        }
        3 if !bindings.is_empty() => {
            let place = world.one_of(&bindings);
            did(world, "a binding gets another subject", &place);
            world.alter(&place, |value| {
                value["subjects"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory" }));
            });
            tidied(world, place);
        }
        4 if !bindings.is_empty() => {
            let place = world.one_of(&bindings);
            did(world, "a binding loses its labels", &place);
            world.alter(&place, |value| value["metadata"]["labels"] = json!({}));
        }
        5 if !bindings.is_empty() => {
            let place = world.one_of(&bindings);
            did(world, "a binding is made anew by somebody else", &place);
            let mut value = world.server.objects[&place].value.clone();
            value["subjects"][0]["name"] = json!("mallory-and-friends");
            world.remove(&place);
            world.store(place.clone(), value, By::Stranger);
            tidied(world, place);
        }
        6 if !bindings.is_empty() => {
            let place = world.one_of(&bindings);
            did(world, "a finalizer holds a binding", &place);
            world.alter(&place, |value| value["metadata"]["finalizers"] = json!(["example.org/keep"]));
            let wait = 10_000 + world.below(100_000);
            world.later(wait, move |world| world.release(&place));
        }
        7 if !bindings.is_empty() => {
            let place = world.one_of(&bindings);
            let group = place.name.replacen('-', ":", 1);
            let foreign = Place::new(place.kind, &place.namespace, &format!("also-{}", place.name));
            did(world, "another binding names our group", &foreign);
            let role = world.server.objects[&place].value["roleRef"].clone();
            let mut value = binding("ClusterRole", "view", &group);
            value["roleRef"] = role;
            world.store(foreign.clone(), value, By::Stranger);
            tidied(world, foreign);
        }
        8 => {
            let name = format!("jit-{:016}", world.below(1_000_000_000));
            let place = Place::new(Kind::RoleBinding, "billing", &name);
            did(world, "a binding with our labels that we did not make", &place);
            let mut value = binding("ClusterRole", "view", &name.replacen('-', ":", 1));
            value["metadata"]["labels"] =
                json!({ "app.kubernetes.io/managed-by": "jitd", "jitd.dev/host": crate::life::HOST });
            world.store(place.clone(), value, By::Stranger);
            tidied(world, place);
        }
        9 if !roles.is_empty() => {
            let place = world.one_of(&roles);
            did(world, "a role that was made for a grant is altered", &place);
            world.alter(&place, |value| value["rules"][0]["verbs"] = json!(["*"]));
            tidied(world, place);
        }
        10 if !roles.is_empty() => {
            let place = world.one_of(&roles);
            did(world, "a role that was made for a grant is deleted", &place);
            world.remove(&place);
        }
        11 => {
            let (name, team) = world.one_of(&NAMESPACES);
            empties(world, name, team);
        }
        12 => {
            let place = Place::new(Kind::Namespace, "", "shop-2");
            did(world, "the labels of a namespace change", &place);
            world.alter(&place, |value| value["metadata"]["labels"] = json!({}));
            let wait = 10_000 + world.below(60_000);
            world.later(wait, move |world| {
                world.alter(&place, |value| value["metadata"]["labels"]["team"] = json!("shop"))
            });
        }
        13 if !world.calm => {
            let length = world.below(90_000);
            world.count("fault: the API server is down");
            world.note(format!("-- the API server is down for {length} ms"));
            world.network.down_until = world.now() + i64::try_from(length).unwrap();
        }
        // Others are more interesting than these, but need something of ours.
        14.. if !bindings.is_empty() => return meddle_again(world),
        _ => {}
    }
    let wait = 5_000 + world.below(35_000);
    world.later(wait, meddle);
}

fn meddle_again(world: &mut World) {
    world.later(1_000, meddle);
}

fn did(world: &mut World, what: &str, place: &Place) {
    world.count(format!("stranger: {what}"));
    world.note(format!("-- {what}: {:?} {}/{}", place.kind, place.namespace, place.name));
}

/// An administrator finds it and removes it.
fn tidied(world: &mut World, place: Place) {
    let wait = 10_000 + world.below(100_000);
    let uid = world.server.objects[&place].uid().to_owned();
    world.later(wait, move |world| {
        if world.server.objects.get(&place).is_some_and(|object| object.uid() == uid) {
            world.note(format!("-- an administrator takes it away: {}/{}", place.namespace, place.name));
            world.remove(&place);
        }
    });
}

/// A role changes; later it is as before.
fn drifts(world: &mut World) {
    let all = roles();
    let (name, rules) = world.one_of(&all[..2]);
    let (place, rules) = if world.happens(250) {
        (viewer(), json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]))
    } else {
        (Place::new(Kind::ClusterRole, "", name), rules)
    };
    match world.below(3) {
        0 => {
            did(world, "a role gets more rules", &place);
            world.alter(&place, |value| {
                let more = json!({ "apiGroups": [""], "resources": ["events"], "verbs": ["get"] });
                if let Some(rules) = value["rules"].as_array_mut() {
                    rules.push(more);
                }
            });
        }
        1 => {
            did(world, "a role is made anew", &place);
            world.remove(&place);
            world.store(place.clone(), role(&rules), By::Stranger);
        }
        _ => {
            did(world, "a role is deleted", &place);
            world.remove(&place);
        }
    }
    let wait = 5_000 + world.below(60_000);
    world.later(wait, move |world| restore_role(world, place, &rules));
}

fn restore_role(world: &mut World, place: Place, rules: &Value) {
    if !place.namespace.is_empty()
        && !world.server.objects.contains_key(&Place::new(Kind::Namespace, "", &place.namespace))
    {
        return;
    }
    match world.server.objects.get(&place) {
        None => drop(world.store(place, role(rules), By::Stranger)),
        Some(object) if object.value["rules"] != *rules => world.alter(&place, |value| value["rules"] = rules.clone()),
        Some(_) => {}
    }
}

/// A namespace is deleted with everything in it, and recreated.
fn empties(world: &mut World, name: &'static str, team: &'static str) {
    let place = Place::new(Kind::Namespace, "", name);
    if !world.server.objects.contains_key(&place) {
        return;
    }
    did(world, "a namespace goes", &place);
    world.alter(&place, |value| value["metadata"]["deletionTimestamp"] = json!("2027-12-28T10:40:00Z"));
    let wait = 1_000 + world.below(5_000);
    world.later(wait, move |world| {
        let inside: Vec<Place> = world.server.objects.keys().filter(|place| place.namespace == name).cloned().collect();
        for place in inside {
            world.remove(&place);
        }
        world.remove(&Place::new(Kind::Namespace, "", name));
        let wait = 3_000 + world.below(30_000);
        world.later(wait, move |world| restore_namespace(world, name, team));
    });
}

fn restore_namespace(world: &mut World, name: &str, team: &str) {
    let place = Place::new(Kind::Namespace, "", name);
    if !world.server.objects.contains_key(&place) {
        world.note(format!("-- a namespace is made anew: {name}"));
        world.store(place, namespace(team), By::Stranger);
        if name == "sandbox" {
            let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]);
            restore_role(world, viewer(), &rules);
        }
    }
}

impl World {
    /// Nobody does anything any more, and what strangers did is undone.
    pub(crate) fn put_right(&mut self) {
        self.quiet = true;
        self.network.down_until = 0;
        self.note("-- everything is put right".to_owned());
        let places: Vec<Place> = self.server.objects.keys().cloned().collect();
        for place in places {
            self.release(&place);
            let Some(object) = self.server.objects.get(&place) else { continue };
            let is_theirs = object.by == By::Stranger && place.name.contains("jit-");
            // An altered object of ours is removed only by those who altered it.
            let is_altered = object.by == By::Daemon
                && object.is_altered
                && !(place.kind.is_binding() && object.has_only_ours(&place.name.replacen('-', ":", 1)));
            if is_theirs || is_altered {
                self.remove(&place);
            }
        }
        for (name, team) in NAMESPACES {
            restore_namespace(self, name, team);
        }
        for (name, rules) in roles() {
            restore_role(self, Place::new(Kind::ClusterRole, "", name), &rules);
        }
    }
}
