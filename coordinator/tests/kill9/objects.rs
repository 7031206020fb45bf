//! What a system-call trace says of objects: when file and name were durable, when the upload was answered, and when a completion
//! counted on it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::person::{finished, submit};
use crate::place::{Place, Places};
use crate::process::Process;
use crate::traced::{Trace, sends};
use crate::worker::Worker;

/// All that reads and writes, syncs and names.
const CALLS: &str = "-etrace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fdatasync,fsync,linkat";
const WORKERS: u64 = 2;
/// As many as tell HTTP/2 from HTTP/1.
const FIRST_READ_BYTES: usize = 24;

/// Has workers finish so many matrices, and looks at each object that they uploaded.
pub(crate) async fn traced(matrices: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let strace = ["-yy", "-s", "10000000", CALLS, "-o", trace.to_str().unwrap()].map(str::to_owned);
    let mut process = Process::traced(&data_dir, &Rc::default(), &strace);
    let (address, _) = process.serves().await;
    let token = std::fs::read_to_string(data_dir.join("token")).unwrap();
    let (_sender, current) = watch::channel(Some(Place { round: 1, address, token, last: true }));
    let mut places = Places { current, traffic: Rc::new(watch::channel(0).0), http: reqwest::Client::new() };
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let mut workers = JoinSet::new();
    for number in 1..=WORKERS {
        workers.spawn_local(Worker::new(number, Rc::clone(&ledger)).live(places.clone()));
    }
    let client = places.after(0).await;
    for seed in 1..=matrices {
        let matrix = submit(&client, &format!("traced {seed}"), seed).await.unwrap().matrix_id;
        finished(&client, &matrix).await.unwrap();
    }
    workers.shutdown().await;
    process.stop().await;
    let (trace, keys) = (Trace::read(&trace), ledger.borrow().output_keys());
    assert!(keys.len() as u64 > 5 * matrices, "{}", keys.len());
    keys.iter().for_each(|key| check(&trace, key));
    println!(
        "{} objects: none answered for or counted on before its file and its name were synced",
        keys.len()
    );
}

fn check(trace: &Trace, key: &str) {
    let find = |from: usize, wanted: &dyn Fn(&str) -> bool| trace.find(key, from, wanted);
    // Of a new connection the first bytes are read alone. `@` may stand in a URL as it is, or encoded.
    let rest = &key[FIRST_READ_BYTES - "PUT /objects/".len()..];
    let paths = [format!("{rest}?"), format!("{}?", rest.replace('@', "%40"))];
    let asked = find(0, &|line| !sends(line) && paths.iter().any(|path| line.contains(path)));
    let connection = between(trace.line(trace.began(asked)), "<TCP:[", "]>");
    let named = format!("/objects/{key}\"");
    let linking = find(asked, &|line| line.contains("linkat(") && line.contains(&named));
    let linked = trace.ended_well(linking);
    let part = between(trace.line(linking), ", \"", "\", ");
    let syncing = find(asked, &|line| line.contains("sync(") && line.contains(&format!("<{part}>")));
    let synced = trace.ended_well(syncing);
    let folder = format!("/objects/{}>", key.rsplit_once('/').unwrap().0);
    let syncing_folder = find(linked, &|line| line.contains("sync(") && line.contains(&folder));
    let folder_synced = trace.ended_well(syncing_folder);
    let answered =
        find(asked, &|line| sends(line) && line.contains(connection) && line.contains("\"HTTP/1.1 20"));
    let accepted =
        find(asked, &|line| line.contains("write(") && line.contains(".journal>") && line.contains(key));
    assert!(
        synced < linking && linked < syncing_folder && folder_synced < answered && folder_synced < accepted,
        "{key}: file synced {synced}, linked {linking} to {linked}, folder synced {syncing_folder} to {folder_synced}, answered \
         {answered}, accepted {accepted}"
    );
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> &'a str {
    let rest = line.split_once(before).unwrap_or_else(|| panic!("no `{before}` in {line}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no `{after}` in {line}")).0
}
