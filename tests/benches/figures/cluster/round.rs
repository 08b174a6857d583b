//! One round: every job once, at the server and at its floor in turn, so that whatever else the machine does falls on both.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::spawn_blocking;

use super::{
    echo::EchoProcess,
    job::Job,
    load::{Peer, Sample},
    log_writer,
    work::{Keys, Work},
};

/// What was measured in one round.
pub struct Round {
    pub jobs: Vec<Measured>,
}

pub struct Measured {
    pub job: &'static Job,
    pub server: Sample,
    pub echo: Option<Sample>,
    /// For single writes: the log with as many entries under way as there are clients.
    pub log: Option<Sample>,
}

pub struct Bench<'a> {
    jobs: Vec<&'static Job>,
    server: Peer,
    echo: Option<Peer>,
    dir: &'a Path,
    length: Duration,
    keys: Arc<Keys>,
}

impl<'a> Bench<'a> {
    pub fn new(
        jobs: Vec<&'static Job>,
        server: Peer,
        echo: Option<&EchoProcess>,
        dir: &'a Path,
        length: Duration,
    ) -> Self {
        Bench { jobs, server, echo: echo.map(EchoProcess::peer), dir, length, keys: Arc::default() }
    }

    pub async fn round(&mut self) -> Result<Round> {
        let mut jobs = Vec::new();
        for job in self.jobs.clone() {
            if job.work == Work::Read {
                self.something_to_read().await?;
            }
            let server = self.server.measure(job, &self.keys, self.length).await?;
            let (mut echo, mut log) = (None, None);
            if let Some(peer) = &self.echo {
                // What an echo is asked to write is nowhere.
                let keys = Arc::default();
                echo = Some(peer.measure(job, &keys, self.length).await?);
                if job.work == Work::Upsert {
                    let (dir, length) = (self.dir.to_owned(), self.length);
                    log = Some(spawn_blocking(move || log_writer::measure(&dir, job.clients, length)).await??);
                }
            }
            jobs.push(Measured { job, server, echo, log });
        }
        Ok(Round { jobs })
    }

    /// Reads alone are measured too.
    async fn something_to_read(&self) -> Result<()> {
        let Some(write) = super::job::JOBS.iter().find(|job| job.work == Work::Upsert && job.clients > 1) else {
            return Ok(());
        };
        if self.jobs.iter().all(|job| job.work != Work::Upsert) && self.keys.is_empty() {
            self.server.measure(write, &self.keys, self.length).await?;
        }
        Ok(())
    }
}
