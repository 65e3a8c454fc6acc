//! What our crates may depend on, read from cargo's own resolution.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::{Value, json};

use super::{expect_none, source::workspace};

/// Second cryptographic stacks, and a library with known timing leaks.
const BANNED: [&str; 6] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
    "olm-sys",
];

/// Crates of which two versions at once would be two stacks.
const SINGLE: [&str; 5] = ["rustls", "ring", "ruma", "tokio", "libsqlite3-sys"];

/// A crate of ours, and what it must not reach.
const UNREACHABLE: [(&str, &[&str]); 4] = [
    // The server has no code that could decrypt a message.
    ("passeur-homeserver", &["vodozemac", "passeur-sdk"]),
    (
        "passeur-protocol",
        &[
            "tokio",
            "hyper",
            "reqwest",
            "sqlx-core",
            "sea-orm",
            "axum",
            "mio",
        ],
    ),
    ("passeur-sdk", &["passeur-homeserver", "axum"]),
    ("passeur-bots", &["passeur-homeserver"]),
];

/// Which package uses which when everything is built, tests left out.
struct Graph {
    /// Name and version by package id.
    packages: BTreeMap<String, (String, String)>,
    /// Ids of the packages that a package's own code uses.
    uses: BTreeMap<String, Vec<String>>,
    /// Ids of our own crates.
    ours: Vec<String>,
}

impl Graph {
    /// Reads what `cargo metadata` prints.
    fn new(metadata: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let packages = metadata["packages"].as_array().unwrap().iter();
        let packages = packages
            .map(|package| {
                (
                    text(&package["id"]),
                    (text(&package["name"]), text(&package["version"])),
                )
            })
            .collect();
        let built = |dependency: &&Value| {
            dependency["dep_kinds"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind["kind"] != "dev")
        };
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
        let uses = nodes.map(|node| {
            let dependencies = node["deps"].as_array().unwrap().iter().filter(built);
            (
                text(&node["id"]),
                dependencies
                    .map(|dependency| text(&dependency["pkg"]))
                    .collect(),
            )
        });
        let ours = metadata["workspace_members"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        Self {
            packages,
            uses: uses.collect(),
            ours,
        }
    }

    /// Everything that `from` reaches, itself left out.
    fn reach<'a>(&'a self, from: &'a [String]) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&'a String> = from.iter().collect();
        while let Some(id) = open.pop() {
            open.extend(
                self.uses
                    .get(id)
                    .into_iter()
                    .flatten()
                    .filter(|next| seen.insert(next.as_str())),
            );
        }
        seen
    }

    fn check(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for id in self.reach(&self.ours) {
            let (name, version) = &self.packages[id];
            versions.entry(name).or_default().insert(version);
        }
        complaints.extend(
            BANNED
                .iter()
                .filter(|name| versions.contains_key(*name))
                .map(|name| format!("`{name}` is banned")),
        );
        let several = |name: &&&str| {
            versions
                .get(**name)
                .is_some_and(|versions| versions.len() > 1)
        };
        complaints.extend(
            SINGLE
                .iter()
                .filter(several)
                .map(|name| format!("two versions of `{name}`: {:?}", versions[name])),
        );
        for (crate_name, unreachable) in UNREACHABLE {
            let of_this_name = |id: &&String| self.packages[*id].0 == crate_name;
            let ids: Vec<String> = self.ours.iter().filter(of_this_name).cloned().collect();
            let reached: BTreeSet<&str> = self
                .reach(&ids)
                .into_iter()
                .map(|id| self.packages[id].0.as_str())
                .collect();
            let bad = unreachable.iter().filter(|name| reached.contains(*name));
            complaints
                .extend(bad.map(|name| format!("`{crate_name}` must not depend on `{name}`")));
        }
        complaints
    }
}

#[test]
fn dependencies_are_allowed() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let graph = Graph::new(&serde_json::from_slice(&output.stdout).unwrap());
    // A graph without our own names would satisfy every rule.
    for (name, _) in UNREACHABLE {
        assert!(
            graph.ours.iter().any(|id| graph.packages[id].0 == name),
            "{name} is gone"
        );
    }
    expect_none(&graph.check());
}

#[test]
fn a_forbidden_dependency_is_found() {
    let package = |name: &str, version: &str| json!({"id": format!("{name} {version}"), "name": name, "version": version});
    let uses = |id: &str, on: &[&str], kind: Value| {
        let deps: Vec<Value> = on
            .iter()
            .map(|on| json!({"pkg": on, "dep_kinds": [{"kind": kind}]}))
            .collect();
        json!({"id": id, "deps": deps})
    };
    let metadata = json!({
        "packages": [
            package("passeur-homeserver", "1"), package("rustls", "1"), package("rustls", "2"),
            package("vodozemac", "1"), package("openssl", "1"), package("olm-sys", "1"),
        ],
        "workspace_members": ["passeur-homeserver 1"],
        "resolve": {"nodes": [
            uses("passeur-homeserver 1", &["rustls 1", "rustls 2"], Value::Null),
            uses("rustls 2", &["vodozemac 1", "openssl 1"], Value::Null),
            uses("rustls 1", &["olm-sys 1"], json!("dev")),
        ]},
    });
    let complaints = Graph::new(&metadata).check();
    assert_eq!(
        complaints,
        [
            "`openssl` is banned",
            "two versions of `rustls`: {\"1\", \"2\"}",
            "`passeur-homeserver` must not depend on `vodozemac`",
        ]
    );
}
