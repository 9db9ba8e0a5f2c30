//! What each rule is for: without it the checker finds a run that breaks a property, which with it holds.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use crate::checks::{CRASH, CRASH_AND_STOP, LENIENT, LOGIN, NO_FAULTS, PERSON, SESSION, STOP, holds, protocol};
use crate::properties::{
    ANSWERED, DROPPED_ANOTHER, ENDS, FOREIGN_RELEASE, KNOWN, NO_PERSON, ONE_HOLDER, PERSON_FOR_NOTHING,
    SENT_OVER_NEWER, SENT_TWICE, STEPPED_BACK, THREW_AWAY, TOKEN,
};
use crate::rules::{Faults, Profile, Rules};

/// Two parties under `rules` break `property`, and do not under all the rules.
#[track_caller]
fn breaks(rules: Rules, profile: Profile, faults: Faults, property: &'static str) {
    let checker = protocol(2, profile, rules, faults).checker();
    let checker = checker.finish_when(HasDiscoveries::AllOf(BTreeSet::from([property]))).spawn_bfs().join();
    let found = checker.discovery(property);
    assert!(found.is_some(), "the rule is of no use here: {property}, in {} states", checker.unique_state_count());
    holds(2, profile, faults);
}

#[test]
fn without_a_renewed_lease_two_renew_at_once() {
    breaks(Rules { keep_lease: false, ..Rules::ALL }, LOGIN, NO_FAULTS, ONE_HOLDER);
}

#[test]
fn without_a_lapse_the_lease_of_the_dead_is_waited_for_for_ever() {
    breaks(Rules { lapse: false, ..Rules::ALL }, LOGIN, CRASH, ANSWERED);
}

#[test]
fn without_adopting_siblings_end_each_others_sessions_for_ever() {
    breaks(Rules { adopt: false, ..Rules::ALL }, SESSION, NO_FAULTS, ENDS);
}

#[test]
fn without_the_intent_a_token_is_spent_twice() {
    // fault 48
    breaks(Rules { intent: false, ..Rules::ALL }, LOGIN, CRASH, SENT_TWICE);
}

#[test]
fn a_login_that_tries_what_may_be_spent_spends_it_twice() {
    // fault 48
    breaks(Rules { leave_maybe_spent: false, ..Rules::ALL }, LOGIN, CRASH, SENT_TWICE);
}

#[test]
fn without_a_login_a_person_is_called() {
    breaks(Rules { log_in: false, ..Rules::ALL }, LOGIN, CRASH, NO_PERSON);
}

#[test]
fn without_the_lease_at_sending_a_token_is_spent_twice() {
    // fault 66
    breaks(Rules { lease_before_sending: false, ..Rules::ALL }, PERSON, CRASH_AND_STOP, SENT_TWICE);
}

#[test]
fn a_lease_that_can_be_had_again_does_not_say_that_nobody_renewed() {
    // fault 66
    let rules = Rules { record_before_sending: false, ..Rules::ALL };
    breaks(rules, LOGIN, STOP, SENT_OVER_NEWER);
    breaks(rules, SESSION, STOP, SENT_OVER_NEWER);
    breaks(rules, PERSON, CRASH_AND_STOP, SENT_TWICE);
}

#[test]
fn who_lost_the_lease_and_gives_up_leaves_its_caller_without_the_holders_token() {
    // fault 66
    let rules = Rules { begin_again: false, ..Rules::ALL };
    breaks(rules, LOGIN, STOP, TOKEN);
    breaks(rules, PERSON, STOP, TOKEN);
}

#[test]
fn a_request_without_an_answer_is_not_sent_again() {
    // fault 16
    breaks(Rules { no_resend: false, ..Rules::ALL }, LOGIN, Faults { lost_answers: 1, ..NO_FAULTS }, SENT_TWICE);
}

#[test]
fn a_refusal_believed_at_once_calls_a_person_for_nothing() {
    // fault 27
    breaks(Rules { reread_refusal: false, ..Rules::ALL }, LENIENT, STOP, PERSON_FOR_NOTHING);
}

#[test]
fn a_refusal_says_nothing_of_a_newer_refresh_token() {
    // fault 27
    let rules = Rules { drop_only_the_sent: false, ..Rules::ALL };
    breaks(rules, PERSON, Faults { ends: 1, ..STOP }, DROPPED_ANOTHER);
}

#[test]
fn without_compare_and_set_the_late_writer_wins() {
    // fault 66
    let rules = Rules { compare_and_set: false, ..Rules::ALL };
    breaks(rules, LOGIN, CRASH_AND_STOP, STEPPED_BACK);
    breaks(rules, LOGIN, CRASH_AND_STOP, SENT_TWICE);
}

#[test]
fn a_generation_that_comes_back_after_a_failover_hides_a_renewal() {
    // fault 68
    let rules = Rules { unique_generations: false, ..Rules::ALL };
    breaks(rules, PERSON, Faults { failovers: 1, ..STOP }, SENT_OVER_NEWER);
}

#[test]
fn a_note_that_could_not_be_written_does_not_replace_a_newer_token() {
    // fault 47
    let rules = Rules { answers_first: false, ..Rules::ALL };
    breaks(rules, LENIENT, Faults { store_errors: 1, ends: 1, ..CRASH_AND_STOP }, STEPPED_BACK);
}

#[test]
fn a_fresh_token_is_not_thrown_away_for_a_note() {
    // fault 66
    let rules = Rules { write_over_notes: false, ..Rules::ALL };
    breaks(rules, LOGIN, Faults { ends: 1, ..STOP }, THREW_AWAY);
    breaks(rules, PERSON, CRASH_AND_STOP, THREW_AWAY);
}

#[test]
fn an_answer_that_could_not_be_written_is_kept() {
    // fault 47
    breaks(Rules { keep_dirty: false, ..Rules::ALL }, PERSON, Faults { store_errors: 1, ..NO_FAULTS }, SENT_TWICE);
}

#[test]
fn who_holds_what_could_not_be_written_holds_the_lease() {
    // fault 47
    let rules = Rules { hold_while_dirty: false, ..Rules::ALL };
    breaks(rules, PERSON, Faults { store_errors: 1, ..NO_FAULTS }, SENT_TWICE);
}

#[test]
fn a_late_release_takes_the_lease_of_another() {
    // fault 66
    breaks(Rules { own_release: false, ..Rules::ALL }, LOGIN, STOP, FOREIGN_RELEASE);
}

#[test]
fn a_store_that_stepped_back_is_told() {
    // fault 68
    let rules = Rules { republish: false, ..Rules::ALL };
    breaks(rules, LOGIN, Faults { failovers: 1, ..NO_FAULTS }, KNOWN);
}
