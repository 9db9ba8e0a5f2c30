//! The five vendors, a standard one and one without rules. Each knows its own rules; what they share is in the [`Ledger`].

mod common_api;
mod generic;
mod qpay;
mod qpay_credentials;
mod quable;
mod quantaprice;
mod quartile;
mod quiqup;
mod scripted;

use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::ledger::{Endpoint, Ledger};
use serde_json::Value;

/// A request on its way through one vendor.
pub(crate) struct Visit<'a> {
    pub(crate) ledger: &'a mut Ledger,
    /// The simulator's time, in Unix seconds.
    pub(crate) now: f64,
    pub(crate) request: &'a Request,
}

/// An answer; `Err` is the early way out, and an answer as well.
pub(crate) type Answer = Result<Reply, Reply>;

/// What is to die, from `POST /_sim/revoke`.
#[derive(Debug)]
pub(crate) enum Revocation {
    /// A client, and the tokens issued to it.
    Client(String),
    /// A person's account, and the tokens issued to it.
    User(String),
    /// A token that no login gave.
    GenericToken,
}

/// One vendor's rules.
pub(crate) trait Vendor: Send {
    /// First segment of its paths, and its name in the control API.
    fn name(&self) -> &'static str;

    /// Fresh books, with the lifetimes that the vendor documents.
    fn ledger(&self) -> Ledger;

    /// Which half of the vendor a path (without the vendor's own segment) belongs to.
    fn endpoint(&self, path: &[&str]) -> Endpoint;

    /// The grant that a token request asks for, as far as that can be read without judging it.
    fn grant(&self, path: &[&str], request: &Request) -> Option<String>;

    /// The part of the vendor that a path is, where it counts them.
    fn part(&self, _path: &[&str]) -> Option<&'static str> {
        None
    }

    /// Whether its requests are kept whole, for `/_sim/requests`.
    fn recorded(&self) -> bool {
        false
    }

    /// Does what the request asks for.
    fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer;

    /// The credentials accepted now.
    fn credentials(&self) -> Value;

    /// Changes the accepted credentials: all the given fields, or none of them.
    fn set_credentials(&mut self, fields: Fields) -> Result<(), FieldError>;

    /// Ends a client, an account or a static token for good.
    fn revoke(&mut self, ledger: &mut Ledger, what: &Revocation) -> Result<(), FieldError>;

    /// Answers a call of the control API that is this vendor's own.
    fn control(&mut self, _name: &str, _fields: Fields, _ledger: &mut Ledger, _now: f64) -> Result<Value, FieldError> {
        Err(FieldError::new("vendor", "has no such rule"))
    }

    /// Lets another party log in with the account; tells whether that killed a token.
    fn take_over(&mut self, _ledger: &mut Ledger, _now: f64, _instance: &str) -> Result<bool, FieldError> {
        Err(FieldError::new("vendor", "only quable has one session per account"))
    }
}

/// The vendors as freshly started.
pub(crate) fn all() -> [Box<dyn Vendor>; 7] {
    [
        Box::new(quantaprice::Quantaprice::default()),
        Box::new(quiqup::Quiqup::default()),
        Box::new(quable::Quable::default()),
        Box::new(quartile::Quartile::default()),
        Box::new(qpay::Qpay::default()),
        Box::new(generic::Generic::default()),
        Box::new(scripted::ScriptedVendor::default()),
    ]
}

/// The grants of `/generic`, which `/scripted` counts too, by the last part of their names.
const GRANTS: [&str; 7] = [
    "client_credentials",
    "password",
    "refresh_token",
    "authorization_code",
    "jwt-bearer",
    "token-exchange",
    "device_code",
];

/// A URN's last part; the whole of any other name.
fn last_part(grant: &str) -> &str {
    grant.rsplit_once(':').map_or(grant, |(_, last)| last)
}

/// The last part of the grant that a form asks for, however wrong the rest of the form is.
fn form_grant(request: &Request) -> Option<String> {
    let mut fields = url::form_urlencoded::parse(&request.body);
    fields.find(|(name, _)| name == "grant_type").map(|(_, grant)| last_part(&grant).to_owned())
}

/// The error for a [`Revocation`] that a vendor has no such thing for.
fn unknown(field: &str, vendor: &str) -> FieldError {
    FieldError::new(field, format!("{vendor} knows none by that name"))
}

/// The member `name` of a JSON or form body, for [`Vendor::grant`].
fn peek(fields: Result<Fields, FieldError>, name: &str) -> Option<String> {
    fields.ok().and_then(|mut fields| fields.optional_text(name).ok().flatten())
}
