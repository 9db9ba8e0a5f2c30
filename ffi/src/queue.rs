//! Callback forms of what can block: calls that are queued, and the queue that the host runs.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qauth_core::{CompletionQueue, Error, ErrorCode, Pending, TokenOptions};

use crate::code::{QAUTH_OK, qauth_code};
use crate::error::{Texts, qauth_error};
use crate::guard::{Result, guard, quiet};
use crate::handle::{self, Handle, handle};
use crate::request::{self, qauth_request, timeout};
use crate::response::qauth_response;
use crate::source::{call_options, keep, qauth_source};
use crate::string::qauth_string;
use crate::text;
use crate::token::qauth_token;
use crate::user_data::UserData;

/// Finished calls on their way back: callbacks run only where the program runs the queue, on that thread, with no lock held.
/// One per event loop or thread as a rule. Any thread, any number at once.
pub struct qauth_queue {
    _opaque: [u8; 0],
}

/// A queued call. Freeing it changes nothing: the call goes on.
pub struct qauth_pending {
    _opaque: [u8; 0],
}

handle! {
    qauth_queue(Queue) = b"qaQueue ";
    qauth_pending(Cancel) = b"qaPendng";
}

/// Gets a token: code is QAUTH_OK and token the callback's to free, or another code and error the callback's to free; the other
/// one is NULL. Runs once, inside qauth_queue_run or qauth_queue_free. It may call any function of this library; no exception
/// may leave it, nor longjmp.
pub type qauth_token_callback = Option<
    unsafe extern "C" fn(user_data: *mut c_void, code: qauth_code, token: *mut qauth_token, error: *mut qauth_error),
>;

/// Gets a response; else as qauth_token_callback.
pub type qauth_response_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: qauth_code,
        response: *mut qauth_response,
        error: *mut qauth_error,
    ),
>;

/// Gets a result as JSON; else as qauth_token_callback.
pub type qauth_string_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: qauth_code,
        result_json: *mut qauth_string,
        error: *mut qauth_error,
    ),
>;

type Callback<H> = unsafe extern "C" fn(*mut c_void, qauth_code, *mut H, *mut qauth_error);

pub(crate) struct Cancel(Mutex<Option<Pending>>);

pub(crate) struct Queue {
    pub(crate) core: CompletionQueue,
    pub(crate) calls: Arc<Calls>,
    /// In a child of fork the locks may be held by nobody for ever, and what waits is the parent's.
    process: u32,
}

/// The calls whose callbacks have not run, and the subscriptions that have not ended. Who takes a call out runs its callback:
/// so each runs once.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    give_up: HashMap<u64, GiveUp>,
}

type GiveUp = Box<dyn FnOnce(Error) + Send>;

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `give_up` runs if the queue is freed before this one is taken out.
    pub(crate) fn add(&self, give_up: GiveUp) -> u64 {
        let mut open = self.lock();
        open.next += 1;
        let number = open.next;
        open.give_up.insert(number, give_up);
        number
    }

    pub(crate) fn take(&self, number: u64) -> bool {
        self.lock().give_up.remove(&number).is_some()
    }

    fn take_all(&self) -> HashMap<u64, GiveUp> {
        std::mem::take(&mut self.lock().give_up)
    }
}

fn call_back<H: Handle>(callback: Callback<H>, user_data: UserData, result: qauth_core::Result<H::Value>) {
    let none = (std::ptr::null_mut(), std::ptr::null_mut());
    let (code, (value, error)) = match result {
        Ok(value) => (QAUTH_OK, (handle::give::<H>(value), none.1)),
        Err(error) => (error.code() as qauth_code, (none.0, handle::give(Texts::from(&error)))),
    };
    // SAFETY: the host gave this function and promised that it can be called so.
    unsafe { callback(user_data.get(), code, value, error) };
}

/// Queues a call by `start`, which gets the function to run with its result.
fn queued<T, H>(
    queue: *const qauth_queue,
    callback: Option<Callback<H>>,
    user_data: *mut c_void,
    pending_out: *mut *mut qauth_pending,
    start: impl FnOnce(&CompletionQueue, Box<dyn FnOnce(qauth_core::Result<T>) + Send>) -> Result<Pending>,
) -> Result<()>
where
    T: 'static,
    H: Handle + 'static,
    H::Value: From<T>,
{
    let place = handle::out_if_wanted(pending_out, "pending_out")?;
    let queue = handle::borrow(queue, "queue")?;
    let Some(callback) = callback else {
        return Err(Error::new(ErrorCode::InvalidArgument, "callback: must not be NULL").into());
    };
    let user_data = UserData::new(user_data);
    let number = queue.calls.add(Box::new(move |error| call_back::<H>(callback, user_data, Err(error))));
    let calls = queue.calls.clone();
    let done = Box::new(move |result: qauth_core::Result<T>| {
        if calls.take(number) {
            call_back::<H>(callback, user_data, result.map(H::Value::from));
        }
    });
    let pending = start(&queue.core, done).inspect_err(|_| _ = queue.calls.take(number))?;
    if let Some(place) = place {
        place.put(Cancel(Mutex::new(Some(pending))));
    }
    Ok(())
}

/// Makes an empty queue. Fails with QAUTH_INTERNAL where the process has no file descriptor left. On QAUTH_OK *queue_out is the
/// caller's; free it once with qauth_queue_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_queue_new(
    queue_out: *mut *mut qauth_queue,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out(queue_out, "queue_out")?;
        place.put(Queue { core: CompletionQueue::new()?, calls: Arc::default(), process: std::process::id() });
        Ok(())
    })
}

/// A descriptor that is readable while callbacks wait, for poll, epoll and event loops; -1 for NULL. Only to be polled: neither
/// read nor closed. Valid until qauth_queue_free. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_queue_fd(queue: *const qauth_queue) -> c_int {
    handle::peek(queue).map_or(-1, |queue| queue.core.fd().map_or(-1, |fd| fd.as_raw_fd()))
}

/// Runs the callbacks that wait, in order, on this thread; waits for the first one at most timeout_ms (0: not at all;
/// QAUTH_TIMEOUT_DEFAULT: as good as for ever; a signal ends the wait early, and so does a token function that is to run
/// here). *ran_out tells how many ran, such functions included; NULL if that does not matter. Any thread, also in a callback.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_queue_run(
    queue: *const qauth_queue,
    timeout_ms: u64,
    ran_out: *mut usize,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let place = handle::out_if_wanted(ran_out, "ran_out")?;
        // A callback may free the handle.
        let queue = handle::borrow(queue, "queue")?.core.clone();
        let ran = queue.run(timeout(timeout_ms).unwrap_or(std::time::Duration::MAX));
        if let Some(place) = place {
            place.write(ran);
        }
        Ok(())
    })
}

/// Frees a queue. Callbacks that have not run get QAUTH_CANCELLED now, on this thread; the renewals that they waited for go on.
/// Subscriptions to it end: what waits is not told. NULL does nothing. In a child of fork it only frees the child's copy of the
/// handle: no callback runs there, and the descriptor stays open. Any thread, also in a callback; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_queue_free(queue: *mut qauth_queue) {
    quiet((), || {
        if let Some(queue) = handle::take(queue) {
            if queue.process != std::process::id() {
                return std::mem::forget(queue);
            }
            for give_up in queue.calls.take_all().into_values() {
                give_up(Error::new(ErrorCode::Cancelled, "the queue of this call was freed"));
            }
        }
    });
}

/// Asks for a token like qauth_source_token and returns at once; callback gets the result when the queue is run. On a failure of
/// this call itself (QAUTH_INVALID_ARGUMENT, QAUTH_CLOSED, QAUTH_INTERNAL) callback is not called. On QAUTH_OK *pending_out
/// (NULL if the call is never cancelled) is the caller's; free it once with qauth_pending_free. The source's handle may be
/// freed before the end. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_token_async(
    source: *const qauth_source,
    timeout_ms: u64,
    queue: *const qauth_queue,
    callback: qauth_token_callback,
    user_data: *mut c_void,
    pending_out: *mut *mut qauth_pending,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let source = keep(source)?;
        let options = TokenOptions { timeout: timeout(timeout_ms), ..TokenOptions::default() };
        queued(queue, callback, user_data, pending_out, |queue, done| Ok(source.token_queued(options, queue, done)?))
    })
}

/// Calls the API like qauth_source_request and returns at once; else as qauth_source_token_async. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_request_async(
    source: *const qauth_source,
    request: *const qauth_request,
    queue: *const qauth_queue,
    callback: qauth_response_callback,
    user_data: *mut c_void,
    pending_out: *mut *mut qauth_pending,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let source = keep(source)?;
        let request = request::read(request)?;
        queued(queue, callback, user_data, pending_out, |queue, done| Ok(source.request_queued(request, queue, done)?))
    })
}

/// Runs an operation like qauth_source_call and returns at once; else as qauth_source_token_async. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_call_async(
    source: *const qauth_source,
    operation: *const c_char,
    parameters_json: *const c_char,
    timeout_ms: u64,
    queue: *const qauth_queue,
    callback: qauth_string_callback,
    user_data: *mut c_void,
    pending_out: *mut *mut qauth_pending,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    // SAFETY: the same contract.
    unsafe {
        qauth_source_call_saving_async(
            source,
            operation,
            parameters_json,
            std::ptr::null(),
            timeout_ms,
            queue,
            callback,
            user_data,
            pending_out,
            error_out,
        )
    }
}

/// Runs an operation and saves its new client like qauth_source_call_saving and returns at once; else as
/// qauth_source_token_async. Giving it up does not end it: what is made is saved. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_source_call_saving_async(
    source: *const qauth_source,
    operation: *const c_char,
    parameters_json: *const c_char,
    save_as: *const c_char,
    timeout_ms: u64,
    queue: *const qauth_queue,
    callback: qauth_string_callback,
    user_data: *mut c_void,
    pending_out: *mut *mut qauth_pending,
    error_out: *mut *mut qauth_error,
) -> qauth_code {
    guard(error_out, || {
        let source = keep(source)?;
        let operation = text::required(operation, "operation")?.to_owned();
        let parameters = text::object(parameters_json, "parameters_json")?;
        let options = call_options(timeout_ms, save_as)?;
        queued(queue, callback, user_data, pending_out, |queue, done| {
            Ok(source.call_queued(operation, parameters, options, queue, done)?)
        })
    })
}

/// Gives a queued call up: its callback gets QAUTH_CANCELLED, unless its result waits in the queue already. A renewal under way
/// goes on. The handle is still to be freed. Any thread; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_pending_cancel(pending: *mut qauth_pending) {
    quiet((), || {
        if let Some(pending) = handle::peek(pending) {
            let open = pending.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            open.map(Pending::cancel).unwrap_or_default();
        }
    });
}

/// Frees this handle; the call goes on. NULL does nothing. Any thread, also in a callback; does not block. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qauth_pending_free(pending: *mut qauth_pending) {
    quiet((), || drop(handle::take(pending)));
}
