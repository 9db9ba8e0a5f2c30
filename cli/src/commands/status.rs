//! `qauth status`: what the store holds, as a table or as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use qauth_core::{ErrorCode, RecordInfo};

use super::{SEEN_BY_ITS_OWN_PROCESS, Session};
use crate::console::Console;
use crate::failure::Failure;
use crate::table::print_table;

/// So much of a record's name is shown: enough to tell it from others, and to find its file or key.
const NAME: usize = 12;

const HEADING: [&str; 9] =
    ["PROFILE", "PROVIDER", "STATE", "EXPIRES", "REFRESH TOKEN", "FAILURE", "WRITTEN", "BY", "NAME"];

pub(super) fn run(session: &Session, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let records = session.engine.records_blocking()?;
    if console.is_json() {
        return console.value(&records.iter().map(RecordInfo::to_json).collect());
    }
    if records.is_empty() {
        console.note("the store is empty");
        console.note(SEEN_BY_ITS_OWN_PROCESS);
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    print_table(HEADING, records.iter().map(|record| row(record, now)), console)?;
    for record in &records {
        if let Some(error) = &record.error {
            console.note(&format!("record {}: {}", short(record), error.message()));
        }
    }
    Ok(())
}

fn row(record: &RecordInfo, now: u64) -> [String; HEADING.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = |time: Option<u64>| time.map(|time| relative(time, now));
    let expires = time(record.expires_at).or(record.obtained_at.map(|_| "never".to_owned()));
    let refresh = time(record.refresh_expires_at).or(record.has_refresh_token.then(|| "yes".to_owned()));
    let until = record.failure_until.map(|until| format!(", tried again {}", relative(until, now)));
    let failure = record.failure.or(record.error.as_ref().map(|error| error.code())).map(ErrorCode::name);
    [
        text(&record.profile),
        text(&record.provider),
        record.state.name().to_owned(),
        expires.unwrap_or_default(),
        refresh.unwrap_or_default(),
        failure.map(|failure| format!("{failure}{}", until.unwrap_or_default())).unwrap_or_default(),
        time(record.written_at).unwrap_or_default(),
        text(&record.written_by),
        short(record),
    ]
}

fn short(record: &RecordInfo) -> String {
    record.name.iter().flat_map(|name| name.chars()).take(NAME).collect()
}

/// A time as a person thinks of it: `in 12 min`, `3 h ago`.
fn relative(time: u64, now: u64) -> String {
    let (seconds, past) = (time.abs_diff(now), time < now);
    let length = match seconds {
        0 => return "now".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    };
    if past { format!("{length} ago") } else { format!("in {length}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_think_of_them() {
        for (time, said) in [
            (1_000_000, "now"),
            (1_000_001, "in 1 s"),
            (999_881, "119 s ago"),
            (1_000_120, "in 2 min"),
            (1_000_000 + 7199, "in 119 min"),
            (1_000_000 - 3 * 3600, "3 h ago"),
            (1_000_000 + 2 * 86_400, "in 2 d"),
            (0, "11 d ago"),
        ] {
            assert_eq!(relative(time, 1_000_000), said);
        }
    }
}
