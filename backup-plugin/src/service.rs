//! The gRPC handlers that a host mounts: how much an export includes, where it may be less, and what is said of it. The
//! one place where an error becomes a `tonic::Status`.
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
    observe::{ExportFailure, ExportObserver, Observed, Unobserved},
    provenance::{Consistency, Origin, Provenance, Wanted},
    source::{BackupSource, BackupView, Extent},
    urgency::Urgency,
    wire,
};

/// How many exports run at once. Each keeps a thread for as long as its client takes, and threads that may block are few.
const MAX_EXPORTS: usize = 16;

/// Serves backups of `S`.
pub struct BackupService<S> {
    source: Arc<S>,
    room: Arc<Semaphore>,
    shutdown: CancellationToken,
    observer: Arc<dyn ExportObserver>,
}

impl<S: BackupSource> BackupService<S> {
    /// `shutdown` ends the exports that run, each with an error, so that no client takes a part for the whole.
    pub fn new(source: Arc<S>, shutdown: CancellationToken) -> BackupService<S> {
        BackupService { source, room: Arc::new(Semaphore::new(MAX_EXPORTS)), shutdown, observer: Arc::new(Unobserved) }
    }

    /// Has `observer` told of every export from now on.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn ExportObserver>) -> BackupService<S> {
        BackupService { observer, ..self }
    }

    /// Answers `ExportV1`, and `Export` as an `ExportV1` that asks for nothing special: the whole store as of now.
    ///
    /// # Errors
    ///
    /// What is asked for and not served; RESOURCE_EXHAUSTED while sixteen others run; UNAVAILABLE for an export that
    /// has to be linearizable and is not confirmed; what the source could not pin.
    pub async fn export(&self, request: &pb::ExportRequest) -> Result<ExportStream, Status> {
        let mut observed = Observed::begin(self.observer.clone());
        let begun = self.begin(request).await;
        let (chunks, place, provenance) = begun.map_err(|NoExport { why, status }| {
            observed.fail(why);
            status
        })?;
        observed.of(provenance.origin.last_applied);
        let shutdown = Box::pin(self.shutdown.clone().cancelled_owned());
        let running = Some(Running { chunks, _place: place, observed });
        Ok(ExportStream { running, provenance: Some(provenance.into()), shutdown })
    }

    async fn begin(&self, request: &pb::ExportRequest) -> Result<(Chunks, OwnedSemaphorePermit, Provenance), NoExport> {
        let refused = |status| NoExport { why: ExportFailure::Refused, status };
        let extent = wire::extent(request);
        let extent = extent.map_err(|error| refused(Status::invalid_argument(error.to_string())))?;
        let wanted = wire::wanted(request.consistency);
        let wanted = wanted.map_err(|error| refused(Status::invalid_argument(error.to_string())))?;
        let place = self.room.clone().try_acquire_owned().map_err(|_| refused(too_many()))?;
        let pinned = self.shutdown.run_until_cancelled(self.pin(wanted, extent)).await;
        let stopped = || NoExport { why: ExportFailure::Shutdown, status: shutting_down() };
        let (view, provenance) = pinned.ok_or_else(stopped)??;
        // Whoever asks for more than `local` is no program of Databend's, and takes what fits into a message.
        let lines = if wanted == Wanted::Local { export::DEFAULT_CHUNK_LINES } else { export::LARGE_CHUNK_LINES };
        let chunks = export::chunks(view, request.chunk_size.unwrap_or(lines), Urgency::Background);
        Ok((chunks, place, provenance))
    }

    /// A view that includes what is wanted, or, where that may be, what there is. What is confirmed is applied before
    /// the view is pinned, so the view includes it.
    async fn pin(&self, wanted: Wanted, extent: Extent) -> Result<(S::View, Provenance), NoExport> {
        let confirmed = match wanted {
            Wanted::Local => {
                self.source.settle().await;
                None
            }
            Wanted::Linearizable | Wanted::Auto => Some(self.source.confirm().await),
        };
        let view = self.source.pin(extent).await.map_err(|error| NoExport::of(&error))?;
        let origin = view.origin();
        let (consistency, fallback) = match confirmed {
            None => (Consistency::Local, None),
            Some(Ok(())) => (Consistency::Linearizable, None),
            Some(Err(error)) if wanted == Wanted::Linearizable => {
                return Err(NoExport { why: ExportFailure::Unconfirmed, status: unconfirmed(&error, &origin) });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "exporting what this node has applied, which may miss acknowledged writes");
                (Consistency::Local, Some(error.to_string()))
            }
        };
        Ok((view, Provenance { origin, consistency, fallback }))
    }
}

/// Why an export does not begin, or does not go on: for the observer, and for the client.
struct NoExport {
    why: ExportFailure,
    status: Status,
}

impl NoExport {
    fn of(error: &io::Error) -> NoExport {
        let why = match error.kind() {
            io::ErrorKind::TimedOut => ExportFailure::TimedOut,
            _ => ExportFailure::Source,
        };
        NoExport { why, status: status(error) }
    }
}

struct Running {
    chunks: Chunks,
    /// Among the exports that may run.
    _place: OwnedSemaphorePermit,
    observed: Observed,
}

/// An export on its way to a client. Dropping it lets go of the view.
pub struct ExportStream {
    /// `None` once the stream has ended.
    running: Option<Running>,
    /// Until the first chunk takes it along.
    provenance: Option<pb::Provenance>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream for ExportStream {
    type Item = Result<pb::ExportedChunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(Running { chunks, observed, .. }) = &mut this.running else { return Poll::Ready(None) };
        let item = if this.shutdown.as_mut().poll(cx).is_ready() {
            Some(Err(NoExport { why: ExportFailure::Shutdown, status: shutting_down() }))
        } else {
            match Pin::new(chunks).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(item) => item.map(|chunk| chunk.map_err(|error| NoExport::of(&error))),
            }
        };
        let item = match item {
            Some(Ok(lines)) => {
                observed.sent(lines.len(), lines.text().len());
                return Poll::Ready(Some(Ok(pb::ExportedChunk::new(lines, this.provenance.take()))));
            }
            Some(Err(NoExport { why, status })) => {
                observed.fail(why);
                Some(Err(status))
            }
            None => {
                observed.succeed();
                None
            }
        };
        this.running = None;
        Poll::Ready(item)
    }
}

fn unconfirmed(error: &io::Error, origin: &Origin) -> Status {
    let applied = match origin.last_applied {
        Some(log_id) => format!("what this node has applied, up to {log_id},"),
        None => "the log of this node, which has applied nothing yet,".to_owned(),
    };
    Status::unavailable(format!(
        "no linearizable export: {error}; --consistency local exports {applied} and may miss acknowledged writes"
    ))
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
    use std::{sync::Mutex, time::Duration};

    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;
    use crate::{
        export::testing::{FakeView, eventually},
        record::LogId,
    };

    /// Gives each view once, and notes what it is asked for.
    #[derive(Default)]
    struct FakeSource {
        views: Mutex<Vec<FakeView>>,
        /// Why no leader confirms anything.
        leaderless: Option<&'static str>,
        asked: Mutex<Vec<&'static str>>,
    }

    impl FakeSource {
        fn of(views: impl IntoIterator<Item = FakeView>) -> FakeSource {
            FakeSource { views: Mutex::new(views.into_iter().collect()), ..FakeSource::default() }
        }

        fn note(&self, call: &'static str) {
            self.asked.lock().unwrap().push(call);
        }
    }

    impl BackupSource for FakeSource {
        type View = FakeView;

        async fn confirm(&self) -> io::Result<()> {
            self.note("confirm");
            self.leaderless.map_or(Ok(()), |reason| Err(io::Error::other(reason)))
        }

        async fn settle(&self) {
            self.note("settle");
        }

        async fn pin(&self, extent: Extent) -> io::Result<FakeView> {
            self.note(match extent {
                Extent::Moment => "pin",
                Extent::StateOnly => "pin the state",
                Extent::WholeLog => "pin all of the log",
                Extent::History => "pin the history",
            });
            self.views.lock().unwrap().pop().ok_or_else(|| io::Error::other("no view"))
        }
    }

    fn service(source: FakeSource) -> (BackupService<FakeSource>, CancellationToken) {
        let shutdown = CancellationToken::new();
        (BackupService::new(Arc::new(source), shutdown.clone()), shutdown)
    }

    fn lines(chunk_size: Option<u64>) -> pb::ExportRequest {
        pb::ExportRequest { chunk_size, ..pb::ExportRequest::default() }
    }

    fn consistent(consistency: pb::Consistency) -> pb::ExportRequest {
        pb::ExportRequest { consistency: consistency.into(), ..pb::ExportRequest::default() }
    }

    fn refusal(result: Result<ExportStream, Status>) -> (Code, String) {
        let status = result.err().unwrap();
        (status.code(), status.message().to_owned())
    }

    #[tokio::test]
    async fn an_export_is_the_lines_of_the_view() {
        for (chunk_size, expected) in [(None, vec![10]), (Some(0), vec![10]), (Some(4), vec![4, 4, 2])] {
            let (service, _) = service(FakeSource::of([FakeView::sample()]));
            let stream = service.export(&lines(chunk_size)).await.unwrap();
            let sizes: Vec<usize> = stream.map(|chunk| chunk.unwrap().data.len()).collect().await;
            assert_eq!(sizes, expected);
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_decides_who_is_asked_before_the_view_is_pinned() {
        use pb::Consistency::{Auto, Linearizable, Local};
        // (asked for, leader, calls, what it was, why not)
        for (asked, leaderless, calls, consistency, fallback) in [
            (Local, None, ["settle", "pin"], Local, ""),
            (Local, Some("no leader"), ["settle", "pin"], Local, ""),
            (Linearizable, None, ["confirm", "pin"], Linearizable, ""),
            (Auto, None, ["confirm", "pin"], Linearizable, ""),
            (Auto, Some("no leader"), ["confirm", "pin"], Local, "no leader"),
        ] {
            let (service, _) = service(FakeSource { leaderless, ..FakeSource::of([FakeView::sample()]) });
            let mut stream = service.export(&consistent(asked)).await.unwrap();
            assert_eq!(*service.source.asked.lock().unwrap(), calls, "{asked:?}, {leaderless:?}");
            let provenance = stream.next().await.unwrap().unwrap().provenance.unwrap();
            assert_eq!(provenance.consistency(), consistency, "{asked:?}, {leaderless:?}");
            assert_eq!(provenance.fallback, fallback, "{asked:?}, {leaderless:?}");
            let id = pb::provenance::LogId { term: 1, node_id: 1, index: 2 };
            assert_eq!(
                (provenance.node_id, provenance.last_applied, provenance.committed),
                (Some(1), Some(id), Some(id))
            );
        }
    }

    /// Notes what it is told; `began` until an end, and what was sent.
    #[derive(Default)]
    struct Notes(Mutex<(u64, u64, u64, Vec<String>)>);

    impl ExportObserver for Notes {
        fn began(&self) {
            self.0.lock().unwrap().0 += 1;
        }

        fn sent(&self, lines: u64, bytes: u64) {
            let mut notes = self.0.lock().unwrap();
            (notes.1, notes.2) = (notes.1 + lines, notes.2 + bytes);
        }

        fn succeeded(&self, log_id: Option<LogId>, _took: Duration) {
            let mut notes = self.0.lock().unwrap();
            notes.0 -= 1;
            notes.3.push(log_id.unwrap().to_string());
        }

        fn failed(&self, why: ExportFailure) {
            let mut notes = self.0.lock().unwrap();
            notes.0 -= 1;
            notes.3.push(why.to_string());
        }
    }

    #[tokio::test]
    async fn an_observer_is_told_how_each_export_ends() {
        let mut broken = FakeView::sample();
        broken.fail_after = Some(1);
        let views = [endless(), endless(), broken, FakeView::sample(), FakeView::sample()];
        let (service, shutdown) = service(FakeSource { leaderless: Some("nobody leads"), ..FakeSource::of(views) });
        let notes = Arc::new(Notes::default());
        let service = service.observed_by(notes.clone());
        let ends = || notes.0.lock().unwrap().3.clone();

        let chunks: Vec<_> = service.export(&lines(Some(4))).await.unwrap().map(Result::unwrap).collect().await;
        let bytes: usize = chunks.iter().map(|chunk| chunk.data.text().len()).sum();
        assert_eq!(*notes.0.lock().unwrap(), (0, 10, bytes as u64, vec!["T1-N1.2".to_owned()]));

        refusal(service.export(&consistent(pb::Consistency::Linearizable)).await);
        let unknown = pb::ExportRequest { consistency: 3, ..pb::ExportRequest::default() };
        refusal(service.export(&unknown).await);
        let failing: Vec<_> = service.export(&lines(None)).await.unwrap().collect().await;
        assert!(failing.last().unwrap().is_err());
        drop(service.export(&lines(None)).await.unwrap());
        let mut cut = service.export(&lines(Some(1))).await.unwrap();
        assert_eq!(notes.0.lock().unwrap().0, 1);
        shutdown.cancel();
        cut.next().await.unwrap().unwrap_err();
        drop(cut);
        assert_eq!(ends()[1..], ["unconfirmed", "refused", "source", "abandoned", "shutdown"]);
        assert_eq!(notes.0.lock().unwrap().0, 0);
    }

    #[tokio::test]
    async fn the_extent_that_is_asked_for_is_pinned() {
        for (extent, call) in [
            (Extent::Moment, "pin"),
            (Extent::StateOnly, "pin the state"),
            (Extent::WholeLog, "pin all of the log"),
            (Extent::History, "pin the history"),
        ] {
            let (with_history, logs) = wire::extent_to_pb(extent);
            let (service, _) = service(FakeSource::of([FakeView::sample()]));
            let request = pb::ExportRequest { with_history, logs: logs.into(), ..pb::ExportRequest::default() };
            service.export(&request).await.unwrap();
            assert_eq!(*service.source.asked.lock().unwrap(), ["settle", call]);
        }
    }

    #[tokio::test]
    async fn only_the_first_chunk_says_where_the_export_comes_from() {
        let (service, _) = service(FakeSource::of([FakeView::sample()]));
        let stream = service.export(&lines(Some(4))).await.unwrap();
        let with: Vec<bool> = stream.map(|chunk| chunk.unwrap().provenance.is_some()).collect().await;
        assert_eq!(with, [true, false, false]);
    }

    #[tokio::test]
    async fn without_a_leader_nothing_passes_for_linearizable_and_what_there_is_is_told() {
        let view = FakeView::sample();
        let released = view.released();
        let (service, _) = service(FakeSource { leaderless: Some("nobody leads"), ..FakeSource::of([view]) });
        let (code, message) = refusal(service.export(&consistent(pb::Consistency::Linearizable)).await);
        assert_eq!(code, Code::Unavailable);
        assert_eq!(
            message,
            "no linearizable export: nobody leads; --consistency local exports what this node has applied, up to \
             T1-N1.2, and may miss acknowledged writes"
        );
        assert!(released());
    }

    #[tokio::test]
    async fn what_this_version_does_not_serve_is_refused_before_anybody_is_asked() {
        let both = pb::ExportRequest { with_history: true, logs: 2, ..pb::ExportRequest::default() };
        let logs = pb::ExportRequest { logs: 3, ..pb::ExportRequest::default() };
        let unknown = pb::ExportRequest { consistency: 3, ..pb::ExportRequest::default() };
        for (request, expected, words) in [
            (both, Code::InvalidArgument, "ExportRequest.with_history says which log goes along"),
            (logs, Code::InvalidArgument, "ExportRequest.logs is 3"),
            (unknown, Code::InvalidArgument, "ExportRequest.consistency is 3"),
        ] {
            let (service, _) = service(FakeSource::of([FakeView::sample()]));
            let (code, message) = refusal(service.export(&request).await);
            assert_eq!(code, expected);
            assert!(message.starts_with(words), "{message}");
            assert!(service.source.asked.lock().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn errors_become_a_status() {
        let (nothing, _) = service(FakeSource::default());
        assert_eq!(refusal(nothing.export(&lines(None)).await).0, Code::Internal);

        let mut view = FakeView::sample();
        view.fail_after = Some(1);
        let (failing, _) = service(FakeSource::of([view]));
        let chunks: Vec<_> = failing.export(&lines(None)).await.unwrap().collect().await;
        let last = chunks.last().unwrap().as_ref().unwrap_err();
        assert_eq!((last.code(), last.message()), (Code::Internal, "the export failed: disk gone"));
    }

    fn endless() -> FakeView {
        let mut view = FakeView::sample();
        view.endless = true;
        view
    }

    #[tokio::test]
    async fn no_more_exports_run_than_there_are_threads_for() {
        let (service, _) = service(FakeSource::of((0..=MAX_EXPORTS).map(|_| endless())));
        let mut running = Vec::new();
        for _ in 0..MAX_EXPORTS {
            running.push(service.export(&lines(None)).await.unwrap());
        }
        assert_eq!(refusal(service.export(&lines(None)).await).0, Code::ResourceExhausted);
        // One that is dropped makes room.
        running.pop();
        service.export(&lines(None)).await.unwrap();
    }

    #[tokio::test]
    async fn shutdown_ends_a_stream_with_an_error_and_releases_the_view() {
        let view = endless();
        let released = view.released();
        let (service, shutdown) = service(FakeSource::of([view]));
        let mut stream = service.export(&lines(Some(1))).await.unwrap();
        stream.next().await.unwrap().unwrap();
        shutdown.cancel();
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
        assert!(stream.next().await.is_none());
        eventually(&released).await;
        assert_eq!(refusal(service.export(&lines(None)).await).0, Code::Unavailable);
    }
}
