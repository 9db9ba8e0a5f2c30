/*
 * qauth: valid access tokens for the APIs that a program talks to. Obtained once, cached, renewed before their end, shared
 * by everybody who asks.
 *
 *     qauth_engine *engine; qauth_source *source; qauth_token *token; qauth_error *error = NULL;
 *     if (qauth_engine_from_file("qauth.toml", &engine, &error) == QAUTH_OK &&
 *         qauth_engine_source(engine, "pricing", &source, &error) == QAUTH_OK &&
 *         qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error) == QAUTH_OK)
 *         use(qauth_token_header_value(token));
 *     else
 *         fprintf(stderr, "%s\n", qauth_error_message(error));
 *
 * This file is made from the library's source, comments included. For C++ there is qauth.hpp.
 *
 * What holds everywhere:
 *
 * - A function that can fail returns a qauth_code; QAUTH_OK is 0. Its last parameter, error_out, may be NULL. If it is not, a
 *   failure writes *error_out, whatever was in it: the caller's, to be freed once with qauth_error_free. Success leaves it.
 * - Outputs are written only on success, unless their comment says otherwise.
 * - What a function gives out by a parameter that ends in _out is the caller's: it is freed once, by the qauth_..._free of its
 *   type, which accepts NULL. Strings and bytes that a function returns are borrowed: they live as long as the handle they
 *   were asked of.
 * - Texts go in and come out as UTF-8 with a NUL at the end. Parameters are borrowed during the call only.
 * - Any function may be called on any thread at any time; but a handle is freed by one thread, after its last use.
 *   NULL, a handle of another type, and one that was freed (as far as that can be seen) give QAUTH_INVALID_ARGUMENT, or NULL
 *   or 0 where no code is returned.
 * - timeout_ms: 0 never waits and takes cached tokens only; QAUTH_TIMEOUT_DEFAULT is the profile's own limit.
 * - After fork, a child may use the engines, sources and tokens of its parent; it makes queues and subscriptions of its own.
 * - Nothing is printed. No error text holds a secret or a token.
 *
 * ABI.md tells what stays the same from version to version.
 */

#ifndef QAUTH_H
#define QAUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * As timeout_ms: the profile's own limit (30 s unless it says otherwise).
 */
#define QAUTH_TIMEOUT_DEFAULT UINT64_MAX

/**
 * The ABI's number: it rises only when a program compiled against an older header would break.
 */
#define QAUTH_ABI_VERSION 1

/**
 * As expires_in_ms: nobody knows how long the token lives.
 */
#define QAUTH_EXPIRES_IN_UNKNOWN -1

/**
 * One per process as a rule: owns the threads, the connections, the store and the sources. Any thread, any number at once.
 */
typedef struct qauth_engine qauth_engine;

/**
 * Why a call failed: a code, a text to act on, and what the server said. None of them holds a secret or a token;
 * qauth_error_answer alone may. Its texts live until qauth_error_free; any thread may read them.
 */
typedef struct qauth_error qauth_error;

/**
 * Something that happened to a profile's token. Never holds a secret or a token. It and its texts live as long as the callback
 * that got it runs.
 */
typedef struct qauth_event qauth_event;

/**
 * What a request must carry, in order. Its texts live until qauth_headers_free; any thread may read them. Hold it no longer
 * than the request: it has the token in it.
 */
typedef struct qauth_headers qauth_headers;

/**
 * A queued call. Freeing it changes nothing: the call goes on.
 */
typedef struct qauth_pending qauth_pending;

/**
 * Finished calls on their way back: callbacks run only where the program runs the queue, on that thread, with no lock held.
 * One per event loop or thread as a rule. Any thread, any number at once.
 */
typedef struct qauth_queue qauth_queue;

/**
 * What the API answered, whatever the status. Its texts and body live until qauth_response_free; any thread may read them.
 */
typedef struct qauth_response qauth_response;

/**
 * The live object of one profile: a valid token whenever it is asked for one, or a clear error. Any thread, any number at
 * once.
 */
typedef struct qauth_source qauth_source;

/**
 * A text of its own, as a rule JSON. It can hold what a vendor shows only once; its memory is wiped when it is freed.
 */
typedef struct qauth_string qauth_string;

/**
 * A callback that hears of events, until this is freed.
 */
typedef struct qauth_subscription qauth_subscription;

/**
 * A valid access token as one source lent it: immutable and counted. Its texts live until the last qauth_token_free; any
 * thread may read them. Keep it out of logs.
 */
typedef struct qauth_token qauth_token;

/**
 * One call of a program's own token function. Used up by exactly one of qauth_token_call_give, qauth_token_call_fail and
 * qauth_token_call_free, inside the function or later, on any thread. Its texts live until then.
 */
typedef struct qauth_token_call qauth_token_call;

/**
 * What became of a call: QAUTH_OK or one of the other QAUTH_... codes. Numbers are never reused; a program must expect
 * codes that it does not know.
 */
typedef int32_t qauth_code;

/**
 * Whether and why to send a request once more: one of the QAUTH_AGAIN_... numbers; a program takes one that it does not know
 * for QAUTH_AGAIN_NO.
 */
typedef int32_t qauth_again;

/**
 * A name and a value, both with a NUL after them. Borrowed during the call that gets it. Never changes its layout.
 */
typedef struct {
    /**
     * The name.
     */
    const char *name;
    /**
     * The value.
     */
    const char *value;
} qauth_pair;

/**
 * An API call. Begin with QAUTH_REQUEST_INIT and set what is needed; everything is borrowed during the call that gets it, no
 * longer, also where that call is asynchronous. Members are only ever added at the end; struct_size tells the library which
 * of them the program knows.
 */
typedef struct {
    /**
     * sizeof(qauth_request) in the program.
     */
    size_t struct_size;
    /**
     * "GET", "POST" and so on.
     */
    const char *method;
    /**
     * A path below the profile's API address that begins with "/", or a whole URL on one of its hosts.
     */
    const char *target;
    /**
     * Appended to the target's query, encoded; NULL for none.
     */
    const qauth_pair *query;
    /**
     * How many pairs query has.
     */
    size_t query_count;
    /**
     * Sent beside those that the token needs; NULL for none. Authorization, Host and the framing headers are refused.
     */
    const qauth_pair *headers;
    /**
     * How many pairs headers has.
     */
    size_t header_count;
    /**
     * Sent as it is; NULL for none.
     */
    const uint8_t *body;
    /**
     * How many bytes body has.
     */
    size_t body_length;
    /**
     * For token and call together. 0: only a token that is cached; QAUTH_TIMEOUT_DEFAULT: the profile's own limit.
     */
    uint64_t timeout_ms;
} qauth_request;

/**
 * Gets a token: code is QAUTH_OK and token the callback's to free, or another code and error the callback's to free; the other
 * one is NULL. Runs once, inside qauth_queue_run or qauth_queue_free. It may call any function of this library; no exception
 * may leave it, nor longjmp.
 */
typedef void (*qauth_token_callback)(void *user_data, qauth_code code, qauth_token *token, qauth_error *error);

/**
 * Gets a response; else as qauth_token_callback.
 */
typedef void (*qauth_response_callback)(void *user_data,
                                        qauth_code code,
                                        qauth_response *response,
                                        qauth_error *error);

/**
 * Gets a result as JSON; else as qauth_token_callback.
 */
typedef void (*qauth_string_callback)(void *user_data,
                                      qauth_code code,
                                      qauth_string *result_json,
                                      qauth_error *error);

/**
 * A token function: begins to obtain a token for call, and owns it from now on. It may answer at once, or keep it, return,
 * and answer later; a call that is never answered ends in QAUTH_TIMEOUT for all who wait. It may call any function of this
 * library, and free any handle; but a token of its own source ends in QAUTH_TIMEOUT, since that one is this call. No
 * exception may leave it, nor longjmp.
 */
typedef void (*qauth_token_function)(void *user_data, qauth_token_call *call);

/**
 * Frees user data that the library was given. It may call any function of this library; no exception may leave it, nor
 * longjmp.
 */
typedef void (*qauth_free_function)(void *user_data);

/**
 * What a token function gives. Begin with QAUTH_CUSTOM_TOKEN_INIT and set what is known; everything is borrowed during the
 * call that gets it. Members are only ever added at the end; struct_size tells the library which of them the program knows.
 */
typedef struct {
    /**
     * sizeof(qauth_custom_token) in the program.
     */
    size_t struct_size;
    /**
     * The token itself: 1 to 65536 visible ASCII characters.
     */
    const char *access_token;
    /**
     * How long it lives, counted from when the function was called. QAUTH_EXPIRES_IN_UNKNOWN: the profile's
     * default_lifetime, else five minutes.
     */
    int64_t expires_in_ms;
    /**
     * NULL: "Bearer".
     */
    const char *token_type;
    /**
     * The scopes that were granted; NULL where that is not known.
     */
    const char *scope;
    /**
     * What qauth_token_extras_json is to give, a JSON object; NULL for none.
     */
    const char *extras_json;
} qauth_custom_token;

/**
 * What happened: one of the QAUTH_EVENT_... numbers. Numbers are never reused; a program must expect kinds that it does not
 * know, and has qauth_event_severity for them.
 */
typedef int32_t qauth_kind;

/**
 * Hears of an event, which is borrowed until it returns. Runs inside qauth_queue_run, on the thread that called that: where
 * several threads run one queue, on several at once and in any order; where it runs the queue itself, once more inside itself.
 * It may call any function of this library, and free its own subscription; no exception may leave it, nor longjmp.
 */
typedef void (*qauth_event_callback)(void *user_data, const qauth_event *event);

/**
 * How much an event matters, one of the QAUTH_SEVERITY_... numbers: the levels that every logging library has.
 */
typedef int32_t qauth_severity;

/**
 * Success.
 */
#define QAUTH_OK 0

/**
 * An argument of this call is wrong; nothing was sent.
 */
#define QAUTH_INVALID_ARGUMENT 1

/**
 * The configuration is wrong, or the vendor says that the request as configured can never work.
 */
#define QAUTH_CONFIG 2

/**
 * The server refused the client's own credentials (RFC 6749 5.2 invalid_client).
 */
#define QAUTH_INVALID_CLIENT 3

/**
 * The server refused the user's login, assertion or refresh token (RFC 6749 5.2 invalid_grant).
 */
#define QAUTH_INVALID_GRANT 4

/**
 * No token can be had without a person: a static token was rejected or the refresh token is gone.
 */
#define QAUTH_REAUTHENTICATION_REQUIRED 5

/**
 * The API or server understood and refused (403, access_denied).
 */
#define QAUTH_ACCESS_DENIED 6

/**
 * Too many requests (429); qauth_error_retry_after_ms says when to come back.
 */
#define QAUTH_RATE_LIMITED 7

/**
 * The server failed (5xx).
 */
#define QAUTH_SERVER_ERROR 8

/**
 * The server could not be reached or the connection broke.
 */
#define QAUTH_NETWORK 9

/**
 * The deadline passed first.
 */
#define QAUTH_TIMEOUT 10

/**
 * The TLS handshake failed; certificates are always verified.
 */
#define QAUTH_TLS 11

/**
 * The answer makes no sense: not JSON, no token, a redirect, an unknown token type.
 */
#define QAUTH_PROTOCOL 12

/**
 * A record in the store could not be read or written.
 */
#define QAUTH_STORE 13

/**
 * The store cannot be reached and this profile must not renew without it.
 */
#define QAUTH_STORE_UNAVAILABLE 14

/**
 * Another party keeps taking over this account's only session.
 */
#define QAUTH_SESSION_CONFLICT 15

/**
 * This provider or profile cannot do what was asked.
 */
#define QAUTH_UNSUPPORTED 16

/**
 * The caller cancelled the call.
 */
#define QAUTH_CANCELLED 17

/**
 * The engine or source was closed.
 */
#define QAUTH_CLOSED 18

/**
 * A fault in qauth itself; please report it.
 */
#define QAUTH_INTERNAL 19

/**
 * The caller's buffer is too small; nothing of the text was copied. Codes from 100 on are the C library's own.
 */
#define QAUTH_BUFFER_TOO_SMALL 100

/**
 * The answer stands.
 */
#define QAUTH_AGAIN_NO 0

/**
 * The API wants a nonce in the proof (RFC 9449 9), and it came with the answer. Nothing is wrong with the token.
 */
#define QAUTH_AGAIN_NONCE 1

/**
 * The API rejected the token, and the next caller gets a new one.
 */
#define QAUTH_AGAIN_TOKEN 2

/**
 * A token came where there was none. Seconds: of the renewal.
 */
#define QAUTH_EVENT_OBTAINED 1

/**
 * A token came in place of a valid one. Seconds: of the renewal.
 */
#define QAUTH_EVENT_RENEWED 2

/**
 * A sibling had put a newer token into the store. Seconds: of the renewal, which sent nothing.
 */
#define QAUTH_EVENT_ADOPTED 3

/**
 * A renewal brought no token; the error says why. Seconds: of the renewal.
 */
#define QAUTH_EVENT_FAILED 4

/**
 * A valid token is served though it cannot be renewed: told once, until a renewal succeeds. Seconds: what it has left.
 */
#define QAUTH_EVENT_SERVED_WHILE_FAILING 5

/**
 * Another party keeps taking over this account's only session. Seconds: for how long the library steps back.
 */
#define QAUTH_EVENT_CONFLICT 6

/**
 * The API rejected a token. Seconds: how old it was.
 */
#define QAUTH_EVENT_INVALIDATED 7

/**
 * The server's clock is far from ours. Seconds: by how much.
 */
#define QAUTH_EVENT_SKEW 8

/**
 * A source that nobody used was let go of. Seconds: for how long nobody did.
 */
#define QAUTH_EVENT_EVICTED 9

/**
 * Other credentials of the profile are used from now on, since those before were refused. Seconds: 0.
 */
#define QAUTH_EVENT_SWITCHED 10

/**
 * The store cannot be used as it should: told once, by the profile that met it first, until it can. Seconds: 0.
 */
#define QAUTH_EVENT_STORE_DEGRADED 11

/**
 * The store can be used again. Seconds: 0.
 */
#define QAUTH_EVENT_STORE_RECOVERED 12

/**
 * As it should be.
 */
#define QAUTH_SEVERITY_DEBUG 1

/**
 * Worth a line.
 */
#define QAUTH_SEVERITY_INFO 2

/**
 * Somebody should look, soon if it stays.
 */
#define QAUTH_SEVERITY_WARNING 3

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The word for a code, for instance "invalid_client": the same in every language. "ok" for QAUTH_OK, "unknown" for a number
 * that is no code. Static: never freed. Any thread; does not block; cannot fail. Since 0.1.0.
 */
const char *qauth_code_name(qauth_code code);

/**
 * Whether the same call can succeed later with nothing changed on the caller's side. An error may know better:
 * qauth_error_retryable. Any thread; does not block; cannot fail. Since 0.1.0.
 */
bool qauth_code_retryable(qauth_code code);

/**
 * The code that the failed call returned; QAUTH_OK for NULL. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_error_code(const qauth_error *error);

/**
 * The whole text: code, profile, what happened and what to do, HTTP status, what the server said. For people and logs; its
 * wording is no part of the ABI. Borrowed from the error; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_error_message(const qauth_error *error);

/**
 * The profile whose token was asked for, or NULL. Borrowed from the error. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_error_profile(const qauth_error *error);

/**
 * The provider of that profile, or NULL. Borrowed from the error. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_error_provider(const qauth_error *error);

/**
 * The HTTP status of the server's answer; 0 where there was none. Any thread; does not block. Since 0.1.0.
 */
int32_t qauth_error_http_status(const qauth_error *error);

/**
 * The server's `error` (RFC 6749 5.2), at most 64 characters, or NULL. Borrowed from the error. Any thread; does not block.
 * Since 0.1.0.
 */
const char *qauth_error_server_error(const qauth_error *error);

/**
 * The server's `error_description`, secrets masked, at most 256 printable characters, or NULL. Borrowed from the error. Any
 * thread; does not block. Since 0.1.0.
 */
const char *qauth_error_server_error_description(const qauth_error *error);

/**
 * Whether the same call may succeed later with nothing changed. Any thread; does not block. Since 0.1.0.
 */
bool qauth_error_retryable(const qauth_error *error);

/**
 * How long to wait, in milliseconds, before the next try can help; -1 where nobody knows. Any thread; does not block.
 * Since 0.1.0.
 */
int64_t qauth_error_retry_after_ms(const qauth_error *error);

/**
 * What the vendor answered, as JSON, where it holds a secret that is shown this once only and the call could not finish with
 * it: the profile could not be saved (qauth_source_call_saving), or the answer not be read (then it is its text). NULL with
 * every other error. It is the only copy: store it, and keep it out of logs. Borrowed from the error, and wiped with it. Any
 * thread; does not block. Since 0.1.0.
 */
const char *qauth_error_answer(const qauth_error *error);

/**
 * Frees an error and its texts. NULL does nothing. Any thread; does not block. Since 0.1.0.
 */
void qauth_error_free(qauth_error *error);

/**
 * The library's version, for instance "0.1.0". Static: never freed. Any thread; does not block; cannot fail.
 * Since 0.1.0.
 */
const char *qauth_version(void);

/**
 * The ABI's number of the library that is loaded. A program may use it if it equals the QAUTH_ABI_VERSION that the program
 * was compiled with. Any thread; does not block; cannot fail. Since 0.1.0.
 */
uint32_t qauth_abi_version(void);

/**
 * Makes an engine without a configuration: providers by name, their credentials from the environment. Starts nothing,
 * sends nothing. Fails with QAUTH_INTERNAL where the operating system gives no random bytes. On QAUTH_OK *engine_out is the
 * caller's; free it once with qauth_engine_free. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_engine_new(qauth_engine **engine_out,
                            qauth_error **error_out);

/**
 * The same with the configuration that is found: the file that QAUTH_CONFIG names, else qauth/qauth.toml and the files in
 * qauth/profiles.d of the XDG configuration folder; none is fine. Fails with QAUTH_CONFIG, naming file, section and field.
 * Reads files. Since 0.1.0.
 */
qauth_code qauth_engine_discover(qauth_engine **engine_out,
                                 qauth_error **error_out);

/**
 * The same with a file: a qauth.toml, or JSON of the same structure where the name ends in ".json". Fails with QAUTH_CONFIG,
 * naming file, section and field. Reads the file. Since 0.1.0.
 */
qauth_code qauth_engine_from_file(const char *path,
                                  qauth_engine **engine_out,
                                  qauth_error **error_out);

/**
 * The same with the text of a qauth.toml. Fails with QAUTH_CONFIG, naming section and field, never the value. Since 0.1.0.
 */
qauth_code qauth_engine_from_toml(const char *toml,
                                  qauth_engine **engine_out,
                                  qauth_error **error_out);

/**
 * The same with the same structure as JSON. Fails with QAUTH_CONFIG, naming section and field, never the value. Since 0.1.0.
 */
qauth_code qauth_engine_from_json(const char *json,
                                  qauth_engine **engine_out,
                                  qauth_error **error_out);

/**
 * Gives the source of a profile, or of a provider whose credentials are in the environment ("acme"). The same name
 * gives the same source behind a handle of its own. Reads secrets, sends nothing. Fails with QAUTH_CONFIG (the profile is
 * unknown or wrong; names the field) or QAUTH_CLOSED. On QAUTH_OK *source_out is the caller's; free it once with
 * qauth_source_free. Any thread; may read files, does not wait for the network. Since 0.1.0.
 */
qauth_code qauth_engine_source(const qauth_engine *engine,
                               const char *name,
                               qauth_source **source_out,
                               qauth_error **error_out);

/**
 * The same with some keys given in code, as a JSON object: over those of the profile, or in place of one
 * ({"provider": "acme", "instance": "main", ...}). NULL gives none. Since 0.1.0.
 */
qauth_code qauth_engine_source_with_json(const qauth_engine *engine,
                                         const char *name,
                                         const char *overrides_json,
                                         qauth_source **source_out,
                                         qauth_error **error_out);

/**
 * Forgets a profile's source: its handles answer QAUTH_CLOSED from now on and are freed as always; the next
 * qauth_engine_source with this name makes a new one. *removed_out tells whether there was one; NULL if that does not
 * matter. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_engine_remove(qauth_engine *engine,
                               const char *name,
                               bool *removed_out,
                               qauth_error **error_out);

/**
 * Moves a manual clock (testing.clock = "manual") forward, runs the renewals that come due on the way, and returns when they
 * have ended. Fails with QAUTH_UNSUPPORTED on the system's clock and QAUTH_INVALID_ARGUMENT for a number that is negative or
 * no number. Any thread; blocks. For tests. Since 0.1.0.
 */
qauth_code qauth_engine_advance(qauth_engine *engine,
                                double seconds,
                                qauth_error **error_out);

/**
 * Lets a machine with a manual clock (testing.clock = "manual") sleep: boot and wall clock move on, the monotonic clock stands
 * still, nothing runs. Then what has come due runs, as in qauth_engine_advance, which fails alike. Any thread; blocks. For
 * tests. Since 0.1.0.
 */
qauth_code qauth_engine_suspend(qauth_engine *engine,
                                double seconds,
                                qauth_error **error_out);

/**
 * Sets the wall clock of a manual clock (testing.clock = "manual") forward, or back where seconds is negative, as a person or a
 * time server does; no time passes, and nothing runs. Fails with QAUTH_UNSUPPORTED on the system's clock and
 * QAUTH_INVALID_ARGUMENT for no number. Any thread; does not block. For tests. Since 0.1.0.
 */
qauth_code qauth_engine_step_wall_clock(qauth_engine *engine,
                                        double seconds,
                                        qauth_error **error_out);

/**
 * The names of the configuration's profiles, in its order, and of those that have come into profiles.d since, as a JSON array.
 * On QAUTH_OK *json_out is the caller's; free it once with qauth_string_free. Any thread; reads that folder. Since 0.1.0.
 */
qauth_code qauth_engine_profiles_json(const qauth_engine *engine,
                                      qauth_string **json_out,
                                      qauth_error **error_out);

/**
 * The provider of this name, the configuration's own or a built-in one, as a JSON object like those of
 * qauth_providers_json. Fails with QAUTH_CONFIG where there is none. On QAUTH_OK *json_out is the caller's; free it once with
 * qauth_string_free. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_engine_provider_json(const qauth_engine *engine,
                                      const char *name,
                                      qauth_string **json_out,
                                      qauth_error **error_out);

/**
 * Every built-in provider as a JSON array of objects with "name", "description", "environments" and "grants" (the default
 * one first), "fields" (each with "name", "env", "secret", "default", "description") and "operations" (each with "name",
 * "description" and "parameters", each of these with "name" and "required"). On QAUTH_OK *json_out is the caller's; free it
 * once with qauth_string_free. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_providers_json(qauth_string **json_out,
                                qauth_error **error_out);

/**
 * Ends the engine: callers that wait and all later calls get QAUTH_CLOSED. Joins its threads within 1 s, or 2 s when an answer
 * that must not be lost is on the wire. More calls do nothing. The handle is still to be freed. Any thread, also in a
 * callback; blocks so long. Since 0.1.0.
 */
qauth_code qauth_engine_close(qauth_engine *engine,
                              qauth_error **error_out);

/**
 * Frees this handle. Sources keep what they need of their engine: when the last handle of both is gone, its threads end by
 * themselves. NULL does nothing. Any thread; does not block. Since 0.1.0.
 */
void qauth_engine_free(qauth_engine *engine);

/**
 * Gets a valid token, from the cache when a fresh one is there. Blocks the caller for at most timeout_ms (0: cached only;
 * QAUTH_TIMEOUT_DEFAULT: the profile's own limit). Any thread, any number at once; all who wait share one renewal. Fails with
 * what the renewal met, QAUTH_TIMEOUT (the renewal goes on) or QAUTH_CLOSED. On QAUTH_OK *token_out is the caller's; free it
 * once with qauth_token_free. Since 0.1.0.
 */
qauth_code qauth_source_token(const qauth_source *source,
                              uint64_t timeout_ms,
                              qauth_token **token_out,
                              qauth_error **error_out);

/**
 * The same for a token that lives at least min_remaining_ms from now on. Fails with QAUTH_INVALID_ARGUMENT, too, where a fresh
 * token of this provider does not live that long. Since 0.1.0.
 */
qauth_code qauth_source_token_min(const qauth_source *source,
                                  uint64_t timeout_ms,
                                  uint64_t min_remaining_ms,
                                  qauth_token **token_out,
                                  qauth_error **error_out);

/**
 * A cached token that needs no thought, not even about to be renewed; NULL where there is none. The caller's; free it once
 * with qauth_token_free. Any thread; never blocks, starts nothing. Since 0.1.0.
 */
qauth_token *qauth_source_cached(const qauth_source *source);

/**
 * Copies the value of the one header that carries the token, for instance "Bearer eyJ...", with a NUL after it into
 * buffer, which has room for size bytes (0 with NULL, to ask for the size). The fast path: it counts no references, so
 * that any number of threads go at full speed. Blocks like qauth_source_token with the profile's own limit where no token is
 * cached. *needed_out (NULL if it does not matter) is written with QAUTH_OK and with QAUTH_BUFFER_TOO_SMALL: the bytes
 * needed, the NUL included. QAUTH_BUFFER_TOO_SMALL leaves an empty text in buffer, if size is not 0: never part of a token.
 * Wipe the buffer after use. Fails with QAUTH_UNSUPPORTED where one constant header is not enough: then take
 * qauth_source_headers. Any thread. Since 0.1.0.
 */
qauth_code qauth_source_header(const qauth_source *source,
                               char *buffer,
                               size_t size,
                               size_t *needed_out,
                               qauth_error **error_out);

/**
 * Everything that a request to url must carry: the token's header and those beside it. url is a path below the profile's API
 * address or a whole URL. Blocks like qauth_source_token. Fails like it, with QAUTH_INVALID_ARGUMENT for a host that is not
 * the profile's, and with QAUTH_CONFIG where the profile has no API address. On QAUTH_OK *headers_out is the caller's; free it
 * once with qauth_headers_free. Any thread. Since 0.1.0.
 */
qauth_code qauth_source_headers(const qauth_source *source,
                                const char *method,
                                const char *url,
                                uint64_t timeout_ms,
                                qauth_headers **headers_out,
                                qauth_error **error_out);

/**
 * For requests that the program sends itself: takes note of what the API answered to one for url (as for
 * qauth_source_headers) with headers of this generation (qauth_headers_generation). To be called after every answer: a 401
 * invalidates the token, and a nonce for DPoP may come with any. www_authenticate is that header's value, several joined by
 * ", "; dpop_nonce is DPoP-Nonce's; NULL for one that is not there. *again_out, NULL if that does not matter, says whether to
 * send the request once more with fresh headers, if it can be: for each reason once, a second time tells nothing new. Fails
 * with QAUTH_INVALID_ARGUMENT, and with QAUTH_CONFIG where url is a path and the profile has no API address. Any thread; does
 * not block. Since 0.1.0.
 */
qauth_code qauth_source_answered(qauth_source *source,
                                 const char *url,
                                 uint64_t generation,
                                 int32_t http_status,
                                 const char *www_authenticate,
                                 const char *dpop_nonce,
                                 qauth_again *again_out,
                                 qauth_error **error_out);

/**
 * Calls the API with the token attached. Every status is a result; a 401 leads to one new token and one more try, a 403 to
 * neither; a redirect is returned, never followed. Blocks for at most request->timeout_ms. Fails with what kept the token or
 * the answer away, and with QAUTH_INVALID_ARGUMENT for a host that is not the profile's. On QAUTH_OK *response_out is the
 * caller's; free it once with qauth_response_free. Any thread. Since 0.1.0.
 */
qauth_code qauth_source_request(const qauth_source *source,
                                const qauth_request *request,
                                qauth_response **response_out,
                                qauth_error **error_out);

/**
 * Runs an operation that the provider file declares ("whoami"), with its parameters as a JSON object (NULL for none). Blocks
 * for at most timeout_ms. Fails like qauth_source_request; statuses that are no success are failures too: QAUTH_ACCESS_DENIED,
 * QAUTH_INVALID_ARGUMENT, QAUTH_RATE_LIMITED, QAUTH_SERVER_ERROR. On QAUTH_OK *result_json_out holds the answer ("true" or
 * "false" where the status is the result, "null" where there was no body) and is the caller's; free it once with
 * qauth_string_free. Any thread. Since 0.1.0.
 */
qauth_code qauth_source_call(const qauth_source *source,
                             const char *operation,
                             const char *parameters_json,
                             uint64_t timeout_ms,
                             qauth_string **result_json_out,
                             qauth_error **error_out);

/**
 * The same for an operation that makes a new client ("create_client"), which becomes the profile save_as: a file
 * profiles.d/NAME.toml beside the configuration, for its owner alone, written durably before this returns. It works at once,
 * in this engine (qauth_engine_source) and in others of that file. NULL saves nothing. Before anything is sent, fails with
 * QAUTH_INVALID_ARGUMENT for a name that is taken or none and for an operation that makes no client, QAUTH_CONFIG where the
 * engine is of no file, QAUTH_STORE where the profile's could not be written. After it, with QAUTH_STORE or QAUTH_PROTOCOL:
 * then qauth_error_answer has the answer. Since 0.1.0.
 */
qauth_code qauth_source_call_saving(const qauth_source *source,
                                    const char *operation,
                                    const char *parameters_json,
                                    const char *save_as,
                                    uint64_t timeout_ms,
                                    qauth_string **result_json_out,
                                    qauth_error **error_out);

/**
 * The API rejected this token. Acts only if it is still the current one; the next caller then gets a new one. *acted_out tells
 * whether it acted; NULL if that does not matter. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_source_invalidate(qauth_source *source,
                                   const qauth_token *token,
                                   bool *acted_out,
                                   qauth_error **error_out);

/**
 * The same by the token's generation, for who has not kept the token. Since 0.1.0.
 */
qauth_code qauth_source_invalidate_generation(qauth_source *source,
                                              uint64_t generation,
                                              bool *acted_out,
                                              qauth_error **error_out);

/**
 * Forgets remembered failures and pauses: the next call tries again at once. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_source_reset(qauth_source *source,
                              qauth_error **error_out);

/**
 * Replaces keys of the profile, given as a JSON object, for instance a secret. Tokens of the old ones are not served any more.
 * Fails with QAUTH_CONFIG, naming the field; then nothing has changed. Any thread; may read files, does not wait for the
 * network. Since 0.1.0.
 */
qauth_code qauth_source_update_json(qauth_source *source,
                                    const char *changes_json,
                                    qauth_error **error_out);

/**
 * Gives a source of the same profile whose tokens are narrowed to a scope, audience or resource (NULL for none). The same
 * narrowing gives the same source behind a handle of its own. Fails with QAUTH_CONFIG where the provider's grant does not
 * send it. On QAUTH_OK *source_out is the caller's; free it once with qauth_source_free. Any thread; does not block.
 * Since 0.1.0.
 */
qauth_code qauth_source_scoped(const qauth_source *source,
                               const char *scope,
                               const char *audience,
                               const char *resource,
                               qauth_source **source_out,
                               qauth_error **error_out);

/**
 * The profile's name. Borrowed from the source; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_source_profile(const qauth_source *source);

/**
 * The provider's name. Borrowed from the source; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_source_provider(const qauth_source *source);

/**
 * Frees this handle; the engine keeps the source itself, with its token, until qauth_engine_remove. Calls that are under way
 * with this handle must have returned. NULL does nothing. Any thread, also in a callback; does not block. Since 0.1.0.
 */
void qauth_source_free(qauth_source *source);

/**
 * The access token itself. Borrowed from the token; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_token_access_token(const qauth_token *token);

/**
 * The value for the header that carries it, for instance "Bearer eyJ...". Borrowed from the token; NULL for NULL. Any thread;
 * does not block. Since 0.1.0.
 */
const char *qauth_token_header_value(const qauth_token *token);

/**
 * How the API wants it, as the server spelled it, "Bearer" where it said nothing (RFC 6749 7.1). Borrowed from the token; NULL
 * for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_token_type(const qauth_token *token);

/**
 * The scopes that the server granted (RFC 6749 3.3), or NULL where it did not say. Borrowed from the token. Any thread; does
 * not block. Since 0.1.0.
 */
const char *qauth_token_scope(const qauth_token *token);

/**
 * When it ends by the wall clock, in seconds since 1970; -1 for a token without an end, and for NULL. Any thread; does not
 * block. Since 0.1.0.
 */
int64_t qauth_token_expires_at_unix_s(const qauth_token *token);

/**
 * How long it is still valid, in milliseconds: 0 once it has ended, -1 for a token without an end, and for NULL. Any thread;
 * does not block. Since 0.1.0.
 */
int64_t qauth_token_expires_in_ms(const qauth_token *token);

/**
 * Counts the tokens of one source upwards: a later token has a larger number. 0 for NULL. Any thread; does not block.
 * Since 0.1.0.
 */
uint64_t qauth_token_generation(const qauth_token *token);

/**
 * Further members of the answer that the provider file keeps, as a JSON object. Borrowed from the token; NULL for NULL. Any
 * thread; does not block. Since 0.1.0.
 */
const char *qauth_token_extras_json(const qauth_token *token);

/**
 * Counts one more owner and returns the same pointer, to be freed once more with qauth_token_free. NULL gives NULL. Any thread;
 * does not block. Since 0.1.0.
 */
qauth_token *qauth_token_retain(qauth_token *token);

/**
 * Counts one owner less; the last one frees the token and its texts. NULL does nothing. Any thread; does not block.
 * Since 0.1.0.
 */
void qauth_token_free(qauth_token *token);

/**
 * How many headers there are; 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
size_t qauth_headers_count(const qauth_headers *headers);

/**
 * The name of the header at an index; NULL from the count on. Borrowed from the headers. Any thread; does not block.
 * Since 0.1.0.
 */
const char *qauth_headers_name(const qauth_headers *headers,
                               size_t index);

/**
 * The value of the header at an index; NULL from the count on. Borrowed from the headers. Any thread; does not block.
 * Since 0.1.0.
 */
const char *qauth_headers_value(const qauth_headers *headers,
                                size_t index);

/**
 * The generation of the token in them, which qauth_source_answered takes; 0 for NULL. Any thread; does not block.
 * Since 0.1.0.
 */
uint64_t qauth_headers_generation(const qauth_headers *headers);

/**
 * Frees the headers and their texts. NULL does nothing. Any thread; does not block. Since 0.1.0.
 */
void qauth_headers_free(qauth_headers *headers);

/**
 * The HTTP status; 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
int32_t qauth_response_status(const qauth_response *response);

/**
 * How many headers there are; 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
size_t qauth_response_header_count(const qauth_response *response);

/**
 * The name of the header at an index, in lower case; NULL from the count on. Borrowed from the response. Any thread; does not
 * block. Since 0.1.0.
 */
const char *qauth_response_header_name(const qauth_response *response,
                                       size_t index);

/**
 * The value of the header at an index; NULL from the count on. Borrowed from the response. Any thread; does not block.
 * Since 0.1.0.
 */
const char *qauth_response_header_value(const qauth_response *response,
                                        size_t index);

/**
 * The value of the first header of this name, in any case; NULL where there is none. Borrowed from the response. Any thread;
 * does not block. Since 0.1.0.
 */
const char *qauth_response_header(const qauth_response *response,
                                  const char *name);

/**
 * The body, decoded, with a NUL after its last byte that its length does not count. Borrowed from the response; NULL for NULL
 * only. Any thread; does not block. Since 0.1.0.
 */
const uint8_t *qauth_response_body(const qauth_response *response);

/**
 * The length of the body in bytes; 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
size_t qauth_response_body_length(const qauth_response *response);

/**
 * Frees a response with its texts and body. NULL does nothing. Any thread; does not block. Since 0.1.0.
 */
void qauth_response_free(qauth_response *response);

/**
 * The text, with a NUL after it. Borrowed from the string; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_string_text(const qauth_string *string);

/**
 * The length of the text in bytes, without the NUL. Any thread; does not block. Since 0.1.0.
 */
size_t qauth_string_length(const qauth_string *string);

/**
 * Frees a string. NULL does nothing. Any thread; does not block. Since 0.1.0.
 */
void qauth_string_free(qauth_string *string);

/**
 * Makes an empty queue. Fails with QAUTH_INTERNAL where the process has no file descriptor left. On QAUTH_OK *queue_out is the
 * caller's; free it once with qauth_queue_free. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_queue_new(qauth_queue **queue_out,
                           qauth_error **error_out);

/**
 * A descriptor that is readable while callbacks wait, for poll, epoll and event loops; -1 for NULL. Only to be polled: neither
 * read nor closed. Valid until qauth_queue_free. Any thread; does not block. Since 0.1.0.
 */
int qauth_queue_fd(const qauth_queue *queue);

/**
 * Runs the callbacks that wait, in order, on this thread; waits for the first one at most timeout_ms (0: not at all;
 * QAUTH_TIMEOUT_DEFAULT: as good as for ever; a signal ends the wait early, and so does a token function that is to run
 * here). *ran_out tells how many ran, such functions included; NULL if that does not matter. Any thread, also in a callback.
 * Since 0.1.0.
 */
qauth_code qauth_queue_run(const qauth_queue *queue,
                           uint64_t timeout_ms,
                           size_t *ran_out,
                           qauth_error **error_out);

/**
 * Frees a queue. Callbacks that have not run get QAUTH_CANCELLED now, on this thread; the renewals that they waited for go on.
 * Subscriptions to it end: what waits is not told. NULL does nothing. In a child of fork it only frees the child's copy of the
 * handle: no callback runs there, and the descriptor stays open. Any thread, also in a callback; does not block. Since 0.1.0.
 */
void qauth_queue_free(qauth_queue *queue);

/**
 * Asks for a token like qauth_source_token and returns at once; callback gets the result when the queue is run. On a failure of
 * this call itself (QAUTH_INVALID_ARGUMENT, QAUTH_CLOSED, QAUTH_INTERNAL) callback is not called. On QAUTH_OK *pending_out
 * (NULL if the call is never cancelled) is the caller's; free it once with qauth_pending_free. The source's handle may be
 * freed before the end. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_source_token_async(const qauth_source *source,
                                    uint64_t timeout_ms,
                                    const qauth_queue *queue,
                                    qauth_token_callback callback,
                                    void *user_data,
                                    qauth_pending **pending_out,
                                    qauth_error **error_out);

/**
 * Calls the API like qauth_source_request and returns at once; else as qauth_source_token_async. Since 0.1.0.
 */
qauth_code qauth_source_request_async(const qauth_source *source,
                                      const qauth_request *request,
                                      const qauth_queue *queue,
                                      qauth_response_callback callback,
                                      void *user_data,
                                      qauth_pending **pending_out,
                                      qauth_error **error_out);

/**
 * Runs an operation like qauth_source_call and returns at once; else as qauth_source_token_async. Since 0.1.0.
 */
qauth_code qauth_source_call_async(const qauth_source *source,
                                   const char *operation,
                                   const char *parameters_json,
                                   uint64_t timeout_ms,
                                   const qauth_queue *queue,
                                   qauth_string_callback callback,
                                   void *user_data,
                                   qauth_pending **pending_out,
                                   qauth_error **error_out);

/**
 * Runs an operation and saves its new client like qauth_source_call_saving and returns at once; else as
 * qauth_source_token_async. Giving it up does not end it: what is made is saved. Since 0.1.0.
 */
qauth_code qauth_source_call_saving_async(const qauth_source *source,
                                          const char *operation,
                                          const char *parameters_json,
                                          const char *save_as,
                                          uint64_t timeout_ms,
                                          const qauth_queue *queue,
                                          qauth_string_callback callback,
                                          void *user_data,
                                          qauth_pending **pending_out,
                                          qauth_error **error_out);

/**
 * Gives a queued call up: its callback gets QAUTH_CANCELLED, unless its result waits in the queue already. A renewal under way
 * goes on. The handle is still to be freed. Any thread; does not block. Since 0.1.0.
 */
void qauth_pending_cancel(qauth_pending *pending);

/**
 * Frees this handle; the call goes on. NULL does nothing. Any thread, also in a callback; does not block. Since 0.1.0.
 */
void qauth_pending_free(qauth_pending *pending);

/**
 * Gives the source of a profile whose tokens come from a function of the program: a profile of the configuration whose grant
 * is "custom", or one made here of options_json ({"api_base_url": "https://..."}; NULL for none). Everything else is as with
 * any source: one call of the function for all who wait, a cache, renewal before the end.
 *
 * function never runs on a thread of the library. In a call that waits for a token it runs on the caller's thread, inside of
 * that call, whose timeout_ms it may outlast; for the asynchronous ones on the thread that runs their queue, inside of
 * qauth_queue_run. One call for all who wait, made by whoever of them comes first. Calls for sources that were narrowed
 * differently may run at once, and so may a call and one that has outlasted the profile's timeout. A token that is due is
 * renewed when somebody asks for one.
 *
 * On QAUTH_OK user_data is the library's: free_user_data (NULL if there is nothing to free) gets it once, when the source is
 * gone (qauth_engine_remove, qauth_engine_close, or the last handle) or has got another function by a later call with the
 * same name and options, and no call of it runs any more; sources that were narrowed before keep the old one. It runs on a
 * thread of the program, inside of a function of this library. On a failure user_data stays the caller's.
 *
 * Fails like qauth_engine_source, and with QAUTH_CONFIG for a profile with another grant. On QAUTH_OK *source_out is the
 * caller's; free it once with qauth_source_free. Any thread; may read files, does not call function. Since 0.1.0.
 */
qauth_code qauth_engine_custom_source(const qauth_engine *engine,
                                      const char *name,
                                      const char *options_json,
                                      qauth_token_function function,
                                      void *user_data,
                                      qauth_free_function free_user_data,
                                      qauth_source **source_out,
                                      qauth_error **error_out);

/**
 * The profile's name. Borrowed from the call; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_token_call_profile(const qauth_token_call *call);

/**
 * The scope that the token is to be narrowed to, or NULL. Borrowed from the call. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_token_call_scope(const qauth_token_call *call);

/**
 * The audience that the token is for, or NULL. Borrowed from the call. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_token_call_audience(const qauth_token_call *call);

/**
 * The resource that the token is for, or NULL. Borrowed from the call. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_token_call_resource(const qauth_token_call *call);

/**
 * Answers a call with a token, and uses it up whatever is returned. With QAUTH_INVALID_ARGUMENT for what token points to, all
 * who wait get QAUTH_PROTOCOL; so they do where access_token is what no token can be. QAUTH_OK also where nobody waits any
 * more. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_token_call_give(qauth_token_call *call,
                                 const qauth_custom_token *token,
                                 qauth_error **error_out);

/**
 * Answers a call with an error, and uses it up whatever is returned: all who wait get code and message, and the error is
 * remembered for a moment, growing, like that of a server. message is for people and logs: it holds no secret and no token;
 * NULL: "the token function failed". With QAUTH_INVALID_ARGUMENT for code (one of the table above that is no success and
 * below 100) or message, they get QAUTH_PROTOCOL. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_token_call_fail(qauth_token_call *call,
                                 qauth_code code,
                                 const char *message,
                                 qauth_error **error_out);

/**
 * Gives a call up without an answer: all who wait get QAUTH_PROTOCOL. NULL does nothing. Any thread; does not block.
 * Since 0.1.0.
 */
void qauth_token_call_free(qauth_token_call *call);

/**
 * The word for a kind, for instance "renewed": the same in every language. "unknown" for a number that is no kind. Static:
 * never freed. Any thread; does not block; cannot fail. Since 0.1.0.
 */
const char *qauth_event_kind_name(qauth_kind kind);

/**
 * Hears of what happens to tokens from now on: callback gets each event of this engine when the queue is run, with no lock
 * held. Up to 1,000 events wait; more are dropped, and the next one tells how many.
 *
 * It ends with qauth_subscription_free, or with qauth_queue_free if that comes first: what waits is not told. It does not end
 * with the engine: what waits when that is closed or freed is told when the queue is run. A child of fork hears nothing of its
 * parent's subscriptions; it makes its own.
 *
 * On QAUTH_OK user_data is the library's: free_user_data (NULL if there is nothing to free) gets it once, when the subscription
 * has ended and no callback of it runs any more: in the call that ends it, or, while the callback runs, after its return. On a
 * failure user_data stays the caller's.
 *
 * On QAUTH_OK *subscription_out is the caller's; free it once with qauth_subscription_free. Any thread; does not block.
 * Since 0.1.0.
 */
qauth_code qauth_engine_on_event(const qauth_engine *engine,
                                 const qauth_queue *queue,
                                 qauth_event_callback callback,
                                 void *user_data,
                                 qauth_free_function free_user_data,
                                 qauth_subscription **subscription_out,
                                 qauth_error **error_out);

/**
 * Ends a subscription and frees its handle: when this has returned, its callback does not begin any more; one that runs at this
 * moment, on another thread or around this call, is not waited for. NULL does nothing. In a child of fork it only frees the
 * child's copy of the handle. Any thread, also in a callback; does not block. Since 0.1.0.
 */
void qauth_subscription_free(qauth_subscription *subscription);

/**
 * What happened; 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
qauth_kind qauth_event_kind(const qauth_event *event);

/**
 * How much it matters; 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
qauth_severity qauth_event_severity(const qauth_event *event);

/**
 * The profile's name. Borrowed from the event; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_event_profile(const qauth_event *event);

/**
 * The provider's name. Borrowed from the event; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_event_provider(const qauth_event *event);

/**
 * Why: for what comes of a renewal, what set it off ("first_use", "ahead", "stale", "expired", "min_remaining", "rejected");
 * for QAUTH_EVENT_SERVED_WHILE_FAILING and QAUTH_EVENT_CONFLICT the error's code; for QAUTH_EVENT_SKEW "server_ahead" or
 * "server_behind"; for QAUTH_EVENT_INVALIDATED "rejected", for QAUTH_EVENT_EVICTED "unused", for QAUTH_EVENT_SWITCHED
 * "refused". Borrowed from the event; NULL for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_event_reason(const qauth_event *event);

/**
 * One line for people and logs, without profile and provider; its wording is no part of the ABI. Borrowed from the event; NULL
 * for NULL. Any thread; does not block. Since 0.1.0.
 */
const char *qauth_event_message(const qauth_event *event);

/**
 * How long, in seconds; the kind says what. 0 for NULL. Any thread; does not block. Since 0.1.0.
 */
double qauth_event_seconds(const qauth_event *event);

/**
 * When, by the engine's wall clock, in seconds since 1970; -1 for NULL. Any thread; does not block. Since 0.1.0.
 */
int64_t qauth_event_at_unix_s(const qauth_event *event);

/**
 * Of the token that came or was rejected; 0 where there is none, and for NULL. Any thread; does not block. Since 0.1.0.
 */
uint64_t qauth_event_generation(const qauth_event *event);

/**
 * How many events before this one were dropped, since the queue was not run in time; 0 for NULL. Any thread; does not block.
 * Since 0.1.0.
 */
uint64_t qauth_event_lost(const qauth_event *event);

/**
 * What the renewal met, or NULL. Borrowed from the event: not to be freed. Any thread; does not block. Since 0.1.0.
 */
const qauth_error *qauth_event_error(const qauth_event *event);

/**
 * Counters and durations as they are now, as a JSON object: "sources" (how many the engine holds), "evicted" (how many
 * it has let go of, since nobody used them), "store_degraded" (the store cannot be used as it should) and "profiles", by name those that had something to count, each with "provider", "events" and "failures" (how often, by the kind's or the code's
 * word), "requests" for tokens, "renewals", "renewal_seconds" (all together), "expires_at" (of the last token, in seconds
 * since 1970, or null) and "clock_skew" (seconds). A profile that was removed counts anew, and so does a child of fork. On
 * QAUTH_OK *json_out is the caller's; free it once with qauth_string_free. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_engine_metrics(const qauth_engine *engine,
                                qauth_string **json_out,
                                qauth_error **error_out);

/**
 * The same in the text format of Prometheus (OpenMetrics 1.0), to be served as
 * "application/openmetrics-text; version=1.0.0; charset=utf-8". On QAUTH_OK *text_out is the caller's; free it once with
 * qauth_string_free. Any thread; does not block. Since 0.1.0.
 */
qauth_code qauth_engine_prometheus(const qauth_engine *engine,
                                   qauth_string **text_out,
                                   qauth_error **error_out);

/**
 * The records of the store, of every process that shares it, as a JSON array of objects in the order of their profiles:
 * "name", "profile", "provider", "state" ("unreadable", "conflict", "refused", "paused", "maybe_spent", "valid", "renewable",
 * "expired" or "empty": the first that is true), "generation", "obtained_at", "expires_at", "has_refresh_token",
 * "refresh_expires_at", "failure" (a code's word) and "failure_until" (while it is remembered), "written_at", "written_by"
 * and "error" ("code" and "message" of why it cannot be read); times in seconds since 1970, null for what is not there. No
 * token and no secret. Fails with QAUTH_STORE, QAUTH_STORE_UNAVAILABLE or QAUTH_CLOSED. On QAUTH_OK *json_out is the
 * caller's; free it once with qauth_string_free. Any thread; blocks for as long as the store takes. Since 0.1.0.
 */
qauth_code qauth_engine_records(const qauth_engine *engine,
                                qauth_string **json_out,
                                qauth_error **error_out);

/**
 * Forgets what the store holds of a profile, for every process that shares it: its tokens, and what is remembered of failures.
 * The next call obtains a token anew. No server is told, so that tokens stay good until their own end, and other processes
 * serve theirs until they renew. A refresh token that stood in the store alone is lost: a person who signed in must do so
 * again. *cleared_out tells whether there was anything to forget; NULL if that does not matter. Fails with QAUTH_CONFIG,
 * QAUTH_TIMEOUT (somebody else's renewal took longer than the profile's limit), QAUTH_STORE, QAUTH_STORE_UNAVAILABLE or
 * QAUTH_CLOSED. Any thread; blocks until a renewal under way has ended. Since 0.1.0.
 */
qauth_code qauth_engine_clear(qauth_engine *engine,
                              const char *name,
                              bool *cleared_out,
                              qauth_error **error_out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* QAUTH_H */

/** A qauth_request without anything: qauth_request request = QAUTH_REQUEST_INIT; Since 0.1.0. */
#define QAUTH_REQUEST_INIT { sizeof(qauth_request), NULL, NULL, NULL, 0, NULL, 0, NULL, 0, QAUTH_TIMEOUT_DEFAULT }

/** A qauth_custom_token of which nothing is known: qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT; Since 0.1.0. */
#define QAUTH_CUSTOM_TOKEN_INIT { sizeof(qauth_custom_token), NULL, QAUTH_EXPIRES_IN_UNKNOWN, NULL, NULL, NULL }
