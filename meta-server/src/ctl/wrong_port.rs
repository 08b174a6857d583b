//! What listens at an address that does not speak the gRPC protocol of clients: told apart by one HTTP/1 request, so that whoever
//! took one port for another is told which one it was.

use std::{fmt, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(1);
/// Of an answer, the rest does not matter.
const ENOUGH: u64 = 4096;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The admin API of a server of ours.
    Admin,
    OtherHttp,
    /// A gRPC server without the service of clients.
    OtherGrpc,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Found::Admin => "that is the admin API of a databend-meta server (its admin_api_address)",
            Found::OtherHttp => "an HTTP server listens there that does not speak gRPC",
            Found::OtherGrpc => {
                "a gRPC server listens there, and not for clients of databend-meta: is it the port that members talk to each other \
                 on (raft_api_port)?"
            }
        })
    }
}

/// Looks what `address` is. `speaks_grpc`: it said in gRPC that it does not know what it was asked.
pub(super) async fn look(address: &str, speaks_grpc: bool) -> Option<Found> {
    let answer = timeout(PATIENCE, ask(address)).await.ok().and_then(Result::ok).unwrap_or_default();
    let http_1 = answer.starts_with("HTTP/1.");
    match (http_1, speaks_grpc) {
        // Other servers have a page of this name too, and not these words on it.
        (true, _) if answer.contains("binary_version") && answer.contains("is_leader") => Some(Found::Admin),
        (true, false) => Some(Found::OtherHttp),
        (_, true) => Some(Found::OtherGrpc),
        (false, false) => None,
    }
}

async fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /v1/cluster/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_answers_is_told_apart() {
        let admin = "HTTP/1.1 200 OK\r\n\r\n{\"binary_version\":\"1\",\"is_leader\":true}";
        for (answer, speaks_grpc, expected) in [
            (admin, true, Some(Found::Admin)),
            (admin, false, Some(Found::Admin)),
            ("HTTP/1.0 404 Not Found\r\n\r\n", false, Some(Found::OtherHttp)),
            ("\0\0\u{12}\u{4}", true, Some(Found::OtherGrpc)),
            ("SSH-2.0", false, None),
            ("", false, None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 512]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (found, ()) = tokio::join!(look(&address, speaks_grpc), serve);
            assert_eq!(found, expected, "{answer:?}");
        }
    }
}
