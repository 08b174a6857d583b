//! Whether work gives way to whatever else wants a processor. Knows nothing of what its threads do.

use std::thread;

/// How soon work is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It is all that its process does.
    Now,
    /// Beside a server's work, which goes first.
    Background,
}

/// How much lower than what others have: it gets a tenth of what another thread does where both want a processor, so
/// that it goes on there too, and all that is left where none does.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How much a thread does, in bytes, before it asks whether another one wants the processor: some tenths of a millisecond.
const STRETCH: usize = 192 * 1024;

/// What it takes to go on to the next record, in bytes that are copied meanwhile, about.
const STEP: usize = 256;

impl Urgency {
    /// For the thread that calls this, until its end, and for those that it starts.
    pub fn apply(self) {
        #[cfg(target_os = "linux")]
        if self == Urgency::Background
            // On Linux this is of the calling thread alone; elsewhere it would be of the whole process.
            && let Err(error) = rustix::process::nice(NICE)
        {
            tracing::debug!(%error, "cannot lower the priority of a thread in the background");
        }
    }

    /// For a thread that does one small step after the other.
    pub fn steps(self) -> Steps {
        Steps { urgency: self, done: 0 }
    }
}

/// Steps of a thread that gives way in between, where it is not urgent. A priority does not do that: a thread that wakes up waits until the
/// kernel takes the processor from the one that has it, for some milliseconds, however low that one's priority is.
#[derive(Debug)]
pub struct Steps {
    urgency: Urgency,
    /// Since it gave way last.
    done: usize,
}

impl Steps {
    /// One more was done, with so many bytes.
    pub fn did(&mut self, bytes: usize) {
        self.done += bytes + STEP;
        if self.done >= STRETCH {
            self.done = 0;
            if self.urgency == Urgency::Background {
                thread::yield_now();
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_thread_in_the_background_gives_way_and_others_do_not() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let of = |urgency: Urgency| {
            let applied = move || {
                urgency.apply();
                nice()
            };
            thread::spawn(applied).join().unwrap()
        };
        assert_eq!(of(Urgency::Background), (before + NICE).min(19));
        assert_eq!(of(Urgency::Now), before);
        assert_eq!(nice(), before);
    }
}
