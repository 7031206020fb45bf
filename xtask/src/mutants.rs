//! `cargo xtask mutants`: each deliberate fault of `tests/mutants.toml`, in a copy of the tree, must make its test fail.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::{layout, process, ui};

/// Which mutants.
#[derive(Args)]
pub(crate) struct Options {
    /// Names, or beginnings of them; all when none is given.
    names: Vec<String>,
}

struct Mutant {
    name: String,
    why: String,
    file: String,
    find: String,
    replace: String,
    package: String,
    target: String,
    filter: String,
}

/// Runs them one after the other and names those that no test caught.
pub(crate) fn main(options: &Options) -> Result<()> {
    let wanted = |mutant: &Mutant| {
        options.names.is_empty() || options.names.iter().any(|name| mutant.name.starts_with(name.as_str()))
    };
    let mutants: Vec<_> = read()?.into_iter().filter(wanted).collect();
    ensure!(!mutants.is_empty(), "no mutant of tests/mutants.toml has such a name");
    let tree = layout::target().join("mutants").join("tree");
    copy_tree(&tree)?;
    let mut survivors = Vec::new();
    for mutant in &mutants {
        let (caught, took) = ui::timed(|| try_one(&tree, mutant));
        let caught = caught?;
        let told = match caught.as_slice() {
            [] => String::from("SURVIVED"),
            tests => format!("caught by {}", tests.join(", ")),
        };
        ui::result(format!("{:32} {told} ({})", mutant.name, ui::human(took)));
        if caught.is_empty() {
            ui::result(format!("{:32} {}", "", mutant.why));
            survivors.push(mutant.name.as_str());
        }
    }
    ensure!(survivors.is_empty(), "no test caught {}", survivors.join(", "));
    ui::say(format!("all {} mutants are caught", mutants.len()));
    Ok(())
}

fn read() -> Result<Vec<Mutant>> {
    let path = layout::repository().join("tests/mutants.toml");
    let list: Value = toml::from_str(&fs::read_to_string(&path)?).context("tests/mutants.toml")?;
    let text =
        |value: &Value| value.as_str().map(str::to_owned).context("tests/mutants.toml: a text is missing");
    let mutants = list["mutant"].as_array().context("tests/mutants.toml has no mutant")?;
    let mutant = |value: &Value| {
        Ok(Mutant {
            name: text(&value["name"])?,
            why: text(&value["why"])?,
            file: text(&value["file"])?,
            find: text(&value["find"])?,
            replace: text(&value["replace"])?,
            package: text(&value["test"][0])?,
            target: text(&value["test"][1])?,
            filter: text(&value["test"][2])?,
        })
    };
    mutants.iter().map(mutant).collect()
}

/// The files that git knows or does not ignore, as they are now; others of an earlier copy go.
fn copy_tree(to: &Path) -> Result<()> {
    let from = layout::repository();
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&from);
    let names = process::answer(&mut list)?;
    let _ = fs::remove_dir_all(to);
    for name in names.split('\0').filter(|name| from.join(name).is_file()) {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        // Its own time of change, so that what did not change is not compiled again.
        fs::copy(from.join(name), &target).with_context(|| name.to_owned())?;
        let changed = fs::metadata(from.join(name))?.modified()?;
        fs::File::options().write(true).open(&target)?.set_modified(changed)?;
    }
    Ok(())
}

/// The tests that fail with it. One that does not compile is an error: it shows nothing.
fn try_one(tree: &Path, mutant: &Mutant) -> Result<Vec<String>> {
    let path = tree.join(&mutant.file);
    let source = fs::read_to_string(&path)?;
    if source.matches(&mutant.find).count() != 1 {
        bail!("{}: `find` is not in {} exactly once", mutant.name, mutant.file);
    }
    fs::write(&path, source.replace(&mutant.find, &mutant.replace))?;
    let tried = try_changed(tree, mutant);
    fs::write(&path, source)?;
    tried
}

fn try_changed(tree: &Path, mutant: &Mutant) -> Result<Vec<String>> {
    ensure!(cargo(tree, mutant, &["--no-run"])?.0, "{}: it does not compile", mutant.name);
    let (passed, said) = cargo(tree, mutant, &[])?;
    let failed = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let failed: Vec<String> = failed.map(str::to_owned).collect();
    // A test that takes its process with it fails without a word.
    Ok(if failed.is_empty() && !passed { vec![format!("the end of `{}`", mutant.target)] } else { failed })
}

/// Whether it succeeded, and what it said.
fn cargo(tree: &Path, mutant: &Mutant, more: &[&str]) -> Result<(bool, String)> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(tree).args(["test", "--package", &mutant.package]);
    match mutant.target.as_str() {
        "lib" => cargo.arg("--lib"),
        target => cargo.args(["--test", target]),
    };
    cargo.args(more).arg(&mutant.filter).env("CARGO_TARGET_DIR", layout::target().join("mutants"));
    // Another checkout's manifest would win over that of the copy.
    cargo.env_remove("CARGO_MANIFEST_DIR").stderr(Stdio::null());
    let output = cargo.output().context("cannot start cargo")?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}
