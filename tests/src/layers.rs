//! The arrows between crates, read off the manifests: a pure crate that gains a runtime, a store or a service fails
//! here, and so does an arrow that points upwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Which crates of ours each crate may use. A new crate under `shared/` needs a line here, and a reason to be one.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("mail", &[]),
    ("policy", &["mail"]),
    ("feedback", &["mail", "policy"]),
    ("smtp", &["mail"]),
    ("route", &["mail"]),
    ("auth", &["mail"]),
    ("sandbox", &["mail"]),
    ("pipeline", &["mail", "policy", "feedback", "smtp", "route", "auth"]),
    ("embedded", &["mail", "policy", "pipeline"]),
    ("aws", &["mail", "policy", "pipeline"]),
    ("api", &["mail", "policy", "auth", "pipeline", "sandbox"]),
];

/// What decides without doing: no runtime, no network, not even by way of a dependency.
const PURE: [&str; 3] = ["mail", "policy", "feedback"];
/// Runtimes and sockets.
const RUNTIMES: [&str; 6] = ["tokio", "mio", "async-std", "smol", "socket2", "hyper"];
/// Chance and clocks that a pure crate could reach for by itself; judged at its own manifest only, because parsers
/// bring some of them for targets we do not build.
const CHANCE: [&str; 4] = ["rand", "fastrand", "getrandom", "chrono"];
/// Databases.
const SQL: [&str; 4] = ["rusqlite", "libsqlite3-sys", "sqlx", "diesel"];
/// Services of AWS; `aws-lc-*` is cryptography and no service.
const AWS: [&str; 5] = ["aws-sdk-", "aws-config", "aws-smithy-", "lambda_", "aws_lambda_events"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table(path: &Path) -> Table {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names under `[dependencies]` and the targets' tables of that name; what only tests use is left out.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let own = manifest.get("dependencies").into_iter();
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|t| t.values());
    own.chain(targets.filter_map(|target| target.get("dependencies")))
        .filter_map(Value::as_table)
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Each crate under `shared/` with what it depends on.
fn shared() -> BTreeMap<String, BTreeSet<String>> {
    let folders = std::fs::read_dir(root().join("shared")).unwrap();
    folders
        .map(|folder| folder.unwrap())
        .filter(|folder| folder.path().join("Cargo.toml").exists())
        .map(|folder| {
            let manifest = table(&folder.path().join("Cargo.toml"));
            (folder.file_name().into_string().unwrap(), dependencies(&manifest))
        })
        .collect()
}

/// Every package that is reached from these, by the lock file.
fn reached(from: &BTreeSet<String>) -> BTreeSet<String> {
    let lock = table(&root().join("Cargo.lock"));
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let names = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        // `name`, or `name version` where there are several.
        let names = names.filter_map(Value::as_str).filter_map(|d| d.split(' ').next()).map(str::to_owned);
        edges.entry(package["name"].as_str().unwrap().to_owned()).or_default().extend(names);
    }
    let mut found = BTreeSet::new();
    let mut next: Vec<String> = from.iter().filter(|name| !name.starts_with("posthaste-")).cloned().collect();
    while let Some(name) = next.pop() {
        if found.insert(name.clone()) {
            next.extend(edges.get(&name).into_iter().flatten().cloned());
        }
    }
    found
}

fn forbidden<'a>(names: &'a BTreeSet<String>, list: &[&str]) -> Vec<&'a String> {
    let matches =
        |name: &str, one: &str| if one.ends_with(['-', '_']) { name.starts_with(one) } else { name == one };
    names.iter().filter(|name| list.iter().any(|one| matches(name, one))).collect()
}

#[test]
fn arrows_point_downwards_only() {
    for (name, uses) in shared() {
        let row = MAY_USE.iter().find(|(known, _)| *known == name);
        let (_, allowed) = row.unwrap_or_else(|| panic!("shared/{name} has no line in MAY_USE"));
        for ours in uses.iter().filter_map(|used| used.strip_prefix("posthaste-")) {
            assert!(allowed.contains(&ours), "shared/{name} may not use {ours}");
        }
        assert!(!uses.contains("posthaste"), "shared/{name} uses the command");
    }
}

#[test]
fn pure_crates_reach_no_runtime_no_store_and_no_chance() {
    let crates = shared();
    for name in PURE {
        let all = reached(&crates[name]);
        for list in [&RUNTIMES[..], &SQL, &AWS] {
            assert_eq!(forbidden(&all, list), Vec::<&String>::new(), "shared/{name} decides, it does not do");
        }
        assert_eq!(
            forbidden(&crates[name], &CHANCE),
            Vec::<&String>::new(),
            "shared/{name} takes chance as a value"
        );
    }
}

#[test]
fn only_the_stores_know_what_they_are_made_of() {
    for (name, uses) in shared() {
        let all = reached(&uses);
        if name != "embedded" {
            assert_eq!(forbidden(&all, &SQL), Vec::<&String>::new(), "SQL in shared/{name}");
        }
        if name != "aws" {
            assert_eq!(forbidden(&all, &AWS), Vec::<&String>::new(), "AWS in shared/{name}");
        }
    }
}

#[test]
fn the_check_sees_what_it_looks_for() {
    let reached = reached(&BTreeSet::from(["rusqlite".to_owned(), "tokio".to_owned()]));
    assert_eq!(forbidden(&reached, &SQL), ["libsqlite3-sys", "rusqlite"]);
    assert!(forbidden(&reached, &RUNTIMES).contains(&&"mio".to_owned()));
    let names = BTreeSet::from(["aws-lc-rs".to_owned(), "aws-sdk-s3".to_owned(), "lambda_http".to_owned()]);
    assert_eq!(forbidden(&names, &AWS), ["aws-sdk-s3", "lambda_http"]);
}
