//! How far a long run is, on standard error where that is a terminal, and silent elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Counts bytes before the operator's eyes. Its line goes when it is dropped.
pub(super) struct Meter(ProgressBar);

impl Meter {
    /// With the number of bytes to come, where it is known.
    pub(super) fn start(total: Option<u64>) -> Meter {
        // Hides itself where standard error is no terminal, and draws some twenty times a second where it is one.
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{bytes}/{total_bytes} {wide_bar} {bytes_per_sec}, {eta} left",
            None => "{bytes} {spinner} {bytes_per_sec}, {elapsed}",
        };
        // A template that does not parse leaves indicatif's own, which also tells how far it is.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Meter(bar.with_finish(ProgressFinish::AndClear))
    }

    pub(super) fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}
