//! Writes of clients that never stop, to keys that stay the same: what the nodes take of disk and memory meanwhile.

use std::{process::ExitCode, time::Instant};

use integration_tests::{
    cluster::{Cluster, Layout},
    flood::Flood,
    growth::Growth,
    tool::args,
};

const MIB: u64 = 1024 * 1024;

#[derive(Debug, Clone, clap::Args)]
pub struct Watch {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    nodes: u64,
    /// How many, all in all
    #[arg(long, default_value_t = 200_000)]
    writes: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 200)]
    value: usize,
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Of every node
    #[arg(long, default_value_t = 4 * MIB)]
    compact_above: u64,
}

impl Watch {
    /// Ten lines, one for each tenth of the writes.
    pub async fn run(self) -> ExitCode {
        let flags = args([&"--compact-above", &self.compact_above.to_string()]);
        let layout = Layout::voters(self.nodes).heartbeat_ms(500).flags(flags);
        let cluster = Cluster::seeded(layout, 1).await;
        let began = Instant::now();
        let flood = Flood::start(&cluster.grpc_addresses(), self.clients, self.value);
        println!("{:>8} {:>8} {:>12} {:>12} {:>12}", "writes", "s", "log entries", "disk MiB", "peak MiB");
        for tenth in 1..=10 {
            let goal = self.writes * tenth / 10;
            // Little by little, for a slow machine.
            while flood.acknowledged() < goal {
                flood.writes(1.max((goal - flood.acknowledged()).min(1000))).await;
            }
            let Growth { log_entries, disk_bytes, peak_memory } = Growth::now(&cluster).await;
            let (seconds, disk, peak) = (began.elapsed().as_secs_f64(), disk_bytes / MIB, peak_memory / MIB);
            println!("{:>8} {seconds:>8.1} {log_entries:>12} {disk:>12} {peak:>12}", flood.acknowledged());
        }
        flood.stop().await;
        cluster.assert_same_state().await;
        ExitCode::SUCCESS
    }
}
