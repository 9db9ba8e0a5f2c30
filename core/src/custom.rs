//! Tokens that the host's own function obtains: grant `custom`.
//!
//! Core never calls into a host from its own threads (DESIGN.md 6). A renewal that needs the function lays the call on
//! the source's desk, and a caller who waits for the renewal takes it up: on its own thread, in its own task, or on the
//! queue that the host runs. Nobody waits: nobody is called.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};

use crate::block::block_on;
use crate::clock::{Clock, Deadline, Moment};
use crate::completion::CompletionQueue;
use crate::error::{Error, ErrorCode, Result};
use crate::profile::Profile;
use crate::response::{Refusal, Verdict};
use crate::runtime::Core;
use crate::secret::Secret;
use crate::store::BoxFuture;
use crate::token::Issued;

/// What a host's function gives. `Debug` shows no token.
#[derive(Clone, Debug)]
pub struct CustomToken {
    /// Visible ASCII without spaces (RFC 6750 2.1), at most 64 KiB.
    pub access_token: Secret,
    /// From now on; `None`: the profile's `default_lifetime`, else five minutes.
    pub expires_in: Option<Duration>,
    /// `Bearer` where nothing is said.
    pub token_type: Option<String>,
    /// The scopes that were granted, if known.
    pub scope: Option<String>,
    /// Kept beside the token.
    pub extras: Map<String, Value>,
}

impl CustomToken {
    /// A bearer token with this lifetime.
    pub fn new(access_token: impl Into<String>, expires_in: Option<Duration>) -> CustomToken {
        CustomToken {
            access_token: Secret::new(access_token),
            expires_in,
            token_type: None,
            scope: None,
            extras: Map::new(),
        }
    }
}

/// One call of a host's function. [`TokenCall::answer`] ends it, at once or later, on any thread. Dropped without an
/// answer, it is made once more, by another caller.
pub struct TokenCall {
    /// The profile's name.
    pub profile: String,
    /// What the token is to be narrowed to, if anything.
    pub scope: Option<String>,
    /// The same.
    pub audience: Option<String>,
    /// The same.
    pub resource: Option<String>,
    /// Whose desk it came from.
    desk: usize,
    /// When somebody took it up: from then on the token's life counts.
    begun: Moment,
    clock: Clock,
    reply: oneshot::Sender<(Moment, Result<CustomToken>)>,
}

impl TokenCall {
    /// Gives the token, or the error that every waiting caller gets.
    pub fn answer(self, result: Result<CustomToken>) {
        // The renewal may have ended, by its deadline or by close.
        let _ = self.reply.send((self.begun, result));
    }

    /// Whether it was laid on this desk.
    pub(crate) fn is_of(&self, desk: &Desk) -> bool {
        self.desk == desk.address()
    }

    /// The error for a function's own failure. `kind` is the name of its exception or error: the text is the host's, and may
    /// hold a secret.
    pub fn failed(code: ErrorCode, kind: &str, retry_after: Option<Duration>) -> Error {
        Error::new(code, format!("the token function failed: {kind}")).with_retry_after(retry_after)
    }

    /// Whether nobody waits for the answer any more.
    fn is_over(&self) -> bool {
        self.reply.is_closed()
    }
}

impl std::fmt::Debug for TokenCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCall({:?})", self.profile)
    }
}

/// A host's function. For closures see [`Engine::custom_source`](crate::Engine::custom_source).
pub trait TokenFunction: Send + Sync + 'static {
    /// Begins to obtain a token. Runs where a caller waits: on its thread, in its task, or on the thread that runs its
    /// queue; never on a thread of the engine. What is returned is polled there to its end, unless the caller gives up.
    fn begin(&self, call: TokenCall) -> Option<BoxFuture<'static, ()>>;
}

impl<F, R> TokenFunction for F
where
    F: Fn(&TokenCall) -> R + Send + Sync + 'static,
    R: Future<Output = Result<CustomToken>> + Send + 'static,
{
    fn begin(&self, call: TokenCall) -> Option<BoxFuture<'static, ()>> {
        let work = self(&call);
        Some(Box::pin(async move { call.answer(work.await) }))
    }
}

/// Where the one who waits can run the function.
pub(crate) enum Host {
    /// Here, in its own thread or task.
    Here,
    /// On the thread that runs this queue.
    Queue(CompletionQueue),
}

/// Calls that wait for somebody to take them up. Each stays until somebody really begins it: a queue that nobody runs, or
/// whose loop is busy, keeps it from nobody else.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Laid>);

#[derive(Default)]
struct Laid {
    calls: Mutex<VecDeque<TokenCall>>,
    /// A call that was begun by somebody who needed not wait for its end.
    left: Mutex<Option<BoxFuture<'static, ()>>>,
    /// How many have been laid here.
    posted: watch::Sender<u64>,
}

impl Desk {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn post(&self, call: TokenCall) {
        // What is left over answers nobody any more.
        self.swap_left(None);
        self.lock().push_back(call);
        self.0.posted.send_modify(|posted| *posted += 1);
    }

    /// Leaves a call that was begun to the next one who waits.
    fn leave(&self, running: BoxFuture<'static, ()>) {
        self.swap_left(Some(running));
        self.0.posted.send_modify(|posted| *posted += 1);
    }

    fn has_work(&self) -> bool {
        !self.lock().is_empty() || self.0.left.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn swap_left(&self, left: Option<BoxFuture<'static, ()>>) -> Option<BoxFuture<'static, ()>> {
        std::mem::replace(&mut self.0.left.lock().unwrap_or_else(PoisonError::into_inner), left)
    }

    fn take(&self) -> Option<TokenCall> {
        let mut calls = self.lock();
        calls.retain(|call| !call.is_over());
        let mut call = calls.pop_front()?;
        call.begun = call.clock.now();
        Some(call)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<TokenCall>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `work`, and meanwhile takes up what lies on the desk.
pub(crate) async fn serve<T>(
    desk: &Desk,
    function: &Arc<dyn TokenFunction>,
    host: Host,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut posted = desk.0.posted.subscribe();
    if desk.has_work() {
        posted.mark_changed();
    }
    let mut work = pin!(work);
    let mut running: Option<BoxFuture<'static, ()>> = None;
    loop {
        let ended = async {
            match &mut running {
                Some(running) => running.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = &mut work => {
                // A token that is stale but valid is served while its renewal goes on.
                if let (Ok(_), Some(running)) = (&result, running) {
                    desk.leave(running);
                }
                return result;
            }
            () = ended => running = None,
            // The sender lives as long as the desk.
            _ = posted.changed() => match &host {
                Host::Here => {
                    if let Some(left) = desk.swap_left(None) {
                        running = Some(left);
                    } else if let Some(call) = desk.take() {
                        running = function.begin(call);
                    }
                }
                Host::Queue(queue) => {
                    let (desk, function) = (desk.clone(), function.clone());
                    queue.push(move || {
                        if let Some(work) = desk.take().and_then(|call| function.begin(call)) {
                            block_on(work);
                        }
                    });
                }
            },
        }
    }
}

/// One token by the host's function, within the deadline.
pub(crate) async fn obtain(
    core: &Core,
    profile: &Profile,
    desk: Option<&Desk>,
    deadline: &Deadline,
) -> std::result::Result<(Issued, Moment), Refusal> {
    let Some(desk) = desk else {
        let message = "grant: is custom, whose function is given in code: make the source with custom_source";
        return Err(Refusal { error: Error::config(message), verdict: Verdict::NotSent });
    };
    let answered = async {
        loop {
            let (reply, answer) = oneshot::channel();
            let narrowing = &profile.narrowing;
            desk.post(TokenCall {
                desk: desk.address(),
                profile: profile.name.clone(),
                scope: narrowing.scope.clone(),
                audience: narrowing.audience.clone(),
                resource: narrowing.resource.clone(),
                begun: core.clock.now(),
                clock: core.clock.clone(),
                reply,
            });
            // Whoever took it up has given up: the next one who waits does it.
            if let Ok(answer) = answer.await {
                return answer;
            }
        }
    };
    let refused = |error: Error| Refusal { error, verdict: Verdict::Noise };
    let (begun, given) = match tokio::time::timeout(deadline.left(&core.clock.now()), answered).await {
        Ok((begun, Ok(given))) => (begun, given),
        Ok((_, Err(error))) => return Err(refused(error)),
        Err(_) => return Err(refused(Error::new(ErrorCode::Timeout, "the token function has not answered in time"))),
    };
    let text = given.access_token.expose();
    let wrong = |message| Err(refused(Error::protocol(message).with_retryable(false)));
    if text.is_empty() || text.len() > 64 * 1024 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("the token function gave what no token can be: expected 1 to 65536 visible ASCII characters");
    }
    if given.token_type.as_ref().is_some_and(|word| !word.bytes().all(|byte| byte.is_ascii_graphic())) {
        return wrong("the token function gave what no token_type can be: expected visible ASCII characters");
    }
    let lifetime = given.expires_in.or(profile.default_lifetime).unwrap_or(Duration::from_secs(300));
    let issued = Issued {
        access_token: given.access_token,
        token_type: given.token_type.filter(|word| !word.is_empty()).unwrap_or_else(|| "Bearer".to_owned()),
        lifetime: Some(lifetime.min(profile.max_lifetime)),
        refresh_token: None,
        refresh_lifetime: None,
        scope: given.scope,
        extras: given.extras,
    };
    Ok((issued, begun))
}

#[cfg(test)]
mod tests;
