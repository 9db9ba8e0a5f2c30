//! With all its rules the protocol holds: every state of these worlds is looked at.

use std::collections::HashMap;
use std::fmt::Write;

use stateright::{Checker, Model, Path};

use crate::party::Act;
use crate::rules::{Faults, Profile, Rules};
use crate::world::{Protocol, World};

/// Logs in by itself; refresh tokens rotate, and their second use revokes the family.
pub(crate) const LOGIN: Profile = Profile { can_login: true, refreshes: true, single_session: false, revokes: true };
/// Only a person can sign in.
pub(crate) const PERSON: Profile = Profile { can_login: false, ..LOGIN };
/// The same, at a vendor that only refuses a second use.
pub(crate) const LENIENT: Profile = Profile { revokes: false, ..PERSON };
/// Logins alone, each of which ends the session before.
pub(crate) const SESSION: Profile = Profile { refreshes: false, single_session: true, ..LOGIN };
/// A single session with rotating refresh tokens.
const BOTH: Profile = Profile { single_session: true, ..LOGIN };
const EVERY: [Profile; 5] = [LOGIN, PERSON, LENIENT, SESSION, BOTH];

pub(crate) const NO_FAULTS: Faults =
    Faults { crashes: 0, stops: 0, lost_answers: 0, store_errors: 0, failovers: 0, ends: 0 };
pub(crate) const CRASH: Faults = Faults { crashes: 1, ..NO_FAULTS };
pub(crate) const STOP: Faults = Faults { stops: 1, ..NO_FAULTS };
pub(crate) const CRASH_AND_STOP: Faults = Faults { crashes: 1, stops: 1, ..NO_FAULTS };

pub(crate) fn protocol(parties: usize, profile: Profile, rules: Rules, faults: Faults) -> Protocol {
    Protocol { parties, profile, rules, faults }
}

/// Everything holds, and everything that is to be looked at does happen.
#[track_caller]
pub(crate) fn holds(parties: usize, profile: Profile, faults: Faults) {
    let checker = protocol(parties, profile, Rules::ALL, faults).checker().threads(2).spawn_bfs().join();
    let broken = |name| checker.model().property(name).expectation.discovery_is_failure();
    if let Some((name, path)) = checker.discoveries().into_iter().find(|(name, _)| broken(name)) {
        panic!("{profile:?}, {faults:?}: {name}:{}", trace(path));
    }
    checker.assert_properties();
}

/// Step by step: what stands in the store, who has the lease, where everybody is and what he knows; then who does what.
fn trace(path: Path<World, Act>) -> String {
    let mut text = String::new();
    for (world, act) in path.into_vec() {
        let phases: Vec<_> = world.parties.iter().map(|party| (party.phase, party.known.generation)).collect();
        write!(text, "\n  {:?} {:?} {phases:?}\n{act:?}", world.store.record, world.store.lease).expect("to memory");
    }
    text
}

#[test]
fn two_parties_with_one_fault_of_each_kind() {
    // faults 16, 27, 47, 48, 60, 66
    for profile in EVERY {
        holds(2, profile, Faults { crashes: 1, stops: 1, lost_answers: 1, store_errors: 1, failovers: 0, ends: 1 });
    }
}

#[test]
fn two_parties_that_crash_and_stop_twice() {
    // faults 48, 66
    for profile in EVERY {
        holds(2, profile, Faults { crashes: 2, stops: 2, ..NO_FAULTS });
    }
}

#[test]
fn three_parties_that_crash_and_stop() {
    // faults 48, 66
    for profile in EVERY {
        holds(3, profile, CRASH_AND_STOP);
    }
}

#[test]
fn a_store_that_loses_its_last_write() {
    // faults 65, 68
    for profile in EVERY {
        holds(2, profile, Faults { stops: 1, failovers: 1, ..NO_FAULTS });
        holds(2, profile, Faults { crashes: 1, store_errors: 1, failovers: 1, ends: 1, ..NO_FAULTS });
        holds(3, profile, Faults { stops: 1, failovers: 1, ..NO_FAULTS });
    }
}

/// No state is reached a second time: with [`crate::properties::ANSWERED`], who waits gets an answer, whoever is faster.
#[test]
fn no_run_goes_in_a_circle() {
    for profile in EVERY {
        let protocol = protocol(2, profile, Rules::ALL, Faults { store_errors: 1, ends: 1, ..CRASH_AND_STOP });
        let begin = protocol.init_states().remove(0);
        // What was seen, and whether the way there still goes on.
        let mut seen = HashMap::from([(begin.clone(), true)]);
        let mut way = vec![(protocol.next_states(&begin), begin)];
        while let Some((ahead, _)) = way.last_mut() {
            let Some(next) = ahead.pop() else {
                let (_, world) = way.pop().expect("it was just looked at");
                seen.insert(world, false);
                continue;
            };
            match seen.get(&next) {
                Some(true) => panic!("{profile:?}: a circle through {next:?}"),
                Some(false) => {}
                None => {
                    seen.insert(next.clone(), true);
                    way.push((protocol.next_states(&next), next));
                }
            }
        }
    }
}
