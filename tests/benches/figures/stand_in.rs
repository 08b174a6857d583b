//! A bare tonic server in the place of `meta.MetaService`: what the floors over gRPC are measured with.

use std::{
    convert::Infallible,
    io::Write,
    net::Ipv4Addr,
    task::{Context, Poll},
};

use anyhow::Result;
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
    transport::{Server, server::TcpIncoming},
};

pub type Answer = BoxFuture<http::Response<Body>, Infallible>;

/// Answers every call with this.
#[derive(Clone)]
struct StandIn<F>(F);

impl<F> NamedService for StandIn<F> {
    const NAME: &'static str = "meta.MetaService";
}

impl<F: Fn(http::Request<Body>) -> Answer> Service<http::Request<Body>> for StandIn<F> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        (self.0)(request)
    }
}

/// Says where it listens, and serves until it is killed. `frame`: bytes in an HTTP/2 frame; `None`: what is usual.
pub fn serve<F>(frame: Option<u32>, answer: F) -> Result<()>
where
    F: Fn(http::Request<Body>) -> Answer + Clone + Send + Sync + 'static,
{
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder().max_frame_size(frame).add_service(StandIn(answer));
        Ok(server.serve_with_incoming(incoming).await?)
    })
}
