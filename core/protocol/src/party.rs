//! What parties do, step by step: each step is one operation on the store or one request. As core/src/refresh.rs does it.

use crate::rules::Faults;
use crate::world::{Lease, Outcome, Phase, Protocol, Record, Token, World, Wrong};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Reads the record without the lease, and takes over what is new.
    Looks(usize),
    TakesLease(usize),
    /// The next step of a renewal.
    Goes(usize),
    /// The same, and the store gives an error, though it may have written.
    StoreFails {
        party: usize,
        written: bool,
    },
    AnswerIsLost(usize),
    Dies(usize),
    Stops(usize),
    Continues(usize),
    /// The API rejects its token: the vendor has ended it.
    IsRejected(usize),
    /// Tells the store what it knows better, or is told.
    Republishes(usize),
    FailsOver,
    TokensEnd,
}

pub(crate) fn acts(protocol: &Protocol, world: &World, acts: &mut Vec<Act>) {
    let Faults { crashes, stops, lost_answers, store_errors, failovers, ends } = world.left;
    for (me, party) in world.parties.iter().enumerate() {
        if crashes > 0 && (party.phase != Phase::Wants || party.known.generation > 0) {
            acts.push(Act::Dies(me));
        }
        if party.stopped {
            acts.push(Act::Continues(me));
            continue;
        }
        match party.phase {
            Phase::Wants => {
                let newer = world.store.record.age(&protocol.rules) >= party.known.age(&protocol.rules);
                if newer && adoptable(world, &world.store.record, party.floor).is_some() {
                    acts.push(Act::Looks(me));
                }
                if can_take(protocol, world, me) {
                    acts.push(Act::TakesLease(me));
                }
            }
            Phase::Done(outcome) => {
                if matches!(outcome, Outcome::Token(token) if world.grants[usize::from(token.grant)].dead) {
                    acts.push(Act::IsRejected(me));
                }
                let behind = world.store.record.age(&protocol.rules) < party.known.age(&protocol.rules);
                if protocol.rules.republish && (behind || party.is_dirty()) {
                    acts.push(Act::Republishes(me));
                }
            }
            _ => acts.push(Act::Goes(me)),
        }
        let writes = matches!(party.phase, Phase::Marks(_) | Phase::Got { .. } | Phase::Drops(_));
        if store_errors > 0 && writes {
            acts.extend([false, true].map(|written| Act::StoreFails { party: me, written }));
        }
        if lost_answers > 0 && matches!(party.phase, Phase::Waits { answer: Some(_), .. }) {
            acts.push(Act::AnswerIsLost(me));
        }
        if stops > 0 && under_lease(party.phase) {
            acts.push(Act::Stops(me));
        }
    }
    if failovers > 0 && world.store.before.is_some() {
        acts.push(Act::FailsOver);
    }
    if ends > 0 && world.parties.iter().any(|party| matches!(party.phase, Phase::Done(Outcome::Token(_)))) {
        acts.push(Act::TokensEnd);
    }
}

pub(crate) fn act(protocol: &Protocol, world: &mut World, act: Act) {
    match act {
        Act::Looks(me) => {
            load(protocol, world, me);
            let token = news(world, me).expect("it has looked");
            done(world, me, Outcome::Token(token));
        }
        Act::TakesLease(me) => {
            take(world, me);
            world.parties[me].phase = Phase::Leased;
        }
        Act::Goes(me) => go(protocol, world, me),
        Act::StoreFails { party, written } => {
            world.left.store_errors -= 1;
            write_fails(protocol, world, party, written);
        }
        Act::AnswerIsLost(me) => {
            world.left.lost_answers -= 1;
            answer_lost(protocol, world, me);
        }
        Act::Dies(me) => {
            world.left.crashes -= 1;
            world.forget_outcome(me);
            if let Some(lease) = world.store.lease.as_mut().filter(|lease| lease.party == me) {
                lease.dead = true;
            }
            let party = &mut world.parties[me];
            (party.phase, party.stopped, party.late, party.floor) = (Phase::Wants, false, false, 0);
            (party.known, party.standing) = (Record::default(), 0);
        }
        Act::Stops(me) => {
            world.left.stops -= 1;
            world.parties[me].stopped = true;
        }
        Act::Continues(me) => world.parties[me].stopped = false,
        Act::IsRejected(me) => world.parties[me].phase = Phase::Wants,
        Act::Republishes(me) => republish(protocol, world, me),
        Act::FailsOver => {
            world.left.failovers -= 1;
            world.store.record = world.store.before.take().expect("it was looked at");
            if let Some(lease) = world.store.lease.take().filter(|lease| !lease.dead) {
                world.forget_outcome(lease.party);
                world.parties[lease.party].late = true;
            }
        }
        Act::TokensEnd => {
            world.left.ends -= 1;
            let mut ended: Vec<u8> = world.store.record.token.iter().map(|token| token.grant).collect();
            for party in &mut world.parties {
                if let Phase::Done(Outcome::Token(token)) = party.phase {
                    party.phase = Phase::Wants;
                    ended.push(token.grant);
                }
            }
            ended.into_iter().for_each(|grant| world.grants[usize::from(grant)].ended = true);
        }
    }
}

pub(crate) fn under_lease(phase: Phase) -> bool {
    !matches!(phase, Phase::Wants | Phase::Done(_))
}

/// The token in a record, if it is newer than what this party's callers have had, and has not ended.
fn adoptable(world: &World, record: &Record, floor: u8) -> Option<Token> {
    record.token.filter(|token| token.at > floor && !world.grants[usize::from(token.grant)].ended)
}

fn news(world: &World, me: usize) -> Option<Token> {
    adoptable(world, &world.parties[me].known, world.parties[me].floor)
}

/// Free, ours, its holder dead, or stopped until the lease has lapsed.
fn can_take(protocol: &Protocol, world: &World, me: usize) -> bool {
    let Some(Lease { party, dead }) = world.store.lease else { return true };
    let gone = dead || world.parties[party].stopped;
    (party == me && !dead) || (gone && protocol.rules.lapse) || !protocol.rules.keep_lease
}

fn take(world: &mut World, me: usize) {
    let other = world.store.lease.filter(|lease| lease.party != me && !lease.dead);
    if let Some(Lease { party, .. }) = other {
        world.forget_outcome(party);
        // One that runs and was not asked believes in its lease.
        world.parties[party].late = world.parties[party].stopped;
    }
    world.store.lease = Some(Lease { party: me, dead: false });
    world.parties[me].late = false;
}

/// A store that stepped back does not take away what this process knows.
fn load(protocol: &Protocol, world: &mut World, me: usize) {
    let record = world.store.record;
    let party = &mut world.parties[me];
    party.standing = record.generation;
    if record.age(&protocol.rules) >= party.known.age(&protocol.rules) {
        party.known = record;
    }
}

enum Swap {
    Stored,
    Lost,
    /// What stands there is older than what this party knows: it knows now, and writes over it.
    Behind,
}

fn put(world: &mut World, record: Record) {
    let standing = &world.store.record;
    if record.generation <= standing.generation || record.token_at() < standing.token_at() {
        world.is_wrong(Wrong::SteppedBack);
    }
    world.newest = world.newest.max(record.generation);
    world.store.before = (world.left.failovers > 0).then_some(world.store.record);
    world.store.record = record;
}

fn swap(protocol: &Protocol, world: &mut World, me: usize, next: Record) -> Swap {
    if world.store.record.generation == world.parties[me].standing || !protocol.rules.compare_and_set {
        put(world, next);
        let party = &mut world.parties[me];
        (party.known, party.standing) = (next, next.generation);
        return Swap::Stored;
    }
    load(protocol, world, me);
    if world.parties[me].is_dirty() { Swap::Behind } else { Swap::Lost }
}

fn next_generation(protocol: &Protocol, world: &World, me: usize) -> u8 {
    let least = if protocol.rules.unique_generations { world.newest } else { world.parties[me].standing };
    world.parties[me].known.generation.max(least) + 1
}

/// What this party writes in its phase.
fn next_record(protocol: &Protocol, world: &World, me: usize) -> Record {
    let known = world.parties[me].known;
    let generation = next_generation(protocol, world, me);
    match world.parties[me].phase {
        Phase::Marks(_) => Record { generation, intent: true, ..known },
        Phase::TakesBack => Record { generation, intent: false, ..known },
        Phase::Drops(_) => Record { generation, intent: false, refresh: None, ..known },
        Phase::Got { grant, .. } => Record {
            generation,
            token: Some(Token { grant, at: generation }),
            refresh: protocol.profile.refreshes.then_some(grant),
            intent: false,
        },
        phase => unreachable!("{phase:?} writes nothing"),
    }
}

fn go(protocol: &Protocol, world: &mut World, me: usize) {
    let rules = protocol.rules;
    match world.parties[me].phase {
        Phase::Leased => {
            load(protocol, world, me);
            match news(world, me).filter(|_| rules.adopt) {
                Some(token) => end(world, me, Outcome::Token(token)),
                None => decide(protocol, world, me),
            }
        }
        Phase::Marks(token) => {
            let next = next_record(protocol, world, me);
            match swap(protocol, world, me, next) {
                Swap::Stored => world.parties[me].phase = Phase::Sends(Some(token)),
                Swap::Lost => lost(protocol, world, me),
                Swap::Behind => {}
            }
        }
        Phase::Sends(token) => send(protocol, world, me, token),
        Phase::Waits { sent, answer } => {
            world.parties[me].phase = match (answer, sent) {
                (Some(grant), sent) => Phase::Got { sent, grant },
                (None, Some(sent)) => Phase::Refused(sent),
                (None, None) => unreachable!("no login is refused"),
            };
        }
        Phase::Got { grant, .. } => {
            let next = next_record(protocol, world, me);
            match swap(protocol, world, me, next) {
                Swap::Stored => end(world, me, Outcome::Token(Token { grant, at: next.generation })),
                Swap::Lost => match news(world, me) {
                    Some(token) => end(world, me, Outcome::Token(token)),
                    None if rules.write_over_notes => {}
                    None => {
                        world.is_wrong(Wrong::ThrewTokenAway);
                        end(world, me, Outcome::Failed);
                    }
                },
                Swap::Behind => {}
            }
        }
        Phase::Refused(_) if !rules.reread_refusal => give_up(protocol, world, me),
        Phase::Refused(token) => {
            load(protocol, world, me);
            match news(world, me) {
                Some(token) => end(world, me, Outcome::Token(token)),
                None => world.parties[me].phase = Phase::Drops(token),
            }
        }
        Phase::Drops(token) => {
            if rules.drop_only_the_sent && world.parties[me].known.refresh != Some(token) {
                world.parties[me].phase = Phase::Wants;
                return;
            }
            let dropped = world.parties[me].known.refresh;
            let next = next_record(protocol, world, me);
            match swap(protocol, world, me, next) {
                Swap::Stored => {
                    if dropped.is_some_and(|dropped| dropped != token && !world.grants[usize::from(dropped)].spent) {
                        world.is_wrong(Wrong::DroppedAnother);
                    }
                    give_up(protocol, world, me);
                }
                // A note about the same refresh token: the refusal is still true.
                Swap::Lost if rules.write_over_notes => {}
                Swap::Lost => lost(protocol, world, me),
                Swap::Behind => {}
            }
        }
        Phase::TakesBack => {
            let next = next_record(protocol, world, me);
            swap(protocol, world, me, next);
            end(world, me, Outcome::Failed);
        }
        Phase::Ends(outcome) => {
            if rules.hold_while_dirty && world.parties[me].is_dirty() {
                republish(protocol, world, me);
                return;
            }
            match world.store.lease {
                Some(lease) if lease.party == me && !lease.dead => world.store.lease = None,
                Some(lease) if !rules.own_release => {
                    if !lease.dead {
                        world.is_wrong(Wrong::ForeignRelease);
                    }
                    world.store.lease = None;
                }
                _ => {}
            }
            done(world, me, outcome);
        }
        phase @ (Phase::Wants | Phase::Done(_)) => unreachable!("{phase:?} is no step of a renewal"),
    }
}

/// What to do with the record as it is known.
fn decide(protocol: &Protocol, world: &mut World, me: usize) {
    let (profile, rules, known) = (protocol.profile, protocol.rules, world.parties[me].known);
    let worth_it = !known.intent || !profile.can_login || !rules.leave_maybe_spent;
    match known.refresh.filter(|_| worth_it) {
        Some(token) if rules.intent => world.parties[me].phase = Phase::Marks(token),
        Some(token) => world.parties[me].phase = Phase::Sends(Some(token)),
        None => give_up(protocol, world, me),
    }
}

/// No refresh token is of use.
fn give_up(protocol: &Protocol, world: &mut World, me: usize) {
    if protocol.profile.can_login && protocol.rules.log_in {
        world.parties[me].phase = Phase::Sends(None);
        return;
    }
    let in_store = adoptable(world, &world.store.record, world.parties[me].floor);
    let reason = world.grants.iter().any(|grant| grant.unknown > 0) || world.left.failovers < protocol.faults.failovers;
    if in_store.is_some() || !reason {
        world.is_wrong(Wrong::PersonForNothing);
    }
    end(world, me, Outcome::NeedsPerson);
}

/// Somebody else wrote: `known` is theirs.
fn lost(protocol: &Protocol, world: &mut World, me: usize) {
    if protocol.rules.begin_again {
        world.parties[me].phase = Phase::Wants;
        return;
    }
    match news(world, me).filter(|_| matches!(world.parties[me].phase, Phase::Marks(_))) {
        Some(token) => end(world, me, Outcome::Token(token)),
        None => decide(protocol, world, me),
    }
}

fn send(protocol: &Protocol, world: &mut World, me: usize, token: Option<u8>) {
    let (profile, rules) = (protocol.profile, protocol.rules);
    if rules.lease_before_sending {
        if !can_take(protocol, world, me) {
            match token {
                _ if rules.begin_again => world.parties[me].phase = Phase::Wants,
                Some(_) => world.parties[me].phase = Phase::TakesBack,
                None => end(world, me, Outcome::Failed),
            }
            return;
        }
        take(world, me);
    }
    if rules.record_before_sending && world.store.record.generation != world.parties[me].standing {
        world.parties[me].phase = Phase::Leased;
        return;
    }
    if world.store.record.token_at() > world.parties[me].known.token_at() {
        world.is_wrong(Wrong::SentOverNewer);
    }
    let answer = match token {
        None => Some(world.login(&profile)),
        Some(token) => {
            let answer = world.refresh(token, &profile);
            let grant = &world.grants[usize::from(token)];
            // The one try of who cannot log in; and a store that lost the intent can warn nobody.
            let unknown = if profile.can_login { 0 } else { grant.unknown };
            if grant.sends > 1 + unknown + protocol.faults.failovers - world.left.failovers {
                world.is_wrong(Wrong::SentTwice);
            }
            answer
        }
    };
    world.parties[me].phase = Phase::Waits { sent: token, answer };
}

fn answer_lost(protocol: &Protocol, world: &mut World, me: usize) {
    world.forget_outcome(me);
    let Phase::Waits { sent, .. } = world.parties[me].phase else { unreachable!("only who waits can lose an answer") };
    world.parties[me].phase = match sent {
        Some(_) if !protocol.rules.no_resend => Phase::Sends(sent),
        Some(token) if protocol.profile.can_login => Phase::Refused(token),
        // The intent stays, and says to the next one what it is about.
        Some(_) => Phase::Ends(Outcome::Failed),
        // A login may be repeated, once the record was read again.
        None => Phase::Leased,
    };
}

fn write_fails(protocol: &Protocol, world: &mut World, me: usize, written: bool) {
    let next = next_record(protocol, world, me);
    if written && world.store.record.generation == world.parties[me].standing {
        put(world, next);
    }
    match world.parties[me].phase {
        Phase::Marks(_) if protocol.profile.can_login => world.parties[me].phase = Phase::Sends(None),
        // The old refresh token is gone: the new one lives on here, dirty.
        Phase::Got { grant, .. } => {
            if protocol.rules.keep_dirty {
                keep(world, me, next);
            }
            end(world, me, Outcome::Token(Token { grant, at: next.generation }));
        }
        Phase::Drops(_) if protocol.rules.keep_dirty => {
            keep(world, me, next);
            // A sibling may just have written a token: no person is called on the strength of what could not be written.
            match protocol.profile.can_login {
                true => give_up(protocol, world, me),
                false => end(world, me, Outcome::Failed),
            }
        }
        _ => end(world, me, Outcome::Failed),
    }
}

/// In memory alone: dirty.
fn keep(world: &mut World, me: usize, record: Record) {
    world.newest = world.newest.max(record.generation);
    world.parties[me].known = record;
}

/// By compare-and-set: what stands there and counts more stays, and is known from now on.
fn republish(protocol: &Protocol, world: &mut World, me: usize) {
    load(protocol, world, me);
    if !world.parties[me].is_dirty() {
        return;
    }
    let mut record = world.parties[me].known;
    if record.generation < world.parties[me].standing {
        record.generation = next_generation(protocol, world, me);
    }
    put(world, record);
    let party = &mut world.parties[me];
    (party.known, party.standing) = (record, record.generation);
}

fn end(world: &mut World, me: usize, outcome: Outcome) {
    world.parties[me].phase = Phase::Ends(outcome);
}

fn done(world: &mut World, me: usize, outcome: Outcome) {
    let party = &mut world.parties[me];
    if let Outcome::Token(token) = outcome {
        party.floor = token.at;
    }
    (party.phase, party.late) = (Phase::Done(outcome), false);
}
