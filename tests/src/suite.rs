//! All cases on all faces.

use crate::case::Case;
use crate::face::{Driver, Face};
use crate::report::{Report, Verdict};
use crate::run;
use crate::simulator::Simulator;

/// Runs every case on every face, one after the other, against one simulator.
///
/// # Errors
/// If the simulator cannot be started.
pub fn run(cases: &[Case], faces: &[Face], trace: bool) -> Result<Report, String> {
    let sim = Simulator::start().map_err(|error| format!("the simulator cannot be started: {error}"))?;
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let mut report = Report::new(faces.iter().map(|face| face.name.clone()).collect(), &names);
    for face in faces {
        let mut driver: Option<Driver> = None;
        for (row, case) in cases.iter().enumerate() {
            let verdict = match case.not_for.get(&face.name) {
                Some(reason) => Verdict::Skipped(reason.clone()),
                None => judge(case, face, &mut driver, &sim, trace),
            };
            report.add(row, verdict);
        }
        if let Some(Err(why)) = driver.map(Driver::finish) {
            report.trouble(format!("{}: {why}", face.name));
        }
    }
    Ok(report)
}

/// A driver that failed is replaced: what it may have been left in is not the next case's matter.
fn judge(case: &Case, face: &Face, driver: &mut Option<Driver>, sim: &Simulator, trace: bool) -> Verdict {
    if trace {
        println(&format!("{} {}", face.name, case.name));
    }
    let result = match driver.take().map_or_else(|| face.start(), Ok) {
        Err(why) => Err(why),
        Ok(mut running) => {
            let result = run::run(case, &mut running, sim, trace);
            match &result {
                Ok(()) => *driver = Some(running),
                Err(_) => drop(running.finish()),
            }
            result
        }
    };
    match result {
        Ok(()) => Verdict::Passed,
        Err(why) => Verdict::Failed(why),
    }
}

#[allow(clippy::print_stdout)]
pub(crate) fn println(text: &str) {
    println!("{text}");
}
