//! The device authorization grant (RFC 8628): a client without a browser polls until a person has opened a page.

use super::clients::invalid_client;
use super::issue::{Call, LISTS, Wanted};
use super::{Account, Generic, issuer, refusal};
use crate::fields::{FieldError, Fields};
use crate::http::{Content, Reply};
use crate::tokens::hex;
use crate::vendors::{Answer, Visit};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

const LIFETIME_SECONDS: f64 = 600.0;
const INTERVAL_SECONDS: f64 = 5.0;
/// What a clock of floating numbers may lose of an interval.
const TOLERANCE_SECONDS: f64 = 0.01;

/// What becomes of a request in the end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Approve,
    Deny,
    Expire,
}

/// What `POST /_sim/device` says of one or more requests.
#[derive(Debug, Clone, Copy, Default)]
struct Plan {
    outcome: Option<Outcome>,
    /// So many polls are answered `authorization_pending` first.
    after_polls: u64,
    enforce_interval: Option<bool>,
}

#[derive(Debug)]
struct Device {
    code: String,
    user_code: String,
    client_id: String,
    wanted: Wanted,
    expires_at: f64,
    interval: f64,
    polled_at: Option<f64>,
    plan: Plan,
    used: bool,
}

impl Device {
    fn apply(&mut self, plan: Plan) {
        let enforce_interval = plan.enforce_interval.or(self.plan.enforce_interval);
        if plan.outcome.is_some() {
            self.plan = plan;
        }
        self.plan.enforce_interval = enforce_interval;
    }
}

/// All requests of devices, oldest first.
#[derive(Debug, Default)]
pub(super) struct Devices {
    list: Vec<Device>,
    next: Option<Plan>,
}

impl Devices {
    /// `POST /_sim/device`: for one open request, for all, or for the next one if there is none.
    pub(super) fn set(&mut self, mut fields: Fields, now: f64) -> Result<Value, FieldError> {
        let outcome = match fields.choice("outcome", &["approve", "deny", "expire"])?.as_deref() {
            None => None,
            Some("approve") => Some(Outcome::Approve),
            Some("deny") => Some(Outcome::Deny),
            Some(_) => Some(Outcome::Expire),
        };
        let user_code = fields.optional_text("user_code")?;
        let after_polls = fields.count("after_polls")?;
        let enforce_interval = fields.flag("enforce_interval")?;
        fields.finish()?;
        if outcome.is_none() && (after_polls.is_some() || enforce_interval.is_none()) {
            return Err(FieldError::new("outcome", "is missing; or give \"enforce_interval\" alone"));
        }
        let plan = Plan { outcome, after_polls: after_polls.unwrap_or(0), enforce_interval };
        let open = self.list.iter_mut().filter(|device| !device.used && now < device.expires_at);
        let mut user_codes = Vec::new();
        for device in open.filter(|device| user_code.as_ref().is_none_or(|wanted| *wanted == device.user_code)) {
            device.apply(plan);
            user_codes.push(device.user_code.clone());
        }
        if user_codes.is_empty() {
            if user_code.is_some() {
                return Err(FieldError::new("user_code", "is not that of an open request"));
            }
            self.next = Some(plan);
        }
        Ok(json!({"user_codes": user_codes, "next": self.next.is_some()}))
    }

    /// One poll of the client; who approves is the one account.
    pub(super) fn redeem(
        &mut self,
        visit: &mut Visit<'_>,
        call: &Call,
        account: &Account,
        mut form: Fields,
    ) -> Result<Value, Reply> {
        let code = form.text("device_code")?;
        let device = self.list.iter_mut().find(|device| device.code == code && device.client_id == call.client.id);
        let Some(device) = device.filter(|device| !device.used) else {
            return Err(refusal("invalid_grant", "device_code: is unknown, used or another client's"));
        };
        if visit.now >= device.expires_at
            || (device.plan.outcome == Some(Outcome::Expire) && device.plan.after_polls == 0)
        {
            device.used = true;
            return Err(refusal("expired_token", "the device_code is expired"));
        }
        let earliest = device.polled_at.map(|at| at + device.interval - TOLERANCE_SECONDS);
        device.polled_at = Some(visit.now);
        if device.plan.enforce_interval.unwrap_or(true) && earliest.is_some_and(|earliest| visit.now < earliest) {
            device.interval += 5.0;
            return Err(refusal("slow_down", "the client polls too often"));
        }
        let pending = device.plan.after_polls > 0;
        device.plan.after_polls = device.plan.after_polls.saturating_sub(1);
        match device.plan.outcome {
            Some(Outcome::Approve) if !pending && !account.revoked => {
                device.used = true;
                let call = Call {
                    wanted: device.wanted.clone(),
                    ..Call::new(call.client.clone(), Wanted::default(), call.jkt.clone())
                };
                Ok(call.log_in(visit, &account.username, &hex::<8>()))
            }
            Some(Outcome::Approve | Outcome::Deny) if !pending => {
                device.used = true;
                Err(refusal("access_denied", "the person has refused"))
            }
            _ => Err(refusal("authorization_pending", "nobody has approved yet")),
        }
    }
}

impl Generic {
    pub(super) fn device_authorization(&mut self, visit: &mut Visit<'_>) -> Answer {
        let request = visit.request;
        request.allow_token_post()?;
        let mut form = request.form_with_lists(&LISTS)?;
        let client = self.clients.authenticate(&mut form, request, visit.now, &mut self.seen)?;
        let client = client.ok_or_else(|| invalid_client("there is no client authentication"))?;
        let wanted = Wanted::take(&mut form, &request.origin)?;
        let digits = hex::<4>().to_ascii_uppercase();
        let user_code = format!("{}-{}", &digits[..4], &digits[4..]);
        let device = Device {
            code: hex::<24>(),
            user_code: user_code.clone(),
            client_id: client.id,
            wanted,
            expires_at: visit.now + LIFETIME_SECONDS,
            interval: INTERVAL_SECONDS,
            polled_at: None,
            plan: self.devices.next.take().unwrap_or_default(),
            used: false,
        };
        let page = format!("{}/activate", issuer(request));
        let body = json!({
            "device_code": device.code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": LIFETIME_SECONDS as u64,
            "interval": INTERVAL_SECONDS as u64,
        });
        self.devices.list.retain(|device| visit.now < device.expires_at + LIFETIME_SECONDS);
        self.devices.list.push(device);
        Ok(Reply::token(200, body))
    }

    /// The page that a person opens; here opening it is enough.
    pub(super) fn activate(&mut self, visit: &mut Visit<'_>) -> Answer {
        visit.request.allow(&[Method::GET])?;
        let mut query = Fields::from_form_with_lists(visit.request.query.as_bytes(), &[])?;
        let user_code = query.text("user_code")?;
        let open =
            |device: &&mut Device| !device.used && visit.now < device.expires_at && device.user_code == user_code;
        let device = self.devices.list.iter_mut().find(open);
        let device = device.ok_or_else(|| FieldError::new("user_code", "is not that of an open request"))?;
        device.apply(Plan { outcome: Some(Outcome::Approve), ..Plan::default() });
        let content_type = Some("text/plain".to_owned());
        Ok(Reply { body: Content::Raw { content_type, bytes: Bytes::from("approved\n") }, ..Reply::empty(200) })
    }
}
