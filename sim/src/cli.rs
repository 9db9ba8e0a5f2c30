//! The command line, for the binary `qauth-sim` and for `qauth sim`.

use crate::server::{Sim, SimOptions};
use clap::Parser;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Simulates the authentication and a small API of five vendors on 127.0.0.1: Quantaprice, Quiqup, Quable PIM,
/// Quartile and QPay; and beside them an OAuth 2.0 server by the standards, and one that answers what it is told to.
///
/// Prints one line, "qauth-sim listening on URL", and serves until it is ended. The vendors are at URL/quantaprice,
/// URL/quiqup, URL/quable/INSTANCE, URL/quartile, URL/qpay, URL/generic and URL/scripted; the credentials they accept
/// at URL/_sim/credentials, what has happened so far at URL/_sim/state.
#[derive(Debug, Parser)]
#[command(name = "qauth-sim", version)]
struct Options {
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u16,

    /// Serve https for 127.0.0.1 and localhost, with a certificate authority made for this run
    #[arg(long)]
    tls: bool,

    /// Write the certificate authority's PEM to this file (with --tls)
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,

    /// Write the URL to this file once listening; the file appears whole or not at all
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,

    /// End when standard input reaches its end, so that no simulator outlives the program that started it
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Runs the simulator until it is ended, and returns the exit code: 0, 1 if it could not be started, 2 for a wrong
/// command line. The first argument is the program's name as the help shows it (`qauth-sim`, `qauth sim`).
pub fn run<I, T>(args: I) -> i32
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return error.exit_code();
        }
    };
    match serve(&options) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "qauth-sim: {error}");
            1
        }
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let sim = Sim::start(SimOptions { port: options.port, tls: options.tls })
        .map_err(|error| describe(&error, &format!("cannot listen on port {}", options.port)))?;
    if let (Some(file), Some(pem)) = (&options.ca_out, sim.ca_pem()) {
        write_whole(file, pem)?;
    }
    if let Some(file) = &options.port_file {
        write_whole(file, &sim.url())?;
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "qauth-sim listening on {}", sim.url()).and_then(|()| stdout.flush())?;
    if options.until_stdin_closes {
        return io::copy(&mut io::stdin().lock(), &mut io::sink()).map(|_| ());
    }
    loop {
        std::thread::park();
    }
}

/// Writes beside the file, then renames, so that a waiting reader never sees half of it.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        describe(&error, &format!("cannot write {}", file.display()))
    })
}

fn describe(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
