//! What the `main` of every worker needs around [`crate::run`]: where the coordinator is, who we are, when to stop.

use std::path::PathBuf;
use std::time::Duration;

use assay_domain::event::WorkerInfo;
use assay_domain::{DeviceKind, WorkKind, WorkerId};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Coordinator, Token};

/// The flags that find a coordinator, for the command line of every worker.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// The data folder of a coordinator on this machine: its address and token are read there.
    #[arg(long, default_value = ".assay")]
    pub data_dir: PathBuf,
    /// The coordinator's address, such as `http://127.0.0.1:7717`, when it is not that of the data folder.
    #[arg(long)]
    pub coordinator: Option<String>,
    /// A file that holds the token, when it is not that of the data folder.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
}

impl Connection {
    /// The coordinator of the data folder, or the one at the address, with the token of the file.
    ///
    /// # Errors
    /// The token file cannot be read.
    pub fn coordinator(&self) -> std::io::Result<Coordinator> {
        let Some(url) = self.coordinator.clone() else {
            return Ok(Coordinator::DataDir(self.data_dir.clone()));
        };
        let token_file = self.token_file.clone().unwrap_or_else(|| self.data_dir.join("token"));
        let token = std::fs::read_to_string(&token_file).map_err(|error| {
            std::io::Error::other(format!("token file {}: {error}", token_file.display()))
        })?;
        Ok(Coordinator::At { url, token: Token::new(&token) })
    }
}

/// The flags that say how long a worker will be there.
#[derive(Debug, Clone, Args)]
pub struct Life {
    /// How long this worker will be there from now on, such as `90m`, `6h` or `2d`: it gets no job that would outlast it, and
    /// hands over what it has before that.
    #[arg(long, value_name = "TIME", value_parser = lasting)]
    pub life: Option<Duration>,
    /// The moment until which it will be there, in seconds since 1970: `$(date -d '+6 hours' +%s)`.
    #[arg(long, value_name = "SECONDS", conflicts_with = "life")]
    pub lives_until: Option<u64>,
}

impl Life {
    /// The end, where one was given.
    pub fn ends_at(&self) -> Option<Instant> {
        let until = |seconds: u64| Duration::from_secs(seconds).saturating_sub(since_1970());
        self.life.or(self.lives_until.map(until)).and_then(|left| Instant::now().checked_add(left))
    }
}

#[expect(clippy::disallowed_methods, reason = "a moment of the calendar, given by a person")]
fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn lasting(text: &str) -> Result<Duration, String> {
    let rule = || String::from("write a number and s, m, h or d, such as 90m, 6h or 2d");
    let unit = text.chars().next_back().ok_or_else(rule)?;
    let unit_s = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(rule()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| rule())?;
    number.checked_mul(unit_s).map(Duration::from_secs).ok_or_else(rule)
}

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Its device.
    pub device: DeviceKind,
    /// The device's name, for people.
    pub device_name: String,
    /// The device's memory, MiB.
    pub memory_mib: u64,
    /// What it runs.
    pub kinds: Vec<WorkKind>,
    /// What an hour of it costs, USD; none for a machine of one's own.
    pub usd_per_hour: Option<f64>,
}

/// A worker's identity: new with every process, readable by people.
///
/// # Errors
/// The system gives no random bytes.
pub fn introduce(introduction: Introduction, version: &str) -> std::io::Result<WorkerInfo> {
    let host = hostname();
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(WorkerInfo {
        id: WorkerId::new(format!("{host}-{}-{random}", std::process::id())),
        host: format!("{host} (process {})", std::process::id()),
        device: introduction.device,
        device_name: introduction.device_name,
        memory_mib: introduction.memory_mib,
        kinds: introduction.kinds,
        version: version.to_owned(),
        usd_per_hour: introduction.usd_per_hour,
    })
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| String::from("host"))
}

/// Cancelled at the first SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// Signals cannot be listened to.
pub fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            tracing::info!("stopping; a second signal ends at once");
            told.cancel();
        }
    });
    Ok(stop)
}

/// Ends this process when the one that started it and set `ASSAY_PARENT` dies, so that a killed `assay up` leaves nothing behind.
///
/// # Errors
/// The parent is gone already, or the system refuses.
pub fn end_with_parent() -> std::io::Result<()> {
    let Some(parent) = std::env::var("ASSAY_PARENT").ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    if nix::unistd::getppid().as_raw() != parent {
        return Err(std::io::Error::other("the process that started this one is gone"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        connection: Connection,
    }

    fn given(flags: &[&str]) -> Connection {
        Flags::try_parse_from([&["worker"], flags].concat()).unwrap().connection
    }

    #[derive(Parser)]
    struct Lives {
        #[command(flatten)]
        life: Life,
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_has_an_end_where_one_is_given() {
        let given = |flags: &[&str]| Lives::try_parse_from([&["worker"], flags].concat());
        let left = |flags: &[&str]| {
            let end = given(flags).ok().unwrap().life.ends_at();
            end.map(|end| end.saturating_duration_since(Instant::now()).as_secs())
        };
        assert_eq!(left(&[]), None);
        assert_eq!((left(&["--life", "90m"]), left(&["--life", "2d"])), (Some(5400), Some(172_800)));
        assert_eq!(left(&["--lives-until", "1000"]), Some(0), "that was long ago");
        let soon = (since_1970().as_secs() + 3_600).to_string();
        assert!((3_590..=3_600).contains(&left(&["--lives-until", &soon]).unwrap()));
        for bad in [&["--life", "6"][..], &["--life", "h"], &["--life", "1s", "--lives-until", "1"]] {
            assert!(given(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_coordinator_is_that_of_the_data_folder_unless_an_address_is_given() {
        let Coordinator::DataDir(folder) = given(&[]).coordinator().unwrap() else {
            panic!("not the folder")
        };
        assert_eq!(folder, PathBuf::from(".assay"));
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let remote = ["--data-dir", data, "--coordinator", "http://127.0.0.1:7717"];
        let missing = given(&remote).coordinator().err().unwrap().to_string();
        assert!(missing.contains("token file") && missing.contains(data), "{missing}");
        for (name, token) in [("token", "of-the-folder"), ("other", "of-the-file")] {
            std::fs::write(folder.path().join(name), token).unwrap();
        }
        let other = folder.path().join("other");
        for (more, wanted) in
            [(&[][..], "of-the-folder"), (&["--token-file", other.to_str().unwrap()][..], "of-the-file")]
        {
            let found = given(&[&remote[..], more].concat()).coordinator().unwrap();
            let (url, token) = found.look_up().unwrap();
            assert_eq!((url.as_str(), token.as_str()), ("http://127.0.0.1:7717", wanted));
        }
    }
}
