//! What an API says of the token that it refused (RFC 6750 3.1, RFC 9449 7.1, RFC 9470 3): whether a new one could help.

use http_auth::ParamValue;
use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A new token of the same kind would meet the same answer.
const NOT_THE_TOKEN: [&str; 4] =
    ["insufficient_scope", "insufficient_user_authentication", "invalid_request", crate::dpop::USE_NONCE];

/// The errors in an answer's `WWW-Authenticate`, each with its scheme.
#[derive(Debug, Default)]
pub(crate) struct Challenges(Vec<Challenge>);

#[derive(Debug)]
struct Challenge {
    dpop: bool,
    error: String,
    description: Option<String>,
    scope: Option<String>,
}

impl Challenges {
    pub(crate) fn of(headers: &HeaderMap) -> Challenges {
        Challenges::read(headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
    }

    /// What cannot be read counts as not said.
    pub(crate) fn read<'a>(values: impl Iterator<Item = &'a str>) -> Challenges {
        let challenges = values.flat_map(|value| ChallengeParser::new(value).map_while(Result::ok));
        let read = challenges.filter_map(|challenge| {
            let param = |wanted: &str| {
                let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                found.map(|(_, value): &(&str, ParamValue<'_>)| value.to_unescaped())
            };
            Some(Challenge {
                dpop: challenge.scheme.eq_ignore_ascii_case("dpop"),
                error: param("error")?,
                description: param("error_description"),
                scope: param("scope"),
            })
        });
        Challenges(read.collect())
    }

    /// Whether the proof lacks a nonce, and nothing is said against the token (RFC 9449 9).
    pub(crate) fn want_nonce(&self) -> bool {
        self.0.iter().any(|challenge| challenge.dpop && challenge.error == crate::dpop::USE_NONCE)
    }

    /// Whether the token is to blame for a 401, as it is unless the answer says what else is.
    pub(crate) fn blame_token(&self) -> bool {
        let says = |words: &[&str]| self.0.iter().any(|challenge| words.contains(&challenge.error.as_str()));
        says(&["invalid_token"]) || !says(&NOT_THE_TOKEN)
    }

    /// The first error, and what is said about it.
    pub(crate) fn error(&self) -> Option<(&str, Option<&str>)> {
        self.0.first().map(|challenge| (challenge.error.as_str(), challenge.description.as_deref()))
    }

    /// The scope that the token lacks, where that is what it is refused for.
    pub(crate) fn wanted_scope(&self) -> Option<&str> {
        let lacking = self.0.iter().find(|challenge| challenge.error == "insufficient_scope")?;
        lacking.scope.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Challenges {
        Challenges::read([value].into_iter())
    }

    #[test]
    fn a_token_is_to_blame_unless_something_else_is_said() {
        // fault 50
        for value in [
            "",
            "Bearer",
            "Bearer realm=\"a\"",
            "Bearer error=\"invalid_token\", error_description=\"The access token expired\"",
            "Bearer error=\"insufficient_scope\", DPoP error=\"invalid_token\"",
            "Bearer error=\"something_new\"",
            "Bearer error=invalid_token, error_description=it has expired",
            "\u{1}",
        ] {
            assert!(read(value).blame_token(), "{value:?}");
        }
        for value in [
            "Bearer error=\"insufficient_scope\", scope=\"orders:write\"",
            "bearer realm=\"a, b\", ERROR=insufficient_scope",
            "Basic realm=\"x\", Bearer error=\"insufficient_user_authentication\", max_age=\"5\"",
            "DPoP algs=\"ES256\", error=\"invalid_request\"",
        ] {
            assert!(!read(value).blame_token(), "{value:?}");
        }
    }

    #[test]
    fn the_scope_that_is_lacking_is_read() {
        let challenges = read("Bearer error=\"insufficient_scope\", scope=\"a b\", error_description=\"no \\\"b\\\"\"");
        assert_eq!(challenges.wanted_scope(), Some("a b"));
        assert_eq!(challenges.error(), Some(("insufficient_scope", Some("no \"b\""))));
        assert_eq!(read("Bearer scope=\"a\"").wanted_scope(), None);
    }

    #[test]
    fn a_challenge_for_a_nonce_is_told_from_a_rejected_token() {
        assert!(read("DPoP error=\"use_dpop_nonce\", error_description=\"a nonce is needed\"").want_nonce());
        assert!(read("Bearer realm=\"a\", dpop error=\"use_dpop_nonce\"").want_nonce());
        assert!(!read("DPoP error=\"invalid_token\"").want_nonce());
        assert!(!read("Bearer error=\"use_dpop_nonce\"").want_nonce());
    }
}
