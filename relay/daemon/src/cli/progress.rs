//! What a long command says meanwhile on stderr: one line that is redrawn on a terminal, a plain line now and then where it
//! is piped. A command that ends quickly says nothing.

use std::fmt::Display;
use std::io::{IsTerminal as _, Stderr, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line on a terminal is redrawn at most; also how long a command is quiet at first.
const REDRAW_INTERVAL: Duration = Duration::from_millis(500);

/// How often a plain line is printed at most.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How often [`meanwhile`] tells the time.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Says how far a command has come.
#[derive(Debug)]
pub(super) struct Progress<W: Write = Stderr> {
    out: W,
    is_terminal: bool,
    last: Instant,
    has_line: bool,
}

impl Progress {
    /// For a command that starts now.
    pub fn new() -> Self {
        Self { out: stderr(), is_terminal: stderr().is_terminal(), last: Instant::now(), has_line: false }
    }

    /// Says it, unless something was said a moment ago.
    pub fn step(&mut self, words: impl Display) {
        self.step_at(Instant::now(), words);
    }
}

impl<W: Write> Progress<W> {
    fn step_at(&mut self, now: Instant, words: impl Display) {
        let interval = if self.is_terminal { REDRAW_INTERVAL } else { PLAIN_INTERVAL };
        if now.saturating_duration_since(self.last) < interval {
            return;
        }
        self.last = now;
        // Nobody who looks is no reason to stop.
        if self.is_terminal {
            let _ = write!(self.out, "\r\x1b[2K{words}");
            let _ = self.out.flush();
            self.has_line = true;
        } else {
            let _ = writeln!(self.out, "{words}");
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if self.has_line {
            let _ = write!(self.out, "\r\x1b[2K");
            let _ = self.out.flush();
        }
    }
}

/// Waits for `work` and says meanwhile for how long already; `words` puts the whole seconds into a line.
pub(super) async fn meanwhile<T>(words: impl Fn(u64) -> String, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let mut progress = Progress::new();
    let mut tell = tokio::time::interval(TELL_INTERVAL);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tell.tick() => progress.step(words(start.elapsed().as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said when each of these many milliseconds after the start brings a step.
    fn said(is_terminal: bool, steps: &[u64]) -> String {
        let mut bytes = Vec::new();
        let start = Instant::now();
        let mut progress = Progress { out: &mut bytes, is_terminal, last: start, has_line: false };
        for step in steps {
            progress.step_at(start + Duration::from_millis(*step), format_args!("at {step}"));
        }
        drop(progress);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_terminal_has_one_line_that_goes_away() {
        assert_eq!(said(true, &[100, 499, 500, 700, 1_000]), "\r\x1b[2Kat 500\r\x1b[2Kat 1000\r\x1b[2K");
    }

    #[test]
    fn a_pipe_has_plain_lines_now_and_then() {
        assert_eq!(said(false, &[500, 4_999, 5_000, 9_000, 10_000]), "at 5000\nat 10000\n");
    }

    #[test]
    fn what_ends_quickly_says_nothing() {
        assert_eq!(said(true, &[0, 100]), "");
        assert_eq!(said(false, &[0, 3_000]), "");
    }
}
