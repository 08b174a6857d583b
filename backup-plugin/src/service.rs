//! The gRPC handlers that a host mounts, and the one place where an error becomes a `tonic::Status`.
//!
//! Authentication, transport and the other methods of the service are the host's.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use meta_proto::pb;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use crate::{
    export::{self, Chunks},
    source::BackupSource,
};

/// How many exports run at once. Each keeps a thread for as long as its client takes, and threads that may block are few.
const MAX_EXPORTS: usize = 16;

/// Serves backups of `S`.
pub struct BackupService<S> {
    source: Arc<S>,
    room: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl<S: BackupSource> BackupService<S> {
    /// `shutdown` ends the exports that run, each with an error, so that no client takes a part for the whole.
    pub fn new(source: Arc<S>, shutdown: CancellationToken) -> BackupService<S> {
        BackupService { source, room: Arc::new(Semaphore::new(MAX_EXPORTS)), shutdown }
    }

    /// Answers `Export` (no `chunk_size`) and `ExportV1`: the whole store as of now, `chunk_size` lines to a message at the most.
    ///
    /// # Errors
    ///
    /// RESOURCE_EXHAUSTED while sixteen others run; what the source could not pin.
    pub async fn export(&self, chunk_size: Option<u64>) -> Result<ExportStream, Status> {
        let place = self.room.clone().try_acquire_owned().map_err(|_| too_many())?;
        let pinned = self.shutdown.run_until_cancelled(self.source.pin()).await;
        let view = pinned.ok_or_else(shutting_down)?.map_err(|error| status(&error))?;
        let chunks = export::chunks(view, chunk_size.unwrap_or(export::DEFAULT_CHUNK_LINES));
        let shutdown = Box::pin(self.shutdown.clone().cancelled_owned());
        Ok(ExportStream { running: Some((chunks, place)), shutdown })
    }
}

/// An export on its way to a client. Dropping it lets go of the view.
pub struct ExportStream {
    /// With its place among the exports that may run; `None` once the stream has ended.
    running: Option<(Chunks, OwnedSemaphorePermit)>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream for ExportStream {
    type Item = Result<pb::ExportedChunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some((chunks, _)) = &mut this.running else { return Poll::Ready(None) };
        let item = if this.shutdown.as_mut().poll(cx).is_ready() {
            Some(Err(shutting_down()))
        } else {
            match Pin::new(chunks).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(item) => item.map(|chunk| chunk.map_err(|error| status(&error))),
            }
        };
        if !matches!(item, Some(Ok(_))) {
            this.running = None;
        }
        Poll::Ready(item.map(|lines| lines.map(|data| pb::ExportedChunk { data })))
    }
}

fn too_many() -> Status {
    Status::resource_exhausted(format!("{MAX_EXPORTS} exports run already; export from another member, or again later"))
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down; export from another member, or again later")
}

/// What a client is told of an error of the store.
fn status(error: &io::Error) -> Status {
    let message = format!("the export failed: {error}");
    match error.kind() {
        io::ErrorKind::TimedOut => Status::deadline_exceeded(message),
        io::ErrorKind::InvalidData => Status::data_loss(message),
        _ => Status::internal(message),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;
    use crate::export::testing::{FakeView, eventually};

    /// Gives each view once.
    struct FakeSource(Mutex<Vec<FakeView>>);

    impl BackupSource for FakeSource {
        type View = FakeView;

        async fn pin(&self) -> io::Result<FakeView> {
            self.0.lock().unwrap().pop().ok_or_else(|| io::Error::other("no view"))
        }
    }

    fn service(view: Option<FakeView>) -> (BackupService<FakeSource>, CancellationToken) {
        let shutdown = CancellationToken::new();
        (BackupService::new(Arc::new(FakeSource(Mutex::new(view.into_iter().collect()))), shutdown.clone()), shutdown)
    }

    #[tokio::test]
    async fn an_export_is_the_lines_of_the_view() {
        for (chunk_size, expected) in [(None, vec![10]), (Some(0), vec![10]), (Some(4), vec![4, 4, 2])] {
            let (service, _) = service(Some(FakeView::sample()));
            let stream = service.export(chunk_size).await.unwrap();
            let sizes: Vec<usize> = stream.map(|chunk| chunk.unwrap().data.len()).collect().await;
            assert_eq!(sizes, expected);
        }
    }

    #[tokio::test]
    async fn errors_become_a_status() {
        let (nothing, _) = service(None);
        assert_eq!(nothing.export(None).await.err().unwrap().code(), Code::Internal);

        let mut view = FakeView::sample();
        view.fail_after = Some(1);
        let (failing, _) = service(Some(view));
        let chunks: Vec<_> = failing.export(None).await.unwrap().collect().await;
        let last = chunks.last().unwrap().as_ref().unwrap_err();
        assert_eq!((last.code(), last.message()), (Code::Internal, "the export failed: disk gone"));
    }

    #[tokio::test]
    async fn no_more_exports_run_than_there_are_threads_for() {
        let endless = || {
            let mut view = FakeView::sample();
            view.endless = true;
            view
        };
        let views = (0..=MAX_EXPORTS).map(|_| endless()).collect();
        let service = BackupService::new(Arc::new(FakeSource(Mutex::new(views))), CancellationToken::new());
        let mut running = Vec::new();
        for _ in 0..MAX_EXPORTS {
            running.push(service.export(None).await.unwrap());
        }
        assert_eq!(service.export(None).await.err().unwrap().code(), Code::ResourceExhausted);
        // One that is dropped makes room.
        running.pop();
        service.export(None).await.unwrap();
    }

    #[tokio::test]
    async fn shutdown_ends_a_stream_with_an_error_and_releases_the_view() {
        let mut view = FakeView::sample();
        view.endless = true;
        let released = view.released();
        let (service, shutdown) = service(Some(view));
        let mut stream = service.export(Some(1)).await.unwrap();
        stream.next().await.unwrap().unwrap();
        shutdown.cancel();
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
        assert!(stream.next().await.is_none());
        eventually(&released).await;
        assert_eq!(service.export(None).await.err().unwrap().code(), Code::Unavailable);
    }
}
