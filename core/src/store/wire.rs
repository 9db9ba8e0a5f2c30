//! A record as text: JSON, in which a later version may add members that this one does not know.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{About, Record, StoredFailure, StoredRefresh, StoredToken, Written};
use crate::error::{Error, ErrorCode};
use crate::secret::Secret;
use crate::token::Issued;

/// Times and lengths are nanoseconds: what comes out of a store is what went in.
#[derive(Serialize, Deserialize)]
struct WireRecord {
    generation: u64,
    profile: String,
    provider: String,
    written_at: u64,
    written_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<WireToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<WireRefresh>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<WireFailure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    takeovers: Vec<u64>,
    #[serde(default)]
    conflicts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<Exposed>,
}

#[derive(Serialize, Deserialize)]
struct WireToken {
    access_token: Exposed,
    token_type: String,
    generation: u64,
    sent_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    extras: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct WireRefresh {
    token: Exposed,
    obtained_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireFailure {
    fingerprint: String,
    until: u64,
    wait: u64,
    last: bool,
    count: u32,
    code: String,
    message: String,
    retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_error_description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// A secret on its way into a store or out of it.
struct Exposed(Secret);

impl Serialize for Exposed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Exposed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Exposed, D::Error> {
        String::deserialize(deserializer).map(|text| Exposed(Secret::new(text)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn to_text(record: &Record, written: &Written) -> Vec<u8> {
    let wire = WireRecord {
        generation: record.generation,
        profile: record.about.profile.clone(),
        provider: record.about.provider.clone(),
        written_at: nanos(written.at),
        written_by: written.by.clone(),
        token: record.token.as_ref().map(|token| WireToken {
            access_token: Exposed(token.issued.access_token.clone()),
            token_type: token.issued.token_type.clone(),
            generation: token.generation,
            sent_at: nanos(token.sent_at),
            lifetime: token.issued.lifetime.map(nanos),
            scope: token.issued.scope.clone(),
            extras: token.issued.extras.clone(),
        }),
        refresh: record.refresh.as_ref().map(|refresh| WireRefresh {
            token: Exposed(refresh.token.clone()),
            obtained_at: nanos(refresh.obtained_at),
            lifetime: refresh.lifetime.map(nanos),
        }),
        intent: record.intent.map(nanos),
        failure: record.failure.as_ref().map(failure_to_wire),
        takeovers: record.takeovers.iter().copied().map(nanos).collect(),
        conflicts: record.conflicts,
        seed: record.seed.clone(),
        dpop_key: record.dpop_key.clone().map(Exposed),
    };
    serde_json::to_vec(&wire).expect("all of it is text and numbers")
}

fn failure_to_wire(failure: &StoredFailure) -> WireFailure {
    let error = &failure.error;
    WireFailure {
        fingerprint: failure.fingerprint.clone(),
        until: nanos(failure.until),
        wait: nanos(failure.wait),
        last: failure.last,
        count: failure.count,
        code: error.code().name().to_owned(),
        message: error.message().to_owned(),
        retryable: error.retryable(),
        profile: error.profile().map(str::to_owned),
        provider: error.provider().map(str::to_owned),
        status: error.status(),
        server_error: error.server_error().map(str::to_owned),
        server_error_description: error.server_error_description().map(str::to_owned),
        retry_after: error.retry_after().map(nanos),
    }
}

/// `None`: no record.
pub(super) fn from_text(text: &[u8]) -> Option<Record> {
    let wire: WireRecord = serde_json::from_slice(text).ok()?;
    let duration = Duration::from_nanos;
    let refresh = wire.refresh.map(|refresh| StoredRefresh {
        token: refresh.token.0,
        obtained_at: duration(refresh.obtained_at),
        lifetime: refresh.lifetime.map(duration),
    });
    let token = wire.token.map(|token| StoredToken {
        generation: token.generation,
        sent_at: duration(token.sent_at),
        issued: Issued {
            access_token: token.access_token.0,
            token_type: token.token_type,
            lifetime: token.lifetime.map(duration),
            // Those of the record count.
            refresh_token: None,
            refresh_lifetime: None,
            scope: token.scope,
            extras: token.extras,
        },
    });
    Some(Record {
        generation: wire.generation,
        token,
        refresh,
        intent: wire.intent.map(duration),
        failure: wire.failure.map(failure_from_wire),
        takeovers: wire.takeovers.into_iter().map(duration).collect(),
        conflicts: wire.conflicts,
        seed: wire.seed,
        dpop_key: wire.dpop_key.map(|key| key.0),
        about: About { profile: wire.profile, provider: wire.provider },
        written: Some(Written { at: duration(wire.written_at), by: wire.written_by }),
    })
}

fn failure_from_wire(wire: WireFailure) -> StoredFailure {
    let duration = Duration::from_nanos;
    // A later version may know more of them.
    let code = ErrorCode::from_name(&wire.code).unwrap_or(ErrorCode::Internal);
    let mut error = Error::new(code, wire.message)
        .with_server(wire.server_error, wire.server_error_description)
        .with_retryable(wire.retryable)
        .with_retry_after(wire.retry_after.map(duration));
    if let Some(status) = wire.status {
        error = error.with_status(status);
    }
    if let (Some(profile), Some(provider)) = (&wire.profile, &wire.provider) {
        error = error.about(profile, provider);
    }
    StoredFailure {
        error,
        fingerprint: wire.fingerprint,
        until: duration(wire.until),
        wait: duration(wire.wait),
        last: wire.last,
        count: wire.count,
    }
}
