//! Bad peers against a real coordinator process: what they send, what they never send, and what they never read. It stays up, goes
//! on serving others, says what was wrong, and its memory stays bounded.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use assay_proto::v1;
use assay_proto::v1::events_client::EventsClient;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::process::Process;
use super::world::PATIENCE;

/// Above what it had before: buffers of a few requests, never what a peer claims to send.
const GROWTH_MAX_KIB: u64 = 64 << 10;
const IDLE_CONNECTIONS: usize = 10_000;
/// Fewer than the listener's queue holds.
const AT_ONCE: usize = 500;
const SILENT_MS: u32 = 1_000;
/// Longer than it takes to open them all.
const IDLE_MS: u32 = 8_000;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What peers do that clients never would.
impl Process {
    /// Sends bytes over a connection of their own; answers what comes back until the end, or none comes.
    fn send(&self, bytes: &[u8], says_no_more: bool) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have been closed in the middle: what it said before counts.
        let _ = stream.write_all(bytes);
        if says_no_more {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A gRPC call over HTTP/1.1 with a body that is made by hand.
    fn call(&self, method: &str, body: &[u8]) -> String {
        let head = format!(
            "POST /assay.v1.{method} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
             authorization: Bearer {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.world.token().trim(),
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat(), false)
    }
}

/// A gRPC frame: flag, length as it claims, bytes.
fn frame(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[flag][..], &length.to_be_bytes(), bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_of_every_kind_ends_its_own_connection_and_nothing_else() {
    let mut process = Process::start(SILENT_MS, None);
    process.serves().await;
    let before_kib = process.memory_kib();
    let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 4 << 20]].concat();
    let frames = |head: [u8; 9]| [PREFACE, &head, &vec![0xEE; 1 << 20]].concat();
    let sent: [Vec<u8>; 8] = [
        vec![0xFF; 64],
        vec![0; 1 << 20],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"POST /objects/x HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\nabc".to_vec(),
        endless,
        // SETTINGS of 16 MiB; a frame of an unknown type; HEADERS that are none.
        frames([0xFF, 0xFF, 0xFF, 4, 0, 0, 0, 0, 0]),
        frames([0, 0x40, 0, 0x77, 0, 0, 0, 0, 1]),
        frames([0, 0x40, 0, 1, 4, 0, 0, 0, 1]),
    ];
    for bytes in &sent {
        for _ in 0..20 {
            process.send(bytes, true);
        }
        process.serves().await;
    }
    let grown_kib = process.memory_kib().saturating_sub(before_kib);
    println!("160 connections of garbage: {grown_kib} KiB more");
    assert!(grown_kib < GROWTH_MAX_KIB, "{grown_kib} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_oversized_and_unknown_messages_are_answered_with_what_is_wrong() {
    let mut process = Process::start(SILENT_MS, None);
    process.serves().await;
    let before_kib = process.memory_kib();
    let empty = frame(0, 0, &[]);
    // Field 99 of a later version, a varint.
    let unknown_field = frame(0, 3, &[0x98, 0x06, 0x01]);
    let cases = [
        ("Matrices/Submit", frame(0, 4, &[0xFF; 4]), "grpc-status: 13", "decode"),
        ("Matrices/Submit", frame(0, u32::MAX, &[1; 100]), "grpc-status: 11", "16777216"),
        ("Matrices/Submit", frame(1, 4, &[1; 4]), "grpc-status: 13", "ompress"),
        ("Matrices/Submit", frame(7, 4, &[1; 4]), "grpc-status: 13", "ompress"),
        ("Matrices/Submit", empty.clone(), "grpc-status: 3", "submit_key"),
        ("Matrices/Nothing", empty.clone(), "grpc-status: 12", ""),
        ("Nothing/List", empty.clone(), "grpc-status: 12", ""),
        ("Leases/Work", frame(0, u32::MAX, &[1; 100]), "200 OK", ""),
        ("Matrices/List", unknown_field, "200 OK", ""),
    ];
    for (method, body, status, said) in cases {
        for _ in 0..20 {
            let answer = process.call(method, &body);
            assert!(answer.contains(status) && answer.contains(said), "{method}: {answer}");
        }
    }
    process.serves().await;
    let grown_kib = process.memory_kib().saturating_sub(before_kib);
    println!("180 wrong messages: {grown_kib} KiB more");
    assert!(grown_kib < GROWTH_MAX_KIB, "{grown_kib} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_that_say_nothing_cost_little_and_are_closed() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // The limit of this process is that of its child; a few files are for everything else.
    let count = IDLE_CONNECTIONS.min(usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(1_000));
    let mut process = Process::start(IDLE_MS, None);
    process.serves().await;
    let before_kib = process.memory_kib();
    let mut silent = Vec::with_capacity(count);
    while silent.len() < count {
        let more = (count - silent.len()).min(AT_ONCE);
        silent.extend((0..more).map(|_| TcpStream::connect(process.address()).unwrap()));
        // Those before are accepted by now: none waits for a second try.
        process.serves().await;
    }
    process.serves().await;
    let grown_kib = process.memory_kib().saturating_sub(before_kib);
    println!(
        "{count} silent connections (file limit {soft}, at most {hard}): {grown_kib} KiB more, {} bytes each",
        (grown_kib << 10) / count as u64
    );
    assert!(grown_kib < GROWTH_MAX_KIB, "{grown_kib} KiB");
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Its end, or a reset: it is closed.
        let closed = stream
            .read(&mut [0; 16])
            .map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |read| read == 0);
        assert!(closed, "a silent connection stays open");
    }
    process.serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_are_files_delay_others_and_end_nothing() {
    let mut process = Process::start(SILENT_MS, Some(300));
    // 44 places: the others wait until silent ones are closed.
    let _silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(process.address()).unwrap()).collect();
    process.serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_never_read_hold_back_nobody_and_little_memory() {
    let mut process = Process::start(SILENT_MS, None);
    process.world.submit("first", 0).await;
    let before_kib = process.memory_kib();
    let mut unread = Vec::new();
    for _ in 0..4 {
        let channel = process.world.channel();
        for _ in 0..100 {
            let request = v1::ReadEventsRequest { follow: true, ..v1::ReadEventsRequest::default() };
            unread.push(EventsClient::new(channel.clone()).read(request).await.unwrap());
        }
    }
    for number in 1..=40 {
        let matrix_id = process.world.submit(&format!("k{number}"), number).await.matrix_id;
        process.world.matrices().cancel(v1::CancelRequest { matrix_id }).await.unwrap();
    }
    process.serves().await;
    let grown_kib = process.memory_kib().saturating_sub(before_kib);
    println!("{} followers that never read: {grown_kib} KiB more", unread.len());
    assert!(grown_kib < GROWTH_MAX_KIB, "{grown_kib} KiB");
}
