//! How a token gets onto a request, and which headers are free beside it.

use indexmap::IndexMap;

use super::{Checker, header_is_free, is_header_name};
use crate::provider::template::Template;

impl<'a> Checker<'a> {
    pub(super) fn attach(&mut self) {
        let definition = self.definition;
        let attach = &definition.attach;
        let answers = definition.grants.values().filter_map(|grant| grant.answer.as_ref()).chain([&definition.answer]);
        let kept: Vec<&str> = answers.flat_map(|answer| answer.keep.keys()).map(String::as_str).collect();
        self.headers("attach.headers", &attach.headers, true);
        for (name, value) in &attach.headers {
            let at = format!("attach.headers.{name}");
            self.uses(&at, value, &kept);
            self.undiscovered(&at, value);
        }
        if !is_header_name(&attach.header) || !header_is_free(&attach.header) {
            self.wrong("attach.header", "is no header name, or one that the HTTP client writes itself");
        }
        if attach.scheme.as_ref().is_some_and(|scheme| !scheme.is_empty() && !is_header_name(scheme)) {
            self.wrong("attach.scheme", "expected one word such as \"Bearer\", or nothing");
        }
        let ways = [
            ("scheme", attach.scheme.is_some()),
            ("value", attach.value.is_some()),
            ("query", attach.query.is_some()),
            ("cookie", attach.cookie.is_some()),
        ];
        let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
        if let [_, second, ..] = given.as_slice() {
            self.wrong(format!("attach.{second}"), format!("is given beside {}; keep one", given[0]));
        }
        if let Some(value) = &attach.value {
            self.header_text("attach.value", value);
            if value.around("access_token").is_none() {
                self.wrong("attach.value", "expected {access_token} once, and no other variable");
            }
        }
        if (attach.query.is_some() || attach.cookie.is_some()) && attach.header != "Authorization" {
            self.wrong("attach.header", "is not used with query or cookie; remove it");
        }
        if let Some(query) = &attach.query {
            if query.is_empty() {
                self.wrong("attach.query", "is empty");
            }
            self.no_template("attach.query", query);
        }
        if attach.cookie.as_ref().is_some_and(|cookie| !is_header_name(cookie)) {
            self.wrong("attach.cookie", "is no name of a cookie");
        }
        if attach.dpop && !attach.takes_dpop() {
            self.wrong("attach.dpop", "such a token goes into Authorization with the scheme DPoP (RFC 9449 7.1)");
        }
        if attach.dpop && !self.is_sent() {
            self.lacks("attach.dpop", "no grant of this file asks a server for a token, which is then bound");
        }
    }

    /// The names of headers; `beside_token`: of requests that carry a token.
    pub(super) fn headers(&mut self, at: &str, headers: &IndexMap<String, Template>, beside_token: bool) {
        for (index, (name, value)) in headers.iter().enumerate() {
            let at = format!("{at}.{name}");
            if headers.keys().take(index).any(|other| other.eq_ignore_ascii_case(name)) {
                self.wrong(&at, "is given twice: the names of headers know no case");
            }
            self.header(&at, name, value, beside_token);
        }
    }

    fn header(&mut self, at: &str, name: &str, value: &Template, beside_token: bool) {
        if !is_header_name(name) {
            return self.wrong(at, "is no header name");
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let of_token = beside_token && self.definition.attach.token_header().is_some_and(is);
        if !header_is_free(name) || is("dpop") || of_token {
            self.wrong(at, "this header is written by qauth itself");
        }
        self.header_text(at, value);
    }

    fn header_text(&mut self, at: &str, value: &Template) {
        if value.to_string().chars().any(char::is_control) {
            self.wrong(at, "holds a control character");
        }
    }
}
