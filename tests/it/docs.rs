//! The pages of `docs/`: each is in the index, its links are valid, and its tables equal what the code defines.
//!
//! `readme.rs`, `runbooks.rs` and `tutorial.rs` run the commands in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use jitd::wire::ErrorCode;

use crate::bastion::{ALICE, Bastion, Key, repository, text};
use crate::console::blocks;
use crate::plane::{root, scratch};
use crate::readme::is_true;

/// Compares a page of `docs/` with the generated one; `UPDATE_GOLDEN=1` writes it.
pub(crate) fn is_golden(name: &str, made: &str) {
    let path = repository().join("docs").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "docs/{name} differs from the code; UPDATE_GOLDEN=1 writes it:\n{made}");
}

/// The pages in a folder of the repository, as paths from its root.
fn pages(folder: &str) -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(repository().join(folder))
        .unwrap()
        .map(|entry| Path::new(folder).join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(repository().join(page)).unwrap()
}

/// The page without its code blocks, which contain neither links nor headings.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// The targets of the relative links of a page: a file, and an anchor if there is one.
fn links(page: &str) -> Vec<(String, Option<String>)> {
    prose(page)
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(|target| match target.split_once('#') {
            Some((file, anchor)) => (file.to_owned(), Some(anchor.to_owned())),
            None => (target, None),
        })
        .collect()
}

/// The anchors that GitHub generates for a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    prose(page)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
        })
        .collect()
}

#[test]
fn every_page_is_in_the_index() {
    let indexed: BTreeSet<PathBuf> = links(&read(Path::new("docs/README.md")))
        .into_iter()
        .filter(|(file, _)| !file.starts_with(".."))
        .map(|(file, _)| Path::new("docs").join(file))
        .collect();
    let mut there: BTreeSet<PathBuf> = pages("docs").into_iter().collect();
    there.remove(Path::new("docs/README.md"));
    there.insert(PathBuf::from("docs/runbooks/README.md"));
    assert_eq!(there, indexed);
}

/// Who maintains this is written in the manifest of the workspace, from which the packages have it, and nowhere else but where
/// a vulnerability is reported.
#[test]
fn the_security_policy_names_the_maintainers_of_the_packages() {
    let manifest = read(Path::new("Cargo.toml"));
    let (_, authors) = manifest.split_once("\nauthors = [\"").unwrap();
    let (_, address) = authors.split_once('\"').unwrap().0.split_once('<').unwrap();
    assert_eq!(manifest.matches(address).count(), 1, "{address}");
    assert!(read(Path::new("SECURITY.md")).contains(&format!("Write to <{address},")), "<{address}");
}

#[test]
fn every_link_has_a_page_and_a_heading() {
    let pages: Vec<PathBuf> = ["", "docs", "docs/runbooks"].into_iter().flat_map(pages).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in &pages {
        for (file, anchor) in links(&read(page)) {
            seen += 1;
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(&file) };
            let there = repository().join(&target).exists();
            if !there || anchor.is_some_and(|anchor| !anchors(&read(&target)).contains(&anchor)) {
                wrong.push(format!("{}: {file}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 20, "only {seen} links");
}

/// The pages that programs, units and files of the package mention exist.
#[test]
fn every_page_that_the_code_cites_exists() {
    let mut cited = BTreeSet::new();
    for folder in ["src", "crates", "benches"] {
        cited_in(&repository().join(folder), &mut cited);
    }
    let missing: Vec<&String> = cited.iter().filter(|page| !repository().join(page).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(cited.contains("docs/trust.md"), "{cited:?}");
}

fn cited_in(folder: &Path, cited: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            cited_in(&path, cited);
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        // `jitd::hint::page`, which knows where the page is on a host.
        let by_name = text.split("page(\"").skip(1).filter_map(|rest| rest.split('"').next());
        cited.extend(by_name.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
        for (at, _) in text.match_indices("docs/") {
            // A longer path, such as that of a page of another project.
            if text[..at].ends_with(|before: char| before.is_alphanumeric() || "/.-_".contains(before))
                && !text[..at].ends_with("/usr/share/doc/jitd/")
            {
                continue;
            }
            let page: String = text[at..]
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || "/.-_".contains(*letter))
                .collect();
            if page.ends_with(".md") {
                cited.insert(page);
            }
        }
    }
}

/// Compares the part of a page between `<!-- NAME -->` and `<!-- end -->`; `UPDATE_GOLDEN=1` writes it.
fn is_golden_part(page: &str, name: &str, made: &str) {
    let written = read(&Path::new("docs").join(page));
    let (before, rest) = written.split_once(&format!("<!-- {name} -->\n")).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    is_golden(page, &format!("{before}<!-- {name} -->\n{made}<!-- end -->{after}"));
}

/// A row of a table.
fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The items of a source file that have a doc comment: the comment in one line, without rustdoc's links, and the item's line.
fn documented(source: &str) -> Vec<(String, String)> {
    let mut items = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in source.lines().map(str::trim) {
        match line.strip_prefix("///") {
            Some(said) => comment.push(said.trim()),
            None if line.starts_with("#[") || line.starts_with("#!") => {}
            None => {
                if !comment.is_empty() {
                    let said = comment.join(" ");
                    let said = said.split("; see [").next().unwrap().trim_end_matches('.');
                    items.push((format!("{said}."), line.to_owned()));
                }
                comment.clear();
            }
        }
    }
    items
}

/// The part of a source file from a line to the next `}` without indentation.
fn item<'a>(source: &'a str, head: &str) -> &'a str {
    let at = source.find(head).unwrap_or_else(|| panic!("no `{head}`"));
    source[at..].split("\n}\n").next().unwrap()
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

/// `event_kind` of `EventKind`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The JSON type of a Rust type.
fn json_type(of: &str) -> String {
    let of = of.trim_end_matches(',');
    let inner = |outer: &str| of.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
    if let Some(of) = inner("Option<") {
        return format!("{}, may be absent", json_type(of));
    }
    if let Some(of) = inner("Vec<").or_else(|| inner("BTreeSet<")) {
        return format!("list, each {}", json_type(of));
    }
    match of {
        "Timestamp" => "time",
        "String" | "Reason" | "Namespace" | "ClusterName" | "PersonName" | "GrantId" | "KeyHash" | "GatewayUser" => {
            "text"
        }
        "Window" => "duration",
        "i64" | "u64" | "usize" => "number",
        "bool" => "true or false",
        "About" | "Clock" | "EndCause" | "EndProof" | "Impersonation" | "Verdict" | "Phase" => "word",
        _ => "object",
    }
    .to_owned()
}

/// A row for each field of a `struct` or of a variant.
fn fields(source: &str) -> Vec<[String; 3]> {
    documented(source)
        .into_iter()
        .filter_map(|(said, line)| {
            let (name, of) = line.strip_prefix("pub ").unwrap_or(&line).split_once(": ")?;
            Some([format!("`{}`", camel(name)), json_type(of), said])
        })
        .collect()
}

/// The kinds of events with their fields, from the type that the trail stores.
#[test]
fn the_page_of_the_trail_has_every_event() {
    let source = read(Path::new("crates/jit-core/src/grant/event.rs"));
    let request = read(Path::new("crates/jit-core/src/grant/request.rs"));
    let events = item(&source, "pub enum Event {");
    let boxed = source.clone() + &read(Path::new("crates/jit-core/src/grant/login.rs"));
    let mut table = String::from("| kind | field | value | meaning |\n|---|---|---|---|\n");
    let mut kinds = 0;
    // Variants are indented once, their fields twice.
    for variant in events.split("\n    /// ").skip(1) {
        let variant = format!("    /// {variant}");
        let outer: Vec<&str> = variant.lines().filter(|line| !line.starts_with("        ")).collect();
        let (said, head) = documented(&outer.join("\n")).remove(0);
        let name = head.split([' ', '(', ',']).next().unwrap();
        table += &row(&[&format!("`{}`", snake(name)), "", "", &said]);
        kinds += 1;
        let inner = match head.split_once("(Box<") {
            Some((_, rest)) => item(&boxed, &format!("pub struct {} {{", rest.split('>').next().unwrap())).to_owned(),
            None => variant.lines().filter(|line| line.starts_with("        ")).collect::<Vec<_>>().join("\n"),
        };
        for [name, of, said] in fields(&inner) {
            table += &row(&["", &name, &of, &said]);
        }
    }
    assert_eq!(kinds, source.matches(" => \"").count() - 5, "every kind of `Event::kind` is in the table");
    is_golden_part("trail.md", "events", &table);

    let recording = read(Path::new("crates/jit-core/src/grant/recording.rs"));
    let sent = read(Path::new("crates/jit-core/src/grant/sent.rs"));
    let mut objects = String::new();
    for (title, source, head) in [
        ("`ask`", &request, "pub struct AccessRequest {"),
        ("`shown`", &source, "pub struct Shown {"),
        ("`decidedOn`", &source, "pub struct DecidedOn {"),
        ("an entry of `holds`", &source, "pub struct OtherGrant {"),
        ("`log` and `before`", &recording, "pub struct LogHead {"),
        ("an entry of `texts`", &sent, "pub struct SentText {"),
    ] {
        objects += &format!("\n{title}:\n\n| field | value | meaning |\n|---|---|---|\n");
        for [name, of, said] in fields(item(source, head)) {
            objects += &row(&[&name, &of, &said]);
        }
    }
    is_golden_part("trail.md", "objects", &objects);

    let mut words = String::from("| field | word | meaning |\n|---|---|---|\n");
    for (field, head) in [
        ("`clock`", "pub enum Clock {"),
        ("`why` of an end", "pub enum EndCause {"),
        ("`proof`", "pub enum EndProof {"),
    ] {
        for (said, line) in documented(item(&source, head)) {
            words += &row(&[field, &format!("`{}`", snake(line.trim_end_matches(','))), &said]);
        }
    }
    is_golden_part("trail.md", "words", &words);
}

/// The ten lines of Python on the page verify an export without our code: they compute the same head, and detect a change.
#[test]
fn the_hash_rule_on_the_page_is_enough_to_check_a_trail() {
    let bastion = Bastion::start();
    bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let folder = scratch("trail-page");
    let page = read(Path::new("docs/trail.md"));
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.lines().count() <= 10, "{script}");
    std::fs::write(folder.join("check.py"), script).unwrap();
    let jitd = |arguments: &[&str]| {
        let config = bastion.dir.join("config.yaml");
        let done = Command::new(root().join("bin/jitd")).arg("--config").arg(config).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout) + &text(&done.stderr)
    };
    let check = |exported: &str| {
        std::fs::write(folder.join("trail.jsonl"), exported).unwrap();
        Command::new("python3").arg(folder.join("check.py")).arg(folder.join("trail.jsonl")).output().unwrap()
    };
    let exported = jitd(&["audit", "export"]);
    let checked = check(&exported);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let head = text(&checked.stdout).trim().rsplit(' ').next().unwrap().to_owned();
    assert!(head.len() == 64 && jitd(&["audit", "verify"]).contains(&head), "{head}");
    let changed = exported.replacen("\"host\"", "\"Host\"", 1);
    assert_ne!(changed, exported);
    let checked = check(&changed);
    assert!(!checked.status.success() && text(&checked.stderr).contains("line 2"), "{}", text(&checked.stderr));
}

/// Every code with its status and exit code, from their only table, and every route, from the OpenAPI document that is served.
#[test]
fn the_page_of_the_api_has_every_route_and_every_code() {
    let comments: Vec<(String, String)> = ["crates/jit-core/src/grant/refusal.rs", "crates/jit-wire/src/code.rs"]
        .into_iter()
        .flat_map(|file| {
            let source = read(Path::new(file));
            documented(source.split("\ncodes! {\n").nth(1).unwrap().split("\n}\n").next().unwrap())
        })
        .collect();
    let codes: Vec<ErrorCode> = ErrorCode::all().collect();
    assert_eq!(codes.len(), comments.len());
    let mut table = String::from("| code | status | exit code | meaning |\n|---|---|---|---|\n");
    for (code, (said, line)) in codes.into_iter().zip(comments) {
        assert!(line.contains(&format!("\"{}\"", code.as_str())), "{line}");
        let (status, exit) = (code.status().to_string(), code.exit().code().to_string());
        table += &row(&[&format!("`{}`", code.as_str()), &status, &exit, &said]);
    }
    is_golden_part("api.md", "codes", &table);

    let (status, document) = Bastion::start().get(ALICE, "/v1/openapi.json");
    assert_eq!(status, 200);
    let mut routes = String::from("| route | does | who may call it |\n|---|---|---|\n");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let said = |field: &str| operation[field].as_str().unwrap().to_owned();
            let route = format!("`{} {path}`", method.to_uppercase());
            routes += &row(&[&route, &said("summary"), &said("description")]);
        }
    }
    is_golden_part("api.md", "routes", &routes);

    let help = Command::new(root().join("bin/jit-login")).arg("--help").output().unwrap();
    let help = text(&help.stdout);
    let mut exits = String::from("| exit code | meaning |\n|---|---|\n");
    for line in help.split("Exit codes:\n").nth(1).unwrap().lines().take_while(|line| line.starts_with("  ")) {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        exits += &row(&[code, meaning.trim()]);
    }
    is_golden_part("api.md", "exits", &exits);
    for block in blocks(&read(Path::new("docs/api.md"))) {
        is_true(block);
    }
}
