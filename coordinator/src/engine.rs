//! The one thread that owns the state: takes commands, decides, makes the batch durable, and only then answers.
//!
//! Nothing here blocks on the network, and nothing that is answered depends on what is not durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use assay_domain::budget::Month;
use assay_domain::decide::{self, Policy};
use assay_domain::state::{Ended, Matrix};
use assay_domain::{Event, JobId, State, UnixMillis};
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::config::Limits;
use crate::disk::Disk;
use crate::index::ProbeCommand;
use crate::journal::Journal;
use crate::snapshot::{SnapshotError, Snapshots};

use archive::{Archive, JobRecord};
use command::{Command, ConnectionId, Envelope, Outbound, Reply};
use history::History;
use logs::Logs;
use recovery::Recovered;
use tables::{LeaseRow, Tables};

pub(crate) use command::Handle;
pub(crate) use command::Stopped;
pub use error::EngineError;

pub(crate) mod archive;
mod assignment;
mod budget;
pub(crate) mod command;
mod error;
pub(crate) mod history;
mod ledgers;
mod logged;
mod logs;
mod people;
mod rebuild;
pub(crate) mod recovery;
pub(crate) mod steer;
mod tables;
mod work;

/// Wakes at least this often, so that a clock that jumped is noticed.
const IDLE_WAKE_MS: u64 = 1_000;

/// Places in the queue besides those of callers: for `Stop`.
const EXTRA_PLACES: usize = 4;

/// The engine's thread, and how it ended.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) epoch: u64,
    /// Answers once, when the thread has ended.
    pub(crate) ended: oneshot::Receiver<Result<(), EngineError>>,
}

/// Opens what is stored and starts the thread.
pub(crate) fn start(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    probe: &ProbeCommand,
    limits: Limits,
    clock: Arc<dyn Clock>,
) -> Result<Running, EngineError> {
    let recovered = recovery::recover(disk, data_dir, probe, limits.journal())?;
    let (sender, receiver) = sync_channel(limits.queue_max + EXTRA_PLACES);
    let (changed, changes) = watch::channel(0);
    let handle = Handle::new(sender, limits.queue_max, changes);
    let mut engine = Engine::new(recovered, limits, clock, changed);
    engine.begin()?;
    let epoch = engine.state.epoch.0;
    let (end, ended) = oneshot::channel();
    let run = move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.run(&receiver)));
        // Whoever waited for an answer learns that there is none from the channels' end.
        let _ = end.send(outcome.unwrap_or(Err(EngineError::Panicked)));
    };
    std::thread::Builder::new()
        .name(String::from("engine"))
        .spawn(run)
        .map_err(|source| EngineError::Thread { source })?;
    Ok(Running { handle, epoch, ended })
}

struct Engine {
    limits: Limits,
    clock: Arc<dyn Clock>,
    state: State,
    tables: Tables,
    logs: Logs,
    journal: Journal,
    snapshots: Snapshots,
    archive: Archive,
    history: History,
    snapshot_sequence: u64,
    changed: watch::Sender<u64>,
    batch: Batch,
    now_ms: u64,
    /// Whether the last wake-up left commands in the queue, and since when wake-ups do.
    behind_since_ms: Option<u64>,
    /// The calendar month of the last look.
    month: Month,
}

/// What one wake-up decided: applied in memory, not yet durable, so not yet told to anyone.
#[derive(Default)]
struct Batch {
    records: Vec<Vec<u8>>,
    record_bytes: usize,
    archived: Vec<Matrix>,
    /// Finished matrices that ended before then are given up.
    forgotten: Option<UnixMillis>,
    /// Archived jobs whose logs have grown.
    amended: BTreeMap<JobId, JobRecord>,
    outbound: Vec<(ConnectionId, Outbound)>,
    answers: Vec<Box<dyn FnOnce() + Send>>,
    /// Spans that last until the batch is durable.
    spans: Vec<tracing::Span>,
    /// Something that people see has changed.
    visible: bool,
    /// Something that decides who gets a job has changed.
    assign: bool,
}

#[derive(PartialEq)]
enum Flow {
    GoOn,
    Stop,
}

impl Engine {
    fn new(recovered: Recovered, limits: Limits, clock: Arc<dyn Clock>, changed: watch::Sender<u64>) -> Self {
        let (now_ms, month) = (clock.monotonic_ms(), Month::of(clock.unix()));
        Self {
            limits,
            clock,
            state: recovered.state,
            tables: Tables::default(),
            logs: Logs::default(),
            journal: recovered.journal,
            snapshots: recovered.snapshots,
            archive: recovered.archive,
            history: recovered.history,
            snapshot_sequence: recovered.snapshot_sequence,
            changed,
            batch: Batch::default(),
            now_ms,
            behind_since_ms: None,
            month,
        }
    }

    /// A new cluster gets its epoch; attempts that may still run somewhere get a full term.
    fn begin(&mut self) -> Result<(), EngineError> {
        if let Some(event) = recovery::first_event(&self.state) {
            self.record(event)?;
        }
        // No worker was told a longer term than that of all that are known.
        let deadline_ms = self.now_ms + self.limits.term_ms(self.state.workers.len());
        for (lease, worker) in decide::resume(&self.state) {
            let row = LeaseRow { inherited: true, ..LeaseRow::new(worker, deadline_ms) };
            self.tables.leased(lease, row);
        }
        self.tables.gone = self.state.workers.keys().map(|worker| (worker.clone(), self.now_ms)).collect();
        let quarantined = self.state.standings.iter().filter(|(_, standing)| standing.quarantine.is_some());
        self.tables.quarantined = quarantined.map(|(worker, _)| (worker.clone(), self.now_ms)).collect();
        // Those of a process that was killed before they left it; for the others they are the same spans again.
        self.state.ended.iter().for_each(show_end);
        self.commit()
    }

    fn run(mut self, receiver: &Receiver<Envelope>) -> Result<(), EngineError> {
        loop {
            let flow = self.receive(receiver)?;
            if self.all_heard() {
                self.expire()?;
                self.forget()?;
            }
            self.lift_due()?;
            self.turn_month();
            self.offer()?;
            self.commit()?;
            self.snapshot_if_due()?;
            if flow == Flow::Stop {
                self.close();
                return Ok(());
            }
        }
    }

    /// Waits for a command or for what is due, then decides all that have come, up to the batch's limits.
    fn receive(&mut self, receiver: &Receiver<Envelope>) -> Result<Flow, EngineError> {
        let asked_ms = self.clock.monotonic_ms();
        let due_ms = self.tables.next_due_ms();
        let wait_ms = due_ms.saturating_sub(asked_ms).min(IDLE_WAKE_MS);
        let first = match receiver.recv_timeout(Duration::from_millis(wait_ms)) {
            Ok(envelope) => Some(envelope),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(Flow::Stop),
        };
        self.notice_time(asked_ms + wait_ms);
        let mut next = first;
        let mut count = 0;
        while let Some(Envelope { command, _place: place }) = next {
            drop(place);
            if self.handle(command)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            count += 1;
            // What was archived is not in the index before the batch's end: later commands must find it there.
            let full = count >= self.limits.batch_commands_max
                || self.batch.record_bytes >= self.limits.batch_bytes_max
                || !self.batch.archived.is_empty();
            if full {
                self.behind_since_ms.get_or_insert(self.now_ms);
                return Ok(Flow::GoOn);
            }
            next = receiver.try_recv().ok();
        }
        self.behind_since_ms = None;
        Ok(Flow::GoOn)
    }

    /// Before a lease is taken for silent, what its worker may have said is read from the queue; for a term at most.
    fn all_heard(&self) -> bool {
        self.behind_since_ms.is_none_or(|since_ms| self.now_ms - since_ms >= self.limits.lease_ms)
    }

    /// If we woke much later than asked, the machine slept or was overloaded: workers were not heard, so nobody's time ran.
    fn notice_time(&mut self, expected_ms: u64) {
        self.now_ms = self.clock.monotonic_ms();
        let late_ms = self.now_ms.saturating_sub(expected_ms);
        if late_ms > self.limits.lease_ms / 2 {
            tracing::warn!(late_ms, "the engine did not run for a while: leases are extended by that");
            self.tables.postpone(late_ms);
        }
    }

    fn handle(&mut self, command: Command) -> Result<Flow, EngineError> {
        match command {
            Command::FindFinished { keys, reply } => self.find_finished(&keys, reply)?,
            Command::Submit { submission, reply } => self.submit(*submission, reply)?,
            Command::Get { matrix, reply } => self.get(&matrix, reply)?,
            Command::List { before, count, reply } => self.list(before.as_ref(), count, reply)?,
            Command::Steer { steering, reply } => self.steer(&steering, reply)?,
            Command::Explain { job, reply } => self.explain(&job, reply)?,
            Command::Budgets { reply } => self.budgets(reply),
            Command::Logs { wanted, after, reply } => self.logs(&wanted, after, reply)?,
            Command::Workers { reply } => self.workers(reply),
            Command::MayUpload { lease, artifact, reply } => self.may_upload(&lease, &artifact, reply)?,
            Command::Connect { hello, reply } => self.connect(*hello, reply)?,
            Command::Disconnected { connection } => self.disconnected(connection),
            Command::Ready { connection, slots, offer } => self.ready(connection, slots, offer),
            Command::Renew { connection, renewals, reply } => self.renew(connection, renewals, reply),
            Command::Checkpointed { items, reply } => self.checkpointed(items, reply)?,
            Command::Completed { items, reply } => self.completed(items, reply)?,
            Command::InputFiles { lease, reply } => self.input_files(&lease, reply)?,
            Command::Failed { items, reply } => self.failed(items, reply)?,
            Command::Grant { lease, has, reply } => self.grant(&lease, has, reply)?,
            Command::Logged { items, reply } => self.logged(items, reply)?,
            Command::LogLines { lines } => self.log_lines(lines),
            Command::Durable { reply } => self.answer(reply, self.journal.last_sequence()),
            Command::Tick { reply } => self.answer(reply, ()),
            Command::Note { event, reply } => {
                self.record(event)?;
                self.answer(reply, ());
            }
            Command::Stop => return Ok(Flow::Stop),
        }
        Ok(Flow::GoOn)
    }

    /// Takes an event into the state at once, so that the batch's next command sees it; durable at the batch's end.
    fn record(&mut self, event: Event) -> Result<(), EngineError> {
        let record = serde_json::to_vec(&event).map_err(|source| EngineError::Encode { source })?;
        self.batch.record_bytes += record.len();
        self.batch.records.push(record);
        if recovery::is_about_the_past(&self.state, &event) {
            self.history.happened(&event)?;
        }
        if let Event::HistoryForgotten { before, .. } = &event {
            self.batch.forgotten = Some(*before);
        }
        if let Some(finished) = self.state.apply_taking(&event) {
            self.history.finished(&finished)?;
            self.batch.archived.push(finished);
        }
        self.amend(&event)?;
        self.note(&event);
        self.batch.visible = true;
        self.batch.assign = true;
        Ok(())
    }

    fn record_all(&mut self, events: Vec<Event>) -> Result<(), EngineError> {
        events.into_iter().try_for_each(|event| self.record(event))
    }

    /// Answers when the batch is durable.
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        // One that waits no more does not mind.
        self.batch.answers.push(Box::new(move || drop(reply.send(value))));
    }

    /// Journal and sync, then the index, and only then the answers.
    fn commit(&mut self) -> Result<(), EngineError> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.records.is_empty() {
            let sequence = self.journal.append(&batch.records)?;
            if let Some(before) = batch.forgotten {
                self.archive.forget(before)?;
            }
            self.archive.apply(sequence, &batch.archived, &batch.amended)?;
        }
        for (connection, message) in batch.outbound {
            self.send(connection, message);
        }
        for answer in batch.answers {
            answer();
        }
        for matrix in &batch.archived {
            show_end(&matrix.ended());
            tracing::info!(matrix = %matrix.submitted.id, "finished");
        }
        if batch.visible {
            self.changed.send_modify(|version| *version += 1);
        }
        Ok(())
    }

    /// A worker that does not read is disconnected: its attempts go on elsewhere unless it comes back.
    fn send(&mut self, id: ConnectionId, message: Outbound) {
        let Some(connection) = self.tables.connections.get(&id) else { return };
        if connection.outbound.try_send(message).is_err() {
            tracing::warn!(worker = %connection.worker, "a worker does not read its messages: it is disconnected");
            self.disconnected(id);
        }
    }

    fn snapshot_if_due(&mut self) -> Result<(), EngineError> {
        let last = self.journal.last_sequence();
        if last < self.snapshot_sequence + self.limits.snapshot_records {
            return Ok(());
        }
        self.forget_history()?;
        let last = self.journal.last_sequence();
        self.archive.flush()?;
        self.history.gather(&self.archive)?;
        // The next try comes after as many records again, whatever becomes of this one.
        self.snapshot_sequence = last;
        match self.write_snapshot(last)? {
            Ok(bytes) => tracing::info!(sequence = last, bytes, "snapshot written"),
            Err(fatal @ SnapshotError::Poisoned { .. }) => return Err(fatal.into()),
            Err(error) => {
                tracing::error!(
                    error = assay_domain::chain(&error),
                    "a snapshot failed: the journal is kept"
                );
                return Ok(());
            }
        }
        if let Some(sequence) = self.snapshots.removable_through() {
            let removed = self.journal.remove_through(sequence)?;
            tracing::debug!(sequence, removed, "journal segments removed");
        }
        Ok(())
    }

    /// What the history lacks, then the state; answers the state's bytes.
    fn write_snapshot(&mut self, sequence: u64) -> Result<Result<usize, SnapshotError>, EngineError> {
        if let Err(error) = self.history.write(sequence, &mut self.snapshots) {
            return Ok(Err(error));
        }
        let state = recovery::encode_snapshot(&self.state, self.history.parts())?;
        let written = self.snapshots.write(sequence, &state);
        Ok(written.and_then(|()| self.history.keep(&mut self.snapshots)).map(|()| state.len()))
    }

    fn policy(&self) -> Policy {
        let Limits { attempts_max, crashes_max, losses_max, quarantine_jobs, .. } = self.limits;
        Policy { attempts_max, crashes_max, losses_max, quarantine_jobs }
    }

    fn close(&mut self) {
        for connection in self.tables.connections.values() {
            connection.end.cancel();
        }
        tracing::info!(last_sequence = self.journal.last_sequence(), "engine stopped");
    }
}

/// The root span of a matrix's trace. Its ids and times are the same however often it is shown.
fn show_end(ended: &Ended) {
    assay_telemetry::emit_root_span(&ended.matrix, &ended.name, ended.from, ended.to);
}

#[cfg(test)]
mod tests;
