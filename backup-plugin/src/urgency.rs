//! Whether an export gives way to whatever else wants a processor. Knows nothing of what its threads do.

/// How soon an export is wanted.
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

impl Urgency {
    /// For the thread that calls this, until its end, and for those that it starts.
    pub fn apply(self) {
        #[cfg(target_os = "linux")]
        if self == Urgency::Background
            // On Linux this is of the calling thread alone; elsewhere it would be of the whole process.
            && let Err(error) = rustix::process::nice(NICE)
        {
            tracing::debug!(%error, "cannot lower the priority of an export");
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
