//! A fault at every I/O call of every work, one at a time.

use std::{process::ExitCode, time::Instant};

use integration_tests::faults::{CALLS, FAULTS, Scene, WORKS, possible};

#[derive(Debug, Clone, clap::Args)]
pub struct Io {
    /// In the backup that is imported
    #[arg(long, default_value_t = 500)]
    keys: u64,
    /// Of one kind, in each of the threads
    #[arg(long, default_value_t = 1000)]
    most: u32,
}

impl Io {
    /// A line for each work and kind of call, with how many faults there were and how many of them the work survived.
    pub async fn run(self) -> ExitCode {
        if !possible().await {
            return ExitCode::FAILURE;
        }
        let (began, scene) = (Instant::now(), Scene::prepare(self.keys).await);
        let mut all = 0;
        for work in WORKS {
            for fault in FAULTS {
                for call in CALLS.into_iter().filter(|call| Scene::has(work, call)) {
                    let (mut faults, mut survived) = (0, 0);
                    for n in 1..=self.most {
                        let Some(ran) = scene.run(work, fault, call, n).await else { break };
                        faults += 1;
                        survived += u32::from(ran.code == Some(0));
                    }
                    if faults > 0 {
                        println!("{work:?}, {fault:?} at {call}: {faults} faults, done all the same after {survived}");
                    }
                    all += faults;
                }
            }
        }
        println!("{all} faults in {:.0} s, every store and backup whole", began.elapsed().as_secs_f64());
        ExitCode::SUCCESS
    }
}
