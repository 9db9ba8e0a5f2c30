//! Faults on demand: what goes wrong, for which requests, and whether the request still takes effect.

use crate::fields::{FieldError, Fields};
use crate::http::{Content, Reply};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// What a fault does to one request.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) action: Action,
    pub(crate) delay_ms: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Nothing but the delay.
    Delay,
    /// Another answer. The request takes effect only if `applied`.
    Answer {
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        content_type: Option<String>,
        body: Bytes,
        applied: bool,
    },
    /// No answer; the request has no effect.
    CloseBefore,
    /// No answer; the request has taken effect.
    CloseAfter,
    /// Headers and half of the body.
    CloseInBody,
    /// The answer with some of its JSON members changed.
    Edit { replace: Map<String, Value>, remove: Vec<String> },
}

impl Action {
    /// Whether the vendor gets to see the request.
    pub(crate) fn applies_request(&self) -> bool {
        !matches!(self, Action::CloseBefore | Action::Answer { applied: false, .. })
    }
}

#[derive(Debug)]
struct Queued {
    skip: u64,
    times: u64,
    fault: Fault,
}

/// The faults of one endpoint. The first in the queue rules until it is used up.
#[derive(Debug, Default)]
pub(crate) struct FaultQueue {
    queue: VecDeque<Queued>,
}

impl FaultQueue {
    /// The fault for the request that has just arrived, if it is one's turn.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        let front = self.queue.front_mut()?;
        if front.skip > 0 {
            front.skip -= 1;
            return None;
        }
        front.times -= 1;
        let fault = front.fault.clone();
        if front.times == 0 {
            self.queue.pop_front();
        }
        Some(fault)
    }

    /// Requests that faults are still waiting for.
    pub(crate) fn pending(&self) -> u64 {
        self.queue.iter().fold(0, |sum, queued| sum.saturating_add(queued.times))
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Reads and appends a fault, given everything but vendor and endpoint.
    pub(crate) fn push(&mut self, mut fields: Fields) -> Result<(), FieldError> {
        let times = fields.count("times")?.unwrap_or(1);
        if times == 0 {
            return Err(FieldError::new("times", "must be at least 1"));
        }
        let skip = fields.count("skip")?.unwrap_or(0);
        let delay_ms = fields.count("delay_ms")?;
        let action = parse_action(&mut fields, delay_ms.is_some())?;
        fields.finish()?;
        self.queue.push_back(Queued { skip, times, fault: Fault { action, delay_ms: delay_ms.unwrap_or(0) } });
        Ok(())
    }
}

fn parse_action(fields: &mut Fields, delayed: bool) -> Result<Action, FieldError> {
    let edits = fields.has("replace") || fields.has("remove");
    match (fields.has("status"), fields.has("close"), edits) {
        (true, false, false) => parse_answer(fields),
        (false, true, false) => match fields.text("close")?.as_str() {
            "before" => Ok(Action::CloseBefore),
            "after" => Ok(Action::CloseAfter),
            "body" => Ok(Action::CloseInBody),
            _ => Err(FieldError::new("close", "must be \"before\", \"after\" or \"body\"")),
        },
        (false, false, true) => {
            let replace = fields.optional_map("replace")?.unwrap_or_default();
            let remove = fields.optional_texts("remove")?.unwrap_or_default();
            let pointers = [("replace", replace.keys().collect::<Vec<_>>()), ("remove", remove.iter().collect())];
            for (field, pointers) in pointers {
                if let Some(wrong) = pointers.iter().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
                    let problem = format!("{wrong:?} is not a JSON Pointer; it must begin with \"/\"");
                    return Err(FieldError::new(field, problem));
                }
            }
            Ok(Action::Edit { replace, remove })
        }
        (false, false, false) if delayed => Ok(Action::Delay),
        (false, false, false) => {
            Err(FieldError::new("status", "is missing; or give \"close\", \"replace\", \"remove\" or \"delay_ms\""))
        }
        _ => {
            Err(FieldError::new("status", "only one of \"status\", \"close\" and \"replace\"/\"remove\" can be given"))
        }
    }
}

fn parse_answer(fields: &mut Fields) -> Result<Action, FieldError> {
    let status = fields.count("status")?.and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    let status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| FieldError::new("status", "must be from 200 to 599"))?;
    let mut headers = Vec::new();
    for (name, value) in fields.optional_map("headers")?.unwrap_or_default() {
        let wrong = |problem| FieldError::new(format!("headers.{name}"), problem);
        let parsed: HeaderName = name.parse().map_err(|_| wrong("is not a header name"))?;
        if ["content-length", "transfer-encoding", "connection"].contains(&parsed.as_str()) {
            return Err(wrong("is set by the server itself"));
        }
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        headers.push((parsed, value.ok_or_else(|| wrong("must be a string without control characters"))?));
    }
    let (body, is_json) = match fields.value("body") {
        None => (Bytes::new(), false),
        Some(Value::String(text)) => {
            let is_json = serde_json::from_str::<Value>(&text).is_ok();
            (Bytes::from(text), is_json)
        }
        Some(value) => (Bytes::from(value.to_string()), true),
    };
    let guess = if is_json { "application/json" } else { "text/plain" };
    let content_type = fields.optional_text("content_type")?;
    let content_type = content_type.or_else(|| (!body.is_empty()).then(|| guess.to_owned()));
    let applied = fields.flag("applied")?.unwrap_or(false);
    Ok(Action::Answer { status, headers, content_type, body, applied })
}

/// Changes JSON members of an answer. Other answers stay as they are.
pub(crate) fn edit(reply: &mut Reply, replace: Map<String, Value>, remove: &[String]) {
    let (Content::Json(json) | Content::JsonWithRawLineBreaks(json)) = &mut reply.body else { return };
    for pointer in remove {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        if let Some(Value::Object(parent)) = json.pointer_mut(parent) {
            parent.shift_remove(&unescape(name));
        }
    }
    for (pointer, value) in replace {
        *member(json, &pointer) = value;
    }
}

/// The member at a JSON Pointer; what is missing on the way becomes objects.
fn member<'a>(json: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).map(unescape).fold(json, |parent, name| {
        let index = name.parse::<usize>().ok().filter(|index| parent.get(index).is_some());
        match index {
            Some(index) => &mut parent[index],
            None => {
                if !parent.is_object() {
                    *parent = Value::Object(Map::new());
                }
                &mut parent[name.as_str()]
            }
        }
    })
}

fn unescape(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn queue(faults: &[Value]) -> FaultQueue {
        let mut queue = FaultQueue::default();
        for fault in faults {
            queue.push(Fields::from_json(fault.to_string().as_bytes()).unwrap()).unwrap();
        }
        queue
    }

    fn refusal(fault: Value) -> String {
        let fields = Fields::from_json(fault.to_string().as_bytes()).unwrap();
        FaultQueue::default().push(fields).unwrap_err().to_string()
    }

    #[test]
    fn the_second_fault_waits_for_the_first_and_then_skips() {
        let mut queue = queue(&[json!({"close": "before", "skip": 1, "times": 2}), json!({"delay_ms": 5, "skip": 1})]);
        let turns: Vec<bool> = (0..6).map(|_| queue.next().is_some()).collect();
        assert_eq!(turns, [false, true, true, false, true, false]);
    }

    #[test]
    fn members_are_replaced_added_and_removed_by_pointer() {
        let mut reply = Reply::json(200, json!({"a": {"b": 1, "c": 2}, "list": [1, 2]}));
        let replace = json!({"/a/b": null, "/new/deep": "x", "/list/1": 9}).as_object().unwrap().clone();
        edit(&mut reply, replace, &["/a/c".to_owned(), "/nothing/here".to_owned()]);
        let Content::Json(body) = reply.body else { panic!("still JSON") };
        assert_eq!(*body, json!({"a": {"b": null}, "list": [1, 9], "new": {"deep": "x"}}));
    }

    #[test]
    fn a_wrong_fault_is_refused_with_its_field() {
        assert!(refusal(json!({"status": 99})).starts_with("status: "));
        assert!(refusal(json!({"status": 500, "close": "after"})).starts_with("status: only one"));
        assert!(refusal(json!({"close": "now"})).starts_with("close: "));
        assert!(refusal(json!({"delay_ms": 1, "times": 0})).starts_with("times: "));
        assert!(refusal(json!({"replace": {"expires_in": 1}})).starts_with("replace: "));
        assert!(refusal(json!({"status": 500, "stauts": 1})).starts_with("stauts: "));
        assert!(refusal(json!({"status": 500, "headers": {"Retry-After": 2}})).starts_with("headers.Retry-After: "));
    }
}
