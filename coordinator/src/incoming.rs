//! Connections: no more than the process has files for, and none that says nothing. A process that runs out of files can accept
//! no worker, and tonic's own accept loop would end there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::config::Limits;

/// Files for the journal, the index, objects and children.
const FILES_RESERVED: u64 = 256;
/// So many connections are taken however few files there are.
const SOCKETS_MIN: usize = 16;
/// Before the next try after one that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What every HTTP/2 client says first, and less than any request of HTTP/1.
const GREETING_BYTES: usize = 24;

/// Lets this process open as many files as it may.
pub fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files stays as it is");
    }
}

/// Accepts connections; of more than there are places for, the later ones wait.
pub(crate) fn incoming(
    listener: TcpListener,
    limits: &Limits,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let places = Arc::new(Semaphore::new(places(limits.sockets_max)));
    let silence = Duration::from_millis(limits.silent_socket_ms);
    futures::stream::unfold((listener, places), move |(listener, places)| async move {
        // Never closed: whoever waits gets one.
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let stream = accept(&listener).await;
        // One that is gone already says so when it is read.
        let _ = stream.set_nodelay(true);
        let silence = Some(Box::pin(tokio::time::sleep(silence)));
        let connection = Connection { stream, silence, heard_bytes: 0, _place: place };
        Some((Ok(connection), (listener, places)))
    })
}

fn places(sockets_max: usize) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let files = usize::try_from(files.saturating_sub(FILES_RESERVED)).unwrap_or(usize::MAX);
    sockets_max.min(files).max(SOCKETS_MIN)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that is closed unless it says something soon. Later silence is the protocol's: it pings.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    silence: Option<Pin<Box<Sleep>>>,
    heard_bytes: usize,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            self.heard_bytes += buf.filled().len() - before;
            if self.heard_bytes >= GREETING_BYTES {
                self.silence = None;
            }
            return Poll::Ready(read);
        }
        if let Some(silence) = &mut self.silence {
            ready!(silence.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the connection says nothing")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
