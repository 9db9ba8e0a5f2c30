// The C++ driver: each line becomes one call of qauth.hpp (see ../README.md for the protocol).

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <qauth.hpp>

namespace {

using std::string;
using std::string_view;
using Fields = std::vector<string>;

// ---- the protocol ----

string decoded(string_view field) {
    string text;
    for (std::size_t i = 0; i < field.size(); ++i) {
        if (field[i] == '%' && i + 2 < field.size()) {
            text += static_cast<char>(std::stoi(string(field.substr(i + 1, 2)), nullptr, 16));
            i += 2;
        } else {
            text += field[i];
        }
    }
    return text;
}

Fields split(const string &line) {
    Fields fields;
    std::istringstream rest(line);
    for (string field; std::getline(rest, field, '\t');) fields.push_back(decoded(field));
    return fields;
}

/// One reply, built value by value.
class Reply {
public:
    explicit Reply(string_view kind) : line_(kind) {}

    Reply &value(string_view key, string_view text) {
        line_ += '\t' + encoded(key) + '=' + encoded(text);
        return *this;
    }
    template <typename Text> Reply &value(string_view key, const std::optional<Text> &text) {
        return text ? value(key, string_view(*text)) : *this;
    }
    Reply &number(string_view key, double amount) {
        std::ostringstream text;
        text.precision(10);
        text << amount;
        return value(key, text.str());
    }
    Reply &seconds(string_view key, std::optional<std::chrono::milliseconds> time) {
        return time ? number(key, std::chrono::duration<double>(*time).count()) : *this;
    }
    Reply &flag(string_view key, bool yes) { return value(key, yes ? "true" : "false"); }
    Reply &header(string_view name, string_view text) { return value("header." + string(name), text); }

    const string &line() const { return line_; }

private:
    static string encoded(string_view text) {
        static const char digits[] = "0123456789ABCDEF";
        string out;
        for (const unsigned char byte : text) {
            if (byte > ' ' && byte < 0x7f && byte != '%') out += static_cast<char>(byte);
            else (out += '%', out += digits[byte >> 4], out += digits[byte & 15]);
        }
        return out;
    }

    string line_;
};

Reply ok() { return Reply("ok"); }

Reply refused(const qauth::Error &error) {
    Reply reply("error");
    reply.value("code", qauth::name(error.code())).value("message", error.what());
    reply.value("profile", error.profile()).value("provider", error.provider());
    if (error.http_status()) reply.number("status", *error.http_status());
    reply.value("server_error", error.server_error());
    reply.value("server_error_description", error.server_error_description());
    reply.flag("retryable", error.retryable()).seconds("retry_after", error.retry_after());
    return reply.value("answer", error.answer());
}

// ---- events ----

string quoted(string_view text) {
    static const char digits[] = "0123456789abcdef";
    string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') (out += '\\', out += c);
        else if (byte < ' ') (out += "\\u00", out += digits[byte >> 4], out += digits[byte & 15]);
        else out += c;
    }
    return out + '"';
}

const char *word(qauth::Severity severity) {
    switch (severity) {
    case qauth::Severity::debug: return "debug";
    case qauth::Severity::info: return "info";
    case qauth::Severity::warning: return "warning";
    }
    return "unknown";
}

string json(const qauth::Event &event) {
    std::ostringstream out;
    out.precision(10);
    out << "{\"kind\":" << quoted(qauth::name(event.kind())) << ",\"severity\":" << quoted(word(event.severity()))
        << ",\"profile\":" << quoted(event.profile()) << ",\"provider\":" << quoted(event.provider())
        << ",\"reason\":" << quoted(event.reason()) << ",\"seconds\":" << event.duration().count();
    if (const auto generation = event.generation()) out << ",\"generation\":" << *generation;
    if (const auto error = event.error()) out << ",\"code\":" << quoted(qauth::name(error->code()));
    out << '}';
    return out.str();
}

/// The events of one engine, on a queue of their own.
class Events {
public:
    explicit Events(const qauth::Engine &engine)
        : subscription_(engine.on_event(queue_, [this](const qauth::Event &event) {
              list_ += (list_.empty() ? "" : ",") + json(event);
          })) {}

    string take() {
        queue_.run(std::chrono::milliseconds(0));
        return '[' + std::exchange(list_, {}) + ']';
    }

private:
    string list_;
    qauth::Queue queue_;
    qauth::Subscription subscription_;
};

// ---- the commands ----

class Driver {
public:
    Reply handle(const Fields &line) {
        const string command = at(line, 0);
        if (command == "engine") {
            *this = Driver();
            engine_.emplace(qauth::Engine::from_json(at(line, 1)));
            events_ = std::make_unique<Events>(*engine_);
            return ok();
        }
        if (command == "engine_from_file") {
            *this = Driver();
            engine_.emplace(qauth::Engine::from_file(at(line, 1)));
            events_ = std::make_unique<Events>(*engine_);
            return ok();
        }
        if (command == "close") {
            if (engine_) engine_->close();
            return ok();
        }
        if (!engine_) return Reply("unsupported");
        if (command == "source") return take(engine_->source(at(line, 1)));
        if (command == "source_with") return take(engine_->source(at(line, 1), at(line, 2)));
        if (command == "custom_source") return custom_source(line);
        if (command == "custom_calls") return ok().number("count", static_cast<double>(custom_calls_->load()));
        if (command == "remove") return ok().flag("removed", engine_->remove(at(line, 1)));
        if (command == "events") return ok().value("events", events_->take());
        if (command == "metrics")
            return ok().value("metrics", engine_->metrics()).value("prometheus", engine_->prometheus());
        if (command == "records") return ok().value("records", engine_->records());
        if (command == "clear") return ok().flag("cleared", engine_->clear(at(line, 1)));
        if (command == "advance") {
            engine_->advance(std::chrono::duration<double>(std::stod(at(line, 1))));
            return ok();
        }
        if (command == "suspend") {
            engine_->suspend(std::chrono::duration<double>(std::stod(at(line, 1))));
            return ok();
        }
        if (command == "step_wall_clock") {
            engine_->step_wall_clock(std::chrono::duration<double>(std::stod(at(line, 1))));
            return ok();
        }
        return source_ ? on_source(command, line) : Reply("unsupported");
    }

    ~Driver() {
        if (engine_) engine_->close();
    }
    Driver() = default;
    Driver &operator=(Driver &&other) {
        if (engine_) engine_->close();
        engine_ = std::move(other.engine_);
        events_ = std::move(other.events_);
        source_ = std::move(other.source_);
        token_ = std::move(other.token_);
        custom_calls_ = std::move(other.custom_calls_);
        return *this;
    }

private:
    static string at(const Fields &line, std::size_t index) { return index < line.size() ? line[index] : string(); }

    Reply take(qauth::Source source) {
        source_.emplace(std::move(source));
        return ok();
    }

    /// A source whose function gives the results in turn, three fields for each.
    Reply custom_source(const Fields &line) {
        const std::size_t results = (line.size() - 1) / 3;
        auto calls = std::make_shared<std::atomic<std::size_t>>(0);
        custom_calls_ = calls;
        auto function = [line, results, calls](const qauth::TokenRequest &) {
            const std::size_t index = 3 * std::min(calls->fetch_add(1) + 1, results);
            if (const string code = at(line, index + 2); !code.empty()) fail(code);
            qauth::CustomToken token{at(line, index)};
            if (const string seconds = at(line, index + 1); !seconds.empty())
                token.expires_in = std::chrono::milliseconds(static_cast<long long>(std::stod(seconds) * 1000));
            return token;
        };
        return take(engine_->custom_source(at(line, 1), function, at(line, 2)));
    }

    [[noreturn]] static void fail(const string &word) {
        qauth::Error::Parts parts;
        for (qauth_code code = QAUTH_OK + 1; code < 100; ++code)
            if (word == qauth_code_name(code)) parts.code = static_cast<qauth::Code>(code);
        parts.message = "the function says so";
        throw qauth::Error(parts);
    }

    Reply on_source(const string &command, const Fields &line) {
        if (command == "token") return got(asking(at(line, 1), at(line, 2))());
        if (command == "start") {
            started_ = std::async(std::launch::async, asking(at(line, 1), at(line, 2)));
            return ok();
        }
        if (command == "join" && started_.valid()) return got(started_.get());
        if (command == "header") return ok().value("value", source_->header());
        if (command == "headers") return headers(source_->headers(at(line, 1), at(line, 2)));
        if (command == "request") return request(line);
        if (command == "call") {
            const string operation = at(line, 1), parameters = at(line, 2), save_as = at(line, 3);
            return ok().value("result", save_as.empty() ? source_->call(operation, parameters)
                                                        : source_->call_saving(operation, parameters, save_as));
        }
        if (command == "invalidate" && token_) return ok().flag("acted", source_->invalidate(*token_));
        if (command == "reset") {
            source_->reset();
            return ok();
        }
        if (command == "update") {
            source_->update_json(at(line, 1));
            return ok();
        }
        if (command == "scoped") {
            const string scope = at(line, 1), audience = at(line, 2), resource = at(line, 3);
            return take(source_->scoped(given(scope), given(audience), given(resource)));
        }
        if (command == "concurrent") return concurrent(std::stoul(at(line, 1)));
        return Reply("unsupported");
    }

    static std::optional<string_view> given(const string &text) {
        return text.empty() ? std::nullopt : std::optional<string_view>(text);
    }

    /// A call that asks for a token, for this thread or another.
    std::function<qauth::Token()> asking(const string &min_remaining, const string &timeout_ms) const {
        qauth::Timeout timeout;
        if (!timeout_ms.empty()) timeout = std::chrono::milliseconds(std::stoll(timeout_ms));
        const double seconds = min_remaining.empty() ? 0 : std::stod(min_remaining);
        const std::chrono::milliseconds least(static_cast<long long>(seconds * 1000));
        return [source = &*source_, timeout, least] { return source->token(timeout, least); };
    }

    Reply got(qauth::Token token) {
        Reply reply = ok();
        reply.value("access_token", token.access_token()).value("token_type", token.type());
        reply.seconds("expires_in", token.expires_in()).value("scope", token.scope()).value("extras", token.extras_json());
        token_ = std::move(token);
        return reply;
    }

    static Reply headers(const qauth::Headers &headers) {
        Reply reply = ok();
        reply.number("count", static_cast<double>(headers.size()));
        for (const auto &[name, value] : headers) reply.header(name, value);
        return reply;
    }

    Reply request(const Fields &line) const {
        qauth::Request request;
        request.method = at(line, 1);
        request.target = at(line, 2);
        if (!at(line, 3).empty()) request.body = at(line, 3);
        for (std::size_t i = 4; i + 1 < line.size(); i += 2) request.headers.emplace_back(line[i], line[i + 1]);
        const qauth::Response response = source_->request(request);
        Reply reply = ok();
        reply.number("status", response.status()).value("body", response.body());
        for (const auto &[name, value] : response.headers()) reply.header(name, value);
        return reply;
    }

    Reply concurrent(std::size_t threads) const {
        std::promise<void> start;
        const std::shared_future<void> begun = start.get_future().share();
        std::vector<std::future<string>> all;
        for (std::size_t i = 0; i < threads; ++i)
            all.push_back(std::async(std::launch::async, [this, begun] {
                begun.wait();
                return string(source_->token().access_token());
            }));
        start.set_value();
        std::size_t got = 0;
        std::set<string> tokens, codes;
        for (auto &one : all) {
            try {
                tokens.insert(one.get());
                ++got;
            } catch (const qauth::Error &error) {
                codes.insert(qauth::name(error.code()));
            }
        }
        string errors;
        for (const string &code : codes) errors += (errors.empty() ? "" : ",") + code;
        Reply reply = ok();
        reply.number("ok", static_cast<double>(got)).number("distinct", static_cast<double>(tokens.size()));
        return reply.value("errors", errors);
    }

    std::optional<qauth::Engine> engine_;
    std::unique_ptr<Events> events_;
    std::optional<qauth::Source> source_;
    std::optional<qauth::Token> token_; // the last one it got
    std::future<qauth::Token> started_;
    std::shared_ptr<std::atomic<std::size_t>> custom_calls_;
};

} // namespace

int main() {
    Driver driver;
    for (string line; std::getline(std::cin, line);) {
        string reply;
        try {
            reply = driver.handle(split(line)).line();
        } catch (const qauth::Error &error) {
            reply = refused(error).line();
        }
        std::cout << reply << '\n' << std::flush;
    }
}
