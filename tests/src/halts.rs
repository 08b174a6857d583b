//! When a virtual machine stood still, because its host gave its processors to others. Whatever is measured then says nothing of
//! what is measured.

use std::{
    fs,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often the kernel is asked.
const LOOK: Duration = Duration::from_millis(4);
/// A thread that wants to run every [`LOOK`] and does not for so long stood still, where time was stolen meanwhile.
const LONG: Duration = Duration::from_millis(8);

/// From when to when.
type Halt = (Instant, Instant);

/// Watches on a thread of its own.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<Halt>>,
}

/// What was seen.
#[derive(Debug, Default, Clone)]
pub struct Halts(Vec<Halt>);

impl Watch {
    pub fn start() -> Watch {
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn(move || {
            let (mut seen, mut stolen, mut halts) = (Instant::now(), stolen_ticks(), Vec::new());
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let (now, stolen_now) = (Instant::now(), stolen_ticks());
                if now - seen >= LONG && stolen_now > stolen {
                    halts.push((seen, now));
                }
                (seen, stolen) = (now, stolen_now);
            }
            halts
        });
        Watch { stop, thread }
    }

    /// # Panics
    ///
    /// Where the thread did.
    pub fn stop(self) -> Halts {
        drop(self.stop);
        Halts(self.thread.join().expect("the thread that watches ends"))
    }
}

impl Halts {
    /// Whether what ran from `begin` to `end` was met by a halt, or by what had to be caught up with after it: for as long again.
    pub fn met(&self, begin: Instant, end: Instant) -> bool {
        self.0.iter().any(|(from, to)| begin < *to + (*to - *from) && end > *from)
    }

    /// Of the time from `begin` to `end`, how much the machine stood still.
    pub fn between(&self, begin: Instant, end: Instant) -> Duration {
        self.0.iter().map(|(from, to)| (*to).min(end).saturating_duration_since((*from).max(begin))).sum()
    }
}

/// Of all processors together, in hundredths of a second; 0 where the kernel does not say.
fn stolen_ticks() -> u64 {
    stolen(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn stolen(stat: &str) -> u64 {
    let all = stat.lines().next().unwrap_or_default();
    all.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_halt_has_met_is_what_ran_meanwhile_or_had_to_be_caught_up_with() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let halts = Halts(vec![(at(100), at(130)), (at(500), at(510))]);
        for (begin, end, met) in
            [(0, 90, false), (90, 101, true), (0, 200, true), (110, 120, true), (159, 300, true), (161, 499, false)]
        {
            assert_eq!(halts.met(at(begin), at(end)), met, "{begin} to {end}");
        }
        assert_eq!(halts.between(at(110), at(505)), Duration::from_millis(25));
        assert_eq!(halts.between(at(200), at(300)), Duration::ZERO);
    }

    #[test]
    fn what_was_stolen_is_told_of_all_processors() {
        let stat = "cpu  138940 159058 32570 78073 7023 0 3631 1791 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(stolen(stat), 1791);
        assert_eq!(stolen(""), 0);
    }

    #[test]
    fn a_watch_ends_when_it_is_stopped() {
        let watch = Watch::start();
        let began = Instant::now();
        let halts = watch.stop();
        assert!(halts.between(began, Instant::now()) <= began.elapsed());
    }
}
