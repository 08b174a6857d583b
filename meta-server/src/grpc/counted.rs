//! A layer around the public service that counts its calls: bytes each way, how many are under way, how they end and when. Knows
//! methods by their names, and nothing of what they mean.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::{
    Request, Response,
    body::{Body as HttpBody, Bytes, Frame, SizeHint},
    header::HeaderMap,
};
use tonic::body::Body;
use tower::Service;

use crate::metrics::{CallKind, Calling, Metrics};

/// The service whose calls are counted; others, such as health checks, are not.
const COUNTED: &str = "/meta.MetaService/";
/// Where gRPC says how a call ended: behind the answer, or in its head where there is no answer.
const STATUS: &str = "grpc-status";

/// What a method does, by its name. `None`: it is not counted. A watch is neither answered nor ever done.
fn kind(path: &str) -> Option<CallKind> {
    Some(match path.strip_prefix(COUNTED)? {
        "Watch" => return None,
        "KvApi" | "Transaction" | "KvTransaction" => CallKind::Write,
        "KvReadV1" | "KvList" | "KvGetMany" => CallKind::Read,
        _ => CallKind::Other,
    })
}

/// Counts the calls of a service.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Counted<S> {
    pub fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Counted { inner, metrics }
    }
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(kind) = kind(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let mut calling = Calling::begin(self.metrics.clone(), kind);
        let metrics = self.metrics.clone();
        let request = request.map(|body| Body::new(Received { body, metrics }));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if let Some(succeeded) = succeeded(response.headers()) {
                calling.end(succeeded);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Sent { body, calling })))
        })
    }
}

/// How a call ended, if it is said here.
fn succeeded(headers: &HeaderMap) -> Option<bool> {
    headers.get(STATUS).map(|status| status == "0")
}

/// The body of a request, counted as it comes.
struct Received {
    body: Body,
    metrics: Arc<Metrics>,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.metrics.calls.received_bytes.add(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, counted as it goes; the call has ended when this has.
struct Sent {
    body: Body,
    calling: Calling,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.calling.sent(data.len() as u64);
                } else if let Some(succeeded) = frame.trailers_ref().and_then(succeeded) {
                    self.calling.end(succeeded);
                }
            }
            Some(Err(_)) | None => self.calling.end(false),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tower::service_fn;

    use super::*;

    fn frame(data: &'static [u8]) -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(data)))
    }

    fn trailers(status: &'static str) -> Result<Frame<Bytes>, Infallible> {
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, status.parse().unwrap());
        Ok(Frame::trailers(trailers))
    }

    /// Calls `path` with five bytes; the answer has these frames, of which `taken` are taken.
    async fn call(path: &str, frames: Vec<Result<Frame<Bytes>, Infallible>>, taken: usize) -> Arc<Metrics> {
        let metrics = Arc::new(Metrics::default());
        let frames = std::sync::Mutex::new(Some(frames));
        let answering = service_fn(move |request: Request<Body>| {
            let frames = frames.lock().unwrap().take().unwrap();
            async move {
                request.into_body().collect().await.unwrap();
                Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(stream::iter(frames)))))
            }
        });
        let mut counted = Counted::new(answering, metrics.clone());
        let body = Body::new(Full::new(Bytes::from_static(b"12345")));
        let request = Request::post(path).body(body).unwrap();
        let mut answer = counted.call(request).await.unwrap().into_body();
        for _ in 0..taken {
            answer.frame().await.unwrap().unwrap();
        }
        metrics
    }

    #[tokio::test]
    async fn a_call_is_counted_as_it_ended_and_by_what_it_does() {
        let whole = |status| vec![frame(b"abc"), frame(b"de"), trailers(status)];
        for (path, status, taken, expected) in [
            ("/meta.MetaService/KvApi", "0", 3, (1, 0, 5)),
            ("/meta.MetaService/KvReadV1", "0", 3, (1, 0, 5)),
            ("/meta.MetaService/KvList", "14", 3, (0, 1, 5)),
            // The client left in the middle.
            ("/meta.MetaService/ExportV1", "0", 1, (0, 1, 3)),
            ("/meta.MetaService/Watch", "0", 3, (0, 0, 0)),
            ("/grpc.health.v1.Health/Check", "0", 3, (0, 0, 0)),
        ] {
            let metrics = call(path, whole(status), taken).await;
            let calls = &metrics.calls;
            assert_eq!(
                (calls.succeeded.get(), calls.failed.get(), calls.sent_bytes.get()),
                expected,
                "{path} {status}"
            );
            assert_eq!(calls.in_flight.get(), 0, "{path}");
            assert_eq!(calls.received_bytes.get(), if expected == (0, 0, 0) { 0 } else { 5 }, "{path}");
        }
        for (path, expected) in [
            ("/meta.MetaService/Transaction", Some(CallKind::Write)),
            ("/meta.MetaService/KvTransaction", Some(CallKind::Write)),
            ("/meta.MetaService/KvGetMany", Some(CallKind::Read)),
            ("/meta.MetaService/Handshake", Some(CallKind::Other)),
            ("/raft.RaftService/Append", None),
        ] {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
