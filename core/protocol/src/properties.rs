//! What must hold in every order, and what must happen in some.

use stateright::Property;

use crate::party::{self, under_lease};
use crate::rules::Faults;
use crate::world::{Outcome, Party, Phase, Protocol, World, Wrong};

pub(crate) const SENT_TWICE: &str = "no refresh token is sent twice";
pub(crate) const SENT_OVER_NEWER: &str = "nothing is sent once a sibling has renewed";
pub(crate) const STEPPED_BACK: &str = "no record is replaced by an older one";
pub(crate) const KNOWN: &str = "in the end the store holds the newest that a living party knows";
pub(crate) const ANSWERED: &str = "every caller has an answer in the end";
pub(crate) const TOKEN: &str = "every caller has a good token in the end, unless an answer or a write failed";
pub(crate) const NO_PERSON: &str = "no person is called where a login would do";
pub(crate) const PERSON_FOR_NOTHING: &str = "no person is called without need";
pub(crate) const THREW_AWAY: &str = "no token is thrown away for a record without one";
pub(crate) const DROPPED_ANOTHER: &str = "no good refresh token is dropped for a refused one";
pub(crate) const FOREIGN_RELEASE: &str = "nobody gives back the lease of another";
pub(crate) const ONE_HOLDER: &str =
    "one running party at most believes to hold the lease, but for those that were stopped";
pub(crate) const ENDS: &str = "no run goes on for ever";

/// Runs with all the rules end long before such a generation.
pub(crate) const ENDLESS: u8 = 40;

pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let Protocol { profile, faults, .. } = protocol;
    let mut all: Vec<Property<Protocol>> = vec![
        Property::always(SENT_TWICE, |_: &Protocol, world: &World| world.wrong != Some(Wrong::SentTwice)),
        Property::always(SENT_OVER_NEWER, |_: &Protocol, world: &World| world.wrong != Some(Wrong::SentOverNewer)),
        Property::always(STEPPED_BACK, |_: &Protocol, world: &World| world.wrong != Some(Wrong::SteppedBack)),
        Property::always(THREW_AWAY, |_: &Protocol, world: &World| world.wrong != Some(Wrong::ThrewTokenAway)),
        Property::always(DROPPED_ANOTHER, |_: &Protocol, world: &World| world.wrong != Some(Wrong::DroppedAnother)),
        Property::always(FOREIGN_RELEASE, |_: &Protocol, world: &World| world.wrong != Some(Wrong::ForeignRelease)),
        Property::always(PERSON_FOR_NOTHING, |_: &Protocol, world: &World| {
            world.wrong != Some(Wrong::PersonForNothing)
        }),
        Property::always(NO_PERSON, |protocol: &Protocol, world: &World| {
            !protocol.profile.can_login || !world.parties.iter().any(|party| party.phase == NEEDS_PERSON)
        }),
        Property::always(ONE_HOLDER, |_: &Protocol, world: &World| {
            world.parties.iter().filter(|party| believes(party)).count() <= 1
        }),
        Property::always(ANSWERED, |protocol: &Protocol, world: &World| {
            !at_end(protocol, world) || world.parties.iter().all(answered)
        }),
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
        Property::always(ENDS, |_: &Protocol, world: &World| world.newest < ENDLESS),
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
        all.push(Property::sometimes(
            "the store holds less than a party has read there",
            |_: &Protocol, world: &World| {
                world.parties.iter().any(|party| party.standing > world.store.record.generation)
            },
        ));
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
