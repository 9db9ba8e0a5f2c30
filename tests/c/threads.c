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

/* Faults 53, 54: threads and callbacks wait together; some have little time, some calls are given up. */
static void *hurried(void *user_data)
{
    struct outcome *outcome = user_data;
    qauth_token *token = NULL;

    pthread_barrier_wait(&together);
    outcome->code = qauth_source_token(source, 30, &token, NULL);
    qauth_token_free(token);
    return NULL;
}

static void on_token(void *user_data, qauth_code code, qauth_token *token, qauth_error *error)
{
    struct outcome *outcome = user_data;
    ++outcome->good;
    outcome->code = code;
    outcome->generation = qauth_token_generation(token);
    qauth_token_free(token);
    qauth_error_free(error);
}

static void a_crowd_of_every_kind_hears_the_same(const char *answer, qauth_code expected)
{
    enum { EACH = 50 };
    static struct outcome patient[EACH], impatient[EACH], told[EACH], given_up[EACH];
    const long before = sim_count("quiqup", "token_requests");
    pthread_t threads[2 * EACH];
    qauth_queue *queue = NULL;
    qauth_pending *pending = NULL;
    int i, tries, answered = 0, timeouts = 0;

    memset(told, 0, sizeof told);
    memset(given_up, 0, sizeof given_up);
    SUCCEEDS(qauth_source_update_json(source, "{\"client_id\": \"quiqup-client\"}", &error));
    SUCCEEDS(qauth_source_reset(source, &error));
    sim_post("faults", answer);
    SUCCEEDS(qauth_queue_new(&queue, &error));
    pthread_barrier_init(&together, NULL, 2 * EACH);
    for (i = 0; i < EACH; ++i) {
        CHECK(pthread_create(&threads[2 * i], NULL, crowd, &patient[i]) == 0);
        CHECK(pthread_create(&threads[2 * i + 1], NULL, hurried, &impatient[i]) == 0);
        SUCCEEDS(qauth_source_token_async(source, QAUTH_TIMEOUT_DEFAULT, queue, on_token, &told[i], NULL, &error));
        SUCCEEDS(qauth_source_token_async(source, QAUTH_TIMEOUT_DEFAULT, queue, on_token, &given_up[i], &pending, &error));
        qauth_pending_cancel(pending);
        qauth_pending_free(pending);
    }
    for (tries = 0; tries < 1000 && answered < 2 * EACH; ++tries) {
        SUCCEEDS(qauth_queue_run(queue, 1000, NULL, &error));
        for (i = 0, answered = 0; i < EACH; ++i)
            answered += (int)(told[i].good + given_up[i].good);
    }
    for (i = 0; i < 2 * EACH; ++i)
        pthread_join(threads[i], NULL);
    for (i = 0; i < EACH; ++i) {
        CHECK(patient[i].code == expected && told[i].code == expected && given_up[i].code == QAUTH_CANCELLED);
        CHECK(patient[i].generation == told[0].generation && told[i].generation == told[0].generation);
        /* Whose thread begins late hears what the others heard. */
        CHECK(impatient[i].code == QAUTH_TIMEOUT || impatient[i].code == expected);
        timeouts += impatient[i].code == QAUTH_TIMEOUT;
    }
    CHECK(answered == 2 * EACH && timeouts > 0);
    CHECK(sim_count("quiqup", "token_requests") == before + 1);
    pthread_barrier_destroy(&together);
    qauth_queue_free(queue);
}

/* Fault 6: the largest numbers that there are. */
static void the_largest_limits_are_limits(void)
{
    qauth_token *token = NULL;

    SUCCEEDS(qauth_source_token(source, UINT64_MAX - 1, &token, &error));
    qauth_token_free(token);
    SUCCEEDS(qauth_source_update_json(source, "{\"client_id\": \"quiqup-client\"}", &error));
    SUCCEEDS(qauth_source_token_min(source, UINT64_MAX - 1, 1, &token, &error));
    qauth_token_free(token);
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_token_min(source, QAUTH_TIMEOUT_DEFAULT, UINT64_MAX, &token, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_token_min(source, 0, UINT64_MAX - 1, &token, &error));
}

static void a_storm_sees_whole_headers_while_tokens_expire(qauth_engine *engine)
{
    static struct outcome outcomes[STORM];
    pthread_t threads[STORM];
    const long before = sim_count("quiqup", "token_requests");
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
    CHECK(sim_count("quiqup", "token_requests") <= before + ROUNDS);
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
    a_crowd_of_every_kind_hears_the_same(
        "{\"vendor\": \"quiqup\", \"endpoint\": \"token\", \"delay_ms\": 1500}", QAUTH_OK);
    a_crowd_of_every_kind_hears_the_same(
        "{\"vendor\": \"quiqup\", \"endpoint\": \"token\", \"delay_ms\": 1500, \"status\": 401, "
        "\"body\": {\"error\": \"invalid_client\"}}", QAUTH_INVALID_CLIENT);
    SUCCEEDS(qauth_source_reset(source, &error));
    the_largest_limits_are_limits();
    a_storm_sees_whole_headers_while_tokens_expire(engine);
    a_handle_can_go_on_another_thread_while_a_call_waits(engine);
    return done();
}
