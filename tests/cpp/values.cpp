// Objects, their moves and copies, and what each call gives, against the simulator.
#include <qauth.hpp>

#include "../c/check.h"
#include "../c/sim.h"

#include <type_traits>

using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<qauth::Engine> && std::is_nothrow_move_constructible_v<qauth::Engine>);
static_assert(!std::is_copy_constructible_v<qauth::Source> && std::is_nothrow_move_constructible_v<qauth::Source>);
static_assert(std::is_copy_constructible_v<qauth::Token> && std::is_nothrow_copy_constructible_v<qauth::Token>);
static_assert(!std::is_copy_constructible_v<qauth::Headers> && !std::is_copy_constructible_v<qauth::Response>);
static_assert(!std::is_copy_constructible_v<qauth::Queue> && std::is_nothrow_move_assignable_v<qauth::Queue>);
static_assert(std::is_nothrow_copy_constructible_v<qauth::InvalidClientError> && std::is_base_of_v<qauth::Error, qauth::TlsError>);

// The Error of this type that `call` throws; fails the test if it throws none.
template <typename E = qauth::Error, typename Call> static qauth::Error thrown(Call &&call, qauth::Code code)
{
    try {
        call();
    } catch (const E &error) {
        CHECK(error.code() == code && std::string(error.what()).find(qauth::name(code)) == 0);
        check_text(error.what(), __LINE__);
        return error;
    }
    CHECK(!"an Error is thrown");
    return qauth::Error(qauth::Error::Parts{});
}

static void a_source_gives_what_c_gives(qauth::Engine &engine)
{
    auto source = engine.source("quiqup");
    CHECK(source.profile() == "quiqup" && source.provider() == "quiqup");
    CHECK(!source.cached());
    const auto token = source.token();
    CHECK(token.header_value() == "Bearer " + std::string(token.access_token()) && token.type() == "bearer");
    CHECK(token.expires_in() > 3580s && token.expires_in() <= 3600s);
    CHECK(token.expires_at() > std::chrono::system_clock::now() + 3580s);
    CHECK(!token.scope() || !token.scope()->empty());
    CHECK(token.extras_json().find("created_at") != std::string_view::npos);
    CHECK(source.cached()->generation() == token.generation());
    CHECK(source.header() == token.header_value());
    CHECK(source.token(0ms).access_token() == token.access_token() && source.token(-5s, 1min).generation() == token.generation());

    std::size_t count = 0;
    for (const auto &[name, value] : source.headers("GET", "/orders")) {
        CHECK(name == "Authorization" && value == token.header_value());
        ++count;
    }
    CHECK(count == 1);
    CHECK(engine.source("quartile").headers("GET", "/reports").size() == 2);

    const auto plain = source.request("GET", "/orders");
    CHECK(plain.status() == 200 && plain.body() == "{\"orders\":[]}");
    CHECK(plain.header("Content-Type")->find("application/json") == 0 && !plain.header("X-None"));
    CHECK(plain.headers().size() >= 2);
    qauth::Request request;
    request.method = "PUT";
    request.target = "/echo";
    request.query = {{"a", "1 2"}};
    request.headers = {{"X-Trace", "t-1"}};
    request.body = std::string("he\0llo", 6);
    request.timeout = 10s;
    const auto echo = source.request(request);
    CHECK(echo.body().find("\"body_bytes\":6") != std::string_view::npos && echo.body().find("t-1") != std::string_view::npos);
    CHECK(source.request("GET", "/forbidden").status() == 403);

    CHECK(engine.source("quartile").call("validate") == "true");
    CHECK(engine.source("qpay-person").call("roles").find("issuer") != std::string::npos);
    CHECK(engine.source("qpay").scoped("cards").token().scope() == "email profile cards");
    CHECK(engine.source("quable", "{\"timeout\": \"5s\"}").token().access_token().size() > 10);
    CHECK(engine.profiles_json().find("\"quable-static\"") != std::string::npos);
    CHECK(engine.provider_json("qpay").find("\"whoami\"") != std::string::npos);
    CHECK(qauth::providers_json().find("\"quantaprice\"") != std::string::npos);
}

static void a_static_token_has_no_end(qauth::Engine &engine)
{
    const auto token = engine.source("quable-static").token();
    CHECK(!token.expires_at() && !token.expires_in());
}

static void a_long_header_comes_whole(qauth::Engine &engine)
{
    const auto source = engine.source("quable-static", "{\"generic_token\": \"" + std::string(5000, 'x') + "\"}");
    CHECK(source.header() == "Bearer " + std::string(5000, 'x'));
}

static void errors_say_all_that_is_known(qauth::Engine &engine)
{
    auto source = engine.source("quiqup");
    source.update_json("{\"client_secret\": \"canary\"}");
    const auto refused = thrown<qauth::InvalidClientError>([&] { source.token(); }, qauth::Code::invalid_client);
    CHECK(refused.http_status() == 401 && refused.profile() == "quiqup" && refused.provider() == "quiqup");
    CHECK(refused.server_error() == "invalid_client" && !refused.retryable() && !refused.retry_after());
    thrown<qauth::InvalidClientError>([&] { source.header(); }, qauth::Code::invalid_client);
    thrown<qauth::ConfigError>([&] { source.update_json("{\"no_such_key\": 1}"); }, qauth::Code::config);
    thrown<qauth::InvalidArgumentError>([&] { source.update_json("canary"); }, qauth::Code::invalid_argument);
    source.update_json("{\"client_secret\": \"quiqup-secret-5f1c\"}");
    source.reset();
    sim_post("faults", "{\"vendor\": \"quiqup\", \"endpoint\": \"token\", \"status\": 429, \"headers\": {\"Retry-After\": \"120\"}}");
    const auto before = sim_count("quiqup", "token_requests");
    try {
        // The store may still hold the token of the old secret, which is good again.
        const auto token = source.token(2s);
        CHECK(sim_count("quiqup", "token_requests") == before);
        CHECK(source.invalidate(token) && !source.invalidate(token) && !source.invalidate_generation(token.generation()));
        thrown<qauth::RateLimitedError>([&] { source.token(2s); }, qauth::Code::rate_limited);
    } catch (const qauth::RateLimitedError &error) {
        CHECK(error.retryable() && error.retry_after() > 100s && error.http_status() == 429);
    }
    source.reset();
    CHECK(source.token().access_token().size() == 64);

    thrown<qauth::TimeoutError>([&] { engine.source("quantaprice").token(0ms); }, qauth::Code::timeout);
    thrown<qauth::UnsupportedError>([&] { engine.source("quartile").header(); }, qauth::Code::unsupported);
    thrown<qauth::UnsupportedError>([&] { engine.advance(1s); }, qauth::Code::unsupported);
    thrown<qauth::ConfigError>([&] { engine.source("nobody"); }, qauth::Code::config);
    thrown<qauth::ConfigError>([] { qauth::Engine::from_toml("[canary"); }, qauth::Code::config);
    thrown<qauth::ConfigError>([] { qauth::Engine::from_file("/nowhere"); }, qauth::Code::config);
    thrown<qauth::InvalidArgumentError>([&] { engine.source({"quiqup\0canary", 13}); }, qauth::Code::invalid_argument);
    thrown<qauth::InvalidArgumentError>([&] { engine.source("\xff"); }, qauth::Code::invalid_argument);
    thrown<qauth::InvalidArgumentError>([&] { engine.source("quiqup").request("GET", "http://127.0.0.1:1/"); }, qauth::Code::invalid_argument);
    thrown<qauth::InvalidArgumentError>([&] { engine.source("quiqup").headers("GET", "/")[1]; }, qauth::Code::invalid_argument);
    try {
        engine.source("nobody");
    } catch (const std::exception &error) {
        CHECK(dynamic_cast<const qauth::ConfigError *>(&error) != nullptr);
    }
}

// Fault 79: an object that was moved from throws, and can be given a new value.
static void objects_that_were_moved_from_throw(qauth::Engine &engine)
{
    const auto invalid = qauth::Code::invalid_argument;
    auto source = engine.source("quiqup");
    auto token = source.token();
    auto headers = source.headers("GET", "/orders");
    auto response = source.request("GET", "/orders");
    qauth::Queue queue;

    auto other_token = std::move(token);
    thrown([&] { token.access_token(); }, invalid);
    thrown([&] { token.header_value(); }, invalid);
    thrown([&] { token.type(); }, invalid);
    thrown([&] { token.scope(); }, invalid);
    thrown([&] { token.expires_at(); }, invalid);
    thrown([&] { token.expires_in(); }, invalid);
    thrown([&] { token.generation(); }, invalid);
    thrown([&] { token.extras_json(); }, invalid);
    thrown([&] { source.invalidate(token); }, invalid);
    auto empty_copy = token;
    thrown([&] { empty_copy.access_token(); }, invalid);
    token = other_token;
    CHECK(token.access_token() == other_token.access_token());
    auto &same = token;
    token = std::move(same);
    CHECK(token.access_token() == other_token.access_token());

    auto other_headers = std::move(headers);
    thrown([&] { headers.size(); }, invalid);
    thrown([&] { headers[0]; }, invalid);
    auto other_response = std::move(response);
    thrown([&] { response.status(); }, invalid);
    thrown([&] { response.body(); }, invalid);
    thrown([&] { response.header("a"); }, invalid);
    thrown([&] { response.headers(); }, invalid);
    CHECK(other_headers.size() == 1 && other_response.status() == 200);

    auto other_source = std::move(source);
    thrown([&] { source.token(); }, invalid);
    thrown([&] { source.cached(); }, invalid);
    thrown([&] { source.header(); }, invalid);
    thrown([&] { source.headers("GET", "/"); }, invalid);
    thrown([&] { source.request("GET", "/"); }, invalid);
    thrown([&] { source.call("x"); }, invalid);
    thrown([&] { source.call_saving("x", "{}", "new"); }, invalid);
    thrown([&] { source.reset(); }, invalid);
    thrown([&] { source.update_json("{}"); }, invalid);
    thrown([&] { source.scoped("x"); }, invalid);
    thrown([&] { source.profile(); }, invalid);
    thrown([&] { source.provider(); }, invalid);
    thrown([&] { source.token_async(queue, [](qauth::Result<qauth::Token>) {}); }, invalid);
    source = std::move(other_source);
    CHECK(source.header() == token.header_value());

    auto other_queue = std::move(queue);
    thrown([&] { queue.run(0ms); }, invalid);
    thrown([&] { queue.fd(); }, invalid);
    thrown([&] { source.token_async(queue, [](qauth::Result<qauth::Token>) {}); }, invalid);

    auto other_engine = std::move(engine);
    thrown([&] { engine.source("quiqup"); }, invalid);
    thrown([&] { engine.remove("quiqup"); }, invalid);
    thrown([&] { engine.advance(1s); }, invalid);
    thrown([&] { engine.profiles_json(); }, invalid);
    thrown([&] { engine.provider_json("quiqup"); }, invalid);
    thrown([&] { engine.close(); }, invalid);
    engine = std::move(other_engine);
    CHECK(engine.remove("quiqup") && !engine.remove("quiqup"));
    thrown<qauth::ClosedError>([&] { source.token(); }, qauth::Code::closed);
}

int main()
{
    auto engine = qauth::Engine::from_toml(sim_profiles(""));
    a_source_gives_what_c_gives(engine);
    a_static_token_has_no_end(engine);
    a_long_header_comes_whole(engine);
    errors_say_all_that_is_known(engine);
    objects_that_were_moved_from_throw(engine);

    for (qauth_code code = 0; code < 101; ++code)
        if (std::string("unknown") != qauth_code_name(code))
            CHECK(qauth::name(static_cast<qauth::Code>(code)) == std::string(qauth_code_name(code)));

    auto manual = qauth::Engine::from_json("{\"testing\": {\"clock\": \"manual\"}}");
    manual.advance(1.5s);
    thrown<qauth::InvalidArgumentError>([&] { manual.advance(-1s); }, qauth::Code::invalid_argument);
    qauth::Engine bare;
    bare = std::move(manual);
    auto source = engine.source("quiqup");
    engine.close();
    thrown<qauth::ClosedError>([&] { source.token(); }, qauth::Code::closed);
    thrown<qauth::ClosedError>([&] { engine.source("quiqup"); }, qauth::Code::closed);
    return done();
}
