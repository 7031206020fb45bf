//! Kill -9 of the real coordinator process, and of worker processes, at random moments, 50 times (200 in the full tier), after connections were cut and processes stood still; and at
//! chosen system calls, where some fail. Meanwhile people submit and workers work: nothing acknowledged is lost, nothing runs twice to success, and everything gets done.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else it is, it fails the test")]
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crew::Crew;
use ledger::Ledger;
use network::Way;
use person::live;
use place::{PATIENCE, Place, Places};
use process::Process;
use random::Random;
use traced::{FAULTS, Fault, Trace};
use worker::Worker;

mod crew;
mod ledger;
#[path = "../service/matrix.rs"]
mod matrix;
mod network;
mod objects;
mod person;
mod place;
mod process;
#[path = "../storage/random.rs"]
#[expect(dead_code, reason = "the other tests use more of it")]
mod random;
mod stream;
mod traced;
mod worker;

const ROUNDS: u64 = 50;
const ROUNDS_LONG: u64 = 200;
const SEED: u64 = 9;
const PEOPLE: u64 = 3;
const WORKERS: u64 = 3;
/// How often a worker is killed beside its coordinator.
const WORKER_PERCENT: u64 = 40;
/// So many things are asked at most before a kill.
const REQUESTS_MAX: u64 = 80;
/// The kill comes up to so much later, in the middle of one.
const LATER_MAX_US: u64 = 4_000;
/// How often one is killed before it serves, and how long after its start at most.
const EARLY_PERCENT: u64 = 25;
const EARLY_MAX_US: u64 = 80_000;

/// How often connections are cut before a kill, and how often the process or a worker's stands still, for how long at most.
const CUT_PERCENT: u64 = 40;
const STILL_PERCENT: u64 = 30;
const STILL_MAX_MS: u64 = 300;

/// How the coordinator meets its end, round after round.
#[derive(Clone, Copy)]
enum Ends {
    /// Killed at random, so many times.
    AtRandom(u64),
    /// At system calls, each of `FAULTS` so many times.
    AtSystemCalls(u64),
}

/// The killer.
struct Killer {
    data_dir: std::path::PathBuf,
    random: Random,
    place: watch::Sender<Option<Place>>,
    /// How often all were told where the coordinator is.
    told: u64,
    way: Option<Way>,
    traffic: watch::Receiver<u64>,
    log: Rc<RefCell<Vec<String>>>,
    /// From the start of a process until it served, after a kill.
    recoveries: Vec<Duration>,
    early: usize,
    cuts: usize,
    stills: usize,
}

impl Killer {
    fn new(data_dir: &Path, place: watch::Sender<Option<Place>>, traffic: watch::Receiver<u64>) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            random: Random(SEED),
            place,
            told: 0,
            way: None,
            traffic,
            log: Rc::default(),
            recoveries: Vec::new(),
            early: 0,
            cuts: 0,
            stills: 0,
        }
    }

    async fn serve(&mut self, round: u64, last: bool) -> Process {
        let mut process = Process::start(&self.data_dir, &self.log);
        let (address, took) = process.serves().await;
        if round > 1 {
            self.recoveries.push(took);
        }
        let way = Way::to(address).await;
        self.tell(&way.address, last);
        self.way = Some(way);
        process
    }

    /// Tells everyone where the coordinator is, once more.
    fn tell(&mut self, address: &str, last: bool) {
        self.told += 1;
        let token = std::fs::read_to_string(self.data_dir.join("token")).unwrap();
        let place = Place { round: self.told, address: address.to_owned(), token, last };
        crew::announce(&self.data_dir, &place);
        self.place.send_replace(Some(place));
    }

    async fn round(&mut self, round: u64) {
        if self.random.chance(EARLY_PERCENT) {
            let process = Process::start(&self.data_dir, &self.log);
            tokio::time::sleep(Duration::from_micros(self.random.below(EARLY_MAX_US))).await;
            self.early += 1;
            return process.kill().await;
        }
        let process = self.serve(round, false).await;
        self.busy().await;
        if self.random.chance(CUT_PERCENT) {
            self.cut();
            self.busy().await;
        }
        if self.random.chance(STILL_PERCENT) {
            self.stills += 1;
            process.stand_still(Duration::from_millis(self.random.below(STILL_MAX_MS))).await;
        }
        tokio::time::sleep(Duration::from_micros(self.random.below(LATER_MAX_US))).await;
        process.kill().await;
    }

    /// Until some things more were asked.
    async fn busy(&mut self) {
        let target = *self.traffic.borrow() + self.random.below(REQUESTS_MAX);
        let asked = tokio::time::timeout(PATIENCE, self.traffic.wait_for(|count| *count >= target)).await;
        let _ = asked.expect("requests in time").unwrap();
    }

    /// Cuts all connections; whoever had one comes back to the same process.
    fn cut(&mut self) {
        let Some(way) = self.way.take() else { return };
        way.cut();
        self.cuts += 1;
        self.tell(&way.address, false);
        self.way = Some(way);
    }

    /// One that ends by itself, at a system call.
    async fn fault(&mut self, fault: Fault) {
        let mut process = Process::traced(&self.data_dir, &self.log, &fault.strace(&self.data_dir));
        match process.serves_or_ends().await {
            Some((address, _)) => {
                self.tell(&address, false);
                process.ends().await;
            }
            None => self.early += 1,
        }
    }

    fn report(&mut self, rounds: u64, ledger: &Ledger) {
        self.recoveries.sort();
        let (median, max) =
            (self.recoveries[self.recoveries.len() / 2], self.recoveries[self.recoveries.len() - 1]);
        let (matrices, trainings, completions) = ledger.counts();
        let said = |text: &str| self.log.borrow().iter().filter(|line| line.contains(text)).count();
        println!(
            "{rounds} rounds, {} of them killed while starting, {} after connections were cut, {} after the process stood still; \
             recovery: median {} ms, max {} ms",
            self.early,
            self.cuts,
            self.stills,
            median.as_millis(),
            max.as_millis(),
        );
        println!(
            "{matrices} matrices, {trainings} trainings with checkpoints, {completions} completions acknowledged; \
             {} stale completions refused; {} snapshots, {} torn tails cut, {} indexes rebuilt",
            ledger.refused,
            said("snapshot written"),
            said("a torn tail"),
            said("the index is rebuilt"),
        );
    }
}

/// Fails the test as soon as one of its tasks does.
async fn all_end(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(failed) = ended.map_err(JoinError::into_panic) {
            std::panic::resume_unwind(failed);
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_succeeds_twice() {
    LocalSet::new().run_until(live_through(Ends::AtRandom(assay_tests::repeats(ROUNDS, ROUNDS_LONG)))).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_where_system_calls_kill_or_fail() {
    if traced::is_possible() {
        LocalSet::new().run_until(live_through(Ends::AtSystemCalls(assay_tests::repeats(1, 4)))).await;
    }
}

/// What a person was told is on disk: the journal's sync had ended before the answer went to the socket.
#[tokio::test]
async fn no_answer_leaves_before_the_sync_that_covers_it() {
    if traced::is_possible() {
        LocalSet::new().run_until(submits_traced(assay_tests::repeats(20, 200))).await;
    }
}

/// What a worker was told is stored is on disk under its name, and nothing counts on it before.
#[tokio::test]
async fn no_object_is_answered_for_or_counted_on_before_the_syncs_that_cover_it() {
    if traced::is_possible() {
        LocalSet::new().run_until(objects::traced(assay_tests::repeats(2, 20))).await;
    }
}

async fn submits_traced(count: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let calls = "-etrace=write,writev,sendto,sendmsg,fdatasync";
    let strace = ["-yy", "-s", "10000000", calls, "-o", trace.to_str().unwrap()].map(str::to_owned);
    let mut process = Process::traced(&data_dir, &Rc::default(), &strace);
    let (address, _) = process.serves().await;
    let token = std::fs::read_to_string(data_dir.join("token")).unwrap();
    let (_sender, current) = watch::channel(Some(Place { round: 1, address, token, last: true }));
    let mut places = Places { current, traffic: Rc::new(watch::channel(0).0), http: reqwest::Client::new() };
    let client = places.after(0).await;
    let submits = (1..=count).map(|seed| submit_one(&client, seed));
    let submitted = futures::future::join_all(submits).await;
    process.stop().await;
    let trace = Trace::read(&trace);
    for matrix in submitted.into_iter().map(|submitted| submitted.unwrap().matrix_id) {
        let (written, synced, left) = trace.of_matrix(&matrix);
        assert!(
            written < synced && synced < left,
            "{matrix}: written {written}, synced {synced}, left {left}"
        );
    }
    println!("{count} submits, {} syncs of the journal: no answer before its own", trace.syncs());
}

async fn submit_one(
    client: &place::Client,
    seed: u64,
) -> Result<assay_proto::v1::SubmitResponse, place::Gone> {
    person::submit(client, &format!("traced {seed}"), seed).await
}

async fn live_through(ends: Ends) {
    let folder = tempfile::tempdir().unwrap();
    let (sender, current) = watch::channel(None);
    let (traffic, counted) = watch::channel(0);
    let places = Places { current, traffic: Rc::new(traffic), http: reqwest::Client::new() };
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let stop = CancellationToken::new();
    let (mut people, mut workers) = (JoinSet::new(), JoinSet::new());
    for number in 1..=PEOPLE {
        people.spawn_local(live(number, places.clone(), Rc::clone(&ledger), stop.clone()));
    }
    let data_dir = folder.path().join("data");
    // Where system calls are chosen, nothing else dies.
    let mut crew = match ends {
        Ends::AtRandom(_) => Some(Crew::start(WORKERS, &data_dir, &ledger, &places.traffic)),
        Ends::AtSystemCalls(_) => None,
    };
    for number in (1..=WORKERS).filter(|_| crew.is_none()) {
        workers.spawn_local(Worker::new(number, Rc::clone(&ledger)).live(places.clone()));
    }
    let mut killer = Killer::new(&data_dir, sender, counted);
    let last = match ends {
        Ends::AtRandom(rounds) => rounds,
        Ends::AtSystemCalls(times) => times * FAULTS.len() as u64,
    };
    let rounds = async {
        for round in 1..=last {
            if let Some(crew) = &mut crew {
                crew.maybe_stop_one(STILL_PERCENT, STILL_MAX_MS).await;
                crew.maybe_kill_one(WORKER_PERCENT).await;
            }
            match ends {
                Ends::AtRandom(_) => killer.round(round).await,
                Ends::AtSystemCalls(_) => killer.fault(FAULTS[(round - 1) as usize % FAULTS.len()]).await,
            }
        }
        stop.cancel();
        killer.serve(last + 1, true).await
    };
    let process = tokio::select! {
        process = async { tokio::join!(rounds, all_end(&mut people)).0 } => process,
        () = all_end(&mut workers), if !workers.is_empty() => panic!("workers never end"),
    };
    workers.shutdown().await;
    if let Some(crew) = &mut crew {
        crew.all_live();
        println!("{} workers killed, {} stood still", crew.killed, crew.stopped);
        assert!(crew.killed as u64 * 5 > last, "workers are killed as well");
    }
    process.kill().await;

    // Once more from the disk alone.
    let process = killer.serve(last + 2, true).await;
    let client = places.clone().after(killer.told - 1).await;
    let ledger = ledger.take();
    ledger.check(&client).await;
    process.kill().await;
    killer.report(last, &ledger);
    let (matrices, trainings, completions) = ledger.counts();
    assert!(matrices > 5 && trainings > 5 && completions > 40, "{:?}", ledger.counts());
}
