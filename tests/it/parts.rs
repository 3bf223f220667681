//! A grant in several namespaces: each is a part of its own. One that is gone, or that the cluster refuses, takes none of the
//! others with it, and what is told is what happened to it.

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, path, text};
use crate::plane::until;

fn both(bastion: &Bastion<'_>) -> Value {
    let mut ask = bastion.ask("5m");
    ask["namespaces"] = json!([bastion.ns, bastion.shop]);
    ask
}

fn namespace(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}

fn lost(bastion: &Bastion<'_>, grant: &Value, why: &str) {
    let shown = bastion.show(BOB, grant);
    assert_eq!((&shown["phase"], &shown["namespaces"]), (&json!("live"), &json!([bastion.shop])), "{shown}");
    let part = &shown["lost"][0];
    assert_eq!((&part["namespace"], &part["over"]), (&json!(bastion.ns), &json!(true)), "{shown}");
    assert!(part["why"].as_str().unwrap().contains(why), "{shown}");
}

/// What is over in one namespace goes on in the other, to the end that it would have had.
#[test]
fn access_goes_on_in_the_namespaces_that_are_left() {
    let bastion = Bastion::start();
    let access = bastion.live(&both(&bastion));
    assert_eq!([&bastion.ns, &bastion.shop].map(|name| bastion.look(&access, name)), [200, 200]);
    bastion.admin.delete(&namespace(&bastion.ns));
    until("it is over there", || (bastion.show(BOB, &access.grant)["lost"][0]["over"] == true).then_some(()));
    lost(&bastion, &access.grant, "was deleted or is being deleted");
    let kinds = bastion.kinds(&access.grant);
    assert_eq!(kinds[kinds.len() - 3..], ["live", "part_unbind_intended", "part_ended"]);
    assert_eq!(bastion.look(&access, &bastion.shop), 200);
    assert_eq!(bastion.certificate(ALICE, &access.grant, &access.key).0, 200, "it is renewed");
    let page = text(&bastion.login(BOB, &["show", access.grant["id"].as_str().unwrap()]).stdout);
    assert!(page.contains("has ended in namespace"), "{page}");
    bastion.admin.delete(&namespace(&bastion.shop));
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!(ended["endCause"], "drifted", "{ended}");
    assert!(ended["closingWords"].as_str().unwrap().contains(&bastion.shop), "{ended}");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
    bastion.has_no_fault();
}

/// A namespace that takes no binding, or is gone, when the approval is collected is left out, and told with its reason.
#[test]
fn what_is_collected_is_what_the_cluster_takes() {
    let bastion = Bastion::start();
    let quotas = format!("{}/resourcequotas", namespace(&bastion.ns));
    let none = json!({ "hard": { "count/rolebindings.rbac.authorization.k8s.io": "0" } });
    for (why, happens) in [("exceeded quota: none", true), ("was deleted or is being deleted", false)] {
        let key = Key::new();
        let grant = bastion.request(ALICE, &both(&bastion), &key);
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        if happens {
            bastion.admin.create(&quotas, &json!({ "metadata": { "name": "none" }, "spec": none }));
            until("the quota is counted", || {
                let quota = bastion.admin.get(&format!("{quotas}/none")).1;
                quota["status"]["hard"].is_object().then_some(())
            });
        } else {
            bastion.admin.delete(&namespace(&bastion.ns));
        }
        let access = bastion.collect(&grant, key);
        lost(&bastion, &grant, why);
        assert_eq!([&bastion.ns, &bastion.shop].map(|name| bastion.look(&access, name)), [403, 200]);
        assert_eq!(bastion.bindings().len(), 1);
        assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).1["phase"], "ended");
        assert!(bastion.bindings().is_empty());
    }
    bastion.has_no_fault();
}
