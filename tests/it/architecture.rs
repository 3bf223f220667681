//! The map of modules in `src/lib.rs`, compared with the `use` lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::bastion::repository;

/// Which module may name which others: the list under `# The arrows` in `src/lib.rs`.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let map = std::fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    let (_, list) = map.split_once("//! # The arrows\n").expect("the map has its arrows");
    let (_, list) = list.split_once("//! ```text\n").unwrap();
    let (list, _) = list.split_once("//! ```\n").unwrap();
    let arrow = |line: &str| {
        let (module, named) = line.trim_start_matches("//! ").split_once('→').expect("an arrow in each line");
        let named = named.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "nothing").collect();
        (module.trim().to_owned(), named)
    };
    list.lines().map(arrow).collect()
}

/// Every `crate::MODULE` that stands in a module's files is an arrow of the map, and every arrow is used. Of `jit-core`
/// and `jit-host` each module is one of the map's, and of `jit-wire` all but `client` are `wire`.
#[test]
fn modules_use_only_the_modules_of_the_map() {
    let map = arrows();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (krate, source) in [
        ("jitd", "src"),
        ("jit_core", "crates/jit-core/src"),
        ("jit_host", "crates/jit-host/src"),
        ("jit_wire", "crates/jit-wire/src"),
    ] {
        let source = repository().join(source);
        for file in files(&source) {
            let below = file.strip_prefix(&source).unwrap();
            let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let module = match (krate, module.as_str()) {
                ("jit_wire", "client") => "client".to_owned(),
                ("jit_wire", _) => "wire".to_owned(),
                (_, "lib" | "bin") => continue,
                _ => module,
            };
            let named = found.entry(module.clone()).or_default();
            for line in
                std::fs::read_to_string(&file).unwrap().lines().filter(|line| !line.trim_start().starts_with("//"))
            {
                let names = |path: &str| -> Vec<String> {
                    let rests = line.split(path).skip(1);
                    rests.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
                };
                let inside = names("crate::").into_iter().map(|name| match (module.as_str(), name.as_str()) {
                    // `client` stands beside the forms, in one crate with them.
                    ("client", _) => "wire".to_owned(),
                    _ => name,
                });
                named
                    .extend(inside.chain(names("jit_core::")).filter(|name| *name != module && map.contains_key(name)));
            }
        }
    }
    assert_eq!(found, map);
}

/// The client's files have no cyclic dependency, over any number of files.
#[test]
fn the_files_of_the_client_have_no_cycle() {
    let source = repository().join("crates/jit-login/src");
    let mut above: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&source) {
        let below = file.strip_prefix(&source).unwrap();
        let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let named = above.entry(module).or_default();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for rest in lines.flat_map(|line| line.split("crate::").skip(1)) {
            named.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    // Everything stands above `main`'s clock and below its `main`.
    above.remove("main").expect("the program has a main");
    let modules: BTreeSet<String> = above.keys().cloned().collect();
    assert!(modules.len() > 15, "{modules:?}");
    for (module, named) in &mut above {
        named.retain(|name| name != module && modules.contains(name));
    }
    // Whoever names nobody that is left is a floor; what stays in the end is a ring, or stands on one.
    while let Some(floor) = above.iter().find_map(|(module, named)| named.is_empty().then(|| module.clone())) {
        above.remove(&floor);
        for named in above.values_mut() {
            named.remove(&floor);
        }
    }
    assert_eq!(above, BTreeMap::new());
}

/// What the manifests of the crates prove: a decision has no runtime, no socket and no store below it, and what reaches a
/// person's account neither stores nor signs for others.
#[test]
fn the_crates_have_only_allowed_dependencies() {
    let below = |krate: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(repository().join("crates").join(krate).join("Cargo.toml")).unwrap();
        let (_, list) = text.split_once("[dependencies]\n").unwrap();
        let names = list.lines().take_while(|line| !line.is_empty()).map(|line| line.split(['.', ' ']).next().unwrap());
        names.map(str::to_owned).collect()
    };
    for (krate, never) in [
        ("jit-core", &["tokio", "hyper", "rusqlite", "nix", "kube", "jit-wire"][..]),
        ("jit-wire", &["rusqlite", "kube", "rcgen", "axum", "jitd"]),
        // It reads hostile files, and neither stores nor decides.
        ("jit-sessions", &["rusqlite", "kube", "hyper", "rcgen", "jitd"]),
        // It needs neither a daemon nor a cluster.
        ("jit-scan", &["tokio", "hyper", "rusqlite", "kube", "jit-wire", "jitd"]),
        // It seals and opens what is in memory, with one provider of primitives.
        ("jit-seal", &["tokio", "hyper", "nix", "age", "jit-core", "jit-wire", "jitd"]),
        // It signs for the program's own host name.
        ("jit-serving", &["tokio", "hyper", "rusqlite", "kube", "cryptoki", "jit-core", "jitd"]),
        // It faces hostile bytes, and holds no key that signs for people.
        ("jit-gateway", &["rusqlite", "kube", "cryptoki", "rcgen", "jitd"]),
        // It parses what strangers send, and decides nothing about what they may do.
        ("jit-frontend", &["rusqlite", "kube", "cryptoki", "rcgen", "jitd", "axum"]),
        // It speaks to the internet and runs programs.
        ("jit-notify", &["rusqlite", "kube", "cryptoki", "jitd"]),
        // It parses what strangers send.
        ("jit-identity", &["rusqlite", "kube", "cryptoki", "nix", "jitd"]),
        // It reads what a directory sends, and decides nothing about it.
        ("jit-directory", &["rusqlite", "kube", "cryptoki", "nix", "jit-core", "jitd"]),
        ("jit-login", &["rusqlite", "kube", "k8s-openapi", "cryptoki", "jitd"]),
    ] {
        let below = below(krate);
        assert!(below.len() > 2, "{krate}: {below:?}");
        assert_eq!(never.iter().find(|name| below.contains(**name)), None, "{krate}");
    }
}

/// The decisions of `grant` can be replayed: nothing in it, nor in what it stands on, touches a file, a socket, a clock
/// or a thread.
#[test]
fn grant_and_rbac_do_no_io_and_read_no_clock() {
    for file in files(&repository().join("crates/jit-core/src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in
            ["std::fs", "std::net", "std::io", "std::env", "std::thread", "std::time", "tokio", "::now()", "async "]
        {
            let found = text.lines().find(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert_eq!(found, None, "{}: {word}", file.display());
        }
    }
}

/// Every file begins with its purpose.
#[test]
fn every_file_begins_with_its_purpose() {
    for folder in ["src", "crates", "tests", "benches"] {
        for file in files(&repository().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//! "), "{}", file.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
