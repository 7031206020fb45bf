//! A network that a test can break: a TCP proxy between a worker and its coordinator that passes on, delays, says nothing in one
//! direction or both, or resets. Objects go their own way, as with a store elsewhere: signed requests name the coordinator itself.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What becomes of bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    /// They arrive.
    Open,
    /// They arrive late, each piece by so much.
    Slow(Duration),
    /// Neither they nor the end of a connection arrive before it is open again.
    Hole,
}

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    /// They stay; where a worker's words are in a hole, new ones never become any.
    Roads { to_coordinator: Road, to_worker: Road },
    /// All are reset, and new ones too.
    Cut,
}

impl Net {
    pub(crate) const OPEN: Self = Self::Roads { to_coordinator: Road::Open, to_worker: Road::Open };
    pub(crate) const HOLE: Self = Self::Roads { to_coordinator: Road::Hole, to_worker: Road::Hole };
    /// The worker hears, and is not heard.
    pub(crate) const MUTE: Self = Self::Roads { to_coordinator: Road::Hole, to_worker: Road::Open };
    /// The worker is heard, and does not hear.
    pub(crate) const DEAF: Self = Self::Roads { to_coordinator: Road::Open, to_worker: Road::Hole };

    fn road(self, to_coordinator: bool) -> Road {
        match self {
            Self::Roads { to_coordinator: road, .. } if to_coordinator => road,
            Self::Roads { to_worker: road, .. } => road,
            Self::Cut => Road::Hole,
        }
    }
}

/// Gone with its test, and its connections with it.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    net: watch::Sender<Net>,
    trap: Arc<Mutex<Option<Trap>>>,
    /// Runs the connections.
    _runtime: Runtime,
}

/// The first time that a worker says these words, the network becomes another, before they are passed on.
struct Trap {
    words: &'static [u8],
    then: Net,
}

impl Proxy {
    /// In front of an address, open.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (net, trap) = (watch::Sender::new(Net::OPEN), Arc::default());
        let line = Line { upstream, net: net.clone(), trap: Arc::clone(&trap) };
        runtime.spawn(async move {
            while let Ok((worker, _)) = listener.accept().await {
                tokio::spawn(line.clone().connect(worker));
            }
        });
        Self { address, net, trap, _runtime: runtime }
    }

    /// From now on.
    pub(crate) fn set(&self, net: Net) {
        self.net.send_replace(net);
    }

    /// Until a worker says these words, which are in one message; then another network, which these words meet first.
    pub(crate) fn trap(&self, words: &'static str, then: Net) {
        *self.trap.lock().unwrap() = Some(Trap { words: words.as_bytes(), then });
    }

    pub(crate) fn has_trapped(&self) -> bool {
        self.trap.lock().unwrap().is_none()
    }
}

#[derive(Clone)]
struct Line {
    upstream: SocketAddr,
    net: watch::Sender<Net>,
    trap: Arc<Mutex<Option<Trap>>>,
}

impl Line {
    async fn connect(self, mut worker: TcpStream) {
        let mut net = self.net.subscribe();
        if net.borrow_and_update().road(true) == Road::Hole {
            if *net.borrow() != Net::Cut {
                // Whoever waits for this one has long given up when the network is back.
                let _gone_is_fine = net.changed().await;
            }
            return reset(&worker);
        }
        // The coordinator may be gone: so is this connection.
        let Ok(mut coordinator) = TcpStream::connect(self.upstream).await else { return reset(&worker) };
        let ((from_worker, to_worker), (from_coordinator, to_coordinator)) =
            (worker.split(), coordinator.split());
        tokio::select! {
            _ = self.pass_on(from_worker, to_coordinator, true) => {}
            _ = self.pass_on(from_coordinator, to_worker, false) => {}
            _ = net.wait_for(|net| *net == Net::Cut) => {
                reset(&worker);
                reset(&coordinator);
            }
        }
    }

    /// Until the end of the connection has arrived.
    async fn pass_on(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        is_worker: bool,
    ) -> io::Result<()> {
        let mut net = self.net.subscribe();
        let mut bytes = vec![0; 64 << 10];
        let mut before = Vec::new();
        loop {
            let read = from.read(&mut bytes).await;
            let piece = &bytes[..*read.as_ref().unwrap_or(&0)];
            if is_worker {
                self.look(&mut before, piece);
            }
            let road = net.wait_for(|net| net.road(is_worker) != Road::Hole).await;
            let road = road.map_err(io::Error::other)?.road(is_worker);
            if piece.is_empty() {
                return read.map(drop);
            }
            if let Road::Slow(late) = road {
                tokio::time::sleep(late).await;
            }
            to.write_all(piece).await?;
        }
    }

    /// Springs the trap at its words, which may have come in two pieces.
    fn look(&self, before: &mut Vec<u8>, piece: &[u8]) {
        let mut trap = self.trap.lock().unwrap();
        let Some(Trap { words, then }) = &*trap else { return };
        before.extend_from_slice(piece);
        if before.windows(words.len()).any(|window| window == *words) {
            self.net.send_replace(*then);
            *trap = None;
        } else {
            before.drain(..before.len().saturating_sub(words.len()));
        }
    }
}

/// Closed without a goodbye: the other side sees a reset.
fn reset(stream: &TcpStream) {
    let _gone_is_fine = stream.set_zero_linger();
}
