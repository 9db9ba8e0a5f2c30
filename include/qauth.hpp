/*
 * qauth for C++17: qauth.h with destructors, exceptions, std::string_view and std::chrono. Links with libqauth alone.
 *
 *     auto engine = qauth::Engine::from_file("qauth.toml");
 *     auto source = engine.source("pricing");
 *     use(source.header());                           // "Bearer eyJ...", valid now
 *
 * Failures are qauth::Error, or one of its children by code: InvalidClientError, TimeoutError and so on. qauth.h says
 * what each call does, how long it blocks and what can fail; here is only what differs. Objects can be used on any
 * thread, as in C, but assigned, moved and destroyed by one thread only. Calls on an object that was moved from throw
 * InvalidArgumentError. A std::string_view that a function returns lives as long as the object it was asked of.
 */
#ifndef QAUTH_HPP
#define QAUTH_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "qauth.hpp needs C++17; older programs use qauth.h"
#endif
#if !defined(__cpp_exceptions)
#error "qauth.hpp reports failures as exceptions; a program built without them uses qauth.h"
#endif

#include "qauth.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qauth {

/// What went wrong: the same words in every language. A newer library may have more.
enum class Code : qauth_code {
    ok = QAUTH_OK,
    invalid_argument = QAUTH_INVALID_ARGUMENT,
    config = QAUTH_CONFIG,
    invalid_client = QAUTH_INVALID_CLIENT,
    invalid_grant = QAUTH_INVALID_GRANT,
    reauthentication_required = QAUTH_REAUTHENTICATION_REQUIRED,
    access_denied = QAUTH_ACCESS_DENIED,
    rate_limited = QAUTH_RATE_LIMITED,
    server_error = QAUTH_SERVER_ERROR,
    network = QAUTH_NETWORK,
    timeout = QAUTH_TIMEOUT,
    tls = QAUTH_TLS,
    protocol = QAUTH_PROTOCOL,
    store = QAUTH_STORE,
    store_unavailable = QAUTH_STORE_UNAVAILABLE,
    session_conflict = QAUTH_SESSION_CONFLICT,
    unsupported = QAUTH_UNSUPPORTED,
    cancelled = QAUTH_CANCELLED,
    closed = QAUTH_CLOSED,
    internal = QAUTH_INTERNAL,
    buffer_too_small = QAUTH_BUFFER_TOO_SMALL,
};

/// "invalid_client" and so on; "unknown" for a number that is no code.
inline const char *name(Code code) noexcept { return qauth_code_name(static_cast<qauth_code>(code)); }

/// Whether and why to send a request once more. A newer library may have more reasons: to be taken for no.
enum class Again : qauth_again {
    no = QAUTH_AGAIN_NO,
    /// With a fresh proof: it needs the nonce that came with the answer.
    nonce = QAUTH_AGAIN_NONCE,
    /// With a new token: this one was rejected.
    token = QAUTH_AGAIN_TOKEN,
};

/// What happened to a token; qauth.h says what an Event's duration means for each. A newer library may have more.
enum class EventKind : qauth_kind {
    obtained = QAUTH_EVENT_OBTAINED,
    renewed = QAUTH_EVENT_RENEWED,
    adopted = QAUTH_EVENT_ADOPTED,
    failed = QAUTH_EVENT_FAILED,
    served_while_failing = QAUTH_EVENT_SERVED_WHILE_FAILING,
    conflict = QAUTH_EVENT_CONFLICT,
    invalidated = QAUTH_EVENT_INVALIDATED,
    skew = QAUTH_EVENT_SKEW,
    evicted = QAUTH_EVENT_EVICTED,
    switched = QAUTH_EVENT_SWITCHED,
    store_degraded = QAUTH_EVENT_STORE_DEGRADED,
    store_recovered = QAUTH_EVENT_STORE_RECOVERED,
};

/// "renewed" and so on; "unknown" for a number that is no kind.
inline const char *name(EventKind kind) noexcept { return qauth_event_kind_name(static_cast<qauth_kind>(kind)); }

/// How much an Event matters: the levels that every logging library has.
enum class Severity : qauth_severity {
    debug = QAUTH_SEVERITY_DEBUG,
    info = QAUTH_SEVERITY_INFO,
    warning = QAUTH_SEVERITY_WARNING,
};

/// A limit for a call. None: the profile's own. Zero or less: cached tokens only.
using Timeout = std::optional<std::chrono::milliseconds>;

/// A failed call. what() is the whole text, for people and logs: it holds no secret; answer() alone may. Copies share it
/// and do not throw.
class Error : public std::runtime_error {
public:
    Code code() const noexcept { return parts_->code; }
    const std::optional<std::string> &profile() const noexcept { return parts_->profile; }
    const std::optional<std::string> &provider() const noexcept { return parts_->provider; }
    /// The status of the server's answer.
    std::optional<int> http_status() const noexcept { return parts_->http_status; }
    /// The server's `error` (RFC 6749 5.2).
    const std::optional<std::string> &server_error() const noexcept { return parts_->server_error; }
    /// The server's `error_description`, secrets masked.
    const std::optional<std::string> &server_error_description() const noexcept {
        return parts_->server_error_description;
    }
    /// Whether the same call may succeed later with nothing changed.
    bool retryable() const noexcept { return parts_->retryable; }
    /// How long to wait before the next try can help.
    std::optional<std::chrono::milliseconds> retry_after() const noexcept { return parts_->retry_after; }
    /// The vendor's answer, as JSON, where it holds a secret that is shown this once only and the call could not finish with
    /// it. It is the only copy: store it, and keep it out of logs.
    const std::optional<std::string> &answer() const noexcept { return parts_->answer; }

    /// What an Error is made of.
    struct Parts {
        Code code = Code::internal;
        std::string message;
        std::optional<std::string> profile, provider;
        std::optional<int> http_status;
        std::optional<std::string> server_error, server_error_description;
        bool retryable = false;
        std::optional<std::chrono::milliseconds> retry_after;
        std::optional<std::string> answer;
    };

    explicit Error(Parts parts)
        : std::runtime_error(parts.message), parts_(std::make_shared<const Parts>(std::move(parts))) {}

private:
    std::shared_ptr<const Parts> parts_;
};

/// An Error of one code, to be caught by its name below.
template <Code code> class ErrorOf : public Error {
public:
    using Error::Error;
};

using InvalidArgumentError = ErrorOf<Code::invalid_argument>;
using ConfigError = ErrorOf<Code::config>;
using InvalidClientError = ErrorOf<Code::invalid_client>;
using InvalidGrantError = ErrorOf<Code::invalid_grant>;
using ReauthenticationRequiredError = ErrorOf<Code::reauthentication_required>;
using AccessDeniedError = ErrorOf<Code::access_denied>;
using RateLimitedError = ErrorOf<Code::rate_limited>;
using ServerError = ErrorOf<Code::server_error>;
using NetworkError = ErrorOf<Code::network>;
using TimeoutError = ErrorOf<Code::timeout>;
using TlsError = ErrorOf<Code::tls>;
using ProtocolError = ErrorOf<Code::protocol>;
using StoreError = ErrorOf<Code::store>;
using StoreUnavailableError = ErrorOf<Code::store_unavailable>;
using SessionConflictError = ErrorOf<Code::session_conflict>;
using UnsupportedError = ErrorOf<Code::unsupported>;
using CancelledError = ErrorOf<Code::cancelled>;
using ClosedError = ErrorOf<Code::closed>;
using InternalError = ErrorOf<Code::internal>;

namespace detail {

inline void release(qauth_engine *handle) noexcept { qauth_engine_free(handle); }
inline void release(qauth_source *handle) noexcept { qauth_source_free(handle); }
inline void release(qauth_token *handle) noexcept { qauth_token_free(handle); }
inline void release(qauth_error *handle) noexcept { qauth_error_free(handle); }
inline void release(qauth_headers *handle) noexcept { qauth_headers_free(handle); }
inline void release(qauth_response *handle) noexcept { qauth_response_free(handle); }
inline void release(qauth_string *handle) noexcept { qauth_string_free(handle); }
inline void release(qauth_queue *handle) noexcept { qauth_queue_free(handle); }
inline void release(qauth_pending *handle) noexcept { qauth_pending_free(handle); }
inline void release(qauth_subscription *handle) noexcept { qauth_subscription_free(handle); }
inline void release(qauth_token_call *handle) noexcept { qauth_token_call_free(handle); }

struct Release {
    template <typename T> void operator()(T *handle) const noexcept { release(handle); }
};
template <typename T> using Handle = std::unique_ptr<T, Release>;

template <Code... codes> [[noreturn]] void raise_one_of(Error::Parts parts) {
    const Code code = parts.code;
    ((code == codes ? throw ErrorOf<codes>(std::move(parts)) : void()), ...);
    throw Error(std::move(parts));
}

[[noreturn]] inline void raise(Error::Parts parts) {
    raise_one_of<Code::invalid_argument, Code::config, Code::invalid_client, Code::invalid_grant,
                 Code::reauthentication_required, Code::access_denied, Code::rate_limited, Code::server_error,
                 Code::network, Code::timeout, Code::tls, Code::protocol, Code::store, Code::store_unavailable,
                 Code::session_conflict, Code::unsupported, Code::cancelled, Code::closed, Code::internal>(
        std::move(parts));
}

[[noreturn]] inline void raise(Code code, std::string message) {
    Error::Parts parts;
    parts.code = code;
    parts.message = std::string(name(code)) + ": " + std::move(message);
    raise(std::move(parts));
}

inline std::optional<std::string> copy(const char *text) {
    return text ? std::optional<std::string>(text) : std::nullopt;
}

inline Error::Parts parts(qauth_code code, const qauth_error *error) {
    Error::Parts parts;
    parts.code = static_cast<Code>(code);
    const char *message = qauth_error_message(error);
    parts.message = message ? message : qauth_code_name(code);
    parts.profile = copy(qauth_error_profile(error));
    parts.provider = copy(qauth_error_provider(error));
    if (const int status = qauth_error_http_status(error)) parts.http_status = status;
    parts.server_error = copy(qauth_error_server_error(error));
    parts.server_error_description = copy(qauth_error_server_error_description(error));
    parts.retryable = qauth_error_retryable(error);
    const std::int64_t after = qauth_error_retry_after_ms(error);
    if (after >= 0) parts.retry_after = std::chrono::milliseconds(after);
    parts.answer = copy(qauth_error_answer(error));
    return parts;
}

/// Runs one call of the C library: its outputs go into `outs`, its failure becomes an exception.
template <typename Call> void check(Call &&call) {
    qauth_error *raw = nullptr;
    const qauth_code code = call(&raw);
    if (code == QAUTH_OK) return;
    const Handle<qauth_error> error(raw);
    raise(parts(code, error.get()));
}

/// The same for a call with one handle as its result.
template <typename T, typename Call> Handle<T> make(Call &&call) {
    T *made = nullptr;
    check([&](auto **error) { return call(&made, error); });
    return Handle<T>(made);
}

/// A text for C. A NUL inside would cut it short unseen.
class Text {
public:
    Text(std::string_view text, const char *parameter) : text_(text) {
        if (text.find('\0') != std::string_view::npos)
            raise(Code::invalid_argument, std::string(parameter) + ": holds a NUL");
    }
    operator const char *() const noexcept { return text_.c_str(); }

private:
    std::string text_;
};

/// The same for one that may be absent.
class OptionalText {
public:
    template <typename Text_> OptionalText(const std::optional<Text_> &text, const char *parameter) {
        if (text) text_.emplace(*text, parameter);
    }
    operator const char *() const noexcept {
        if (text_) return *text_;
        return nullptr;
    }

private:
    std::optional<Text> text_;
};

/// A borrowed text; only an object that was moved from has none.
inline std::string_view borrowed(const char *text) {
    if (!text) raise(Code::invalid_argument, "the object was moved from");
    return text;
}

inline std::optional<std::string_view> borrowed_if_any(const char *text) {
    return text ? std::optional<std::string_view>(text) : std::nullopt;
}

template <typename T> T *used(const Handle<T> &handle) {
    if (!handle) raise(Code::invalid_argument, "the object was moved from");
    return handle.get();
}

inline std::uint64_t milliseconds(const Timeout &timeout) noexcept {
    if (!timeout) return QAUTH_TIMEOUT_DEFAULT;
    return timeout->count() > 0 ? static_cast<std::uint64_t>(timeout->count()) : 0;
}

inline std::string text(const Handle<qauth_string> &string) {
    return std::string(qauth_string_text(string.get()), qauth_string_length(string.get()));
}

/// What callbacks on this thread belong to: the run, or the end, of a queue.
struct Frame {
    std::exception_ptr thrown;
    bool discard = false;
    Frame *outer;

    Frame() noexcept : outer(std::exchange(current(), this)) {}
    ~Frame() { current() = outer; }
    Frame(const Frame &) = delete;
    Frame &operator=(const Frame &) = delete;

    static Frame *&current() noexcept {
        thread_local Frame *frame = nullptr;
        return frame;
    }
};

} // namespace detail

/// A valid access token. Copies share it.
class Token {
public:
    explicit Token(qauth_token *owned) noexcept : handle_(owned) {}
    Token(const Token &other) noexcept : handle_(qauth_token_retain(other.handle_.get())) {}
    Token(Token &&) noexcept = default;
    Token &operator=(Token other) noexcept {
        handle_ = std::move(other.handle_);
        return *this;
    }

    /// Keep it out of logs.
    std::string_view access_token() const { return detail::borrowed(qauth_token_access_token(handle_.get())); }
    /// "Bearer eyJ..."
    std::string_view header_value() const { return detail::borrowed(qauth_token_header_value(handle_.get())); }
    /// "Bearer" as a rule.
    std::string_view type() const { return detail::borrowed(qauth_token_type(handle_.get())); }
    std::optional<std::string_view> scope() const {
        return detail::borrowed_if_any(qauth_token_scope(detail::used(handle_)));
    }
    /// None for a token without an end.
    std::optional<std::chrono::system_clock::time_point> expires_at() const {
        const std::int64_t end = qauth_token_expires_at_unix_s(detail::used(handle_));
        if (end < 0) return std::nullopt;
        return std::chrono::system_clock::time_point(std::chrono::seconds(end));
    }
    /// Zero once it has ended, none for a token without an end.
    std::optional<std::chrono::milliseconds> expires_in() const {
        const std::int64_t left = qauth_token_expires_in_ms(detail::used(handle_));
        return left < 0 ? std::nullopt : std::optional<std::chrono::milliseconds>(left);
    }
    std::uint64_t generation() const { return qauth_token_generation(detail::used(handle_)); }
    /// Further members of the answer, as a JSON object.
    std::string_view extras_json() const { return detail::borrowed(qauth_token_extras_json(handle_.get())); }

    /// For calls of qauth.h; still owned by this object.
    qauth_token *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<qauth_token> handle_;
};

/// What a request must carry: for (auto [name, value] : headers). Hold it no longer than the request.
class Headers {
public:
    using value_type = std::pair<std::string_view, std::string_view>;

    class iterator {
    public:
        iterator(const Headers *headers, std::size_t index) noexcept : headers_(headers), index_(index) {}
        value_type operator*() const { return (*headers_)[index_]; }
        iterator &operator++() noexcept {
            ++index_;
            return *this;
        }
        bool operator==(const iterator &other) const noexcept { return index_ == other.index_; }
        bool operator!=(const iterator &other) const noexcept { return index_ != other.index_; }

    private:
        const Headers *headers_;
        std::size_t index_;
    };

    explicit Headers(qauth_headers *owned) noexcept : handle_(owned) {}

    std::size_t size() const { return qauth_headers_count(detail::used(handle_)); }
    value_type operator[](std::size_t index) const {
        if (index >= size()) detail::raise(Code::invalid_argument, "index: there are fewer headers");
        return {qauth_headers_name(handle_.get(), index), qauth_headers_value(handle_.get(), index)};
    }
    /// Of the token in them: what Source::answered takes.
    std::uint64_t generation() const { return qauth_headers_generation(detail::used(handle_)); }
    iterator begin() const { return {this, 0}; }
    iterator end() const { return {this, size()}; }

private:
    detail::Handle<qauth_headers> handle_;
};

/// What the API answered, whatever the status.
class Response {
public:
    explicit Response(qauth_response *owned) noexcept : handle_(owned) {}

    int status() const { return qauth_response_status(detail::used(handle_)); }
    /// The first of this name, in any case.
    std::optional<std::string_view> header(std::string_view name) const {
        return detail::borrowed_if_any(qauth_response_header(detail::used(handle_), detail::Text(name, "name")));
    }
    /// All of them, names in lower case.
    std::vector<std::pair<std::string_view, std::string_view>> headers() const {
        std::vector<std::pair<std::string_view, std::string_view>> all;
        const std::size_t count = qauth_response_header_count(detail::used(handle_));
        all.reserve(count);
        for (std::size_t index = 0; index < count; ++index)
            all.emplace_back(qauth_response_header_name(handle_.get(), index),
                             qauth_response_header_value(handle_.get(), index));
        return all;
    }
    std::string_view body() const {
        const auto *bytes = qauth_response_body(detail::used(handle_));
        return {reinterpret_cast<const char *>(bytes), qauth_response_body_length(handle_.get())};
    }

private:
    detail::Handle<qauth_response> handle_;
};

/// An API call.
struct Request {
    std::string method = "GET";
    /// A path below the profile's API address that begins with "/", or a whole URL on one of its hosts.
    std::string target;
    std::vector<std::pair<std::string, std::string>> query = {};
    std::vector<std::pair<std::string, std::string>> headers = {};
    /// Sent as it is.
    std::optional<std::string> body = std::nullopt;
    /// For token and call together.
    Timeout timeout = std::nullopt;
};

namespace detail {

/// A Request as C reads it; borrows from it.
class RawRequest {
public:
    explicit RawRequest(const Request &request)
        : method_(request.method, "request.method"), target_(request.target, "request.target"),
          query_(request.query, "request.query"), headers_(request.headers, "request.headers") {
        raw_.method = method_;
        raw_.target = target_;
        raw_.query = query_.data();
        raw_.query_count = query_.size();
        raw_.headers = headers_.data();
        raw_.header_count = headers_.size();
        if (request.body) {
            raw_.body = reinterpret_cast<const std::uint8_t *>(request.body->data());
            raw_.body_length = request.body->size();
        }
        raw_.timeout_ms = milliseconds(request.timeout);
    }
    RawRequest(const RawRequest &) = delete;
    RawRequest &operator=(const RawRequest &) = delete;

    const qauth_request *get() const noexcept { return &raw_; }

private:
    class Pairs {
    public:
        Pairs(const std::vector<std::pair<std::string, std::string>> &pairs, const char *parameter) {
            texts_.reserve(2 * pairs.size());
            for (const auto &[name, value] : pairs) {
                texts_.emplace_back(name, parameter);
                texts_.emplace_back(value, parameter);
            }
            for (std::size_t index = 0; index < texts_.size(); index += 2)
                raw_.push_back({texts_[index], texts_[index + 1]});
        }
        const qauth_pair *data() const noexcept { return raw_.data(); }
        std::size_t size() const noexcept { return raw_.size(); }

    private:
        std::vector<Text> texts_;
        std::vector<qauth_pair> raw_;
    };

    Text method_, target_;
    Pairs query_, headers_;
    qauth_request raw_ = QAUTH_REQUEST_INIT;
};

} // namespace detail

/// What a callback gets: a value, or an Error.
template <typename T> class Result {
public:
    explicit Result(T value) : value_(std::move(value)) {}
    explicit Result(std::exception_ptr error) noexcept : error_(std::move(error)) {}

    /// Whether there is a value.
    explicit operator bool() const noexcept { return value_.has_value(); }
    /// The value, to be taken once, or the Error thrown.
    T get() {
        if (error_) std::rethrow_exception(error_);
        return std::move(value_).value();
    }

private:
    std::optional<T> value_;
    std::exception_ptr error_;
};

/// Finished calls on their way back: callbacks run inside run(), on its thread. One per event loop or thread as a rule.
/// Callbacks that have not run when a Queue is destroyed are destroyed, too, without being run.
class Queue {
public:
    Queue() : handle_(detail::make<qauth_queue>(qauth_queue_new)) {}
    Queue(Queue &&) noexcept = default;
    Queue &operator=(Queue &&other) noexcept {
        discard();
        handle_ = std::move(other.handle_);
        return *this;
    }
    ~Queue() { discard(); }

    /// Readable while callbacks wait: for poll, epoll and event loops.
    int fd() const { return qauth_queue_fd(detail::used(handle_)); }

    /// Runs the callbacks that wait; waits for the first one until the time is over (none: as good as for ever), or until a
    /// token function is to run here. Returns how many ran, such functions included. The first exception that left one of them is thrown here after all have run; later ones are lost.
    std::size_t run(Timeout timeout = std::nullopt) {
        detail::Frame frame;
        std::size_t ran = 0;
        detail::check([&](auto **error) {
            return qauth_queue_run(handle_.get(), detail::milliseconds(timeout), &ran, error);
        });
        if (frame.thrown) std::rethrow_exception(frame.thrown);
        return ran;
    }

    /// For calls of qauth.h; still owned by this object.
    qauth_queue *get() const noexcept { return handle_.get(); }

private:
    void discard() noexcept {
        detail::Frame frame;
        frame.discard = true;
        handle_.reset();
    }

    detail::Handle<qauth_queue> handle_;
};

/// A queued call. Destroying it changes nothing: the call goes on.
class Pending {
public:
    explicit Pending(qauth_pending *owned) noexcept : handle_(owned) {}

    /// Its callback gets a CancelledError, unless its result waits in the queue already.
    void cancel() { qauth_pending_cancel(detail::used(handle_)); }

private:
    detail::Handle<qauth_pending> handle_;
};

namespace detail {

inline Token value(qauth_token *token) { return Token(token); }
inline Response value(qauth_response *response) { return Response(response); }
inline std::string value(qauth_string *raw) { return text(Handle<qauth_string>(raw)); }

template <typename T> using Callback = std::function<void(Result<T>)>;

/// What C calls: no exception leaves it.
template <typename T, typename Raw> void deliver(void *user_data, qauth_code code, Raw *raw, qauth_error *raw_error) {
    const std::unique_ptr<Callback<T>> callback(static_cast<Callback<T> *>(user_data));
    Handle<Raw> owned(raw);
    const Handle<qauth_error> error(raw_error);
    Frame *frame = Frame::current();
    if (frame && frame->discard) return;
    try {
        if (code == QAUTH_OK) {
            (*callback)(Result<T>(value(owned.release())));
        } else {
            std::exception_ptr thrown;
            try {
                raise(parts(code, error.get()));
            } catch (...) {
                thrown = std::current_exception();
            }
            (*callback)(Result<T>(std::move(thrown)));
        }
    } catch (...) {
        // A queue that is run by C code has no frame, and nobody to throw at.
        if (frame && !frame->thrown) frame->thrown = std::current_exception();
    }
}

extern "C" {
inline void qauth_hpp_deliver_token(void *user_data, qauth_code code, qauth_token *token, qauth_error *error) {
    deliver<Token>(user_data, code, token, error);
}
inline void qauth_hpp_deliver_response(void *user_data, qauth_code code, qauth_response *response, qauth_error *error) {
    deliver<Response>(user_data, code, response, error);
}
inline void qauth_hpp_deliver_string(void *user_data, qauth_code code, qauth_string *string, qauth_error *error) {
    deliver<std::string>(user_data, code, string, error);
}
}

/// Starts a call that takes the callback with it if it succeeds.
template <typename T, typename Start> Pending queue(Callback<T> callback, Start &&start) {
    if (!callback) raise(Code::invalid_argument, "callback: is empty");
    auto owned = std::make_unique<Callback<T>>(std::move(callback));
    auto pending = make<qauth_pending>([&](auto **pending_out, auto **error) {
        return start(owned.get(), pending_out, error);
    });
    owned.release();
    return Pending(pending.release());
}

} // namespace detail

/// The live object of one profile: a valid token whenever it is asked for one, or an Error.
class Source {
public:
    explicit Source(qauth_source *owned) noexcept : handle_(owned) {}

    /// Blocks when it must. With min_remaining: a token that lives at least so long.
    Token token(Timeout timeout = std::nullopt, std::chrono::milliseconds min_remaining = {}) const {
        const auto limit = detail::milliseconds(timeout), least = detail::milliseconds(min_remaining);
        auto made = detail::make<qauth_token>([&](auto **token, auto **error) {
            return qauth_source_token_min(handle_.get(), limit, least, token, error);
        });
        return Token(made.release());
    }

    /// A cached token that needs no thought. Never blocks.
    std::optional<Token> cached() const {
        qauth_token *token = qauth_source_cached(detail::used(handle_));
        return token ? std::optional<Token>(std::in_place, token) : std::nullopt;
    }

    /// "Bearer eyJ...". UnsupportedError where one constant header is not enough: then take headers().
    std::string header() const {
        char buffer[2048];
        std::string longer;
        char *room = buffer;
        std::size_t size = sizeof buffer, needed = 0;
        // Again only where the room was too small: a renewed token can be longer than the one before.
        for (;;) {
            qauth_error *raw = nullptr;
            const qauth_code code = qauth_source_header(handle_.get(), room, size, &needed, &raw);
            const detail::Handle<qauth_error> error(raw);
            if (code == QAUTH_OK) return std::string(room, needed - 1);
            if (code != QAUTH_BUFFER_TOO_SMALL) detail::raise(detail::parts(code, error.get()));
            longer.resize(needed);
            room = longer.data();
            size = longer.size();
        }
    }

    /// Everything that a request to url (a path below the API address, or a whole URL) must carry.
    Headers headers(std::string_view method, std::string_view url, Timeout timeout = std::nullopt) const {
        const detail::Text c_method(method, "method"), c_url(url, "url");
        auto made = detail::make<qauth_headers>([&](auto **headers, auto **error) {
            return qauth_source_headers(handle_.get(), c_method, c_url, detail::milliseconds(timeout), headers, error);
        });
        return Headers(made.release());
    }

    /// For requests that the program sends itself: what the API answered to one with headers of this generation; to be
    /// called after every answer. Says whether to send it once more with fresh headers: for each reason once.
    Again answered(std::string_view url, std::uint64_t generation, int http_status,
                   std::optional<std::string_view> www_authenticate = std::nullopt,
                   std::optional<std::string_view> dpop_nonce = std::nullopt) {
        const detail::Text c_url(url, "url");
        const detail::OptionalText challenges(www_authenticate, "www_authenticate"), nonce(dpop_nonce, "dpop_nonce");
        qauth_again again = QAUTH_AGAIN_NO;
        detail::check([&](auto **error) {
            return qauth_source_answered(handle_.get(), c_url, generation, http_status, challenges, nonce, &again, error);
        });
        return static_cast<Again>(again);
    }

    /// Calls the API with the token attached; every status is a Response.
    Response request(const Request &request) const {
        const detail::RawRequest raw(request);
        auto made = detail::make<qauth_response>([&](auto **response, auto **error) {
            return qauth_source_request(handle_.get(), raw.get(), response, error);
        });
        return Response(made.release());
    }
    Response request(std::string_view method, std::string_view target) const {
        Request plain;
        plain.method = method;
        plain.target = target;
        return request(plain);
    }

    /// Runs an operation of the provider file; its answer as JSON.
    std::string call(std::string_view operation, std::string_view parameters_json = "{}",
                     Timeout timeout = std::nullopt) const {
        const detail::Text c_operation(operation, "operation"), parameters(parameters_json, "parameters_json");
        return detail::text(detail::make<qauth_string>([&](auto **result, auto **error) {
            return qauth_source_call(handle_.get(), c_operation, parameters, detail::milliseconds(timeout), result, error);
        }));
    }

    /// The same for an operation that makes a new client, which becomes the profile save_as, beside the configuration,
    /// before this returns. An Error that comes after the vendor's answer has it: answer().
    std::string call_saving(std::string_view operation, std::string_view parameters_json, std::string_view save_as,
                            Timeout timeout = std::nullopt) const {
        const detail::Text c_operation(operation, "operation"), parameters(parameters_json, "parameters_json"),
            name(save_as, "save_as");
        return detail::text(detail::make<qauth_string>([&](auto **result, auto **error) {
            return qauth_source_call_saving(handle_.get(), c_operation, parameters, name, detail::milliseconds(timeout),
                                            result, error);
        }));
    }

    /// As token(), but returns at once; the callback gets the result when the queue is run, unless this throws.
    Pending token_async(const Queue &queue, std::function<void(Result<Token>)> callback,
                        Timeout timeout = std::nullopt) const {
        return detail::queue<Token>(std::move(callback), [&](void *user_data, auto **pending, auto **error) {
            return qauth_source_token_async(handle_.get(), detail::milliseconds(timeout), queue.get(),
                                            detail::qauth_hpp_deliver_token, user_data, pending, error);
        });
    }

    /// As request(), but returns at once.
    Pending request_async(const Queue &queue, const Request &request,
                          std::function<void(Result<Response>)> callback) const {
        const detail::RawRequest raw(request);
        return detail::queue<Response>(std::move(callback), [&](void *user_data, auto **pending, auto **error) {
            return qauth_source_request_async(handle_.get(), raw.get(), queue.get(), detail::qauth_hpp_deliver_response,
                                              user_data, pending, error);
        });
    }

    /// As call(), but returns at once.
    Pending call_async(const Queue &queue, std::string_view operation, std::string_view parameters_json,
                       std::function<void(Result<std::string>)> callback, Timeout timeout = std::nullopt) const {
        const detail::Text c_operation(operation, "operation"), parameters(parameters_json, "parameters_json");
        return detail::queue<std::string>(std::move(callback), [&](void *user_data, auto **pending, auto **error) {
            return qauth_source_call_async(handle_.get(), c_operation, parameters, detail::milliseconds(timeout),
                                           queue.get(), detail::qauth_hpp_deliver_string, user_data, pending, error);
        });
    }

    /// As call_saving(), but returns at once.
    Pending call_saving_async(const Queue &queue, std::string_view operation, std::string_view parameters_json,
                              std::string_view save_as, std::function<void(Result<std::string>)> callback,
                              Timeout timeout = std::nullopt) const {
        const detail::Text c_operation(operation, "operation"), parameters(parameters_json, "parameters_json"),
            name(save_as, "save_as");
        return detail::queue<std::string>(std::move(callback), [&](void *user_data, auto **pending, auto **error) {
            return qauth_source_call_saving_async(handle_.get(), c_operation, parameters, name,
                                                  detail::milliseconds(timeout), queue.get(),
                                                  detail::qauth_hpp_deliver_string, user_data, pending, error);
        });
    }

    /// The API rejected this token. Returns whether it was still the current one.
    bool invalidate(const Token &token) {
        bool acted = false;
        detail::check([&](auto **error) { return qauth_source_invalidate(handle_.get(), token.get(), &acted, error); });
        return acted;
    }
    bool invalidate_generation(std::uint64_t generation) {
        bool acted = false;
        detail::check([&](auto **error) {
            return qauth_source_invalidate_generation(handle_.get(), generation, &acted, error);
        });
        return acted;
    }

    /// Forgets remembered failures and pauses.
    void reset() {
        detail::check([&](auto **error) { return qauth_source_reset(handle_.get(), error); });
    }

    /// Replaces keys of the profile, given as a JSON object.
    void update_json(std::string_view changes_json) {
        const detail::Text changes(changes_json, "changes_json");
        detail::check([&](auto **error) { return qauth_source_update_json(handle_.get(), changes, error); });
    }

    /// A source of the same profile whose tokens are narrowed.
    Source scoped(std::optional<std::string_view> scope, std::optional<std::string_view> audience = std::nullopt,
                  std::optional<std::string_view> resource = std::nullopt) const {
        const detail::OptionalText c_scope(scope, "scope"), c_audience(audience, "audience");
        const detail::OptionalText c_resource(resource, "resource");
        auto made = detail::make<qauth_source>([&](auto **source, auto **error) {
            return qauth_source_scoped(handle_.get(), c_scope, c_audience, c_resource, source, error);
        });
        return Source(made.release());
    }

    std::string_view profile() const { return detail::borrowed(qauth_source_profile(handle_.get())); }
    std::string_view provider() const { return detail::borrowed(qauth_source_provider(handle_.get())); }

    /// For calls of qauth.h; still owned by this object.
    qauth_source *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<qauth_source> handle_;
};

/// What a token function is asked for: the profile, and what the token is to be narrowed to, if anything.
struct TokenRequest {
    std::string profile;
    std::optional<std::string> scope, audience, resource;
};

/// What a token function gives: CustomToken{"eyJ...", 10min}.
struct CustomToken {
    /// 1 to 65536 visible ASCII characters.
    std::string access_token;
    /// From the call of the function on; none where nobody knows: the profile's default_lifetime, else five minutes.
    std::optional<std::chrono::milliseconds> expires_in = std::nullopt;
    /// "Bearer" where nothing is said.
    std::optional<std::string> token_type = std::nullopt;
    std::optional<std::string> scope = std::nullopt;
    /// What Token::extras_json() is to give, a JSON object.
    std::optional<std::string> extras_json = std::nullopt;
};

/// Obtains a token; any thread may call it that waits for one. An Error that it throws reaches all who wait with its code
/// and text; any other exception as a ProtocolError without its text, which could hold a secret.
using TokenFunction = std::function<CustomToken(const TokenRequest &)>;

namespace detail {

inline void give(Handle<qauth_token_call> &call, const CustomToken &token) {
    const Text access_token(token.access_token, "access_token");
    const OptionalText type(token.token_type, "token_type"), scope(token.scope, "scope");
    const OptionalText extras(token.extras_json, "extras_json");
    qauth_custom_token raw = QAUTH_CUSTOM_TOKEN_INIT;
    raw.access_token = access_token;
    // What has ended already lives no time at all, which is not the same as unknown.
    if (token.expires_in) raw.expires_in_ms = static_cast<std::int64_t>(milliseconds(token.expires_in));
    raw.token_type = type;
    raw.scope = scope;
    raw.extras_json = extras;
    qauth_token_call_give(call.release(), &raw, nullptr);
}

inline void fail(Handle<qauth_token_call> &call, const Error &error) noexcept {
    // The library writes the code's word itself.
    std::string_view message = error.what();
    const std::string_view word = name(error.code());
    if (message.substr(0, word.size()) == word && message.substr(word.size(), 2) == ": ")
        message.remove_prefix(word.size() + 2);
    qauth_token_call_fail(call.release(), static_cast<qauth_code>(error.code()), message.data(), nullptr);
}

extern "C" {
/// What C calls: no exception leaves it.
inline void qauth_hpp_token_function(void *user_data, qauth_token_call *raw) {
    Handle<qauth_token_call> call(raw);
    try {
        const TokenRequest request{std::string(borrowed(qauth_token_call_profile(raw))),
                                   copy(qauth_token_call_scope(raw)), copy(qauth_token_call_audience(raw)),
                                   copy(qauth_token_call_resource(raw))};
        std::optional<CustomToken> token;
        try {
            token = (*static_cast<TokenFunction *>(user_data))(request);
        } catch (const Error &error) {
            return fail(call, error);
        }
        give(call, *token);
    } catch (...) {
        if (call) qauth_token_call_fail(call.release(), QAUTH_PROTOCOL, nullptr, nullptr);
    }
}
inline void qauth_hpp_free_token_function(void *user_data) { delete static_cast<TokenFunction *>(user_data); }
}

} // namespace detail

/// Something that happened to a profile's token. It and its texts live as long as the callback that got it runs.
class Event {
public:
    explicit Event(const qauth_event *borrowed) noexcept : event_(borrowed) {}
    Event(const Event &) = delete;
    Event &operator=(const Event &) = delete;

    EventKind kind() const noexcept { return static_cast<EventKind>(qauth_event_kind(event_)); }
    Severity severity() const noexcept { return static_cast<Severity>(qauth_event_severity(event_)); }
    std::string_view profile() const { return detail::borrowed(qauth_event_profile(event_)); }
    std::string_view provider() const { return detail::borrowed(qauth_event_provider(event_)); }
    /// Why: for what comes of a renewal, what set it off ("first_use", "ahead" and so on).
    std::string_view reason() const { return detail::borrowed(qauth_event_reason(event_)); }
    /// One line for people and logs, without profile and provider.
    std::string_view message() const { return detail::borrowed(qauth_event_message(event_)); }
    /// How long; the kind says what.
    std::chrono::duration<double> duration() const noexcept {
        return std::chrono::duration<double>(qauth_event_seconds(event_));
    }
    /// When, by the engine's wall clock, to the second.
    std::chrono::system_clock::time_point at() const noexcept {
        return std::chrono::system_clock::time_point(std::chrono::seconds(qauth_event_at_unix_s(event_)));
    }
    /// Of the token that came or was rejected.
    std::optional<std::uint64_t> generation() const noexcept {
        const std::uint64_t generation = qauth_event_generation(event_);
        return generation ? std::optional<std::uint64_t>(generation) : std::nullopt;
    }
    /// How many events before this one were dropped, since the queue was not run in time.
    std::uint64_t lost() const noexcept { return qauth_event_lost(event_); }
    /// What the renewal met; may be kept.
    std::optional<Error> error() const {
        const qauth_error *error = qauth_event_error(event_);
        return error ? std::optional<Error>(detail::parts(qauth_error_code(error), error)) : std::nullopt;
    }

    /// For calls of qauth.h.
    const qauth_event *get() const noexcept { return event_; }

private:
    const qauth_event *event_;
};

/// Hears of an event, inside Queue::run and on its thread; what it throws comes out of there. Where several threads run one queue,
/// it runs on several at once and in any order; where it runs the queue itself, once more inside itself.
using EventCallback = std::function<void(const Event &)>;

/// A callback that hears of events, until this is destroyed; also in the callback itself, which is destroyed after its return. One
/// that runs on another thread at this moment is not waited for: what it refers to (a captured `this`) must live until it has
/// returned.
class [[nodiscard]] Subscription {
public:
    explicit Subscription(qauth_subscription *owned) noexcept : handle_(owned) {}

    /// For calls of qauth.h; still owned by this object.
    qauth_subscription *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<qauth_subscription> handle_;
};

namespace detail {
extern "C" {
/// What C calls: no exception leaves it.
inline void qauth_hpp_deliver_event(void *user_data, const qauth_event *raw) {
    try {
        (*static_cast<const EventCallback *>(user_data))(Event(raw));
    } catch (...) {
        // As in `deliver`.
        Frame *frame = Frame::current();
        if (frame && !frame->thrown) frame->thrown = std::current_exception();
    }
}
inline void qauth_hpp_free_event_callback(void *user_data) { delete static_cast<EventCallback *>(user_data); }
}
} // namespace detail

/// One per process as a rule: owns the threads, the connections, the store and the sources.
class Engine {
public:
    /// Without a configuration: providers by name, their credentials from the environment.
    Engine() : Engine(make([](auto **engine, auto **error) { return qauth_engine_new(engine, error); })) {}

    /// With the configuration that is found.
    static Engine discover() {
        return make([](auto **engine, auto **error) { return qauth_engine_discover(engine, error); });
    }
    static Engine from_file(std::string_view path) {
        const detail::Text c_path(path, "path");
        return make([&](auto **engine, auto **error) { return qauth_engine_from_file(c_path, engine, error); });
    }
    static Engine from_toml(std::string_view toml) {
        const detail::Text text(toml, "toml");
        return make([&](auto **engine, auto **error) { return qauth_engine_from_toml(text, engine, error); });
    }
    static Engine from_json(std::string_view json) {
        const detail::Text text(json, "json");
        return make([&](auto **engine, auto **error) { return qauth_engine_from_json(text, engine, error); });
    }

    /// The source of a profile, or of a provider whose credentials are in the environment.
    Source source(std::string_view name) const { return source(name, "{}"); }
    /// The same with some keys given in code, as a JSON object.
    Source source(std::string_view name, std::string_view overrides_json) const {
        const detail::Text c_name(name, "name"), overrides(overrides_json, "overrides_json");
        auto made = detail::make<qauth_source>([&](auto **source, auto **error) {
            return qauth_engine_source_with_json(handle_.get(), c_name, overrides, source, error);
        });
        return Source(made.release());
    }

    /// The source of a profile with grant "custom", or of one made here of options_json ("api_base_url" and the like), whose
    /// tokens the function obtains: on the thread of who waits for one, or in Queue::run. It is destroyed when the source is
    /// gone or has got another one by a later call with the same name and options.
    Source custom_source(std::string_view name, TokenFunction function, std::string_view options_json = "{}") const {
        if (!function) detail::raise(Code::invalid_argument, "function: is empty");
        const detail::Text c_name(name, "name"), options(options_json, "options_json");
        auto owned = std::make_unique<TokenFunction>(std::move(function));
        auto made = detail::make<qauth_source>([&](auto **source, auto **error) {
            return qauth_engine_custom_source(handle_.get(), c_name, options, detail::qauth_hpp_token_function, owned.get(),
                                              detail::qauth_hpp_free_token_function, source, error);
        });
        owned.release();
        return Source(made.release());
    }

    /// Forgets a profile's source; returns whether there was one.
    bool remove(std::string_view name) {
        const detail::Text c_name(name, "name");
        bool removed = false;
        detail::check([&](auto **error) { return qauth_engine_remove(handle_.get(), c_name, &removed, error); });
        return removed;
    }

    /// Moves a manual clock forward; for tests.
    void advance(std::chrono::duration<double> by) {
        detail::check([&](auto **error) { return qauth_engine_advance(handle_.get(), by.count(), error); });
    }

    /// Lets a machine with a manual clock sleep: the monotonic clock stands still, and what came due runs afterwards.
    void suspend(std::chrono::duration<double> by) {
        detail::check([&](auto **error) { return qauth_engine_suspend(handle_.get(), by.count(), error); });
    }

    /// Sets the wall clock of a manual clock forward, or back where `by` is negative; no time passes.
    void step_wall_clock(std::chrono::duration<double> by) {
        detail::check([&](auto **error) { return qauth_engine_step_wall_clock(handle_.get(), by.count(), error); });
    }

    /// Ends the engine: callers that wait and all later calls get a ClosedError.
    void close() {
        detail::check([&](auto **error) { return qauth_engine_close(handle_.get(), error); });
    }

    /// Hears of what happens to tokens from now on, when the queue is run: until the Subscription or the queue is destroyed.
    Subscription on_event(const Queue &queue, EventCallback callback) const {
        if (!callback) detail::raise(Code::invalid_argument, "callback: is empty");
        auto owned = std::make_unique<EventCallback>(std::move(callback));
        auto made = detail::make<qauth_subscription>([&](auto **subscription, auto **error) {
            return qauth_engine_on_event(handle_.get(), queue.get(), detail::qauth_hpp_deliver_event, owned.get(),
                                         detail::qauth_hpp_free_event_callback, subscription, error);
        });
        owned.release();
        return Subscription(made.release());
    }

    /// Counters and durations as they are now, as a JSON object.
    std::string metrics() const {
        return detail::text(detail::make<qauth_string>([&](auto **json, auto **error) {
            return qauth_engine_metrics(handle_.get(), json, error);
        }));
    }
    /// The same in the text format of Prometheus.
    std::string prometheus() const {
        return detail::text(detail::make<qauth_string>([&](auto **text, auto **error) {
            return qauth_engine_prometheus(handle_.get(), text, error);
        }));
    }

    /// What the store holds, of every process that shares it, as a JSON array of objects; blocks for as long as the store takes.
    std::string records() const {
        return detail::text(detail::make<qauth_string>([&](auto **json, auto **error) {
            return qauth_engine_records(handle_.get(), json, error);
        }));
    }
    /// Forgets what the store holds of a profile, for every process that shares it; returns whether there was anything. Blocks
    /// until a renewal under way has ended.
    bool clear(std::string_view name) {
        const detail::Text c_name(name, "name");
        bool cleared = false;
        detail::check([&](auto **error) { return qauth_engine_clear(handle_.get(), c_name, &cleared, error); });
        return cleared;
    }

    /// The profiles' names as a JSON array, with those that have come into profiles.d since; reads that folder.
    std::string profiles_json() const {
        return detail::text(detail::make<qauth_string>([&](auto **json, auto **error) {
            return qauth_engine_profiles_json(handle_.get(), json, error);
        }));
    }
    /// A provider as a JSON object.
    std::string provider_json(std::string_view name) const {
        const detail::Text c_name(name, "name");
        return detail::text(detail::make<qauth_string>([&](auto **json, auto **error) {
            return qauth_engine_provider_json(handle_.get(), c_name, json, error);
        }));
    }

    /// For calls of qauth.h; still owned by this object.
    qauth_engine *get() const noexcept { return handle_.get(); }

private:
    explicit Engine(detail::Handle<qauth_engine> handle) noexcept : handle_(std::move(handle)) {}

    template <typename Call> static Engine make(Call &&call) {
        if (qauth_abi_version() != QAUTH_ABI_VERSION)
            detail::raise(Code::unsupported, "libqauth has another ABI than the qauth.h of this program");
        return Engine(detail::make<qauth_engine>(std::forward<Call>(call)));
    }

    detail::Handle<qauth_engine> handle_;
};

/// Every built-in provider as a JSON array.
inline std::string providers_json() {
    return detail::text(detail::make<qauth_string>(qauth_providers_json));
}

} // namespace qauth

#endif // QAUTH_HPP
