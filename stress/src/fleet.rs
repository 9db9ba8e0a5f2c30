//! Two hundred nodes on one real Redis: what they may do to the vendors, and what their callers see, while network and server
//! fail (docs/stress.md).

pub(crate) mod calm;
pub(crate) mod emptied;
pub(crate) mod failover;
pub(crate) mod full;
pub(crate) mod holder;
pub(crate) mod measured;
pub(crate) mod node;
pub(crate) mod partition;
pub(crate) mod resets;
pub(crate) mod restart;
pub(crate) mod slow;
pub(crate) mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::host::{Counters, Host};
use crate::kinds::Kind;
use crate::process::{Bench, Talk, folder, private};
use crate::redis::Redis;

/// What every node uses, by the profile's name.
pub(crate) const ACCOUNTS: [(&str, Kind); 3] =
    [("session", Kind::Session), ("rotating", Kind::Rotating), ("plain", Kind::Client)];

/// Longer than any recovery here takes: a lease of ten seconds, and pauses of five.
const PATIENCE: Duration = Duration::from_secs(45);

const PROCESSES: usize = 4;
/// In each process, where all of them work for a while; in the long form.
const NODES: usize = 50;
/// In the short form, which two cores run without optimization.
const FEW_NODES: usize = 20;

/// As much as an operation of the store may take until it is known that nothing answers. Two busy cores make an answer late.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Of the tokens, where they are to end while one looks on.
const LIFETIME: Duration = Duration::from_secs(3);
/// No renewal begins before so much of a lifetime is over: at most a quarter is kept as a buffer, where the provider asks for
/// one, and a tenth it is done ahead. Another twentieth is for the way: who reads a record takes it for older than it is by what
/// the answer took, and of all nodes the one with the slowest answer begins.
const EARLIEST: f64 = 0.6;

pub(crate) struct Fleet {
    pub(crate) host: Host,
    pub(crate) processes: Vec<Talk>,
    pub(crate) nodes: usize,
    begun: Instant,
    _folder: TempDir,
}

/// Where a process finds its Redis, as the section `[store]` says it.
pub(crate) fn at(port: u16) -> Value {
    json!({"url": format!("redis://127.0.0.1:{port}")})
}

impl Fleet {
    /// Processes that know their Redis, each by its own section of the four, and wait for the word to ask for tokens.
    pub(crate) fn new(bench: &Bench, stores: &[Value], lifetime: Option<Duration>) -> Result<Fleet, String> {
        Fleet::of(bench, stores, if bench.long { NODES } else { FEW_NODES }, lifetime)
    }

    /// The same with so many nodes in each process.
    pub(crate) fn of(
        bench: &Bench,
        stores: &[Value],
        nodes: usize,
        lifetime: Option<Duration>,
    ) -> Result<Fleet, String> {
        let (host, folder) = (Host::start()?, folder()?);
        let key = folder.path().join("key");
        private(&key, "5c".repeat(32))?;
        for (_, kind) in ACCOUNTS {
            if let Some(lifetime) = lifetime {
                host.settings(kind.vendor(), "lifetime", lifetime.as_secs())?;
            }
        }
        let start = |store: &Value| {
            let mut store = store.clone();
            store["kind"] = json!("redis");
            store["timeout"] = json!(format!("{}s", TIMEOUT.as_secs()));
            store["encryption_key"] = json!(format!("file:{}", key.display()));
            let profiles: serde_json::Map<String, Value> = ACCOUNTS
                .iter()
                .map(|(name, kind)| (name.to_string(), kind.config(&host.url(), None, None)["profiles"]["p"].take()))
                .collect();
            let config = json!({"store": store, "profiles": profiles}).to_string();
            bench.worker(&["fleet", &nodes.to_string(), &config], &[])?.talk()
        };
        let processes = stores.iter().map(start).collect::<Result<Vec<Talk>, String>>()?;
        for talk in &processes {
            if let Some(error) = talk.hear("ready")?["error"].as_str() {
                return Err(error.to_owned());
            }
        }
        let nodes = nodes * processes.len();
        Ok(Fleet { host, processes, nodes, begun: Instant::now(), _folder: folder })
    }

    /// All four behind one port.
    pub(crate) fn on(bench: &Bench, port: u16, lifetime: Option<Duration>) -> Result<Fleet, String> {
        let stores: Vec<Value> = (0..PROCESSES).map(|_| at(port)).collect();
        Fleet::new(bench, &stores, lifetime)
    }

    pub(crate) fn go(&mut self) -> Result<(), String> {
        self.begun = Instant::now();
        self.tell("go")
    }

    /// Counts from here.
    pub(crate) fn mark(&mut self) -> Result<(), String> {
        self.tell("mark")
    }

    fn tell(&mut self, what: &str) -> Result<(), String> {
        self.processes.iter_mut().try_for_each(|talk| talk.tell(what))
    }

    /// Since the last mark, by process.
    pub(crate) fn reports(&mut self) -> Result<Vec<Report>, String> {
        self.tell("report")?;
        self.processes.iter().map(|talk| talk.hear("report").map(|told| Report::read(&told))).collect()
    }

    pub(crate) fn report(&mut self) -> Result<Report, String> {
        Ok(Report::sum(&self.reports()?))
    }

    /// Looks again and again whether it is so.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&Report) -> bool) -> Result<Report, String> {
        self.until_each(what, |reports| so(&Report::sum(reports))).map(|reports| Report::sum(&reports))
    }

    pub(crate) fn until_each(&mut self, what: &str, so: impl Fn(&[Report]) -> bool) -> Result<Vec<Report>, String> {
        let begun = Instant::now();
        loop {
            let reports = self.reports()?;
            if so(&reports) {
                return Ok(reports);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{what}: not within {PATIENCE:?}: {}", Report::sum(&reports).text()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every node has the same newest token of each account, and more of them than so many are new since the mark.
    pub(crate) fn until_renewed(&mut self, times: usize) -> Result<Report, String> {
        self.until("the fleet renews and agrees", |report| {
            report.0.values().all(|account| account.agrees() && account.generations.len() > times)
        })
    }

    /// By account.
    pub(crate) fn counters(&self) -> Result<BTreeMap<&'static str, Counters>, String> {
        ACCOUNTS.iter().map(|(name, kind)| Ok((*name, self.host.counters(kind.vendor())?))).collect()
    }

    /// A moment when no renewal is under way: all agree, and nothing was asked meanwhile.
    pub(crate) fn settled(&mut self) -> Result<(Report, BTreeMap<&'static str, Counters>), String> {
        let begun = Instant::now();
        loop {
            let before = self.counters()?;
            let report = self.report()?;
            let after = self.counters()?;
            if before == after && report.0.values().all(Account::agrees) {
                return Ok((report, after));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the fleet does not settle: {}", report.text()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// After a fault: all agree again by themselves, and so many lifetimes later nobody met anything else than a store that was
    /// away. The rotating account has logged in when the fleet began and never again, and no refresh token came twice.
    pub(crate) fn recovered(&mut self, times: usize) -> Result<(), String> {
        self.until("all agree again", |report| report.0.values().all(Account::agrees))?.at_most_unavailable()?;
        self.mark()?;
        self.until_renewed(times)?.at_most_unavailable()?;
        let (_, counters) = self.settled()?;
        match counters["rotating"] {
            rotating if (rotating.repeated, rotating.logins) == (0, 1) => Ok(()),
            rotating => Err(format!("rotating: {rotating:?}")),
        }
    }

    /// What happened to tokens since the last time: kind, account, generation, and when, in nanoseconds since 1970.
    pub(crate) fn moments(&mut self) -> Result<Vec<Value>, String> {
        self.tell("moments")?;
        self.processes.iter().map(|talk| Ok(talk.hear("moments")?["moments"].take())).collect()
    }

    /// How many renewals there can have been since the start: each waits for most of the lifetime before it.
    pub(crate) fn most_renewals(&self) -> u64 {
        let lifetimes = self.begun.elapsed().as_secs_f64() / (LIFETIME.as_secs_f64() * EARLIEST);
        lifetimes as u64 + 1
    }
}

/// What so many nodes tell, by account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report(pub(crate) BTreeMap<&'static str, Account>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// Calls that were answered, with a token or an error.
    pub(crate) asked: u64,
    /// Nodes that never had a token.
    pub(crate) without: u64,
    /// Nodes that met errors.
    pub(crate) failing: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) said: String,
    /// Tokens that were older than the one before, on one node.
    pub(crate) back: Vec<Value>,
    /// Errors while a token was still valid.
    pub(crate) early: u64,
    pub(crate) generations: BTreeSet<u64>,
    /// What the nodes have now.
    pub(crate) last: BTreeSet<u64>,
    pub(crate) requests: u64,
    /// Of one node.
    pub(crate) most_requests: u64,
}

impl Account {
    fn agrees(&self) -> bool {
        self.last.len() == 1 && self.without == 0
    }

    /// Whether no caller met anything else than a store that is away.
    pub(crate) fn only_unavailable(&self) -> bool {
        self.errors.keys().all(|code| code == "store_unavailable")
    }
}

impl Report {
    fn read(told: &Value) -> Report {
        let set = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let account = |told: &Value| Account {
            asked: told["asked"].as_u64().unwrap_or(0),
            without: told["without"].as_u64().unwrap_or(0),
            failing: told["failing"].as_u64().unwrap_or(0),
            errors: serde_json::from_value(told["errors"].clone()).unwrap_or_default(),
            said: told["said"].as_str().unwrap_or_default().to_owned(),
            back: told["back"].as_array().cloned().unwrap_or_default(),
            early: told["early"].as_u64().unwrap_or(0),
            generations: set(&told["generations"]),
            last: set(&told["last"]),
            requests: told["requests"].as_u64().unwrap_or(0),
            most_requests: told["most_requests"].as_u64().unwrap_or(0),
        };
        Report(ACCOUNTS.iter().map(|(name, _)| (*name, account(&told[*name]))).collect())
    }

    pub(crate) fn sum(reports: &[Report]) -> Report {
        let mut sum = Report::default();
        for (name, more) in reports.iter().flat_map(|report| &report.0) {
            let account = sum.0.entry(name).or_default();
            account.asked += more.asked;
            account.without += more.without;
            account.failing += more.failing;
            more.errors.iter().for_each(|(code, count)| *account.errors.entry(code.clone()).or_default() += count);
            if account.said.is_empty() {
                account.said.clone_from(&more.said);
            }
            account.back.extend(more.back.iter().cloned());
            account.early += more.early;
            account.generations.extend(&more.generations);
            account.last.extend(&more.last);
            account.requests += more.requests;
            account.most_requests = account.most_requests.max(more.most_requests);
        }
        sum
    }

    /// What must hold whatever fails: no node gets an older token, and none an error while it has a valid one.
    pub(crate) fn sound(&self) -> Result<&Report, String> {
        for (name, account) in &self.0 {
            if !account.back.is_empty() {
                return Err(format!("{name}: a node went back, (from, to): {:?}", account.back));
            }
            if account.early > 0 {
                return Err(format!("{name}: {} errors beside valid tokens: {}", account.early, account.said));
            }
        }
        Ok(self)
    }

    /// Nobody met an error.
    pub(crate) fn smooth(&self) -> Result<&Report, String> {
        match self.sound()?.0.iter().find(|(_, account)| !account.errors.is_empty()) {
            Some((name, account)) => Err(format!("{name}: {:?}, such as {}", account.errors, account.said)),
            None => Ok(self),
        }
    }

    /// Nobody met any other error than that the store is away.
    pub(crate) fn at_most_unavailable(&self) -> Result<&Report, String> {
        match self.sound()?.0.iter().find(|(_, account)| !account.only_unavailable()) {
            Some((name, account)) => Err(format!("{name}: {:?}, such as {}", account.errors, account.said)),
            None => Ok(self),
        }
    }

    /// For a person who wants to know what is wrong.
    fn text(&self) -> String {
        let account = |(name, account): (&&str, &Account)| {
            let Account { without, failing, errors, said, requests, .. } = account;
            let (newest, seen) = (account.last.len(), account.generations.len());
            format!(
                "{name}: {newest} different tokens in use, {seen} seen, {without} nodes without, {failing} failing, {requests} requests, {errors:?} {said}"
            )
        };
        self.0.iter().map(account).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn errors(&self) -> u64 {
        self.0.values().flat_map(|account| account.errors.values()).sum()
    }
}

/// A server without persistence.
pub(crate) fn plain_redis() -> Result<Redis, String> {
    Redis::start(&[])
}
