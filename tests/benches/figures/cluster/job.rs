//! What is measured: how many clients do what, and what is to be reached. Knows nothing of how it is measured.

use super::work::Work;

/// Clients that all do the same, again and again.
#[derive(Debug)]
pub struct Job {
    pub name: &'static str,
    pub work: Work,
    pub clients: usize,
    /// Keys a second that are to be reached on two processors by one node, and by three of them on one machine.
    pub goal_of_one: Option<f64>,
    pub goal_of_three: Option<f64>,
}

impl Job {
    /// Connections that the clients share.
    pub fn connections(&self) -> usize {
        self.clients.div_ceil(CLIENTS_PER_CONNECTION)
    }

    pub fn goal(&self, nodes: u64) -> Option<f64> {
        match nodes {
            1 => self.goal_of_one,
            3 => self.goal_of_three,
            _ => None,
        }
    }
}

/// What shares a connection: as the tasks of one program do.
const CLIENTS_PER_CONNECTION: usize = 8;

pub static JOBS: [Job; 4] = [
    Job { name: "upserts, 1 client", work: Work::Upsert, clients: 1, goal_of_one: Some(4_500.0), goal_of_three: None },
    Job {
        name: "upserts, 64 clients",
        work: Work::Upsert,
        clients: 64,
        goal_of_one: Some(21_000.0),
        goal_of_three: Some(8_000.0),
    },
    Job {
        name: "reads, 64 clients",
        work: Work::Read,
        clients: 64,
        goal_of_one: Some(20_000.0),
        goal_of_three: Some(20_000.0),
    },
    Job {
        name: "bulk load, 16 clients",
        work: Work::Bulk,
        clients: 16,
        goal_of_one: Some(150_000.0),
        goal_of_three: None,
    },
];
