//! What the demo says while it runs: lines on stderr, and one line that is redrawn on a terminal.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Instant;

/// Says things with the time since the start.
#[derive(Debug)]
pub(super) struct Narrator {
    start: Instant,
    is_terminal: bool,
    has_live_line: bool,
    last_live: String,
}

impl Narrator {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            is_terminal: stderr().is_terminal(),
            has_live_line: false,
            last_live: String::new(),
        }
    }

    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A line that stays.
    pub fn say(&mut self, text: &str) {
        self.clear_live();
        eprintln!("{:6.1} s  {text}", self.seconds());
    }

    /// A line that the next one replaces; without a terminal it is printed when it changed.
    pub fn live(&mut self, text: &str) {
        if text == self.last_live {
            return;
        }
        text.clone_into(&mut self.last_live);
        if self.is_terminal {
            self.clear_live();
            eprint!("{:6.1} s  {text}", self.seconds());
            // A terminal that is gone changes nothing about the demo.
            let _ = stderr().flush();
            self.has_live_line = true;
        } else {
            eprintln!("{:6.1} s  {text}", self.seconds());
        }
    }

    fn clear_live(&mut self) {
        if self.has_live_line {
            eprint!("\r\x1b[2K");
            self.has_live_line = false;
        }
    }
}
