//! Nanoseconds per call: the subjects take turns, so that a drift of the machine meets them all alike.

use std::sync::Barrier;
use std::time::Instant;

/// A subject: its name, and what runs it that many times.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn Fn(u64) + Sync + 'a>,
}

/// The median over rounds of the nanoseconds that one call takes, per subject, on so many threads at once.
pub(crate) fn nanoseconds(subjects: &[Subject<'_>], calls: u64, rounds: usize, threads: usize) -> Vec<f64> {
    let mut samples = vec![Vec::new(); subjects.len()];
    for round in 0..=rounds {
        for (subject, samples) in subjects.iter().zip(&mut samples) {
            let time = once(subject, calls, threads);
            // The first round warms up.
            if round > 0 {
                samples.push(time);
            }
        }
    }
    samples
        .into_iter()
        .map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            samples[samples.len() / 2]
        })
        .collect()
}

fn once(subject: &Subject<'_>, calls: u64, threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let times: Vec<f64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let start = Instant::now();
                    (subject.run)(calls);
                    start.elapsed().as_nanos() as f64 / calls as f64
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a subject does not panic")).collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}
