//! The state: a vendor, a store with one record and its lease, and the parties; and what the checker looks at.

use stateright::{Model, Property};

use crate::party::{self, Act};
use crate::properties;
use crate::rules::{Faults, Profile, Rules};

/// A token that was obtained, by the number of the vendor's grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) grant: u8,
    /// The record's generation when it was written.
    pub(crate) at: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) generation: u8,
    pub(crate) token: Option<Token>,
    pub(crate) refresh: Option<u8>,
    pub(crate) intent: bool,
}

impl Record {
    /// Which of two counts: the one with more. Of one token, who knows that its refresh token was refused knows more than
    /// who means to send it.
    pub(crate) fn age(&self, rules: &Rules) -> (u8, bool, u8) {
        match rules.answers_first {
            true => (self.token_at(), self.refresh.is_none(), self.generation),
            false => (0, false, self.generation),
        }
    }

    pub(crate) fn token_at(&self) -> u8 {
        self.token.map_or(0, |token| token.at)
    }
}

/// Who holds the lease; its process may be dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) party: usize,
    pub(crate) dead: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) record: Record,
    /// What a failover goes back to.
    pub(crate) before: Option<Record>,
    pub(crate) lease: Option<Lease>,
}

/// An access token and the refresh token that came with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    family: u8,
    /// The refresh token was used.
    pub(crate) spent: bool,
    /// Revoked, or a newer session has ended it: neither token is good.
    pub(crate) dead: bool,
    /// The access token has ended, as everybody knows.
    pub(crate) ended: bool,
    /// How often the refresh token was sent.
    pub(crate) sends: u8,
    /// How often no party that lives and holds the lease knows what became of sending it.
    pub(crate) unknown: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Token(Token),
    /// `reauthentication_required`.
    NeedsPerson,
    /// Another error that says what is wrong.
    Failed,
}

/// Where a party is in its renewal: what it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// A caller waits; the lease is not asked for, or not got.
    Wants,
    /// Has the lease, and reads the record.
    Leased,
    /// Writes the intent to send this refresh token.
    Marks(u8),
    /// Looks whether it may, and sends: a refresh token, or a login.
    Sends(Option<u8>),
    /// The vendor has done what was asked; `None`: refused.
    Waits {
        sent: Option<u8>,
        answer: Option<u8>,
    },
    /// Writes what it got.
    Got {
        sent: Option<u8>,
        grant: u8,
    },
    /// Reads the record again before it believes that this refresh token is of no use.
    Refused(u8),
    /// Writes that it is of none.
    Drops(u8),
    /// Was too late to send: takes the intent back.
    TakesBack,
    /// Told its callers; gives the lease back.
    Ends(Outcome),
    Done(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Party {
    pub(crate) phase: Phase,
    pub(crate) stopped: bool,
    /// Somebody took its lease over while it was stopped, or a failover lost it, and it has not noticed.
    pub(crate) late: bool,
    /// Only tokens of later generations are new to its callers.
    pub(crate) floor: u8,
    /// The newest record it has seen or made.
    pub(crate) known: Record,
    /// The generation that it thinks stands in the store.
    pub(crate) standing: u8,
}

impl Party {
    /// What it knows does not stand in the store.
    pub(crate) fn is_dirty(&self) -> bool {
        self.standing != self.known.generation
    }
}

/// What must never happen, once it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    SentTwice,
    SentOverNewer,
    SteppedBack,
    ForeignRelease,
    ThrewTokenAway,
    DroppedAnother,
    PersonForNothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) parties: Vec<Party>,
    pub(crate) store: Store,
    pub(crate) grants: Vec<Grant>,
    pub(crate) left: Faults,
    /// The largest generation that any record has had.
    pub(crate) newest: u8,
    pub(crate) wrong: Option<Wrong>,
}

/// What is checked: this many parties under these rules.
#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) parties: usize,
    pub(crate) profile: Profile,
    pub(crate) rules: Rules,
    pub(crate) faults: Faults,
}

impl Model for Protocol {
    type State = World;
    type Action = Act;

    /// A record whose access token has just ended, known to all; each has a caller who wants a new one.
    fn init_states(&self) -> Vec<World> {
        let token = Some(Token { grant: 0, at: 1 });
        let record = Record { generation: 1, token, refresh: self.profile.refreshes.then_some(0), intent: false };
        let party = Party { phase: Phase::Wants, stopped: false, late: false, floor: 1, known: record, standing: 1 };
        vec![World {
            parties: vec![party; self.parties],
            store: Store { record, before: None, lease: None },
            grants: vec![Grant { ended: true, ..Grant::default() }],
            left: self.faults,
            newest: 1,
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        party::acts(self, world, acts);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        party::act(self, &mut next, act);
        Some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.newest <= properties::ENDLESS
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        properties::all(self)
    }
}

impl World {
    /// The first wrong is the one to look at.
    pub(crate) fn is_wrong(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }

    /// The vendor gives a login's tokens.
    pub(crate) fn login(&mut self, profile: &Profile) -> u8 {
        let family = self.grants.iter().map(|grant| grant.family).max().unwrap_or(0) + 1;
        self.grant(family, profile)
    }

    /// The vendor is sent a refresh token.
    pub(crate) fn refresh(&mut self, token: u8, profile: &Profile) -> Option<u8> {
        let grant = &mut self.grants[usize::from(token)];
        grant.sends += 1;
        let (family, good) = (grant.family, !grant.spent && !grant.dead);
        if good {
            grant.spent = true;
            return Some(self.grant(family, profile));
        }
        if profile.revokes {
            self.grants.iter_mut().filter(|grant| grant.family == family).for_each(|grant| grant.dead = true);
        }
        None
    }

    fn grant(&mut self, family: u8, profile: &Profile) -> u8 {
        if profile.single_session {
            self.grants.iter_mut().for_each(|grant| grant.dead = true);
        }
        self.grants.push(Grant { family, ..Grant::default() });
        u8::try_from(self.grants.len() - 1).expect("few grants")
    }

    /// Nobody knows any more what became of what this party sent, or has not written.
    pub(crate) fn forget_outcome(&mut self, party: usize) {
        let party = &self.parties[party];
        let sent = match party.phase {
            Phase::Waits { sent, .. } | Phase::Got { sent, .. } => sent,
            Phase::Refused(sent) | Phase::Drops(sent) => Some(sent),
            _ => self.store.record.refresh.filter(|_| party.is_dirty()),
        };
        if let Some(sent) = sent {
            self.grants[usize::from(sent)].unknown += 1;
        }
    }
}
