//! `conformance`: executes the case files in every language that a driver is given for.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use qauth_tests::case::{self, Case};
use qauth_tests::face::Face;
use qauth_tests::report::Report;
use qauth_tests::suite;

const USAGE: &str = "\
usage: conformance [--face NAME,…] [--driver NAME=COMMAND]… [--cases FOLDER] [--case TEXT]… [--times N] [--store KIND] [--trace]

  --face     the faces to run; all that have a driver unless given; one without a driver is a failure
  --driver   how a face's driver is started; for cli: the program qauth. rust has one of its own
  --cases    the folder of the case files (tests/conformance)
  --case     only cases whose name holds this text
  --times    the whole suite so many times, to see that it is repeatable
  --store    the store that every case gets which asks for none: memory, file; each in a folder of its own
  --trace    every line between harness and driver";

struct Options {
    faces: Vec<Face>,
    folder: PathBuf,
    only: Vec<String>,
    times: usize,
    store: Option<String>,
    trace: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("conformance: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("conformance: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    let mut cases = case::load(&options.folder)?;
    let wanted = |case: &Case| options.only.is_empty() || options.only.iter().any(|text| case.name.contains(text));
    cases.retain(wanted);
    if cases.is_empty() {
        return Err("no case has such a name".into());
    }
    if let Some(kind) = &options.store {
        cases.iter_mut().for_each(|case| case.keep_in(kind));
    }
    let mut fine = true;
    for _ in 0..options.times {
        let report: Report = suite::run(&cases, &options.faces, options.trace)?;
        println!("{}", report.text());
        fine &= report.failed() == 0;
    }
    Ok(fine)
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut arguments = arguments;
    let mut names: Option<Vec<String>> = None;
    let mut drivers: Vec<(String, String)> = Vec::new();
    let mut options = Options {
        faces: Vec::new(),
        folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance"),
        only: Vec::new(),
        times: 1,
        store: None,
        trace: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--face" => names = Some(value()?.split(',').map(str::to_owned).collect()),
            "--driver" => {
                let value = value()?;
                let (name, command) = value.split_once('=').ok_or("--driver expects NAME=COMMAND")?;
                drivers.push((name.to_owned(), command.to_owned()));
            }
            "--cases" => options.folder = value()?.into(),
            "--case" => options.only.push(value()?),
            "--times" => options.times = value()?.parse().map_err(|_| "--times expects a number")?,
            "--store" => options.store = Some(value()?),
            "--trace" => options.trace = true,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("{argument} is unknown")),
        }
    }
    let names = names.unwrap_or_else(|| {
        let given = drivers.iter().map(|(name, _)| name.clone()).filter(|name| name != "rust");
        std::iter::once("rust".to_owned()).chain(given).collect()
    });
    for name in names {
        let given = drivers.iter().find(|(of, _)| *of == name).map(|(_, command)| command.as_str());
        options.faces.push(face(&name, given)?);
    }
    Ok(Some(options))
}

/// The Rust and command-line drivers lie beside this program; the others are given.
fn face(name: &str, given: Option<&str>) -> Result<Face, String> {
    let beside = |program: &str| -> Result<String, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok(own.with_file_name(program).to_string_lossy().into_owned())
    };
    let words = given
        .map(|command| shlex::split(command).ok_or(format!("--driver {name}: a quote is not closed")))
        .transpose()?;
    let command = match (name, words) {
        ("rust", None) => vec![beside("conformance-rust")?],
        ("cli", given) => {
            let program = given.map_or_else(|| beside("qauth").map(|program| vec![program]), Ok)?;
            std::iter::once(beside("conformance-cli")?).chain(program).collect()
        }
        (_, Some(words)) => words,
        // Reported as a failure of the face, when it is started.
        (_, None) => Vec::new(),
    };
    Ok(Face { name: name.to_owned(), command })
}
