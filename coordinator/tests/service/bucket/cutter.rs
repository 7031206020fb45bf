//! A way to a server on which the first connections are cut.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Cuts the first `cuts` connections after so many bytes of what the client says; answers its address.
pub(super) async fn start(server: &str, cuts: usize, after_bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, server) = (listener.local_addr().unwrap().to_string(), server.to_owned());
    tokio::spawn(async move {
        for number in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&server).await.unwrap();
            let most = if number < cuts { after_bytes } else { usize::MAX };
            tokio::spawn(forward(client, server, most));
        }
    });
    address
}

/// Until either side ends, or the client has said too much: then both are closed.
async fn forward(mut client: TcpStream, mut server: TcpStream, most: usize) {
    let (mut said, mut block) = (0, vec![0; 1 << 16]);
    let (mut answers, mut requests) = server.split();
    let (mut from_client, mut to_client) = client.split();
    let saying = async {
        while said < most {
            let Ok(read) = from_client.read(&mut block).await else { return };
            if read == 0 || requests.write_all(&block[..read]).await.is_err() {
                return;
            }
            said += read;
        }
    };
    tokio::select! {
        () = saying => {}
        _ = tokio::io::copy(&mut answers, &mut to_client) => {}
    }
}
