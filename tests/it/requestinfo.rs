//! The table by which the gateway's reading of a request is judged is what Kubernetes' own code says today.

use std::process::Command;

use crate::bastion::{repository, text};

/// The gateway's table of requests is printed by the API server's own parser, of the version that the tests run.
/// `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_gateway_is_compared_with_kubernetes_itself() {
    let table = repository().join("crates/jit-gateway/tests/requestinfo.jsonl");
    // The flags of `build.sh`, so that Go has most of it compiled.
    let printed = Command::new("go")
        .args(["run", "-buildvcs=false", "./requestinfo"])
        .envs([("CGO_ENABLED", "0"), ("GOWORK", "off")])
        .current_dir(repository().join("tests/controlplane/parts"))
        .output()
        .unwrap();
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&table, &printed.stdout).unwrap();
    }
    let kept = std::fs::read(&table).unwrap();
    assert!(kept == printed.stdout, "{} is not what Kubernetes says; UPDATE_GOLDEN=1 writes it", table.display());
}
