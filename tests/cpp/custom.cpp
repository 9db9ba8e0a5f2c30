// Token functions in C++, and answers to requests that the program sends itself.
#include <qauth.hpp>

#include "../c/check.h"

#include <atomic>
#include <memory>
#include <thread>

using namespace std::chrono_literals;

static void a_function_gives_tokens(qauth::Engine &engine)
{
    int calls = 0;
    std::string asked;
    const auto me = std::this_thread::get_id();
    auto source = engine.custom_source("vault", [&](const qauth::TokenRequest &request) {
        CHECK(std::this_thread::get_id() == me && request.profile == "vault" && !request.audience && !request.resource);
        asked = request.scope.value_or("-");
        return qauth::CustomToken{"token-" + std::to_string(++calls), 10min};
    }, "{\"api_base_url\": \"https://api.example.com/v1\"}");
    CHECK(source.header() == "Bearer token-1" && source.header() == "Bearer token-1" && calls == 1 && asked == "-");
    const auto left = source.token().expires_in();
    CHECK(left && *left > 590s && *left <= 600s);
    CHECK(source.scoped("read").token().access_token() == "token-2" && asked == "read");

    const auto headers = source.headers("GET", "/things");
    CHECK(headers.generation() == source.token().generation());
    CHECK(source.answered("/things", headers.generation(), 200) == qauth::Again::no);
    CHECK(source.answered("/things", headers.generation(), 401, "Bearer error=\"invalid_token\"", "unused") == qauth::Again::token);
    CHECK(source.header() == "Bearer token-3");
    // A token of long ago: the new one stays.
    source.answered("/things", headers.generation(), 401);
    CHECK(source.header() == "Bearer token-3");
    try {
        source.answered("/things", 1, 7);
        CHECK(!"a status of no sense is refused");
    } catch (const qauth::InvalidArgumentError &) {
    }
}

static void what_is_known_beside_the_token_is_kept(qauth::Engine &engine)
{
    const auto source = engine.custom_source("whole", [](const qauth::TokenRequest &) {
        return qauth::CustomToken{"whole", std::nullopt, "MAC", "read write", "{\"tenant\": \"acme\"}"};
    });
    const auto token = source.token();
    CHECK(token.type() == "MAC" && token.scope() == "read write" && token.extras_json() == "{\"tenant\":\"acme\"}");
    CHECK(*token.expires_in() > 290s && *token.expires_in() <= 300s);
}

// The Error that reaches who waits; it holds nothing of the exception that is no Error.
template <typename Expected> static void fails(qauth::Engine &engine, const char *name, qauth::TokenFunction function, const char *text)
{
    const auto source = engine.custom_source(name, std::move(function));
    try {
        source.token();
        CHECK(!"it fails");
    } catch (const Expected &error) {
        check(strstr(error.what(), text) != nullptr, error.what(), __FILE__, __LINE__);
        CHECK(error.profile() == name && !strstr(error.what(), "canary"));
    }
}

// Fault 78: no exception crosses the C library.
static void what_a_function_throws_is_an_error_of_the_call(qauth::Engine &engine)
{
    using qauth::CustomToken;
    using qauth::TokenRequest;
    const char *failed = "the token function failed";
    fails<qauth::ProtocolError>(engine, "number", [](const TokenRequest &) -> CustomToken { throw 7; }, failed);
    fails<qauth::ProtocolError>(engine, "text", [](const TokenRequest &) -> CustomToken { throw std::runtime_error("canary"); }, failed);
    fails<qauth::ProtocolError>(engine, "nul", [](const TokenRequest &) { return CustomToken{std::string("can\0ary", 7), 1min}; }, failed);
    fails<qauth::ProtocolError>(engine, "json", [](const TokenRequest &) { return CustomToken{"canary", 1min, {}, {}, "[]"}; }, failed);
    fails<qauth::ProtocolError>(engine, "empty", [](const TokenRequest &) { return CustomToken{}; }, "no token can be");
    fails<qauth::AccessDeniedError>(engine, "error", [](const TokenRequest &) -> CustomToken {
        qauth::Error::Parts parts;
        parts.code = qauth::Code::access_denied;
        parts.message = "the vault is locked";
        throw qauth::Error(parts);
    }, "access_denied: profile \"error\": the vault is locked");
    // The same where the function needs a token of another source.
    const auto inner = engine.custom_source("inner", [](const TokenRequest &) -> CustomToken {
        qauth::detail::raise(qauth::Code::rate_limited, "slowly");
    });
    fails<qauth::RateLimitedError>(engine, "outer", [&](const TokenRequest &) {
        return CustomToken{std::string(inner.token().access_token())};
    }, "rate_limited: profile \"outer\": profile \"inner\": slowly");
    try {
        engine.custom_source("none", nullptr);
        CHECK(!"an empty function is refused");
    } catch (const qauth::InvalidArgumentError &) {
    }
}

static void a_function_lives_as_long_as_it_is_needed(qauth::Engine &engine)
{
    const auto witness = std::make_shared<int>(0);
    const auto function = [witness](const qauth::TokenRequest &) {
        ++*witness;
        return qauth::CustomToken{"t", 1h};
    };
    {
        const auto source = engine.custom_source("life", function);
        source.token();
        CHECK(witness.use_count() == 3 && *witness == 1);
        engine.custom_source("life", [](const qauth::TokenRequest &) { return qauth::CustomToken{"other"}; });
        CHECK(witness.use_count() == 2);
        engine.custom_source("life", function);
    }
    CHECK(witness.use_count() == 3);
    CHECK(engine.remove("life") && witness.use_count() == 2);
    try {
        engine.custom_source("life", function, "{\"no_such_key\": 1}");
        CHECK(!"an unknown key is refused");
    } catch (const qauth::ConfigError &) {
    }
    CHECK(witness.use_count() == 2);
    {
        qauth::Engine own;
        const auto source = own.custom_source("life", function);
        source.token();
        CHECK(witness.use_count() == 3);
    }
    // The renewal may still be ending on a thread of the library, which leaves the function to the next call.
    for (int i = 0; i < 5000 && witness.use_count() > 2; ++i) {
        std::this_thread::sleep_for(1ms);
        qauth::providers_json();
    }
    CHECK(witness.use_count() == 2);
}

static void a_queue_runs_it(qauth::Engine &engine)
{
    const auto me = std::this_thread::get_id();
    int calls = 0, tokens = 0;
    const auto source = engine.custom_source("queued", [&](const qauth::TokenRequest &) {
        CHECK(std::this_thread::get_id() == me);
        ++calls;
        return qauth::CustomToken{"queued", 10min};
    });
    qauth::Queue queue;
    for (int i = 0; i < 10; ++i)
        source.token_async(queue, [&](qauth::Result<qauth::Token> token) { tokens += token.get().access_token() == "queued"; });
    CHECK(calls == 0);
    while (tokens < 10) CHECK(queue.run(10s) > 0);
    CHECK(calls == 1);
}

static void many_threads_share_one_call(qauth::Engine &engine)
{
    std::atomic<int> calls{0}, good{0};
    const auto source = engine.custom_source("crowd", [&](const qauth::TokenRequest &) {
        ++calls;
        std::this_thread::sleep_for(5ms);
        return qauth::CustomToken{"crowd", 10min};
    });
    std::vector<std::thread> threads;
    for (int i = 0; i < 50; ++i) threads.emplace_back([&] { good += source.header() == "Bearer crowd"; });
    for (auto &thread : threads) thread.join();
    CHECK(good == 50 && calls == 1);
}

int main()
{
    qauth::Engine engine;
    a_function_gives_tokens(engine);
    what_is_known_beside_the_token_is_kept(engine);
    what_a_function_throws_is_an_error_of_the_call(engine);
    a_function_lives_as_long_as_it_is_needed(engine);
    a_queue_runs_it(engine);
    many_threads_share_one_call(engine);
    return done();
}
