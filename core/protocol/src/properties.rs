//! What must hold in every order, and what must happen in some.

use std::fmt::Write;

use stateright::{Checker, Model, Path, Property};

use crate::party::{self, Act, under_lease};
use crate::rules::{Faults, Profile, Rules};
use crate::world::{Outcome, Party, Phase, Protocol, World, Wrong};

const SENT_TWICE: &str = "no refresh token is sent twice";
const SENT_OVER_NEWER: &str = "nothing is sent once a sibling has renewed";
const STEPPED_BACK: &str = "no record is replaced by an older one";
const KNOWN: &str = "in the end the store holds the newest that a living party knows";
const ANSWERED: &str = "every caller has an answer in the end";
const TOKEN: &str = "every caller has a good token in the end, unless an answer or a write failed";
const NO_PERSON: &str = "no person is called where a login would do";
const PERSON_FOR_NOTHING: &str = "no person is called without need";
const THREW_AWAY: &str = "no token is thrown away for a record without one";
const DROPPED_ANOTHER: &str = "no good refresh token is dropped for a refused one";
const FOREIGN_RELEASE: &str = "nobody gives back the lease of another";
const ONE_HOLDER: &str = "one running party at most holds the lease, or has not been stopped since";

pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let Protocol { profile, faults, .. } = protocol;
    let mut all: Vec<Property<Protocol>> = vec![
        Property::always(SENT_TWICE, |_: &Protocol, world: &World| world.wrong != Some(Wrong::SentTwice)),
        Property::always(SENT_OVER_NEWER, |_: &Protocol, world: &World| world.wrong != Some(Wrong::SentOverNewer)),
        Property::always(STEPPED_BACK, |_: &Protocol, world: &World| world.wrong != Some(Wrong::SteppedBack)),
        Property::always(THREW_AWAY, |_: &Protocol, world: &World| world.wrong != Some(Wrong::ThrewTokenAway)),
        Property::always(DROPPED_ANOTHER, |_: &Protocol, world: &World| world.wrong != Some(Wrong::DroppedAnother)),
        Property::always(FOREIGN_RELEASE, |_: &Protocol, world: &World| world.wrong != Some(Wrong::ForeignRelease)),
        Property::always(PERSON_FOR_NOTHING, |_: &Protocol, world: &World| world.wrong != Some(Wrong::PersonForNothing)),
        Property::always(NO_PERSON, |protocol: &Protocol, world: &World| {
            !protocol.profile.can_login || !world.parties.iter().any(|party| party.phase == NEEDS_PERSON)
        }),
        Property::always(ONE_HOLDER, |_: &Protocol, world: &World| {
            world.parties.iter().filter(|party| believes(party)).count() <= 1
        }),
        Property::always(ANSWERED, |protocol: &Protocol, world: &World| !at_end(protocol, world) || world.parties.iter().all(answered)),
        Property::always(TOKEN, |protocol: &Protocol, world: &World| {
            let Faults { lost_answers, store_errors, .. } = world.left;
            let failed = lost_answers < protocol.faults.lost_answers || store_errors < protocol.faults.store_errors;
            let excused = |phase: Phase| match phase {
                Phase::Done(Outcome::Token(token)) => !world.grants[usize::from(token.grant)].dead,
                Phase::Done(Outcome::NeedsPerson) => !protocol.profile.can_login,
                _ => failed,
            };
            !at_end(protocol, world) || world.parties.iter().all(|party| excused(party.phase))
        }),
        Property::always(KNOWN, |protocol: &Protocol, world: &World| {
            let newest = world.parties.iter().map(|party| party.known.age(&protocol.rules)).max();
            !at_end(protocol, world) || newest <= Some(world.store.record.age(&protocol.rules))
        }),
        Property::sometimes("a token is adopted", |_: &Protocol, world: &World| {
            let adopted = |party: &Party| matches!(told(party), Some(Outcome::Token(token)) if token.grant == 1);
            world.parties.iter().filter(|party| adopted(party)).count() >= 2
        }),
    ];
    if profile.refreshes && faults.crashes > 0 {
        all.push(Property::sometimes("a crash between sending and writing", |_: &Protocol, world: &World| {
            let spent = world.store.record.refresh.is_some_and(|token| world.grants[usize::from(token)].spent);
            spent && world.store.record.intent && world.store.lease.is_some_and(|lease| lease.dead)
        }));
    }
    if faults.stops > 0 {
        all.push(Property::sometimes("a lease lapses while its holder is stopped", |_: &Protocol, world: &World| {
            world.parties.iter().any(|party| party.stopped && party.late)
        }));
        all.push(Property::sometimes("a result comes too late to be written", |_: &Protocol, world: &World| {
            let late = |party: &Party| party.standing != world.store.record.generation;
            world.parties.iter().any(|party| matches!(party.phase, Phase::Got { .. }) && late(party))
        }));
    }
    if faults.store_errors > 0 {
        all.push(Property::sometimes("a record is dirty", |_: &Protocol, world: &World| {
            world.parties.iter().any(|party| party.is_dirty() && told(party).is_some())
        }));
    }
    if faults.failovers > 0 {
        all.push(Property::sometimes("the store holds less than a party has read there", |_: &Protocol, world: &World| {
            world.parties.iter().any(|party| party.standing > world.store.record.generation)
        }));
    }
    all
}

const NEEDS_PERSON: Phase = Phase::Ends(Outcome::NeedsPerson);

fn believes(party: &Party) -> bool {
    under_lease(party.phase) && !party.stopped && !party.late
}

fn answered(party: &Party) -> bool {
    matches!(party.phase, Phase::Done(_))
}

fn told(party: &Party) -> Option<Outcome> {
    match party.phase {
        Phase::Ends(outcome) | Phase::Done(outcome) => Some(outcome),
        _ => None,
    }
}

fn at_end(protocol: &Protocol, world: &World) -> bool {
    let mut acts = Vec::new();
    party::acts(protocol, world, &mut acts);
    acts.is_empty()
}

const LOGIN: Profile = Profile { can_login: true, refreshes: true, single_session: false, revokes: true };
const PERSON: Profile = Profile { can_login: false, ..LOGIN };
const LENIENT: Profile = Profile { revokes: false, ..PERSON };
const SESSION: Profile = Profile { refreshes: false, single_session: true, ..LOGIN };

const BOTH: Profile = Profile { single_session: true, ..LOGIN };

const NONE: Faults = Faults { crashes: 0, stops: 0, lost_answers: 0, store_errors: 0, failovers: 0, ends: 0 };
const PROCESS: Faults = Faults { crashes: 1, stops: 1, ..NONE };

fn checked(profile: Profile, parties: usize, rules: Rules, faults: Faults) -> Protocol {
    Protocol { parties, profile, rules, faults }
}

/// Everything holds, and everything that should happen does.
#[track_caller]
fn holds(profile: Profile, parties: usize, faults: Faults) {
    let protocol = checked(profile, parties, Rules::ALL, faults);
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    eprintln!("{} states, depth {}: {profile:?} {parties} {faults:?}", checker.unique_state_count(), checker.max_depth());
    for (name, path) in checker.discoveries() {
        if checker.model().property(name).expectation.discovery_is_failure() {
            panic!("{name}:{}", trace(path));
        }
    }
    checker.assert_properties();
}

/// Step by step: who does what, and what is in the store, and where everybody is.
fn trace(path: Path<World, Act>) -> String {
    let mut text = String::new();
    for (world, act) in path.into_vec() {
        let phases: Vec<_> = world.parties.iter().map(|party| (party.phase, party.known.generation)).collect();
        write!(text, "\n  {:?} {:?} {phases:?}\n{act:?}", world.store.record, world.store.lease).expect("to memory");
    }
    text
}


#[test]
fn t1() {
    let all = Faults { crashes: 1, stops: 1, lost_answers: 1, store_errors: 1, failovers: 0, ends: 1 };
    for p in [LOGIN, PERSON, LENIENT, SESSION, BOTH] { holds(p, 2, all); }
}
#[test]
fn t2() {
    let all = Faults { crashes: 1, stops: 1, lost_answers: 0, store_errors: 0, failovers: 0, ends: 0 };
    for p in [LOGIN, PERSON, LENIENT, SESSION, BOTH] { holds(p, 3, all); }
}
#[test]
fn t3() {
    let all = Faults { crashes: 0, stops: 1, lost_answers: 0, store_errors: 0, failovers: 1, ends: 0 };
    for p in [LOGIN, PERSON, LENIENT, SESSION, BOTH] { holds(p, 2, all); }
    let all = Faults { crashes: 1, stops: 0, lost_answers: 0, store_errors: 1, failovers: 1, ends: 1 };
    for p in [LOGIN, PERSON, LENIENT, SESSION, BOTH] { holds(p, 2, all); }
}
