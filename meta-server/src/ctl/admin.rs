//! The tool's side of the admin API: one plain HTTP request, its answer as text, and address and path put to whatever goes wrong.

use std::{error::Error, io, time::Duration};

use backup_plugin::record::{self, EndpointError};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// What an answer may take. The longest is the metrics, of some ten kilobytes.
const MAX_ANSWER: usize = 16 << 20;

/// Why the admin API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot read {address:?} as an admin address <host>:<port>")]
    Address { address: String, source: EndpointError },
    #[error("cannot connect to {address} (is databend-meta running, and is this its admin_api_address?)")]
    Connect { address: String, source: io::Error },
    #[error("{address} did not answer {path} within {} s; --timeout allows for more, and what was asked for may go on", timeout.as_secs())]
    Silent { address: String, path: &'static str, timeout: Duration },
    #[error("{path} at {address} failed")]
    Broken { address: String, path: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("{path} at {address} failed: {reason} (HTTP {})", status.as_u16())]
    Refused { address: String, path: &'static str, status: StatusCode, reason: String },
}

/// Asks for `path` and returns the answer's text, or what was wrong with it.
pub(super) async fn get(address: &str, path: &'static str, limit: Duration) -> Result<String, AdminError> {
    let name = || address.to_owned();
    let place: record::Endpoint = address.parse().map_err(|source| AdminError::Address { address: name(), source })?;
    let answer = async {
        let stream = TcpStream::connect((place.addr.as_str(), place.port));
        let stream = stream.await.map_err(|source| AdminError::Connect { address: name(), source })?;
        let exchanged = exchange(stream, address, path).await;
        exchanged.map_err(|source| AdminError::Broken { address: name(), path, source })
    };
    let (status, text) = timeout(limit, answer)
        .await
        .map_err(|_| AdminError::Silent { address: name(), path, timeout: limit })
        .flatten()?;
    if status.is_success() {
        return Ok(text);
    }
    Err(AdminError::Refused { address: name(), path, status, reason: text.trim_end().to_owned() })
}

async fn exchange(
    stream: TcpStream,
    host: &str,
    path: &str,
) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, which goes with the sender; what is wrong with it, the answer says too.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.into())?))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::error_chain::chain;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Answers one request with these bytes.
    async fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Until the other side has read it.
            std::future::pending::<()>().await;
        });
        address
    }

    #[tokio::test]
    async fn an_answer_is_its_text_or_why_there_is_none() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull", Ok("null")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok("")),
            (
                "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 9\r\n\r\ndisk full",
                Err("/v1/x at ADDRESS failed: disk full (HTTP 500)"),
            ),
            ("220 mail.example ESMTP\r\n", Err("/v1/x at ADDRESS failed: invalid HTTP version parsed")),
        ] {
            let address = answering(answer).await;
            let found = get(&address, "/v1/x", LIMIT).await.map_err(|error| chain(&error));
            let expected = expected.map(str::to_owned).map_err(|text| text.replace("ADDRESS", &address));
            assert_eq!(found, expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_silent_is_called_by_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let silent = get(&address, "/v1/x", Duration::from_millis(200)).await.unwrap_err().to_string();
        assert!(silent.starts_with(&format!("{address} did not answer /v1/x within")), "{silent}");
        drop(listener);
        let gone = get(&address, "/v1/x", LIMIT).await.unwrap_err().to_string();
        assert!(gone.starts_with(&format!("cannot connect to {address} (is databend-meta running")), "{gone}");
        let wrong = get("localhost", "/v1/x", LIMIT).await.unwrap_err();
        assert_eq!(chain(&wrong), "cannot read \"localhost\" as an admin address <host>:<port>: the port is missing");
    }
}
