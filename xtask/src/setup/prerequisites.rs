//! What must be on the machine already; whatever is missing is named with the package to install.

use std::env;

use anyhow::{Result, bail};

use crate::process;

/// One missing thing: what it is, and its package per package manager (apt, dnf, pacman, zypper, macOS).
struct Missing {
    what: &'static str,
    packages: [&'static str; 5],
}

const COMPILER: Missing = Missing {
    what: "a C++ compiler (`c++`; or set `CXX`)",
    packages: ["g++", "gcc-c++", "gcc", "gcc-c++", "xcode-select --install"],
};
const PYTHON: Missing = Missing {
    what: "Python 3 (`python3`)",
    packages: ["python3", "python3", "python", "python3", "brew install python"],
};
const PIP: Missing = Missing {
    what: "pip for Python 3 (`python3 -m pip`)",
    packages: ["python3-pip", "python3-pip", "python-pip", "python3-pip", "python3 -m ensurepip"],
};
const VENV: Missing = Missing {
    what: "venv for Python 3 (`python3 -m venv`)",
    packages: ["python3-venv", "python3-libs", "python", "python3-venv", "brew install python"],
};

/// What every build needs. A machine without a compiler is a fresh one: it hears of Python in the same breath.
pub(super) fn check_build() -> Result<()> {
    match process::exists(env::var_os("CXX").unwrap_or_else(|| "c++".into())) {
        true => Ok(()),
        false => report(&[(false, &COMPILER), (process::exists("python3"), &PYTHON), (pip_works(), &PIP)]),
    }
}

/// An interpreter.
pub(super) fn check_python() -> Result<()> {
    report(&[(process::exists("python3"), &PYTHON)])
}

/// What a download needs.
pub(super) fn check_pip() -> Result<()> {
    report(&[(process::exists("python3"), &PYTHON), (pip_works(), &PIP)])
}

fn pip_works() -> bool {
    process::probe("python3", &["-m", "pip", "--version"]).is_some()
}

/// What the Python environment needs besides.
pub(super) fn check_venv() -> Result<()> {
    check_pip()?;
    report(&[(process::probe("python3", &["-c", "import venv, ensurepip"]).is_some(), &VENV)])
}

fn report(checks: &[(bool, &Missing)]) -> Result<()> {
    let missing: Vec<_> =
        checks.iter().filter(|(present, _)| !present).map(|(_, missing)| advice(missing)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks\n  {}\nthen run the command again", missing.join("\n  "));
}

fn advice(missing: &Missing) -> String {
    let [apt, dnf, pacman, zypper, mac] = missing.packages;
    let install = if cfg!(target_os = "macos") {
        mac.to_owned()
    } else if process::exists("apt-get") {
        format!("apt-get install {apt}")
    } else if process::exists("dnf") {
        format!("dnf install {dnf}")
    } else if process::exists("pacman") {
        format!("pacman -S {pacman}")
    } else if process::exists("zypper") {
        format!("zypper install {zypper}")
    } else {
        format!("install the package `{apt}` (its name on Debian and Ubuntu)")
    };
    format!("{}: {install}", missing.what)
}
