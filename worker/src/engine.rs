//! The engine process: one thread runs the model, another listens. End of file from the agent ends it at once.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use assay_domain::job::FailureClass;

use crate::args;
use crate::frames::{self, Command, EngineJob, FRAMES_VERSION, Message};

pub(crate) use context::{Asked, Context, Stop, now};

mod context;
mod generate;
pub(crate) mod memory;
mod model;
mod score;
mod train;

/// Jobs waiting for the model thread: the agent sends one at a time.
const JOBS_MAX: usize = 1;

/// Runs until the agent closes the socket that is this process's standard input.
pub(crate) fn main(args: &args::Engine) -> anyhow::Result<()> {
    // A race with a parent that has died already is covered by the end of file on the socket.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    assay_model::oom::panic_quietly();
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let device = assay_model::device::open(args.device.name())?;
    let usable_mib = match args.memory_limit_mib {
        0 => memory::usable_mib(),
        limit => limit,
    };
    if matches!(args.device, args::Device::Cpu) && usable_mib > 0 {
        memory::limit(usable_mib)?;
    }
    let hello = Message::Hello {
        version: FRAMES_VERSION,
        device: assay_model::device::name(device),
        memory_mib: usable_mib,
    };
    frames::write(&mut stream, &hello)?;
    let asked = Arc::new(Asked::default());
    let jobs = listen(stream.try_clone()?, Arc::clone(&asked));
    let mut models = model::Warm::new(device);
    let rows_at_once = usize::try_from(args.rows_at_once).ok().filter(|rows| *rows > 0);
    while let Ok(job) = jobs.recv() {
        asked.cancel.store(false, Ordering::SeqCst);
        let mut context = Context::new(&mut stream, &asked);
        let last = run_one(*job, rows_at_once, &mut models, &mut context);
        // What was asked of this job is not asked of the next.
        asked.save.store(false, Ordering::SeqCst);
        frames::write(&mut stream, &last)?;
    }
    Ok(())
}

fn listen(mut stream: UnixStream, asked: Arc<Asked>) -> Receiver<Box<EngineJob>> {
    let (jobs, received) = sync_channel(JOBS_MAX);
    std::thread::spawn(move || {
        let ended = listen_until_end(&mut stream, &jobs, &asked);
        if let Err(error) = &ended {
            tracing::error!(%error, "the agent's frames cannot be read");
        }
        // The agent is gone or talks nonsense: nobody would take a result.
        process::exit(i32::from(ended.is_err()));
    });
    received
}

fn listen_until_end(
    stream: &mut UnixStream,
    jobs: &SyncSender<Box<EngineJob>>,
    asked: &Asked,
) -> io::Result<()> {
    while let Some(command) = frames::read(stream)? {
        match command {
            Command::Hello { version: FRAMES_VERSION } => {}
            Command::Hello { version } => {
                return Err(io::Error::other(format!(
                    "agent speaks frames {version}, engine {FRAMES_VERSION}"
                )));
            }
            Command::Run(job) => {
                if jobs.try_send(job).is_err() {
                    return Err(io::Error::other("a job was sent while another one runs"));
                }
            }
            Command::Save => asked.save.store(true, Ordering::SeqCst),
            Command::Cancel => asked.cancel.store(true, Ordering::SeqCst),
        }
    }
    Ok(())
}

fn run_one(
    job: EngineJob,
    rows_at_once: Option<usize>,
    models: &mut model::Warm,
    context: &mut Context<'_>,
) -> Message {
    let ran = catch_unwind(AssertUnwindSafe(|| match job {
        EngineJob::Train { spec, model, train, valid, resume, out } => {
            let files = train::Files { model, train, valid, resume, out };
            train::run(&spec, &files, models, context).map(|done| vec![done])
        }
        EngineJob::Generate(parts) => generate::run(&parts, rows_at_once, models, context),
        EngineJob::Score { spec, model, model_digest, base, tuned, secret, out } => {
            let files = score::Files { model, model_digest, base, tuned, out };
            score::run(&spec, &files, secret, models, context).map(|done| vec![done])
        }
    }));
    match ran {
        Ok(Ok(done)) => Message::Done(done),
        Ok(Err(Stop::Cancelled)) => Message::Cancelled,
        Ok(Err(Stop::Failed { class, reason })) => Message::Failed { class, reason },
        Err(panic) => {
            // Nothing is known about the warm model after a panic.
            models.forget();
            match assay_model::oom::said_by_panic(&*panic) {
                Some(text) => Message::Failed { class: FailureClass::OutOfMemory, reason: text.to_owned() },
                None => Message::Failed { class: FailureClass::Crashed, reason: panic_text(&*panic) },
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine panicked: {}", text.unwrap_or("without a message"))
}
