//! What a run shows: one line per case, a column per face, why a case failed or does not apply.

use std::collections::BTreeMap;

/// How a case ended on a face.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// The step, what was expected and what came.
    Failed(String),
    /// The face cannot apply it, for this reason.
    Skipped(String),
}

/// All verdicts of a run.
#[derive(Default)]
pub struct Report {
    faces: Vec<String>,
    rows: Vec<(String, Vec<Verdict>)>,
    /// What went wrong outside of any case.
    troubles: Vec<String>,
}

impl Report {
    /// An empty report on these faces and cases.
    pub fn new(faces: Vec<String>, cases: &[String]) -> Report {
        Report { faces, rows: cases.iter().map(|case| (case.clone(), Vec::new())).collect(), troubles: Vec::new() }
    }

    /// The next face's verdict on the case at `row`.
    pub fn add(&mut self, row: usize, verdict: Verdict) {
        self.rows[row].1.push(verdict);
    }

    /// A failure outside of any case.
    pub fn trouble(&mut self, text: String) {
        self.troubles.push(text);
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_))) + self.troubles.len()
    }

    fn count(&self, which: impl Fn(&Verdict) -> bool) -> usize {
        self.rows.iter().flat_map(|(_, verdicts)| verdicts).filter(|verdict| which(verdict)).count()
    }

    /// The table, the failures, what was skipped and why, and the last line with the sums.
    pub fn text(&self) -> String {
        let width = self.rows.iter().map(|(case, _)| case.len()).max().unwrap_or(0);
        let column = self.faces.iter().map(String::len).max().unwrap_or(0).max(4) + 2;
        let heads: String = self.faces.iter().map(|face| format!("{face:>column$}")).collect();
        let mut lines = vec![format!("{:width$}{heads}", "")];
        let mut skipped: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut failures = Vec::new();
        for (case, verdicts) in &self.rows {
            let mut cells = String::new();
            for (face, verdict) in self.faces.iter().zip(verdicts) {
                cells += &format!(
                    "{:>column$}",
                    match verdict {
                        Verdict::Passed => "ok",
                        Verdict::Failed(_) => "FAIL",
                        Verdict::Skipped(_) => "-",
                    }
                );
                match verdict {
                    Verdict::Failed(why) => failures.push(format!("FAILED {face}: {case}: {why}")),
                    Verdict::Skipped(reason) => *skipped.entry((face, reason)).or_default() += 1,
                    Verdict::Passed => {}
                }
            }
            lines.push(format!("{case:width$}{cells}"));
        }
        lines.push(String::new());
        lines.extend(failures);
        lines.extend(self.troubles.iter().map(|trouble| format!("FAILED {trouble}")));
        lines.extend(skipped.iter().map(|((face, reason), count)| format!("{face}: {count} not applied: {reason}")));
        let passed = self.count(|verdict| *verdict == Verdict::Passed);
        lines.push(format!("conformance: {passed} passed, {} failed", self.failed()));
        lines.join("\n")
    }
}
