/* Many threads: one renewal for all, no torn header, no use of what has expired. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <pthread.h>

enum { STORM = 8, CROWD = 200, ROUNDS = 40 };

static qauth_source *source;
static int stop;
static pthread_barrier_t together;

struct outcome {
    unsigned long good, bad;
    uint64_t generation;
    qauth_code code;
};

/* A header of Quiqup: "Bearer " and 64 hexadecimal digits, whatever happens to the token meanwhile. */
static int whole(const char *header)
{
    return strncmp(header, "Bearer ", 7) == 0 && strlen(header) == 71 && strspn(header + 7, "0123456789abcdef") == 64;
}

static void *storm(void *user_data)
{
    struct outcome *outcome = user_data;
    char buffer[128];
    size_t needed;

    pthread_barrier_wait(&together);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        needed = 0;
        if (qauth_source_header(source, buffer, sizeof buffer, &needed, NULL) == QAUTH_OK && needed == 72 && whole(buffer))
            ++outcome->good;
        else
            ++outcome->bad;
    }
    return NULL;
}

static void *crowd(void *user_data)
{
    struct outcome *outcome = user_data;
    qauth_token *token = NULL;

    pthread_barrier_wait(&together);
    outcome->code = qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, NULL);
    outcome->generation = qauth_token_generation(token);
    qauth_token_free(token);
    return NULL;
}

static void a_crowd_sends_one_request(void)
{
    static struct outcome outcomes[CROWD];
    pthread_t threads[CROWD];
    int i, same = 0;

    sim_post("settings", "{\"vendor\": \"quiqup\", \"delay_ms\": 200}");
    pthread_barrier_init(&together, NULL, CROWD);
    for (i = 0; i < CROWD; ++i)
        CHECK(pthread_create(&threads[i], NULL, crowd, &outcomes[i]) == 0);
    for (i = 0; i < CROWD; ++i)
        pthread_join(threads[i], NULL);
    for (i = 0; i < CROWD; ++i)
        same += outcomes[i].code == QAUTH_OK && outcomes[i].generation == outcomes[0].generation;
    CHECK(same == CROWD);
    CHECK(sim_count("quiqup", "token_requests") == 1);
    pthread_barrier_destroy(&together);
    sim_post("settings", "{\"vendor\": \"quiqup\", \"delay_ms\": 0}");
}

static void a_storm_sees_whole_headers_while_tokens_expire(qauth_engine *engine)
{
    static struct outcome outcomes[STORM];
    pthread_t threads[STORM];
    unsigned long good = 0, bad = 0;
    int i;

    pthread_barrier_init(&together, NULL, STORM + 1);
    for (i = 0; i < STORM; ++i)
        CHECK(pthread_create(&threads[i], NULL, storm, &outcomes[i]) == 0);
    pthread_barrier_wait(&together);
    for (i = 0; i < ROUNDS; ++i) {
        /* Now a little, now past the end of the token. */
        SUCCEEDS(qauth_engine_advance(engine, i % 4 == 3 ? 3700 : 700, &error));
        qauth_token_free(qauth_source_cached(source));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < STORM; ++i) {
        pthread_join(threads[i], NULL);
        good += outcomes[i].good;
        bad += outcomes[i].bad;
    }
    CHECK(good > 1000 && bad == 0);
    CHECK(sim_count("quiqup", "token_requests") <= 1 + ROUNDS);
    pthread_barrier_destroy(&together);
}

/* Fault 76: a handle freed on another thread while a call with it waits. */
static void *wait_for_token(void *user_data)
{
    struct outcome *outcome = user_data;
    qauth_token *token = NULL;
    outcome->code = qauth_source_token(source, 10000, &token, NULL);
    qauth_token_free(token);
    return NULL;
}

static void a_handle_can_go_on_another_thread_while_a_call_waits(qauth_engine *engine)
{
    struct outcome outcome = {0, 0, 0, -1};
    const long before = sim_count("quiqup", "token_requests");
    pthread_t thread;

    SUCCEEDS(qauth_source_update_json(source, "{\"client_id\": \"quiqup-client\"}", &error));
    sim_post("settings", "{\"vendor\": \"quiqup\", \"delay_ms\": 500}");
    CHECK(pthread_create(&thread, NULL, wait_for_token, &outcome) == 0);
    sim_wait_above("quiqup", "token_requests", before);
    qauth_source_free(source);
    qauth_engine_free(engine);
    pthread_join(thread, NULL);
    CHECK(outcome.code == QAUTH_OK);
}

int main(void)
{
    qauth_engine *engine = NULL;

    SUCCEEDS(qauth_engine_from_toml(sim_profiles("testing.clock = \"manual\""), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    a_crowd_sends_one_request();
    a_storm_sees_whole_headers_while_tokens_expire(engine);
    a_handle_can_go_on_another_thread_while_a_call_waits(engine);
    return done();
}
