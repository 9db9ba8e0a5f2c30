//! What may be switched off: each rule of the protocol, so that the checker shows what it is for; and how often what fails.

/// The rules of a renewal. Without one of them something breaks, or it need not be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A lease is renewed for as long as its holder runs.
    pub(crate) keep_lease: bool,
    /// The lease of who died or was stopped lapses.
    pub(crate) lapse: bool,
    /// What a sibling obtained is taken over under the lease instead of being renewed.
    pub(crate) adopt: bool,
    /// A refresh token is sent once the store holds the intent to.
    pub(crate) intent: bool,
    /// Who can log in does not touch a refresh token that may be spent.
    pub(crate) leave_maybe_spent: bool,
    /// Who can log in does so where no refresh token is of use.
    pub(crate) log_in: bool,
    /// Right before sending: the lease is ours, or can be had again.
    pub(crate) lease_before_sending: bool,
    /// And the record is still the one that this renewal has read or written.
    pub(crate) record_before_sending: bool,
    /// Who lost the lease or a compare-and-set before sending writes nothing more and begins again.
    pub(crate) begin_again: bool,
    /// A request whose answer was lost is not sent again.
    pub(crate) no_resend: bool,
    /// A refusal is believed once the record was read again.
    pub(crate) reread_refusal: bool,
    /// What is dropped is the refresh token that was refused, and no other.
    pub(crate) drop_only_the_sent: bool,
    /// Writes replace what this party knows of, and nothing else.
    pub(crate) compare_and_set: bool,
    /// Generations rise with time: two records never have the same, whatever a failover takes back.
    pub(crate) unique_generations: bool,
    /// Of two records the one with the newer token counts; of two with the same token, the one whose refresh token is known to
    /// be refused; then the one written later.
    pub(crate) answers_first: bool,
    /// What an answer taught (a fresh token, a refusal) and lost to a record that knows no better is written over that.
    pub(crate) write_over_notes: bool,
    /// What an answer taught and the store would not take is kept in memory.
    pub(crate) keep_dirty: bool,
    /// A record that could not be written is written again before the lease is given back.
    pub(crate) hold_while_dirty: bool,
    /// Only the owner's lease is given back.
    pub(crate) own_release: bool,
    /// A store that holds less than this process knows is told.
    pub(crate) republish: bool,
}

impl Rules {
    pub(crate) const ALL: Rules = Rules {
        keep_lease: true,
        lapse: true,
        adopt: true,
        intent: true,
        leave_maybe_spent: true,
        log_in: true,
        lease_before_sending: true,
        record_before_sending: true,
        begin_again: true,
        no_resend: true,
        reread_refusal: true,
        drop_only_the_sent: true,
        compare_and_set: true,
        unique_generations: true,
        answers_first: true,
        write_over_notes: true,
        keep_dirty: true,
        hold_while_dirty: true,
        own_release: true,
        republish: true,
    };
}

/// Whose token it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Without a person.
    pub(crate) can_login: bool,
    /// The vendor gives rotating refresh tokens.
    pub(crate) refreshes: bool,
    /// A new token ends the ones before.
    pub(crate) single_session: bool,
    /// A second use of a refresh token ends everything that came of it; otherwise it is only refused.
    pub(crate) revokes: bool,
}

/// How often what may go wrong, or merely happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// A process dies and starts anew.
    pub(crate) crashes: u8,
    /// A process is stopped while it renews; its lease may lapse.
    pub(crate) stops: u8,
    /// The vendor did what was asked, and nobody hears of it.
    pub(crate) lost_answers: u8,
    /// A write gives an error, done or not.
    pub(crate) store_errors: u8,
    /// The store loses its last write, and the lease.
    pub(crate) failovers: u8,
    /// The access tokens end.
    pub(crate) ends: u8,
}
