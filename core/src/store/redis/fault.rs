//! What a Redis that fails or refuses means, and what to do about it.

use redis::{ErrorKind, RedisError};

use crate::error::{Error, ErrorCode};
use crate::secret::Mask;

/// A server's text is for a person to read: so much is enough.
const LONGEST_TEXT: usize = 160;

/// Why an operation failed.
pub(super) struct Fault {
    pub(super) error: Error,
    pub(super) then: Then,
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Another connection: this one is lost, or leads to a server that does not serve.
    Reconnect,
    /// Sending the script itself.
    SendScript,
    /// Nothing that can be done here.
    GiveUp,
}

use Then::{GiveUp, Reconnect, SendScript};

/// The words that refusals begin with.
const REFUSALS: [(&str, Then, &str); 21] = [
    ("NOSCRIPT", SendScript, "does not know the script"),
    ("LOADING", Reconnect, "is still loading its data; it serves when that is done"),
    ("MASTERDOWN", Reconnect, "is a replica that has lost its master; it serves when that is back"),
    (
        "READONLY",
        Reconnect,
        "is a replica, which takes no writes: let store.url name the master, or use store.sentinels",
    ),
    ("NOAUTH", Reconnect, "asks for a password: set store.password (and store.username, where it has users)"),
    ("WRONGPASS", Reconnect, "refuses the login: check store.username and store.password"),
    ("NOPERM", GiveUp, NO_PERMISSION),
    ("user executing the script", GiveUp, NO_PERMISSION),
    ("OOM", GiveUp, "is full and may evict nothing: raise its maxmemory"),
    ("MISCONF", GiveUp, "takes no writes, since it cannot save to its disk: see its log"),
    ("NOREPLICAS", GiveUp, "takes no writes, since too few replicas follow it (min-replicas-to-write)"),
    ("MOVED", GiveUp, CLUSTER),
    ("ASK", GiveUp, CLUSTER),
    ("CLUSTERDOWN", GiveUp, CLUSTER),
    ("CROSSSLOT", GiveUp, CLUSTER),
    ("TRYAGAIN", GiveUp, CLUSTER),
    ("BUSY", GiveUp, "is busy with somebody's script"),
    ("DENIED", Reconnect, "is in protected mode and serves its own machine only: set a password there"),
    ("max number of clients", Reconnect, "has no room for another client: raise its maxclients"),
    (
        "unknown command",
        GiveUp,
        "lacks a command that the store needs, or has it renamed; Redis 6 and later and Valkey have all",
    ),
    ("DB index", Reconnect, "refuses the database that store.url names"),
];

const NO_PERMISSION: &str = "does not permit this user what the store needs: give it the ACL of docs/stores.md";
const CLUSTER: &str = "is part of a cluster, which is not supported yet: use a single server, or Sentinel";

impl Fault {
    /// The connection to `server` cannot be made or is lost.
    pub(super) fn unreachable(server: &str, why: &str) -> Fault {
        Fault { error: unavailable(format!("Redis at {server} cannot be reached: {why}")), then: Reconnect }
    }

    /// `mask` knows the passwords, should the server repeat one.
    pub(super) fn new(server: &str, error: &RedisError, mask: &Mask) -> Fault {
        match error.kind() {
            ErrorKind::Io if error.is_timeout() => return Fault::unreachable(server, "no answer in time"),
            ErrorKind::Io => return Fault::unreachable(server, "the connection was lost"),
            ErrorKind::AuthenticationFailed => return Fault::refused(server, "WRONGPASS", None),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                let why =
                    "what answers there does not speak Redis' protocol; with TLS, store.url begins with rediss://";
                return Fault::unreachable(server, why);
            }
            _ => {}
        }
        let detail = error.detail().map(|detail| mask.clean(detail, LONGEST_TEXT));
        Fault::refused(server, error.code().unwrap_or("ERR"), detail)
    }

    fn refused(server: &str, code: &str, detail: Option<String>) -> Fault {
        // Where a script met the refusal, older servers put the word into the text.
        let said =
            |word: &str| code == word || (code == "ERR" && detail.as_ref().is_some_and(|text| text.contains(word)));
        let known = REFUSALS.iter().find(|(word, ..)| said(word));
        let (then, text) = known.map_or((GiveUp, "refuses the store's command"), |(_, then, text)| (*then, *text));
        // There the server repeats the beginning of what it was sent, which may be the beginning of a password.
        let detail = detail.filter(|_| known.is_none_or(|(word, ..)| *word != "unknown command"));
        let error = unavailable(format!("Redis at {server} {text}"));
        Fault { error: error.with_server(Some(code.chars().take(64).collect()), detail), then }
    }
}

fn unavailable(message: String) -> Error {
    Error::new(ErrorCode::StoreUnavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the library reads a line that begins with a minus sign.
    fn read(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        // fault 67
        let mut mask = Mask::default();
        mask.add("canary");
        for (line, then, says) in [
            ("LOADING Redis is loading the dataset in memory", Reconnect, "still loading"),
            ("READONLY You can't write against a read only replica.", Reconnect, "store.sentinels"),
            ("MASTERDOWN Link with MASTER is down", Reconnect, "lost its master"),
            ("NOAUTH Authentication required.", Reconnect, "set store.password"),
            ("WRONGPASS invalid username-password pair", Reconnect, "check store.username"),
            ("NOPERM this user has no permissions to run the 'evalsha' command", GiveUp, "docs/stores.md"),
            ("ERR The user executing the script can't run this command or subcommand", GiveUp, "docs/stores.md"),
            ("OOM command not allowed when used memory > 'maxmemory'.", GiveUp, "maxmemory"),
            ("MISCONF Redis is configured to save RDB snapshots", GiveUp, "disk"),
            ("NOREPLICAS Not enough good replicas to write.", GiveUp, "too few replicas"),
            ("MOVED 3999 127.0.0.1:6381", GiveUp, "not supported yet"),
            ("ASK 3999 127.0.0.1:6381", GiveUp, "not supported yet"),
            ("CLUSTERDOWN The cluster is down", GiveUp, "not supported yet"),
            ("CROSSSLOT Keys in request don't hash to the same slot", GiveUp, "not supported yet"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", GiveUp, "not supported yet"),
            ("NOSCRIPT No matching script. Please use EVAL.", SendScript, "script"),
            ("BUSY Redis is busy running a script.", GiveUp, "busy"),
            ("DENIED Redis is running in protected mode", Reconnect, "protected mode"),
            ("ERR max number of clients reached", Reconnect, "maxclients"),
            ("ERR unknown command `HELLO`, with args beginning with: `3` `canary`", GiveUp, "Redis 6"),
            ("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't", Reconnect, "is a replica"),
            ("ERR something new", GiveUp, "refuses the store's command"),
            ("NEWWORD something", GiveUp, "refuses the store's command"),
        ] {
            let fault = Fault::new("a:1", &read(line), &mask);
            assert_eq!(fault.then, then, "{line}");
            assert_eq!(fault.error.code(), ErrorCode::StoreUnavailable);
            assert!(fault.error.message().contains(says), "{line}: {}", fault.error);
            assert!(!fault.error.to_string().contains("canary"), "{}", fault.error);
        }
    }
}
