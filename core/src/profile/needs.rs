//! Which of the provider's fields a profile must give, and which it has no use for.

use std::collections::BTreeMap;

use super::Options;
use crate::provider::{ClientAuth, Definition, Environment, Grant, GrantKind, Template};

/// How much a profile needs a field. Where several parts of a file use it, the strongest need counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Part of an address that the profile replaces: it may stay there, and is not looked for.
    Idle,
    /// Of operations alone: looked for, and missed only by the call that uses it.
    Offered,
    /// Missing only where the file calls it optional.
    Wanted,
    /// Never missing.
    Required,
}

/// What one use of a provider needs.
pub(super) struct Needs<'a> {
    fields: BTreeMap<&'a str, Need>,
    /// How the client proves who it is, in requests for tokens and in operations.
    pub(super) proofs: Vec<ClientAuth>,
}

impl<'a> Needs<'a> {
    pub(super) fn of(
        definition: &'a Definition,
        grant: GrantKind,
        environment: Option<&'a Environment>,
        options: &Options,
        dpop: bool,
    ) -> Needs<'a> {
        let mut needs = Needs { fields: BTreeMap::new(), proofs: Vec::new() };
        // A method that the profile chooses has needs of its own.
        let chosen = |declared: ClientAuth| options.client_auth.unwrap_or(declared);
        for grant in grants(definition, grant) {
            needs.add(Need::Wanted, definition.names_of_grant(grant));
            needs.add(Need::Required, grant.requires());
            for method in grant.requests().filter_map(|request| request.client_auth).map(chosen) {
                needs.add(Need::Wanted, definition.names_of_proof(method));
                needs.add(Need::Required, method.needs().iter().copied());
                needs.proofs.push(method);
            }
        }
        needs.add(Need::Wanted, definition.names_in(definition.attach.headers.values()));
        needs.add(Need::Wanted, definition.mtls.iter().flat_map(|mtls| [mtls.certificate.as_str(), &mtls.key]));
        needs.add(Need::Wanted, dpop.then_some("dpop_key"));
        needs.add(Need::Wanted, definition.discovery.iter().flat_map(|discovery| discovery.issuer.variables()));
        if let Some(environment) = environment {
            let need = |given: bool| if given { Need::Idle } else { Need::Wanted };
            let (base, api) = (options.base_url.is_some(), options.api_base_url.is_some());
            needs.add(need(base), environment.base_url.iter().flat_map(Template::variables));
            needs.add(need(base || api), environment.api_base_url.iter().flat_map(Template::variables));
        }
        for operation in definition.operations.values().filter(|operation| operation.serves(grant)) {
            needs.add(Need::Offered, definition.names_in(operation.request().templates()));
            if let Some(method) = operation.client_auth.map(chosen) {
                needs.add(Need::Offered, definition.names_of_proof(method));
                needs.proofs.push(method);
            }
        }
        needs
    }

    fn add(&mut self, need: Need, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            let strongest = self.fields.entry(name).or_insert(need);
            *strongest = need.max(*strongest);
        }
    }

    /// `None`: nothing of this profile uses it.
    pub(super) fn get(&self, name: &str) -> Option<Need> {
        self.fields.get(name).copied()
    }
}

/// The grant, and the refresh request that may follow it.
pub(super) fn grants(definition: &Definition, grant: GrantKind) -> impl Iterator<Item = &Grant> {
    let refresh = definition.grants.get(&GrantKind::RefreshToken).filter(|_| grant.sends());
    std::iter::once(&definition.grants[&grant]).chain(refresh)
}
