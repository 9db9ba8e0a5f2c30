//! What must hold in every order.

use loom::sync::atomic::Ordering;
use loom::thread;

use crate::sync::Arc;
use crate::world::{Token, World};

/// Every order with at most this many involuntary switches between threads; more find nothing new here and take hours.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn callers_that_miss_at_once_share_one_renewal() {
    // fault 53
    check(|| {
        let world = World::new();
        let other = world.clone();
        let second = thread::spawn(move || other.fly().is_some());
        let first = world.fly();
        let got = first.map(|flight| flight.wait());
        second.join().unwrap();
        assert!(got.is_none_or(|outcome| outcome == Some(1)));
        assert_eq!(world.requests.load(Ordering::SeqCst).max(1), 1, "one request at most");
    });
}

#[test]
fn a_renewal_does_not_publish_over_an_invalidation() {
    // fault 56
    check(|| {
        let world = World::with_token();
        let renewing = world.renewing();
        let acted = world.invalidate(1);
        renewing.join().unwrap();
        world.check_era();
        let requests = world.requests.load(Ordering::SeqCst);
        let now = world.generation().expect("the renewal has brought a token");
        assert!(now > 1);
        // Too late: the token that was meant is not there any more, and the new one is not touched.
        assert!(acted || requests == 1);
        assert!(requests <= 2, "one renewal, and one more where the first one's token came too late");
    });
}

#[test]
fn two_who_reject_one_token_cost_one_renewal() {
    // fault 50
    check(|| {
        let world = World::with_token();
        let other = world.clone();
        let second = thread::spawn(move || {
            let acted = other.invalidate(1);
            drop(other.fly());
            acted
        });
        let first = world.invalidate(1);
        let flight = world.fly();
        let got = flight.map(|flight| flight.wait());
        let second = second.join().unwrap();
        assert!(first ^ second, "one of them acts");
        assert!(got.is_none_or(|outcome| outcome == Some(2)));
        assert!(world.requests.load(Ordering::SeqCst) <= 1);
    });
}

#[test]
fn after_close_nothing_is_published() {
    check(|| {
        let world = World::with_token();
        let renewing = world.renewing();
        world.life.close();
        assert_eq!(world.generation(), None);
        renewing.join().unwrap();
        assert_eq!(world.generation(), None);
        assert!(world.fly().is_none());
        let mut locked = world.life.lock();
        assert!(!locked.replace(Some(&Arc::new(Token { generation: 9, era: 0 }))));
    });
}

#[test]
fn a_token_of_the_old_secret_is_not_published_after_an_update() {
    check(|| {
        let world = World::with_token();
        let renewing = world.renewing();
        world.update();
        renewing.join().unwrap();
        world.check_era();
    });
}

#[test]
fn a_renewal_that_dies_frees_its_slot_and_the_next_one_brings_a_token() {
    // fault 55
    check(|| {
        let world = World::new();
        let flight = world.start();
        let dying = {
            let (world, flight) = (world.clone(), flight.clone());
            thread::spawn(move || world.panic(&flight))
        };
        dying.join().unwrap();
        let next = world.fly().expect("a new renewal");
        assert_eq!(next.wait(), Some(1));
        assert_eq!(world.generation(), Some(1));
    });
}

#[test]
fn generations_that_a_reader_sees_only_rise() {
    check(|| {
        let world = World::with_token();
        let renewing = world.renewing();
        let rejecting = {
            let world = world.clone();
            thread::spawn(move || world.invalidate(1))
        };
        let seen = [world.generation(), world.generation()];
        if let [Some(first), Some(second)] = seen {
            assert!(first <= second);
        }
        renewing.join().unwrap();
        let acted = rejecting.join().unwrap();
        assert!(!acted || world.generation() != Some(1), "a rejected token is not served");
    });
}

#[test]
fn a_failure_from_before_a_reset_is_not_remembered() {
    check(|| {
        let world = World::new();
        let other = world.clone();
        let failing = thread::spawn(move || {
            let round = other.life.lock().begin();
            other.life.lock().remember("refused", round.epoch);
            round.forget
        });
        world.life.lock().reset();
        let cleared = failing.join().unwrap();
        // A failure that stands is one of a round that had begun after the reset.
        assert!(world.life.lock().pause.is_none() || cleared);
    });
}

#[test]
fn an_adopted_sign_in_is_not_overwritten_by_a_renewal_from_before() {
    check(|| {
        let world = World::with_token();
        let flight = world.start();
        let renewing = {
            let (world, flight) = (world.clone(), flight.clone());
            thread::spawn(move || {
                let round = world.life.lock().begin();
                let token = Arc::new(Token { generation: round.floor + 1, era: 0 });
                let fits = world.life.lock().publish(&token, round.epoch);
                world.life.lock().fail();
                drop(flight);
                fits.then_some((round.epoch, token.generation))
            })
        };
        let sign_in = Arc::new(Token { generation: 7, era: 0 });
        assert!(world.life.lock().replace(Some(&sign_in)));
        let published = renewing.join().unwrap();
        match published {
            // Before the sign-in, which stands over it, or after it, with a larger number.
            Some((_, generation)) if generation < 7 => assert_eq!(world.generation(), Some(7)),
            Some((_, generation)) => assert_eq!(world.generation(), Some(generation)),
            None => assert_eq!(world.generation(), Some(7)),
        }
        world.update();
        assert!(world.life.lock().begin().floor >= 7, "no later token has a number of an earlier one");
    });
}

#[test]
fn whoever_rejects_a_new_token_is_not_sent_to_the_renewal_that_brought_it() {
    check(|| {
        let world = World::new();
        let first = world.fly().expect("nothing is published").wait();
        assert_eq!(first, Some(1));
        assert!(world.invalidate(1));
        let second = world.fly().expect("nothing is published").wait();
        assert_eq!(second, Some(2));
    });
}
