//! Whatever a power cut leaves of a renewal, the next process has a token, and no refresh token is sent twice (fault 60).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qauth_core::{Engine, TokenOptions};
use serde_json::json;

use crate::Found;
use crate::host::Counters;
use crate::kinds::Kind;
use crate::log::{Call, Disk, State, parse, read_state};
use crate::process::{Bench, Site, private};

/// The file of a person's sign-in stands outside the store; it has a scenario of its own among the kills.
const KINDS: [Kind; 4] = [Kind::Rotating, Kind::Session, Kind::Client, Kind::Person];

/// What the vendor knows at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Vendor {
    /// The request has not reached it.
    Before,
    After,
}

/// A state of the folder, of the vendor, and whether the caller had its token by then.
type Cut = (State, Vendor, bool);

/// A renewal that was recorded, and the folder before it.
struct Recorded {
    site: Site,
    state: State,
    inodes: BTreeMap<String, u64>,
    calls: Vec<Call>,
}

pub(crate) fn run(bench: &Bench) -> Found {
    let (mut all, mut lost) = (0, 0);
    for_each(|kind, first_use| {
        let recorded = record(bench, kind, first_use)?;
        let cuts = recorded.cuts(&recorded.calls);
        let mut signed_out = 0;
        for (index, cut) in cuts.iter().enumerate() {
            let outcome = recorded.try_cut(cut, index);
            signed_out += u64::from(outcome.map_err(|why| format!("{kind:?}, first use: {first_use}: {why}"))?);
        }
        Ok((cuts.len() as u64, signed_out))
    })?
    .into_iter()
    .for_each(|(of_all, of_lost)| (all, lost) = (all + of_all, lost + of_lost));
    Ok(format!(
        "{all} states that a cut may leave, each a token; {lost} times a person is called, where the answer had not been written"
    ))
}

/// The same without what makes it durable: the model has to find the losses.
pub(crate) fn run_mutants(bench: &Bench) -> Found {
    let of_file = |call: &Call| matches!(call, Call::Durable { .. });
    let of_folder = |call: &Call| matches!(call, Call::DurableNames);
    let mutants = [("fsync of the file", of_file as fn(&Call) -> bool), ("fsync of the folder", of_folder)];
    let mut found = 0;
    for kind in [Kind::Rotating, Kind::Session, Kind::Person] {
        let recorded = record(bench, kind, false)?;
        for (name, is_left_out) in mutants {
            let calls: Vec<Call> = recorded.calls.iter().filter(|call| !is_left_out(call)).cloned().collect();
            if calls.len() == recorded.calls.len() {
                return Err(format!("{kind:?}: there is no {name} to leave out"));
            }
            // The last ones first: there a caller has the token, and most is to be lost.
            let cuts = recorded.cuts(&calls);
            let mut tried = cuts.iter().filter(|cut| cut.2).chain(cuts.iter().filter(|cut| !cut.2)).enumerate();
            match tried.find_map(|(index, cut)| recorded.try_cut(cut, 1_000_000 + index).err()) {
                Some(_) => found += 1,
                None => return Err(format!("{kind:?} without {name}: the model finds no loss")),
            }
        }
    }
    Ok(format!("{found} of {found} renewals without an fsync are found to lose something"))
}

/// Renewals and first uses of every kind, on threads of their own.
fn for_each<T: Send>(work: impl Fn(Kind, bool) -> Result<T, String> + Sync) -> Result<Vec<T>, String> {
    let work = &work;
    std::thread::scope(|scope| {
        let lanes = KINDS.map(|kind| scope.spawn(move || [work(kind, false), work(kind, true)]));
        let joined = lanes
            .into_iter()
            .flat_map(|lane| lane.join().map_or_else(|_| vec![Err("a lane panicked".to_owned())], Vec::from));
        joined.collect()
    })
}

/// Lets a worker renew, or obtain its first token, while the shim notes its calls.
fn record(bench: &Bench, kind: Kind, first_use: bool) -> Result<Recorded, String> {
    let site = Site::new(kind)?;
    std::fs::create_dir(site.store()).map_err(|error| error.to_string())?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(site.store(), std::fs::Permissions::from_mode(0o700))
        .map_err(|error| error.to_string())?;
    if !first_use {
        // A token that really ends: the engines that try what is left have the true time.
        site.host.settings(kind.vendor(), "lifetime", 1)?;
        let got = bench.renew(&site.config(), &site.shim(&[]))?;
        if !got.error().is_empty() {
            return Err(format!("no token to renew: {}", got.said));
        }
        std::thread::sleep(Duration::from_millis(1100));
    }
    site.host.settings(kind.vendor(), "lifetime", 40_000)?;
    let (state, inodes) = read_state(&site.store())?;
    site.checkpoint("keep", Vendor::Before)?;
    let log = site.root().join("log");
    let ended = bench.renew(&site.config(), &site.shim(&[("SHIM_LOG", log.display().to_string())]))?;
    if !ended.error().is_empty() {
        return Err(format!("nothing to record: {}", ended.said));
    }
    site.checkpoint("keep", Vendor::After)?;
    let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
    let calls = parse(&text, "store")?;
    for must in [Call::Send, Call::Receive, Call::Told] {
        if !calls.contains(&must) {
            return Err(format!("{kind:?}: no {must:?} among the calls: {calls:?}"));
        }
    }
    Ok(Recorded { site, state, inodes, calls })
}

impl Site {
    fn checkpoint(&self, what: &str, vendor: Vendor) -> Result<(), String> {
        let call = json!({"vendor": self.kind.vendor(), what: format!("{vendor:?}")});
        self.host.control("checkpoint", &call).map(drop)
    }
}

impl Recorded {
    /// Every state that a cut before, between or after the calls may leave.
    fn cuts(&self, calls: &[Call]) -> BTreeSet<Cut> {
        let mut disk = Disk::new(&self.state, &self.inodes);
        let (mut sent, mut received, mut told) = (false, false, false);
        let mut cuts = BTreeSet::new();
        for call in std::iter::once(None).chain(calls.iter().map(Some)) {
            call.into_iter().for_each(|call| disk.apply(call));
            sent |= call == Some(&Call::Send);
            received |= call == Some(&Call::Receive);
            told |= call == Some(&Call::Told);
            for state in disk.states() {
                // A request that is under way may arrive or not.
                if !received {
                    cuts.insert((state.clone(), Vendor::Before, told));
                }
                if sent {
                    cuts.insert((state, Vendor::After, told));
                }
            }
        }
        cuts
    }

    /// Starts engines on what is left; `true`: a person has to sign in, for a reason.
    fn try_cut(&self, (state, vendor, told): &Cut, index: usize) -> Result<bool, String> {
        let kind = self.site.kind;
        let folder = self.site.root().join(format!("cut-{index}"));
        materialise(&folder, state)?;
        self.site.checkpoint("back_to", *vendor)?;
        let before = self.site.host.counters(kind.vendor())?;
        let config = self.site.config_with(&folder).to_string();
        let first = start(kind, &config);
        let after_first = self.site.host.counters(kind.vendor())?;
        let again = start(kind, &config);
        let after_second = self.site.host.counters(kind.vendor())?;
        let _ = std::fs::remove_dir_all(&folder);
        let verdict = judge(kind, *vendor, *told, &first, before, after_first);
        // An engine that is closed at once may leave it unwritten, where nothing is lost with it.
        let as_before = first == again && (kind == Kind::Client || after_first == after_second);
        let verdict = verdict.and_then(|signed_out| match as_before {
            true => Ok(signed_out),
            false => Err(format!("the second start asked again: {first:?}, then {again:?}")),
        });
        verdict.map_err(|why| {
            format!("{why}; left was {} with the vendor {vendor:?}, token given: {told}", outline(state))
        })
    }
}

fn judge(
    kind: Kind,
    vendor: Vendor,
    told: bool,
    outcome: &Result<(), String>,
    before: Counters,
    after: Counters,
) -> Result<bool, String> {
    let (repeated, requests) = (after.repeated - before.repeated, after.requests - before.requests);
    // Client credentials are written behind the caller's back: nothing is lost with them.
    if told && kind != Kind::Client && requests > 0 {
        return Err(format!("the caller had a token, and {requests} requests were made for another"));
    }
    match (outcome, repeated) {
        (Ok(()), 0) => Ok(false),
        (Err(error), 1) if kind.needs_person() && vendor == Vendor::After && error == "reauthentication_required" => {
            Ok(true)
        }
        _ => Err(format!("{outcome:?}, and {repeated} refresh tokens came twice")),
    }
}

/// A token that the vendor takes, or the name of the error.
fn start(kind: Kind, config: &str) -> Result<(), String> {
    let engine = Engine::from_json(config).map_err(|error| error.to_string())?;
    let token = engine.source("p").and_then(|source| source.token_blocking(TokenOptions::default()));
    engine.close();
    let token = token.map_err(|error| error.code().name().to_owned())?;
    let to = config.split_once("http://").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
    match kind.accepts(&to.ok_or("no address")?, token.access_token())? {
        true => Ok(()),
        false => Err("a token that the vendor does not take".to_owned()),
    }
}

fn materialise(folder: &std::path::Path, state: &State) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| error.to_string())?;
    state.iter().try_for_each(|(name, bytes)| private(&folder.join(name), bytes))
}

/// Names and lengths: enough to find the state, and no secret.
fn outline(state: &State) -> String {
    let files = state.iter().map(|(name, bytes)| {
        let short = name.split_at_checked(6).map_or(name.as_str(), |(short, _)| short);
        let end = name.split_once('.').map_or("", |(_, end)| end);
        format!(
            "{short}….{end}: {} bytes{}",
            bytes.len(),
            if bytes.iter().all(|byte| *byte == 0) { " of zeros" } else { "" }
        )
    });
    format!("[{}]", files.collect::<Vec<_>>().join(", "))
}
