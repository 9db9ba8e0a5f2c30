// Callbacks: on the thread that runs the queue, once; what they throw comes out of run().
#include <qauth.hpp>

#include "../c/check.h"
#include "../c/sim.h"

#include <memory>
#include <thread>

using namespace std::chrono_literals;

static void results_and_errors_come_by_run(qauth::Engine &engine)
{
    const auto source = engine.source("quiqup"), person = engine.source("qpay-person");
    qauth::Queue queue;
    const auto me = std::this_thread::get_id();
    int tokens = 0, responses = 0, results = 0, errors = 0;

    source.token_async(queue, [&](qauth::Result<qauth::Token> token) {
        CHECK(std::this_thread::get_id() == me && token);
        CHECK(token.get().header_value().substr(0, 7) == "Bearer ");
        ++tokens;
    });
    CHECK(queue.fd() >= 0);
    qauth::Request request;
    request.target = "/orders";
    source.request_async(queue, request, [&](qauth::Result<qauth::Response> response) { responses += response.get().status() == 200; });
    person.call_async(queue, "whoami", "{}", [&](qauth::Result<std::string> json) {
        results += json.get().find("issuer-001") != std::string::npos;
    });
    person.call_async(queue, "no-such", "{}", [&](qauth::Result<std::string> json) {
        CHECK(!json);
        try {
            json.get();
        } catch (const qauth::InvalidArgumentError &error) {
            errors += error.profile() == "qpay-person";
        }
    });
    const char *const client = "{\"tenant_id\": \"issuer-001\", \"name\": \"x\", \"roles\": []}";
    person.call_saving_async(queue, "create_client", client, "new", [&](qauth::Result<std::string> json) {
        try {
            json.get();
        } catch (const qauth::ConfigError &error) {
            // This engine is of no file.
            errors += !error.answer();
        }
    });
    while (tokens + responses + results + errors < 5) CHECK(queue.run(10s) > 0);
    CHECK(tokens == 1 && responses == 1 && results == 1 && errors == 2);
    CHECK(queue.run(0ms) == 0);
}

struct Mine {
    int number;
};

// Fault 78: no exception crosses the C library, and none is lost in silence.
static void what_a_callback_throws_comes_out_of_run(qauth::Engine &engine)
{
    const auto source = engine.source("quiqup");
    qauth::Queue queue;
    int after = 0;
    source.token();
    source.token_async(queue, [](qauth::Result<qauth::Token>) { throw Mine{7}; });
    source.token_async(queue, [&](qauth::Result<qauth::Token>) {
        ++after;
        throw Mine{8};
    });
    std::this_thread::sleep_for(200ms);
    try {
        while (after == 0) queue.run(5s);
        CHECK(!"the exception comes out");
    } catch (const Mine &mine) {
        CHECK(mine.number == 7 && after == 1);
    }

    // An Error that nobody took out goes the same way, and a run inside a callback keeps to its own.
    int inner = 0;
    source.token_async(queue, [&](qauth::Result<qauth::Token>) {
        source.call_async(queue, "no-such", "{}", [](qauth::Result<std::string> json) { json.get(); });
        try {
            queue.run(5s);
        } catch (const qauth::InvalidArgumentError &) {
            ++inner;
        }
    });
    CHECK(queue.run(5s) >= 1);
    CHECK(inner == 1);
}

static void callbacks_end_with_their_queue(qauth::Engine &engine)
{
    const auto source = engine.source("quable");
    const auto witness = std::make_shared<int>(0);
    sim_post("settings", "{\"vendor\": \"quable\", \"delay_ms\": 300}");
    {
        qauth::Queue queue;
        source.token_async(queue, [witness](qauth::Result<qauth::Token>) { ++*witness; });
        CHECK(witness.use_count() == 2);
    }
    CHECK(witness.use_count() == 1 && *witness == 0);

    // A call that does not start takes no callback with it.
    qauth::Queue queue, moved(std::move(queue));
    try {
        source.token_async(queue, [witness](qauth::Result<qauth::Token>) { ++*witness; });
    } catch (const qauth::InvalidArgumentError &) {
    }
    CHECK(witness.use_count() == 1);
    try {
        source.token_async(moved, nullptr);
        CHECK(!"an empty function is refused");
    } catch (const qauth::InvalidArgumentError &) {
    }

    auto pending = source.token_async(moved, [witness](qauth::Result<qauth::Token> token) {
        try {
            token.get();
        } catch (const qauth::CancelledError &) {
            ++*witness;
        }
    });
    pending.cancel();
    while (*witness == 0) moved.run(5s);
    CHECK(*witness == 1 && witness.use_count() == 1);
}

static void a_closed_engine_answers(qauth::Engine &engine)
{
    const auto source = engine.source("quartile");
    qauth::Queue queue;
    int closed = 0;
    sim_post("settings", "{\"vendor\": \"quartile\", \"delay_ms\": 20000}");
    for (int i = 0; i < 10; ++i)
        source.token_async(queue, [&](qauth::Result<qauth::Token> token) {
            try {
                token.get();
            } catch (const qauth::ClosedError &) {
                ++closed;
            }
        });
    std::this_thread::sleep_for(50ms);
    engine.close();
    for (int i = 0; i < 100 && closed < 10; ++i) queue.run(100ms);
    CHECK(closed == 10);
}

int main()
{
    auto engine = qauth::Engine::from_toml(sim_profiles(""));
    results_and_errors_come_by_run(engine);
    what_a_callback_throws_comes_out_of_run(engine);
    callbacks_end_with_their_queue(engine);
    a_closed_engine_answers(engine);
    return done();
}
