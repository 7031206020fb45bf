//! The direction of dependencies between our packages, and the one manifest of each heavy dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::tree::root;

/// Who may depend on whom; what follows from following these edges is allowed as well.
const EDGES: &[(&str, &[&str])] = &[
    ("worker", &["agent", "model", "judging", "telemetry"]),
    ("judge-runner", &["agent", "judging", "telemetry"]),
    ("coordinator", &["proto", "artifacts", "judging", "telemetry"]),
    ("cli", &["proto", "artifacts", "text", "judging", "telemetry"]),
    ("agent", &["proto", "artifacts", "telemetry"]),
    ("model", &["text"]),
    ("proto", &["domain"]),
    ("artifacts", &["domain"]),
    ("judging", &["domain"]),
    ("domain", &[]),
    ("text", &[]),
    ("telemetry", &["domain"]),
    ("xtask", &[]),
];

/// The only packages that may ship a heavy dependency; a name that ends in `*` is a prefix.
const HOMES: &[(&str, &[&str])] = &[
    ("tch", &["model"]),
    ("torch-sys", &["model"]),
    ("tokenizers", &["text"]),
    ("minijinja*", &["text"]),
    ("safetensors", &["text", "model"]),
    ("sled", &["coordinator"]),
    ("axum*", &["coordinator"]),
    ("object_store", &["coordinator"]),
    ("opentelemetry*", &["telemetry"]),
    ("tracing-opentelemetry", &["telemetry"]),
    ("tracing-subscriber", &["telemetry"]),
    ("prost*", &["proto"]),
    ("protox*", &["proto"]),
    ("tonic-prost*", &["proto"]),
];

/// What does I/O, keeps time or draws randomness of its own: not for the packages that only decide.
const NOT_PURE: &[&str] = &[
    "tokio*",
    "futures*",
    "tonic*",
    "reqwest",
    "hyper*",
    "rand",
    "getrandom",
    "chrono",
    "time",
    "jiff",
    "tracing*",
];
const PURE: &[&str] = &["domain", "judging"];

struct Dependency {
    name: String,
    /// For tests only.
    dev: bool,
}

/// The dependencies of each of our packages; names of ours without `assay-`.
fn manifests() -> BTreeMap<String, Vec<Dependency>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (ours(&package["name"]), dependencies(package))).collect()
}

fn dependencies(package: &Value) -> Vec<Dependency> {
    let listed = package["dependencies"].as_array().unwrap().iter();
    listed.map(|entry| Dependency { name: ours(&entry["name"]), dev: entry["kind"] == "dev" }).collect()
}

fn ours(name: &Value) -> String {
    let name = name.as_str().unwrap();
    name.strip_prefix("assay-").unwrap_or(name).to_owned()
}

/// All that `package` reaches along [`EDGES`].
fn reachable(package: &str) -> BTreeSet<&'static str> {
    let direct = EDGES.iter().find(|(from, _)| *from == package).map_or(&[][..], |(_, to)| to);
    direct.iter().flat_map(|next| reachable(next).into_iter().chain([*next])).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

#[test]
fn every_package_is_in_the_table() {
    let known: BTreeSet<_> =
        EDGES.iter().map(|(name, _)| (*name).to_owned()).chain(["tests".to_owned()]).collect();
    assert_eq!(manifests().into_keys().collect::<BTreeSet<_>>(), known);
}

#[test]
fn dependencies_point_one_way() {
    let manifests = manifests();
    let mut wrong = Vec::new();
    // `tests` may see everything, and a test may use any of our packages.
    for (package, dependencies) in manifests.iter().filter(|(package, _)| *package != "tests") {
        let allowed = reachable(package);
        let ours = dependencies.iter().filter(|found| !found.dev && manifests.contains_key(&found.name));
        wrong.extend(
            ours.filter(|found| !allowed.contains(found.name.as_str()))
                .map(|found| format!("{package} -> {}", found.name)),
        );
    }
    assert!(wrong.is_empty(), "against the directions of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn heavy_dependencies_have_one_home() {
    let mut wrong = Vec::new();
    for (package, dependencies) in manifests().iter().filter(|(package, _)| *package != "tests") {
        for found in dependencies.iter().filter(|found| !found.dev) {
            let home = HOMES.iter().find(|(pattern, _)| matches(pattern, &found.name));
            if let Some((_, homes)) = home.filter(|(_, homes)| !homes.contains(&package.as_str())) {
                wrong.push(format!("{package} names `{}`, which is for {}", found.name, homes.join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_decides_does_no_io() {
    let manifests = manifests();
    let mut wrong = Vec::new();
    for package in PURE {
        for found in manifests[*package].iter().filter(|found| !found.dev) {
            if NOT_PURE.iter().any(|pattern| matches(pattern, &found.name)) {
                wrong.push(format!("{package} depends on `{}`", found.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
