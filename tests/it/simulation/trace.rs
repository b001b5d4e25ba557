//! What happened, in words, when somebody will read it.

use std::fmt::Write;

#[derive(Default)]
pub struct Trace {
    steps: usize,
    lines: Option<String>,
}

impl Trace {
    pub fn silent() -> Trace {
        Trace::default()
    }

    pub fn kept() -> Trace {
        Trace { steps: 0, lines: Some(String::new()) }
    }

    pub fn step(&mut self) {
        self.steps += 1;
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            writeln!(lines, "{:>5}  {}", self.steps, line()).expect("a string takes everything");
        }
    }

    pub fn note_unless(&mut self, tells_nothing: bool, line: impl FnOnce() -> String) {
        if !tells_nothing {
            self.note(line);
        }
    }

    pub fn text(&self) -> &str {
        self.lines.as_deref().unwrap_or_default()
    }
}
