//! The way to a coordinator's process: connections through here are cut now and then. Uploads go past it, to the process itself.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards to one process for as long as it lives.
pub(crate) struct Way {
    pub(crate) address: String,
    cuts: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Way {
    pub(crate) async fn to(process: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (cuts, cut) = watch::channel(());
        let accepting = tokio::task::spawn_local(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // Nobody is there any more: the client finds its connection closed.
                if let Ok(server) = TcpStream::connect(&process).await {
                    tokio::task::spawn_local(forward(client, server, cut.clone()));
                }
            }
        });
        Self { address, cuts, accepting }
    }

    /// Closes all connections that there are, in the middle of whatever is said.
    pub(crate) fn cut(&self) {
        self.cuts.send_replace(());
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, mut cut: watch::Receiver<()>) {
    cut.mark_unchanged();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        // Also when there is no way any more.
        _ = cut.changed() => {}
    }
}
