//! Where answers keep their parts, and how long tokens live.

use super::{BUILTIN, Checker, RESERVED, is_header_name, is_identifier};
use crate::error::ErrorCode;
use crate::provider::definition::{Answer, Condition, GrantKind, Part};

/// Which of qauth's codes a vendor's word or status may stand for.
const CODES: [ErrorCode; 7] = [
    ErrorCode::InvalidClient,
    ErrorCode::InvalidGrant,
    ErrorCode::AccessDenied,
    ErrorCode::Config,
    ErrorCode::RateLimited,
    ErrorCode::ServerError,
    ErrorCode::ReauthenticationRequired,
];

impl<'a> Checker<'a> {
    pub(super) fn answer(&mut self, at: &str, answer: &'a Answer) {
        if answer.success.is_empty() || answer.success.iter().any(|status| !(200..300).contains(status)) {
            self.wrong(format!("{at}.success"), "expected statuses from 200 to 299");
        }
        let list = || CODES.map(ErrorCode::name).join(", ");
        let code = |code: &str| ErrorCode::from_name(code).filter(|code| CODES.contains(code));
        for (status, word) in &answer.final_statuses {
            let at = format!("{at}.final_statuses.{status}");
            // Compared as text: "+401" and "0401" would never be met.
            let is_status = |status: &u16| (400..500).contains(status) && *status != 429;
            if status.parse().ok().filter(is_status).is_none_or(|number| number.to_string() != *status) {
                self.wrong(&at, "expected a status from 400 to 499; 429 and 5xx are never final");
            }
            match code(word) {
                Some(ErrorCode::RateLimited | ErrorCode::ServerError) => {
                    self.wrong(&at, "what may pass by itself is not final; expected invalid_client, invalid_grant, access_denied, config or reauthentication_required");
                }
                Some(_) => {}
                None => self.wrong(&at, format!("expected one of {}", list())),
            }
        }
        for (word, meaning) in &answer.error_codes {
            if code(meaning).is_none() {
                self.wrong(format!("{at}.error_codes.{word}"), format!("expected one of {}", list()));
            }
        }
        for (name, part) in &answer.keep {
            let at = format!("{at}.keep.{name}");
            let taken = self.is_taken(name) || RESERVED.contains(&name.as_str());
            if !is_identifier(name, false) || taken {
                self.wrong(&at, "names are lower-case letters, digits and _, and none that means something already");
            }
            self.part(&at, part);
        }
        for (key, part) in [
            ("access_token", &answer.access_token),
            ("token_type", &answer.token_type),
            ("refresh_token", &answer.refresh_token),
            ("expires_in", &answer.expires_in.at),
            ("refresh_expires_in", &answer.refresh_expires_in.at),
            ("scope", &answer.scope),
            ("error", &answer.error),
            ("error_description", &answer.error_description),
        ] {
            self.part(&format!("{at}.{key}"), part);
        }
        if let Some(instant) = &answer.expires_at {
            self.part(&format!("{at}.expires_at"), &instant.at);
        }
        if let Some(Condition { at: part, .. }) = &answer.failed_when {
            self.part(&format!("{at}.failed_when"), part);
        }
    }

    pub(super) fn part(&mut self, at: &str, part: &Part) {
        if let Part::Header(name) | Part::Cookie(name) = part
            && !is_header_name(name)
        {
            self.wrong(at, "is no name of a header or cookie");
        }
    }

    /// Whether something else gives a value of this name.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.definition.field(name).is_some() || BUILTIN.contains(&name)
    }

    /// Where no server gives tokens, answers of the API alone are read, for the error in them.
    pub(super) fn unread_answer(&mut self) {
        if self.is_sent() {
            return;
        }
        let (answer, standard) = (&self.definition.answer, Answer::default());
        let control_characters = answer.control_characters_in_strings && self.definition.operations.is_empty();
        for (key, given) in [
            ("success", answer.success != standard.success),
            ("access_token", answer.access_token != standard.access_token),
            ("token_type", answer.token_type != standard.token_type),
            ("expires_in", answer.expires_in != standard.expires_in),
            ("expires_at", answer.expires_at.is_some()),
            ("refresh_token", answer.refresh_token != standard.refresh_token),
            ("refresh_expires_in", answer.refresh_expires_in != standard.refresh_expires_in),
            ("scope", answer.scope != standard.scope),
            ("keep", !answer.keep.is_empty()),
            ("control_characters_in_strings", control_characters),
            ("failed_when", answer.failed_when.is_some()),
            ("error_codes", !answer.error_codes.is_empty()),
            ("final_statuses", !answer.final_statuses.is_empty()),
        ] {
            if given {
                self.lacks(format!("answer.{key}"), "no grant of this file asks a server for a token");
            }
        }
    }

    pub(super) fn lifetime(&mut self) {
        let definition = self.definition;
        let lifetime = &definition.lifetime;
        for (key, value) in [("max", lifetime.max), ("default", lifetime.default), ("fixed", lifetime.fixed)] {
            if value.is_some_and(|value| value.is_zero()) {
                self.wrong(format!("lifetime.{key}"), "must be above 0");
            }
        }
        if lifetime.fixed.is_some() && (lifetime.default.is_some() || lifetime.from_exp) {
            self.wrong("lifetime.fixed", "is given beside default or from_exp, which it makes useless; keep one");
        }
        let (sent, has) = (self.is_sent(), |kind| definition.grants.contains_key(&kind));
        let (signed, custom) = (has(GrantKind::SelfSigned), has(GrantKind::Custom));
        let ends = sent || signed || custom;
        for (key, given, counts) in [
            ("buffer", lifetime.buffer.is_some(), ends),
            ("ahead", lifetime.ahead.is_some(), ends),
            ("max", lifetime.max.is_some(), ends),
            ("default", lifetime.default.is_some(), ends),
            ("fixed", lifetime.fixed.is_some(), sent || signed),
            ("from_exp", lifetime.from_exp, sent),
            ("single_session", lifetime.single_session, sent || custom),
        ] {
            if given && !counts {
                self.lacks(format!("lifetime.{key}"), "no grant of this file has a use for it");
            }
        }
        if lifetime.default.is_some() && lifetime.from_exp && !signed && !custom {
            self.wrong("lifetime.default", "never counts: from_exp reads every lifetime; keep one");
        }
        if lifetime.rotates && !(sent && has(GrantKind::RefreshToken)) {
            self.lacks("lifetime.rotates", "there is no grant refresh_token that could rotate");
        }
        if lifetime.conflict_advice.is_some() && !lifetime.single_session {
            self.lacks("lifetime.conflict_advice", "is used with single_session only");
        }
    }
}
