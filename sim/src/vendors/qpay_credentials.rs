//! QPay's Credentials API: a person finds the tenant, and makes, lists, changes and deletes its clients.

use super::{Answer, Visit};
use crate::fields::FieldError;
use crate::http::Reply;
use crate::known;
use crate::tokens::hex;
use hyper::Method;
use serde_json::{Value, json};

/// What an issuer's client may be given.
const ROLES: [&str; 1] = ["issuer"];
const PARENT_TENANT_ID: &str = "processor-001";

/// A machine's login.
pub(super) struct Client {
    /// The record's own id, which is not the `client_id`.
    id: String,
    client_id: String,
    pub(super) secret: String,
    name: String,
    pub(super) roles: Vec<String>,
    pub(super) revoked: bool,
}

impl Client {
    pub(super) fn new(client_id: &str, secret: &str, name: &str) -> Self {
        Self {
            id: format!("client-{}", hex::<8>()),
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            name: name.to_owned(),
            roles: ROLES.map(str::to_owned).to_vec(),
            revoked: false,
        }
    }

    /// Everything but the secret, which is told once, when the client is made.
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "client_id": self.client_id,
            "tenant_id": known::QPAY_TENANT_ID,
            "name": self.name,
            "roles": self.roles,
        })
    }
}

/// The clients of the one tenant.
pub(super) struct Clients {
    list: Vec<Client>,
}

impl Default for Clients {
    fn default() -> Self {
        Self { list: vec![Client::new(known::QPAY_CLIENT_ID, known::QPAY_CLIENT_SECRET, "qpay machine")] }
    }
}

impl Clients {
    pub(super) fn by_client_id(&self, client_id: &str) -> Option<&Client> {
        self.list.iter().find(|client| client.client_id == client_id)
    }

    pub(super) fn by_client_id_mut(&mut self, client_id: &str) -> Option<&mut Client> {
        self.list.iter_mut().find(|client| client.client_id == client_id)
    }

    pub(super) fn add(&mut self, client: Client) {
        self.list.push(client);
    }

    /// Id and secret of the oldest client; `null` both if all are deleted.
    pub(super) fn first(&self) -> (Option<&str>, Option<&str>) {
        self.list.first().map(|client| (client.client_id.as_str(), client.secret.as_str())).unzip()
    }

    /// The API itself, under `/credentials`.
    pub(super) fn answer(&mut self, path: &[&str], visit: Visit<'_>) -> Answer {
        match path {
            ["whoami" | "roles"] => visit.request.allow(&[Method::GET])?,
            ["clients"] => visit.request.allow(&[Method::POST])?,
            ["clients", _] => visit.request.allow(&[Method::GET, Method::PUT, Method::DELETE])?,
            _ => return Err(Reply::not_found()),
        }
        if !visit.ledger.authorize(visit.request, visit.now)?.person {
            return Err(Reply::forbidden("the Credentials API needs a person's token, not a client's"));
        }
        match path {
            ["whoami"] => Ok(Reply::json(
                200,
                json!({
                    "tenant_type": known::QPAY_TENANT_TYPE,
                    "tenant_id": known::QPAY_TENANT_ID,
                    "parent_tenant_id": PARENT_TENANT_ID,
                }),
            )),
            ["roles"] => Ok(Reply::json(200, json!(ROLES))),
            ["clients", id] if visit.request.method == Method::GET => self.get(id),
            ["clients", id] if visit.request.method == Method::PUT => self.update(id, &visit),
            ["clients", id] => self.delete(id, visit),
            _ => self.create(&visit),
        }
    }

    fn create(&mut self, visit: &Visit<'_>) -> Answer {
        let mut json = visit.request.json()?;
        let (tenant_id, name) = (json.text("tenant_id")?, json.text("name")?);
        let roles = assignable(json.texts("roles")?)?;
        json.finish()?;
        if tenant_id != known::QPAY_TENANT_ID {
            return Err(Reply::forbidden("tenant_id: is not your tenant"));
        }
        let client = Client { roles, ..Client::new(&format!("qpay-{}", hex::<6>()), &hex::<16>(), &name) };
        let reply = Reply::json(
            201,
            json!({
                "id": client.id,
                "client_id": client.client_id,
                "client_secret": client.secret,
                "tenant_id": tenant_id,
            }),
        );
        self.add(client);
        Ok(reply)
    }

    /// The document prints the listing as `GET clients/{id}`: with the tenant's id it lists, with a client's it shows.
    fn get(&self, id: &str) -> Answer {
        if id == known::QPAY_TENANT_ID {
            return Ok(Reply::json(200, self.list.iter().map(Client::to_json).collect()));
        }
        let client = self.list.iter().find(|client| client.id == id);
        Ok(Reply::json(200, client.ok_or_else(Reply::not_found)?.to_json()))
    }

    fn update(&mut self, id: &str, visit: &Visit<'_>) -> Answer {
        let client = self.list.iter_mut().find(|client| client.id == id).ok_or_else(Reply::not_found)?;
        let mut json = visit.request.json()?;
        let roles = assignable(json.texts("roles")?)?;
        json.finish()?;
        client.roles = roles;
        Ok(Reply::json(200, client.to_json()))
    }

    fn delete(&mut self, id: &str, visit: Visit<'_>) -> Answer {
        let index = self.list.iter().position(|client| client.id == id).ok_or_else(Reply::not_found)?;
        let client = self.list.remove(index);
        visit.ledger.kill_subject(&client.client_id);
        Ok(Reply::empty(204))
    }
}

fn assignable(roles: Vec<String>) -> Result<Vec<String>, FieldError> {
    match roles.iter().find(|role| !ROLES.contains(&role.as_str())) {
        Some(role) => Err(FieldError::new("roles", format!("{role:?} cannot be given by a tenant of this type"))),
        None => Ok(roles),
    }
}
