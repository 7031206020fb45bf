//! Opening a possibly damaged store in a child process first: with some damage sled hangs or panics.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::layout::Meta;

/// Begins the child's answer, so that nothing else on its output is taken for it.
const ANSWER: &str = "assay-index-probe ";
const OUTPUT_MAX_BYTES: u64 = 64 << 10;

/// How to start a process that calls `probe_main`; the store's folder is added as last argument.
#[derive(Clone, Debug)]
pub struct ProbeCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before the folder.
    pub arguments: Vec<OsString>,
    /// A child that has not answered by then is killed, and the store taken for damaged.
    pub deadline: Duration,
}

impl ProbeCommand {
    /// This program with its hidden subcommand `index-probe DIR`, and a minute to answer.
    pub fn this_program() -> io::Result<ProbeCommand> {
        Ok(ProbeCommand {
            program: std::env::current_exe()?,
            arguments: vec!["index-probe".into()],
            deadline: Duration::from_secs(60),
        })
    }
}

/// The hidden subcommand: opens the store, reads all of it, and prints one line for the parent.
pub fn probe_main(folder: &Path) -> ExitCode {
    if let Err(error) = end_with_parent() {
        tracing::warn!(%error, "this check of the index may outlive its parent");
    }
    let answer = match super::open_store(folder).and_then(|store| super::verify::verify(&store)) {
        Ok(meta) => format!("ok {} {} {}", meta.applied_sequence, meta.pairs, meta.hash_sum),
        Err(reason) => format!("damaged {}", reason.replace('\n', " ")),
    };
    match writeln!(io::stdout(), "{ANSWER}{answer}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The standard input says when the parent is gone, killed as it may be: until then it holds the store's lock for us only.
fn end_with_parent() -> io::Result<()> {
    let watch = || {
        // However it ends, nobody waits for an answer any more.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(1);
    };
    thread::Builder::new().name("parent-watch".to_owned()).spawn(watch).map(drop)
}

/// Asks a child about the store; `Err` says what is wrong with it.
pub(super) fn probe(command: &ProbeCommand, folder: &Path) -> io::Result<Result<Meta, String>> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let outputs = (collect(child.stdout.take())?, collect(child.stderr.take())?);
    let Ok(output) = outputs.0.recv_timeout(command.deadline) else {
        child.kill()?;
        child.wait()?;
        let seconds = command.deadline.as_secs_f32();
        return Ok(Err(format!("opening it gave no answer within {seconds} s")));
    };
    // Its output has ended: it has answered, or never will. The kill does nothing to one that has ended by itself.
    child.kill()?;
    let end = child.wait()?;
    Ok(match output.rsplit_once(ANSWER).and_then(|(_, answer)| answer.lines().next()) {
        Some(answer) => parse(answer),
        None => Err(format!("opening it ended the process: {end}{}", complaint(&outputs.1))),
    })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> io::Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let read = move || {
        let Some(mut pipe) = pipe else { return };
        let mut bytes = Vec::new();
        // What cannot be read is no answer, which the parent then reports.
        let _ = (&mut pipe).take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    };
    thread::Builder::new().name("index-probe".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// The first line that the child complained with, if it did.
fn complaint(errors: &mpsc::Receiver<String>) -> String {
    let errors = errors.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    errors.lines().find(|line| !line.trim().is_empty()).map(|line| format!(", {line}")).unwrap_or_default()
}

fn parse(answer: &str) -> Result<Meta, String> {
    let mut words = answer.split(' ');
    if words.next() != Some("ok") {
        return Err(answer.strip_prefix("damaged ").unwrap_or(answer).to_owned());
    }
    let numbers: Vec<u64> = words.filter_map(|word| word.trim().parse().ok()).collect();
    match numbers[..] {
        [applied_sequence, pairs, hash_sum] => Ok(Meta { applied_sequence, pairs, hash_sum }),
        _ => Err(format!("its check answered {answer:?}")),
    }
}
