// Events: what callbacks get, how long they live, and where what they throw comes out; and the counters.
#include <qauth.hpp>

#include "../c/check.h"
#include "../c/sim.h"

#include <atomic>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<qauth::Subscription> && std::is_nothrow_move_assignable_v<qauth::Subscription>);
static_assert(!std::is_copy_constructible_v<qauth::Event>);

// One event: a token of a source that is made for it and forgotten; its successors adopt that token.
static std::uint64_t obtain(qauth::Engine &engine)
{
    const auto source = engine.custom_source("vault", [](const qauth::TokenRequest &) { return qauth::CustomToken{"canary", 10min}; });
    const auto generation = source.token().generation();
    engine.remove("vault");
    return generation;
}

static void an_event_says_what_happened(qauth::Engine &engine)
{
    qauth::Queue queue;
    int calls = 0;
    std::uint64_t generation = 0;
    std::optional<qauth::Error> kept;
    const auto me = std::this_thread::get_id();
    const auto subscription = engine.on_event(queue, [&](const qauth::Event &event) {
        CHECK(std::this_thread::get_id() == me && event.lost() == 0 && event.duration() >= 0s);
        check_text(std::string(event.message()).c_str(), __LINE__);
        kept = event.error();
        if (++calls == 1) {
            CHECK(event.kind() == qauth::EventKind::obtained && event.severity() == qauth::Severity::debug);
            CHECK(qauth::name(event.kind()) == std::string("obtained"));
            CHECK(event.profile() == "vault" && event.provider() == "custom" && event.reason() == "first_use");
            CHECK(event.message().find("token obtained in ") == 0 && !event.error() && event.generation() == generation);
            CHECK(event.at() <= std::chrono::system_clock::now() && event.at() > std::chrono::system_clock::now() - 1min);
        } else {
            CHECK(event.kind() == qauth::EventKind::failed && event.severity() == qauth::Severity::warning);
            CHECK(event.profile() == "quiqup" && !event.generation());
        }
    });
    generation = obtain(engine);
    CHECK(calls == 0 && queue.run(0ms) == 1 && calls == 1);

    auto source = engine.source("quiqup");
    source.update_json("{\"client_secret\": \"canary\"}");
    try {
        source.token();
        CHECK(!"the secret is wrong");
    } catch (const qauth::InvalidClientError &) {
    }
    CHECK(queue.run(0ms) == 1 && calls == 2);
    CHECK(kept && kept->code() == qauth::Code::invalid_client && kept->http_status() == 401 && kept->profile() == "quiqup");
    check_text(kept->what(), __LINE__);
    engine.remove("quiqup");
}

struct Mine {
    int number;
};

// Fault 78: no exception crosses the C library, and none is lost in silence.
static void what_a_callback_throws_comes_out_of_run(qauth::Engine &engine)
{
    qauth::Queue queue;
    int calls = 0;
    const auto subscription = engine.on_event(queue, [&](const qauth::Event &) { throw Mine{++calls}; });
    obtain(engine);
    obtain(engine);
    try {
        queue.run(0ms);
        CHECK(!"the exception comes out");
    } catch (const Mine &mine) {
        CHECK(mine.number == 1 && calls == 2);
    }
    CHECK(queue.run(0ms) == 0);
    // A queue that C code runs: nobody to throw at.
    obtain(engine);
    CHECK(qauth_queue_run(queue.get(), 0, nullptr, nullptr) == QAUTH_OK && calls == 3);
}

static void a_callback_lives_as_long_as_it_is_needed(qauth::Engine &engine)
{
    const auto witness = std::make_shared<int>(0);
    const auto hear = [&](const qauth::Queue &queue) {
        return engine.on_event(queue, [witness](const qauth::Event &) { ++*witness; });
    };
    qauth::Queue queue;
    {
        const auto subscription = hear(queue);
        CHECK(witness.use_count() == 2);
        obtain(engine);
    }
    CHECK(witness.use_count() == 1 && queue.run(0ms) == 1 && *witness == 0);

    // Assigned over, moved, and ended by its queue.
    auto subscription = hear(queue);
    subscription = hear(queue);
    auto moved = std::move(subscription);
    CHECK(witness.use_count() == 2 && !subscription.get() && moved.get());
    obtain(engine);
    CHECK(queue.run(0ms) == 1 && *witness == 1);
    obtain(engine);
    queue = qauth::Queue();
    CHECK(witness.use_count() == 1 && queue.run(0ms) == 0 && *witness == 1);

    // One that does not begin takes no callback with it.
    for (const bool empty : {true, false}) {
        qauth::Queue gone, other(std::move(gone));
        try {
            const auto none = empty ? engine.on_event(other, nullptr) : hear(gone);
            CHECK(!"it is refused");
        } catch (const qauth::InvalidArgumentError &) {
        }
    }
    CHECK(witness.use_count() == 1);
}

// Fault 59.
static void a_callback_may_end_itself(qauth::Engine &engine)
{
    const auto witness = std::make_shared<int>(0);
    qauth::Queue queue;
    std::optional<qauth::Subscription> own;
    own.emplace(engine.on_event(queue, [&own, &engine, witness](const qauth::Event &) {
        obtain(engine);
        own.reset();
        CHECK(witness.use_count() == 2);
        ++*witness;
    }));
    obtain(engine);
    obtain(engine);
    queue.run(0ms);
    queue.run(0ms);
    CHECK(*witness == 1 && witness.use_count() == 1);
}

// Fault 53: subscriptions end while other threads run the queue that their events wait in.
static void no_callback_runs_after_it_was_destroyed(qauth::Engine &engine)
{
    constexpr int rounds = 200;
    static std::atomic<int> destroyed[rounds], late;
    struct Alive {
        std::atomic<int> &destroyed;
        ~Alive() { ++destroyed; }
    };
    std::atomic<bool> stop{false};
    qauth::Queue queue;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            while (!stop) queue.run(1ms);
        });
    for (auto &own : destroyed) {
        std::shared_ptr<Alive> alive(new Alive{own});
        const auto subscription = engine.on_event(queue, [alive = std::move(alive)](const qauth::Event &) {
            auto &gone = alive->destroyed;
            std::this_thread::yield();
            if (gone != 0) ++late;
        });
        obtain(engine);
    }
    stop = true;
    for (auto &thread : threads) thread.join();
    CHECK(late == 0);
    for (const auto &own : destroyed) CHECK(own == 1);
}

static void every_kind_has_its_word()
{
    using qauth::EventKind;
    const std::pair<EventKind, const char *> words[] = {
        {EventKind::obtained, "obtained"},   {EventKind::renewed, "renewed"},
        {EventKind::adopted, "adopted"},     {EventKind::failed, "failed"},
        {EventKind::served_while_failing, "served_while_failing"},
        {EventKind::conflict, "conflict"},   {EventKind::invalidated, "invalidated"},
        {EventKind::skew, "skew"},           {EventKind::evicted, "evicted"},
        {EventKind::switched, "switched"},   {EventKind::store_degraded, "store_degraded"},
        {EventKind::store_recovered, "store_recovered"},
    };
    qauth_kind number = 0;
    for (const auto &[kind, word] : words) {
        CHECK(static_cast<qauth_kind>(kind) == ++number);
        CHECK(qauth::name(kind) == std::string(word));
    }
    CHECK(qauth::name(static_cast<EventKind>(number + 1)) == std::string("unknown"));
}

static void counters_are_given(qauth::Engine &engine)
{
    const auto source = engine.custom_source("counted", [](const qauth::TokenRequest &) { return qauth::CustomToken{"canary", 10min}; });
    source.token();
    CHECK(engine.metrics().find("\"counted\":{") != std::string::npos);
    const auto text = engine.prometheus();
    CHECK(text.find("profile=\"counted\"") != std::string::npos && text.rfind("# EOF\n") == text.size() - 6);
    qauth::Engine gone, other(std::move(gone));
    for (const auto give : {&qauth::Engine::metrics, &qauth::Engine::prometheus, &qauth::Engine::records})
        try {
            (gone.*give)();
            CHECK(!"it was moved from");
        } catch (const qauth::InvalidArgumentError &) {
        }
}

int main()
{
    auto engine = qauth::Engine::from_toml(sim_profiles(""));
    an_event_says_what_happened(engine);
    what_a_callback_throws_comes_out_of_run(engine);
    a_callback_lives_as_long_as_it_is_needed(engine);
    a_callback_may_end_itself(engine);
    no_callback_runs_after_it_was_destroyed(engine);
    counters_are_given(engine);
    every_kind_has_its_word();
    return done();
}
