//! Workers as processes of their own, which are killed as well: this test's binary again, with one worker in it. What a worker was told,
//! it says on its standard output; what it was told and could not say any more, nobody counts on.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::ledger::{Ledger, SAYS};
use crate::place::{Place, Places};
use crate::process::stand_still;
use crate::random::Random;
use crate::worker::Worker;

/// Where the process finds its coordinator, and which worker it is.
const DATA_DIR: &str = "ASSAY_KILL9_DATA_DIR";
const NUMBER: &str = "ASSAY_KILL9_WORKER";
/// How often a worker looks whether there is another coordinator.
const LOOK: Duration = Duration::from_millis(20);

/// Workers, some of which are killed now and then.
pub(crate) struct Crew {
    data_dir: PathBuf,
    ledger: Rc<RefCell<Ledger>>,
    traffic: Rc<watch::Sender<u64>>,
    random: Random,
    children: Vec<Child>,
    started: u64,
    pub(crate) killed: usize,
    pub(crate) stopped: usize,
}

impl Crew {
    pub(crate) fn start(
        count: u64,
        data_dir: &Path,
        ledger: &Rc<RefCell<Ledger>>,
        traffic: &Rc<watch::Sender<u64>>,
    ) -> Self {
        let mut crew = Self {
            data_dir: data_dir.to_owned(),
            ledger: Rc::clone(ledger),
            traffic: Rc::clone(traffic),
            random: Random(77),
            children: Vec::new(),
            started: 0,
            killed: 0,
            stopped: 0,
        };
        for _ in 0..count {
            crew.add();
        }
        crew
    }

    fn add(&mut self) {
        self.started += 1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crew::a_worker_in_a_process_of_its_own", "--nocapture"]);
        command.env(DATA_DIR, &self.data_dir).env(NUMBER, self.started.to_string());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (ledger, traffic) = (Rc::clone(&self.ledger), Rc::clone(&self.traffic));
        tokio::task::spawn_local(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(said) = line.strip_prefix(SAYS) {
                    ledger.borrow_mut().hear(said);
                    traffic.send_modify(|count| *count += 1);
                }
            }
        });
        self.children.push(child);
    }

    /// SIGKILL to one of them, now and then; another takes its place.
    pub(crate) async fn maybe_kill_one(&mut self, percent: u64) {
        if !self.random.chance(percent) {
            return;
        }
        let victim = self.random.below(self.children.len() as u64) as usize;
        let mut child = self.children.swap_remove(victim);
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "a worker ended by itself: {ended:?}");
        child.kill().await.unwrap();
        self.killed += 1;
        self.add();
    }

    /// SIGSTOP to one of them, now and then, for a while that a lease outlives.
    pub(crate) async fn maybe_stop_one(&mut self, percent: u64, max_ms: u64) {
        if self.random.chance(percent) {
            let one = self.random.below(self.children.len() as u64) as usize;
            stand_still(&self.children[one], Duration::from_millis(self.random.below(max_ms))).await;
            self.stopped += 1;
        }
    }

    /// Fails the test when one of them ends by itself.
    pub(crate) fn all_live(&mut self) {
        for child in &mut self.children {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "a worker ended by itself: {ended:?}");
        }
    }
}

/// What the processes of [`Crew`] run; in a run of the tests it has nothing to do.
#[tokio::test]
async fn a_worker_in_a_process_of_its_own() {
    let Some(data_dir) = std::env::var_os(DATA_DIR).map(PathBuf::from) else { return };
    let number: u64 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let (sender, current) = watch::channel(None);
    let places = Places { current, traffic: Rc::new(watch::channel(0).0), http: reqwest::Client::new() };
    let ledger = Rc::new(RefCell::new(Ledger::telling()));
    let worker = Worker::new(number, ledger).live(places);
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                () = worker => {}
                () = follow(&data_dir, &sender) => {}
            }
        })
        .await;
}

/// Tells all of them where the coordinator is.
pub(crate) fn announce(data_dir: &Path, place: &Place) {
    let told = serde_json::json!({"round": place.round, "address": place.address, "token": place.token});
    let (file, new) = (place_file(data_dir), data_dir.with_file_name("place.new"));
    std::fs::write(&new, told.to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn place_file(data_dir: &Path) -> PathBuf {
    data_dir.with_file_name("place.json")
}

/// Says where the coordinator is, each time it is told: by a file, read again and again as real workers do, since nothing else tells a
/// process that another coordinator has started.
async fn follow(data_dir: &Path, places: &watch::Sender<Option<Place>>) {
    let mut known = 0;
    loop {
        let told = std::fs::read(place_file(data_dir)).unwrap_or_default();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap_or_default();
        let round = told["round"].as_u64().unwrap_or_default();
        if round > known {
            known = round;
            let text = |field: &str| told[field].as_str().unwrap().to_owned();
            places.send_replace(Some(Place {
                round,
                address: text("address"),
                token: text("token"),
                last: false,
            }));
        }
        tokio::time::sleep(LOOK).await;
    }
}
