//! A fault at every I/O call of every work, one at a time. A broken promise is counted, and the sweep goes on.

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

use futures::FutureExt;
use integration_tests::faults::{FAULTS, Fault, Lagging, Point, Scene, Survived, WORKS, Work, calls, possible};

#[derive(Debug, Clone, clap::Args)]
pub struct Io {
    /// Of all: import, import-keeping-old, rollback, export, install-snapshot
    #[arg(long)]
    only: Option<Only>,
    /// At calls alone that have this in what they are told as, such as `renameat` or `CURRENT`
    #[arg(long, default_value = "")]
    at: String,
    /// In the backup that is imported
    #[arg(long, default_value_t = 500)]
    keys: u64,
    /// Of one kind, in each of the threads
    #[arg(long, default_value_t = 1000)]
    most: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Import,
    ImportKeepingOld,
    Rollback,
    Export,
    InstallSnapshot,
}

impl Only {
    fn of(work: Work) -> Only {
        match work {
            Work::Import => Only::Import,
            Work::ImportKeepingOld => Only::ImportKeepingOld,
            Work::Rollback => Only::Rollback,
            Work::Export => Only::Export,
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    faults: u32,
    survived: u32,
    broken: u32,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        let Counts { faults, survived, broken } = other;
        self.faults += faults;
        self.survived += survived;
        self.broken += broken;
    }
}

impl Io {
    /// A line for each work and kind of call, with how many faults there were and how many of them the work survived.
    pub async fn run(self) -> ExitCode {
        if !possible().await {
            return ExitCode::FAILURE;
        }
        let (began, mut all) = (Instant::now(), Counts::default());
        if self.only != Some(Only::InstallSnapshot) {
            let scene = Scene::prepare(self.keys).await;
            for work in WORKS.into_iter().filter(|work| self.only.is_none_or(|only| only == Only::of(*work))) {
                all.add(self.tool(&scene, work).await);
            }
        }
        if self.only.is_none_or(|only| only == Only::InstallSnapshot) {
            all.add(install_snapshot(&self.at).await);
        }
        let Counts { faults, broken, .. } = all;
        println!("{faults} faults in {:.0} s, {broken} broken promises", began.elapsed().as_secs_f64());
        if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn tool(&self, scene: &Scene, work: Work) -> Counts {
        let mut all = Counts::default();
        for (call, fault) in calls().filter(|(call, _)| Scene::has(work, call) && call.contains(&self.at)) {
            let mut counts = Counts::default();
            for n in 1..=self.most {
                // It has said what is broken.
                match AssertUnwindSafe(scene.run(work, fault, call, n)).catch_unwind().await {
                    Ok(None) => break,
                    Ok(Some(ran)) => counts.survived += u32::from(ran.code == Some(0)),
                    Err(_) => {
                        println!("BROKEN: {work:?}, {fault:?} at {call} {n}");
                        counts.broken += 1;
                    }
                }
                counts.faults += 1;
            }
            let Counts { faults, survived, broken } = counts;
            if faults > 0 {
                println!(
                    "{work:?}, {fault:?} at {call}: {faults} faults, done all the same after {survived}, {broken} broken"
                );
            }
            all.add(counts);
        }
        all
    }
}

/// Every call of one run of a follower, met by every fault in turn.
async fn install_snapshot(at: &str) -> Counts {
    let mut scene = Lagging::prepare().await;
    let mut points = scene.calls().await;
    points.retain(|point| point.to_string().contains(at));
    println!("InstallSnapshot: {} calls", points.len());
    let mut all = Counts::default();
    for fault in FAULTS {
        let mut counts = Counts::default();
        for point in &points {
            counts.add(meet(&mut scene, fault, point).await);
        }
        let Counts { faults, survived, broken } = counts;
        println!("InstallSnapshot, {fault:?}: {faults} faults, went on after {survived}, {broken} broken");
        all.add(counts);
    }
    all
}

async fn meet(scene: &mut Lagging, fault: Fault, point: &Point) -> Counts {
    match AssertUnwindSafe(scene.run(fault, point)).catch_unwind().await {
        Ok(Survived::NotMet) => Counts::default(),
        Ok(survived) => Counts { faults: 1, survived: u32::from(survived == Survived::Running), broken: 0 },
        Err(_) => {
            println!("BROKEN: InstallSnapshot, {fault:?} at {point}");
            Counts { faults: 1, survived: 0, broken: 1 }
        }
    }
}
