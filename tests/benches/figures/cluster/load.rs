//! Clients that call as fast as they are answered, or at a fixed rate, for some seconds, and what came of it. Knows nothing of
//! what they ask.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::Client,
    halts::{Halts, Watch},
    measure,
    metronome::beat,
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep_until};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};

use super::{
    job::Job,
    work::{Keys, Work},
};

/// What is not measured yet: connections and caches get warm.
const WARM_UP: Duration = Duration::from_millis(500);

/// Who is called.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: String,
    /// The processes that answer.
    pub processes: Vec<u32>,
    /// `None`: log in for one.
    pub token: Option<Vec<u8>>,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Keys written or read in a second.
    pub rate: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Of the calls that met no halt of the machine.
    pub p99_unhalted: Duration,
    /// Of the time that was measured, in which the machine stood still.
    pub halted: f64,
    /// Of processor time for a call, in microseconds: of who is called, and of the clients.
    pub server_cpu_us: f64,
    pub client_cpu_us: f64,
}

impl Sample {
    /// Of calls that took so long each, in `seconds` altogether.
    pub fn of(mut latencies: Vec<Duration>, keys_per_call: u64, seconds: f64) -> Sample {
        latencies.sort_unstable();
        let [p50, p99] = [50, 99].map(|hundredths| measure::percentile(&latencies, hundredths));
        let rate = latencies.len() as f64 * keys_per_call as f64 / seconds;
        Sample { rate, p50, p99, p99_unhalted: p99, ..Sample::default() }
    }

    /// The same of calls that began and took so long, while `halts` were seen.
    fn beside(halts: &Halts, calls: &[(Instant, Duration)], keys_per_call: u64, seconds: f64) -> Sample {
        let unhalted = calls.iter().filter(|(began, took)| !halts.met(*began, *began + *took));
        let mut unhalted: Vec<_> = unhalted.map(|(_, took)| *took).collect();
        unhalted.sort_unstable();
        let first = calls.iter().map(|(began, _)| *began).min();
        let last = calls.iter().map(|(began, took)| *began + *took).max();
        let halted = first.zip(last).map_or(Duration::ZERO, |(first, last)| halts.between(first, last));
        Sample {
            p99_unhalted: measure::percentile(&unhalted, 99),
            halted: halted.as_secs_f64() / seconds,
            ..Sample::of(calls.iter().map(|(_, took)| *took).collect(), keys_per_call, seconds)
        }
    }
}

impl Peer {
    async fn connect(&self) -> Result<Client> {
        match &self.token {
            Some(token) => Ok(Client::with_token(&self.address, token).await),
            None => Client::log_in(&self.address).await.context("cannot log in"),
        }
    }

    fn cpu_seconds(&self) -> f64 {
        self.processes.iter().filter_map(|id| measure::usage(*id)).map(|usage| usage.cpu_seconds).sum()
    }

    async fn connections(&self, job: &Job) -> Result<Vec<Client>> {
        let mut connections = Vec::new();
        for _ in 0..job.connections() {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }

    /// Measures `job` for so long.
    pub async fn measure(&self, job: &Job, keys: &Arc<Keys>, length: Duration) -> Result<Sample> {
        let connections = self.connections(job).await?;
        let begin = Instant::now() + WARM_UP;
        let end = begin + length;
        let mut clients = JoinSet::new();
        for n in 0..job.clients {
            let client = connections[n % connections.len()].clone();
            clients.spawn(call_until(end, begin, job.work, client, keys.clone()));
        }
        let own_cpu = || measure::usage(std::process::id()).map_or(0.0, |usage| usage.cpu_seconds);
        sleep_until(begin.into()).await;
        let (watch, before) = (Watch::start(), (self.cpu_seconds(), own_cpu()));
        sleep_until(end.into()).await;
        let (halts, after) = (watch.stop(), (self.cpu_seconds(), own_cpu()));
        let mut answered = Vec::new();
        while let Some(client) = clients.join_next().await {
            answered.extend(client.context("a client panicked")??);
        }
        let mut sample = Sample::beside(&halts, &answered, job.work.keys(), length.as_secs_f64());
        let calls = answered.len() as f64;
        sample.server_cpu_us = (after.0 - before.0) * 1e6 / calls;
        sample.client_cpu_us = (after.1 - before.1) * 1e6 / calls;
        Ok(sample)
    }

    /// The same with so many calls a second, whoever waits: latencies count from the moment a call was due.
    pub async fn measure_at(
        &self,
        calls_per_second: u64,
        job: &Job,
        keys: &Arc<Keys>,
        length: Duration,
    ) -> Result<Sample> {
        let (connections, work, keys) = (self.connections(job).await?, job.work, keys.clone());
        let began = Instant::now();
        let begin = began + WARM_UP;
        let (tell, answers) = mpsc::unbounded_channel();
        let begun = beat(calls_per_second, began, begin + length, move |n, due| {
            let mut client = connections[n as usize % connections.len()].clone();
            let (keys, tell) = (keys.clone(), tell.clone());
            async move {
                let answer = work.call(&mut client, &keys).await.map(|()| (due, due.elapsed()));
                // Nobody listens any more where another call has failed.
                let _ = tell.send(answer);
            }
        });
        let watch = Watch::start();
        let begun = begun.await?;
        let answers: Vec<_> = UnboundedReceiverStream::new(answers).collect::<Result<_>>().await?;
        ensure!(answers.len() as u64 == begun, "{} of {begun} calls were answered", answers.len());
        let measured: Vec<_> = answers.into_iter().filter(|(due, _)| *due >= begin).collect();
        Ok(Sample::beside(&watch.stop(), &measured, job.work.keys(), length.as_secs_f64()))
    }
}

/// Calls again and again. Returns when each call began that was answered after `begin`, and before `end`, and how long it took.
async fn call_until(
    end: Instant,
    begin: Instant,
    work: Work,
    mut client: Client,
    keys: Arc<Keys>,
) -> Result<Vec<(Instant, Duration)>> {
    let mut calls = Vec::new();
    let mut called = Instant::now();
    while called < end {
        work.call(&mut client, &keys).await?;
        let answered = Instant::now();
        if answered >= begin && answered < end {
            calls.push((called, answered - called));
        }
        called = answered;
    }
    Ok(calls)
}
