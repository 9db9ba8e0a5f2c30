//! The command line of qauth as a library: the binary `qauth` and the language packages run the same code.
//!
//! [`run`] takes the arguments, the program's name first, and returns the exit status. It ends no process, prints nothing
//! but what was asked for, and is quiet when the reader of its output has gone away.

mod args;
mod assignment;
mod commands;
mod console;
mod failure;
mod table;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};

use crate::console::Console;

/// Where a command reads and writes, and what it may assume about the other end.
pub struct Streams<'a> {
    /// Read for `--data -` and `name=@-`, else left alone.
    pub stdin: &'a mut dyn Read,
    /// Results, and nothing else.
    pub stdout: &'a mut dyn Write,
    /// Errors, hints and notes.
    pub stderr: &'a mut dyn Write,
    /// Whether a person reads stdout: JSON is indented, headings are bold.
    pub stdout_is_terminal: bool,
    /// Whether a person reads stderr: errors are coloured.
    pub stderr_is_terminal: bool,
    /// No colours unless `--color always` is given (`NO_COLOR`, `TERM=dumb`).
    pub no_color: bool,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("stdout_is_terminal", &self.stdout_is_terminal)
            .field("stderr_is_terminal", &self.stderr_is_terminal)
            .field("no_color", &self.no_color)
            .finish_non_exhaustive()
    }
}

/// Runs one command on the process's own streams; returns the exit status. The first argument is the program's name.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> u8 {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut streams = Streams {
        stdout_is_terminal: stdout.is_terminal(),
        stderr_is_terminal: stderr.is_terminal(),
        no_color: set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb"),
        stdin: &mut stdin,
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    run_with(argv, &mut streams)
}

/// The same on streams of the caller's choice. The simulator (`qauth sim`) alone writes to the process's own.
pub fn run_with(argv: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let mut console = Console::new(streams);
    let result = match args::parse(&argv) {
        Ok(cli) => {
            console.configure(&cli.global);
            commands::execute(&cli, &mut console)
        }
        Err(unparsed) => {
            console.configure(&unparsed.global);
            commands::unparsed(unparsed, &mut console)
        }
    };
    let result = result.and_then(|status| console.flush().map(|()| status));
    match result {
        Ok(status) => status,
        Err(failure) => failure.report(&mut console),
    }
}
