//! The control API under `/_sim/`: what happened, and what shall happen.

use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::ledger::Endpoint;
use crate::vendors::{Answer, Revocation};
use crate::world::{Logged, Shop, World};
use hyper::Method;
use serde_json::{Map, Value, json};

/// Answers a request to the path below `/_sim`.
pub(crate) fn answer(world: &mut World, path: &[&str], request: &Request) -> Answer {
    let [name] = path else { return Err(unknown_path()) };
    match *name {
        "state" => request.allow(&[Method::GET])?,
        "credentials" | "requests" => request.allow(&[Method::GET, Method::POST])?,
        "faults" => request.allow(&[Method::POST, Method::DELETE])?,
        "reset" | "clock" | "settings" | "revoke" | "takeover" | "checkpoint" | "dpop" | "device" | "authorize"
        | "script" => {
            request.allow(&[Method::POST])?;
        }
        _ => return Err(unknown_path()),
    }
    let reading = request.method == Method::GET;
    let mut fields = if request.method == Method::POST { fields(request)? } else { Fields::empty() };
    Ok(Reply::json(
        200,
        match *name {
            "state" => state(world),
            "credentials" if reading => credentials(world),
            "credentials" => {
                let shop = shop(world, &mut fields)?;
                shop.vendor.set_credentials(fields)?;
                shop.vendor.credentials()
            }
            "settings" => {
                let shop = shop(world, &mut fields)?;
                shop.ledger.settings.update(fields, shop.vendor.name())?;
                shop.ledger.settings.to_json()
            }
            "clock" => clock(world, fields)?,
            "revoke" => revoke(world, fields)?,
            "takeover" => take_over(world, fields)?,
            "checkpoint" => checkpoint(world, fields)?,
            "requests" => world.recorder.tell(if reading { request.query_fields()? } else { fields })?,
            "dpop" | "device" | "authorize" => rule(world, "generic", name, fields)?,
            "script" => rule(world, "scripted", name, fields)?,
            "faults" if request.method == Method::DELETE => {
                for shop in &mut world.shops {
                    shop.ledger.token_faults.clear();
                    shop.ledger.api_faults.clear();
                }
                json!({"pending": 0})
            }
            "faults" => add_fault(world, fields)?,
            _ => {
                fields.finish()?;
                *world = World::new();
                json!({"now": world.clock.now()})
            }
        },
    ))
}

fn unknown_path() -> Reply {
    let text = "the control API has state, requests, reset, clock, settings, faults, revoke, takeover, checkpoint, \
                credentials, dpop, device, authorize and script";
    Reply::error(404, "not_found", text)
}

/// The members of the body; no body counts as an empty object, and the content type does not matter here.
fn fields(request: &Request) -> Result<Fields, FieldError> {
    if request.body.is_empty() { Ok(Fields::empty()) } else { Fields::from_json(&request.body) }
}

fn shop<'a>(world: &'a mut World, fields: &mut Fields) -> Result<&'a mut Shop, FieldError> {
    let name = fields.text("vendor")?;
    let shop = world.shops.iter_mut().find(|shop| shop.vendor.name() == name);
    shop.ok_or_else(|| {
        FieldError::new("vendor", "must be quantaprice, quiqup, quable, quartile, qpay, generic or scripted")
    })
}

/// A call that only one vendor understands.
fn rule(world: &mut World, vendor: &str, name: &str, fields: Fields) -> Result<Value, FieldError> {
    let now = world.clock.now();
    let shop = world.shops.iter_mut().find(|shop| shop.vendor.name() == vendor);
    let Shop { vendor, ledger } = shop.ok_or_else(|| FieldError::new("vendor", "is not there"))?;
    vendor.control(name, fields, ledger, now)
}

fn state(world: &World) -> Value {
    let vendors: Map<String, Value> = world
        .shops
        .iter()
        .map(|shop| {
            let mut counters = shop.ledger.counters.to_json();
            let pending = shop.ledger.token_faults.pending().saturating_add(shop.ledger.api_faults.pending());
            counters["faults_pending"] = json!(pending);
            (shop.vendor.name().to_owned(), counters)
        })
        .collect();
    let requests: Vec<Value> = world.log.iter().map(Logged::to_json).collect();
    json!({"now": world.clock.now(), "vendors": vendors, "requests": requests})
}

fn credentials(world: &World) -> Value {
    world.shops.iter().map(|shop| (shop.vendor.name().to_owned(), shop.vendor.credentials())).collect()
}

fn clock(world: &mut World, mut fields: Fields) -> Result<Value, FieldError> {
    let (freeze, advance) = (fields.flag("freeze")?, fields.number("advance")?);
    fields.finish()?;
    if freeze.is_none() && advance.is_none() {
        return Err(FieldError::new("advance", "is missing; or give \"freeze\""));
    }
    if let Some(frozen) = freeze {
        world.clock.freeze(frozen);
    }
    if let Some(seconds) = advance {
        world.clock.advance(seconds);
    }
    Ok(json!({"now": world.clock.now()}))
}

fn add_fault(world: &mut World, mut fields: Fields) -> Result<Value, FieldError> {
    let shop = shop(world, &mut fields)?;
    let endpoint = match fields.text("endpoint")?.as_str() {
        "token" => Endpoint::Token,
        "api" => Endpoint::Api,
        _ => return Err(FieldError::new("endpoint", "must be \"token\" or \"api\"")),
    };
    let faults = shop.ledger.faults(endpoint);
    faults.push(fields)?;
    Ok(json!({"pending": faults.pending()}))
}

fn revoke(world: &mut World, mut fields: Fields) -> Result<Value, FieldError> {
    let Shop { vendor, ledger } = shop(world, &mut fields)?;
    let mut revocations = Vec::new();
    revocations.extend(fields.optional_text("client_id")?.map(Revocation::Client));
    revocations.extend(fields.optional_text("username")?.map(Revocation::User));
    revocations.extend(fields.mark("generic_token")?.then_some(Revocation::GenericToken));
    let (tokens, refresh_tokens) = (fields.mark("tokens")?, fields.mark("refresh_tokens")?);
    fields.finish()?;
    if revocations.len() > 1 {
        let problem = "only one of \"client_id\", \"username\" and \"generic_token\" can be given";
        return Err(FieldError::new("client_id", problem));
    }
    if tokens && vendor.name() == "quable" {
        revocations.push(Revocation::GenericToken);
    }
    if revocations.is_empty() && !tokens && !refresh_tokens {
        return Err(FieldError::new(
            "tokens",
            "is missing; or give \"refresh_tokens\", \"client_id\", \"username\" or \"generic_token\"",
        ));
    }
    for revocation in &revocations {
        vendor.revoke(ledger, revocation)?;
    }
    if tokens {
        ledger.tokens.clear();
    }
    if refresh_tokens {
        ledger.refresh_tokens.clear();
    }
    Ok(json!({"revoked": true}))
}

fn take_over(world: &mut World, mut fields: Fields) -> Result<Value, FieldError> {
    let now = world.clock.now();
    let Shop { vendor, ledger } = shop(world, &mut fields)?;
    let instance = fields.text("instance")?;
    fields.finish()?;
    Ok(json!({"killed": vendor.take_over(ledger, now, &instance)?}))
}

fn checkpoint(world: &mut World, mut fields: Fields) -> Result<Value, FieldError> {
    let ledger = &mut shop(world, &mut fields)?.ledger;
    let (keep, back_to) = (fields.optional_text("keep")?, fields.optional_text("back_to")?);
    fields.finish()?;
    match (keep, back_to) {
        (Some(name), None) => ledger.keep_checkpoint(&name),
        (None, Some(name)) if ledger.back_to_checkpoint(&name) => {}
        (None, Some(_)) => return Err(FieldError::new("back_to", "nothing was kept under this name")),
        _ => return Err(FieldError::new("keep", "or \"back_to\", one of them, must be given")),
    }
    Ok(json!({"tokens": ledger.counters.tokens_issued}))
}
