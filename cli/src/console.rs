//! The two output streams: results on one, everything said to a person on the other.

use std::io::{Read, Write};

use serde_json::Value;

use crate::Streams;
use crate::args::{ColorWhen, Global};
use crate::failure::Failure;

/// The streams together with how to write on them.
pub(crate) struct Console<'a, 'b> {
    streams: &'a mut Streams<'b>,
    color: ColorWhen,
    quiet: bool,
    json: bool,
}

/// What a text is for people.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Heading,
    Error,
    Note,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Style::Heading => "1",
            Style::Error => "1;31",
            Style::Note => "36",
        }
    }

    /// The text in this style, or as it is.
    pub(crate) fn paint(self, text: &str, colored: bool) -> String {
        if colored { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_owned() }
    }
}

impl<'a, 'b> Console<'a, 'b> {
    pub(crate) fn new(streams: &'a mut Streams<'b>) -> Self {
        Console { streams, color: ColorWhen::Auto, quiet: false, json: false }
    }

    pub(crate) fn configure(&mut self, global: &Global) {
        (self.color, self.quiet, self.json) = (global.color, global.quiet, global.json);
    }

    /// Whether everything that is written is for a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn stdin(&mut self) -> &mut dyn Read {
        self.streams.stdin
    }

    pub(crate) fn colors_stdout(&self) -> bool {
        self.colored(self.streams.stdout_is_terminal)
    }

    fn colored(&self, terminal: bool) -> bool {
        match self.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal && !self.streams.no_color,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.streams.stdout.write_all(bytes).map_err(Failure::Output)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Indented for a person, on one line for a program.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Failure> {
        match self.streams.stdout_is_terminal {
            true => self.line(&format!("{value:#}")),
            false => self.line(&value.to_string()),
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.streams.stdout.flush().map_err(Failure::Output)
    }

    /// Something to know beside the result.
    pub(crate) fn note(&mut self, text: &str) {
        self.aside("note", text);
    }

    /// Something to try after an error.
    pub(crate) fn hint(&mut self, text: &str) {
        self.aside("hint", text);
    }

    fn aside(&mut self, label: &str, text: &str) {
        if !self.quiet && !self.json {
            self.say(Style::Note, label, text);
        }
    }

    pub(crate) fn error(&mut self, text: &str) {
        self.say(Style::Error, "error", text);
    }

    fn say(&mut self, style: Style, label: &str, text: &str) {
        let label = style.paint(&format!("{label}:"), self.colored(self.streams.stderr_is_terminal));
        self.complain(&format!("{label} {text}\n"));
    }

    /// Writes to stderr. Where that cannot be written either, nobody is left to tell.
    pub(crate) fn complain(&mut self, text: &str) {
        let stderr = &mut self.streams.stderr;
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }

    /// Styled text of the argument parser for stdout.
    pub(crate) fn result(&mut self, text: &clap::builder::StyledStr) -> Result<(), Failure> {
        let text = if self.colors_stdout() { text.ansi().to_string() } else { text.to_string() };
        self.write(text.as_bytes())
    }

    /// Styled text of the argument parser for stderr.
    pub(crate) fn complain_styled(&mut self, text: &clap::builder::StyledStr) {
        let colored = self.colored(self.streams.stderr_is_terminal);
        let text = if colored { text.ansi().to_string() } else { text.to_string() };
        self.complain(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_owner_wants_them() {
        for (color, terminal, no_color, expected) in [
            (ColorWhen::Auto, true, false, true),
            (ColorWhen::Auto, true, true, false),
            (ColorWhen::Auto, false, false, false),
            (ColorWhen::Always, false, true, true),
            (ColorWhen::Never, true, false, false),
        ] {
            let mut streams = Streams {
                stdin: &mut std::io::empty(),
                stdout: &mut std::io::sink(),
                stderr: &mut std::io::sink(),
                stdout_is_terminal: terminal,
                stderr_is_terminal: terminal,
                no_color,
            };
            let mut console = Console::new(&mut streams);
            console.configure(&Global { color, ..Global::default() });
            assert_eq!(console.colors_stdout(), expected, "{color:?} {terminal} {no_color}");
        }
    }
}
