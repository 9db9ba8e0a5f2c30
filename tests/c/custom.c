/* Tokens of the program's own function: where it runs, how it answers, and when its data is freed. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CROWD = 50, ROUNDS = 100 };

static const uint64_t ever = QAUTH_TIMEOUT_DEFAULT;
static qauth_engine *engine;

/* What a function of these tests is to do, and what it saw. */
struct host {
    int calls, lent, freed;
    pthread_t thread, freed_by;
    qauth_token_call *kept;
    char profile[32], scope[32], audience[32], resource[32];
    void (*act)(struct host *host, qauth_token_call *call);
    qauth_source *other;
};

/* They outlive the engine, which frees at its end what is left. */
static struct host hosts[512];
static int used;

static struct host *host_that(void (*act)(struct host *, qauth_token_call *))
{
    struct host *host = &hosts[used++];
    host->act = act;
    return host;
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "-");
}

static void function(void *user_data, qauth_token_call *call)
{
    struct host *host = user_data;
    __atomic_add_fetch(&host->calls, 1, __ATOMIC_RELAXED);
    host->thread = pthread_self();
    copy(host->profile, sizeof host->profile, qauth_token_call_profile(call));
    copy(host->scope, sizeof host->scope, qauth_token_call_scope(call));
    copy(host->audience, sizeof host->audience, qauth_token_call_audience(call));
    copy(host->resource, sizeof host->resource, qauth_token_call_resource(call));
    host->act(host, call);
}

static void free_host(void *user_data)
{
    struct host *host = user_data;
    host->freed_by = pthread_self();
    __atomic_add_fetch(&host->freed, 1, __ATOMIC_RELEASE);
}

static void give(struct host *host, qauth_token_call *call)
{
    qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;
    (void)host;
    token.access_token = "a-token";
    token.expires_in_ms = 600000;
    SUCCEEDS(qauth_token_call_give(call, &token, &error));
}

static void keep(struct host *host, qauth_token_call *call)
{
    host->kept = call;
}

static qauth_source *make_on(qauth_engine *on, const char *name, const char *options, struct host *host, qauth_free_function freed)
{
    qauth_source *source = NULL;
    SUCCEEDS(qauth_engine_custom_source(on, name, options, function, host, freed, &source, &error));
    host->lent += freed != NULL;
    return source;
}

static qauth_source *make(const char *name, struct host *host)
{
    return make_on(engine, name, NULL, host, free_host);
}

static void a_token_of_a_function_is_a_token_like_any_other(void)
{
    struct host *host = host_that(give);
    qauth_source *source, *narrow = NULL;
    qauth_headers *headers = NULL;
    qauth_token *token = NULL;
    char header[64];

    source = make_on(engine, "vault", "{\"api_base_url\": \"https://api.example.com/v1\"}", host, free_host);
    CHECK(strcmp(qauth_source_profile(source), "vault") == 0 && strcmp(qauth_source_provider(source), "custom") == 0);
    FAILS(QAUTH_TIMEOUT, qauth_source_token(source, 0, &token, &error));
    CHECK(host->calls == 0);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(host->calls == 1 && pthread_equal(host->thread, pthread_self()));
    CHECK(strcmp(host->profile, "vault") == 0 && strcmp(host->scope, "-") == 0);
    CHECK(strcmp(host->audience, "-") == 0 && strcmp(host->resource, "-") == 0);
    CHECK(strcmp(qauth_token_access_token(token), "a-token") == 0 && strcmp(qauth_token_header_value(token), "Bearer a-token") == 0);
    CHECK(qauth_token_expires_in_ms(token) > 590000 && qauth_token_expires_in_ms(token) <= 600000);
    CHECK(!qauth_token_scope(token) && strcmp(qauth_token_extras_json(token), "{}") == 0);
    SUCCEEDS(qauth_source_header(source, header, sizeof header, NULL, &error));
    SUCCEEDS(qauth_source_headers(source, "GET", "/things", ever, &headers, &error));
    CHECK(qauth_headers_count(headers) == 1 && strcmp(qauth_headers_value(headers, 0), "Bearer a-token") == 0);
    CHECK(qauth_headers_generation(headers) == qauth_token_generation(token) && host->calls == 1);
    qauth_headers_free(headers);
    SUCCEEDS(qauth_source_invalidate(source, token, NULL, &error));
    qauth_token_free(token);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(host->calls == 2);
    qauth_token_free(token);

    SUCCEEDS(qauth_source_scoped(source, "read", "https://a.example", "https://r.example", &narrow, &error));
    SUCCEEDS(qauth_source_token(narrow, ever, &token, &error));
    CHECK(host->calls == 3 && strcmp(host->scope, "read") == 0);
    CHECK(strcmp(host->audience, "https://a.example") == 0 && strcmp(host->resource, "https://r.example") == 0);
    qauth_token_free(token);
    qauth_source_free(narrow);
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_remove(engine, "vault", NULL, &error));
    CHECK(host->freed == 1 && pthread_equal(host->freed_by, pthread_self()));
}

static void give_all(struct host *host, qauth_token_call *call)
{
    qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;
    (void)host;
    token.access_token = "whole";
    token.token_type = "MAC";
    token.scope = "read write";
    token.extras_json = "{\"tenant\": \"acme\"}";
    SUCCEEDS(qauth_token_call_give(call, &token, &error));
}

static void what_is_known_beside_the_token_is_kept(void)
{
    struct host *host = host_that(give_all);
    qauth_source *source = NULL;
    qauth_token *token = NULL;

    source = make("whole", host);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(strcmp(qauth_token_type(token), "MAC") == 0 && strcmp(qauth_token_scope(token), "read write") == 0);
    CHECK(strcmp(qauth_token_extras_json(token), "{\"tenant\":\"acme\"}") == 0);
    /* Nobody said how long: five minutes. */
    CHECK(qauth_token_expires_in_ms(token) > 290000 && qauth_token_expires_in_ms(token) <= 300000);
    qauth_token_free(token);
    qauth_source_free(source);
}

static void deny(struct host *host, qauth_token_call *call)
{
    (void)host;
    SUCCEEDS(qauth_token_call_fail(call, QAUTH_ACCESS_DENIED, "the vault is locked", &error));
}

static void fail_without_text(struct host *host, qauth_token_call *call)
{
    (void)host;
    SUCCEEDS(qauth_token_call_fail(call, QAUTH_NETWORK, NULL, &error));
}

static void fail_with_no_code(struct host *host, qauth_token_call *call)
{
    (void)host;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_fail(call, QAUTH_OK, "canary", &error));
}

static void fail_with_an_unknown_code(struct host *host, qauth_token_call *call)
{
    (void)host;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_fail(call, QAUTH_BUFFER_TOO_SMALL, "canary", &error));
}

static void fail_with_bytes(struct host *host, qauth_token_call *call)
{
    (void)host;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_fail(call, QAUTH_NETWORK, "canary\xff", &error));
}

static void drop(struct host *host, qauth_token_call *call)
{
    (void)host;
    qauth_token_call_free(call);
}

static void give_null(struct host *host, qauth_token_call *call)
{
    (void)host;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_give(call, NULL, &error));
}

static void give_wrong(struct host *host, qauth_token_call *call)
{
    qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;
    const char *bytes = "canary\xff";
    /* Which member is wrong. */
    switch (host->profile[0]) {
    case 'n': break;
    case 'u': token.access_token = bytes; break;
    case 's': token.access_token = "canary"; token.scope = bytes; break;
    case 't': token.access_token = "canary"; token.token_type = bytes; break;
    case 'j': token.access_token = "canary"; token.extras_json = "[1]"; break;
    case 'x': token.access_token = "canary"; token.expires_in_ms = -2; break;
    case 'z': token.access_token = "canary"; token.struct_size = 0; break;
    }
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_give(call, &token, &error));
}

static void give_what_no_token_can_be(struct host *host, qauth_token_call *call)
{
    qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;
    (void)host;
    token.access_token = "canary with spaces";
    SUCCEEDS(qauth_token_call_give(call, &token, &error));
}

/* Each failure reaches who waits, at once, with its code and text. */
static void fails(const char *name, void (*act)(struct host *, qauth_token_call *), qauth_code code, const char *text)
{
    struct host *host = host_that(act);
    qauth_source *source;
    qauth_token *token = NULL;
    qauth_error *error = NULL;

    source = make(name, host);
    CHECK(qauth_source_token(source, ever, &token, &error) == code);
    check_failure(code, code, error, name, __LINE__);
    CHECK(strstr(qauth_error_message(error), text) && strcmp(qauth_error_profile(error), name) == 0);
    CHECK(host->calls == 1 && !token);
    qauth_error_free(error);
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_remove(engine, name, NULL, &error));
    CHECK(host->freed == 1);
}

static void failures_reach_who_waits(void)
{
    const char *failed = "the token function failed";
    const char *const wrong[] = {"n", "u", "s", "t", "j", "x", "z"};
    size_t i;

    fails("deny", deny, QAUTH_ACCESS_DENIED, "the vault is locked");
    fails("no-text", fail_without_text, QAUTH_NETWORK, failed);
    fails("no-code", fail_with_no_code, QAUTH_PROTOCOL, failed);
    fails("no-such-code", fail_with_an_unknown_code, QAUTH_PROTOCOL, failed);
    fails("bytes", fail_with_bytes, QAUTH_PROTOCOL, failed);
    fails("dropped", drop, QAUTH_PROTOCOL, "without an answer");
    fails("null", give_null, QAUTH_PROTOCOL, failed);
    fails("spaces", give_what_no_token_can_be, QAUTH_PROTOCOL, "no token can be");
    for (i = 0; i < sizeof wrong / sizeof *wrong; ++i)
        fails(wrong[i], give_wrong, QAUTH_PROTOCOL, failed);
}

static void *answer_later(void *user_data)
{
    struct host *host = user_data;
    const struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
    give(host, host->kept);
    return NULL;
}

static void answer_on_another_thread(struct host *host, qauth_token_call *call)
{
    pthread_t thread;
    keep(host, call);
    CHECK(pthread_create(&thread, NULL, answer_later, host) == 0);
    pthread_detach(thread);
}

static void on_token(void *user_data, qauth_code code, qauth_token *token, qauth_error *error)
{
    *(qauth_code *)user_data = code;
    qauth_token_free(token);
    qauth_error_free(error);
}

static void it_may_answer_later_on_another_thread_or_run_in_a_queue(void)
{
    struct host *later = host_that(answer_on_another_thread), *queued = host_that(answer_on_another_thread);
    qauth_source *source;
    qauth_token *token = NULL;
    qauth_queue *queue = NULL;
    qauth_code ended = -1;

    source = make("later", later);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(later->calls == 1);
    qauth_token_free(token);
    qauth_source_free(source);

    /* Fault 59: never on a thread of the library, and not before the queue is run. */
    source = make("queued", queued);
    SUCCEEDS(qauth_queue_new(&queue, &error));
    SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &ended, NULL, &error));
    CHECK(queued->calls == 0);
    while (ended == -1)
        SUCCEEDS(qauth_queue_run(queue, 10000, NULL, &error));
    CHECK(ended == QAUTH_OK && queued->calls == 1 && pthread_equal(queued->thread, pthread_self()));
    qauth_queue_free(queue);
    qauth_source_free(source);
}

static void a_queue_that_nobody_runs_keeps_it_from_nobody_else(void)
{
    struct host *host = host_that(give);
    qauth_source *source;
    qauth_token *token = NULL;
    qauth_queue *queue = NULL, *freed = NULL;
    qauth_code ended = -1, cancelled = -1;

    source = make("idle", host);
    SUCCEEDS(qauth_queue_new(&queue, &error));
    SUCCEEDS(qauth_queue_new(&freed, &error));
    SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &ended, NULL, &error));
    SUCCEEDS(qauth_source_token_async(source, ever, freed, on_token, &cancelled, NULL, &error));
    qauth_queue_free(freed);
    CHECK(cancelled == QAUTH_CANCELLED);
    SUCCEEDS(qauth_source_token(source, 5000, &token, &error));
    CHECK(host->calls == 1 && ended == -1);
    qauth_token_free(token);
    while (ended == -1)
        SUCCEEDS(qauth_queue_run(queue, 10000, NULL, &error));
    CHECK(ended == QAUTH_OK && host->calls == 1);
    qauth_queue_free(queue);
    qauth_source_free(source);
}

/* Fault 59: another source's token, its own (which is this call), its own handles, its own replacement. */
static void reenter(struct host *host, qauth_token_call *call)
{
    qauth_source *own = NULL;
    qauth_token *token = NULL;

    SUCCEEDS(qauth_source_token(host->other, ever, &token, &error));
    qauth_token_free(token);
    SUCCEEDS(qauth_engine_source(engine, "fixed", &own, &error));
    qauth_source_free(own);
    own = make("reenter", host);
    FAILS(QAUTH_TIMEOUT, qauth_source_token(own, 100, &token, &error));
    qauth_source_free(own);
    qauth_source_free(host->other);
    host->other = NULL;
    CHECK(host->freed == 0);
    give(host, call);
}

static void it_may_call_the_library(void)
{
    struct host *host = host_that(reenter), *other = host_that(give);
    qauth_source *source;
    qauth_token *token = NULL;

    host->other = make("other", other);
    source = make("reenter", host);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    /* It replaced itself: the old one was let go of after its call, and the new one is still there. */
    CHECK(host->calls == 1 && other->calls == 1 && host->freed == 1);
    qauth_token_free(token);
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_remove(engine, "reenter", NULL, &error));
    CHECK(host->freed == 2);
}

static void free_and_call(void *user_data)
{
    qauth_source *source = NULL;
    free_host(user_data);
    SUCCEEDS(qauth_engine_source(engine, "fixed", &source, &error));
    qauth_source_free(source);
}

static void data_is_freed_once_when_nobody_needs_it(void)
{
    struct host *first = host_that(give), *second = host_that(give), *none = host_that(give);
    qauth_source *source = NULL, *again = NULL;
    qauth_token *token = NULL;

    source = make("data", first);
    again = make("data", second);
    CHECK(first->freed == 1 && second->freed == 0);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(first->calls == 0 && second->calls == 1);
    qauth_token_free(token);
    qauth_source_free(source);
    qauth_source_free(again);
    CHECK(second->freed == 0);
    SUCCEEDS(qauth_engine_remove(engine, "data", NULL, &error));
    CHECK(first->freed == 1 && second->freed == 1);

    /* NULL for nothing to free, and a call from inside. */
    qauth_source_free(make_on(engine, "data", NULL, first, NULL));
    source = make_on(engine, "data", NULL, second, free_and_call);
    CHECK(first->freed == 1);
    SUCCEEDS(qauth_engine_remove(engine, "data", NULL, &error));
    CHECK(second->freed == 2);
    FAILS(QAUTH_CLOSED, qauth_source_token(source, ever, &token, &error));
    qauth_source_free(source);

    /* Faults 76, 77: what fails leaves it to the caller, and writes nothing. */
    source = NULL;
#define REFUSED(code, call) FAILS(code, call); CHECK(!source && none->freed == 0)
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(NULL, "x", NULL, function, none, free_host, &source, &error));
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(engine, NULL, NULL, function, none, free_host, &source, &error));
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(engine, "x", NULL, NULL, none, free_host, &source, &error));
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(engine, "x", NULL, function, none, free_host, NULL, &error));
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(engine, "\xff", NULL, function, none, free_host, &source, &error));
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(engine, "x", "\xff", function, none, free_host, &source, &error));
    REFUSED(QAUTH_INVALID_ARGUMENT, qauth_engine_custom_source(engine, "x", "[]", function, none, free_host, &source, &error));
    REFUSED(QAUTH_CONFIG, qauth_engine_custom_source(engine, "x", "{\"no_such_key\": 1}", function, none, free_host, &source, &error));
    REFUSED(QAUTH_CONFIG, qauth_engine_custom_source(engine, "fixed", NULL, function, none, free_host, &source, &error));
}

static void a_handle_that_is_no_call_is_refused(void)
{
    qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_give(NULL, &token, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_fail(NULL, QAUTH_NETWORK, NULL, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_give((qauth_token_call *)engine, &token, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_fail((qauth_token_call *)engine, QAUTH_NETWORK, NULL, &error));
    CHECK(!qauth_token_call_profile(NULL) && !qauth_token_call_scope(NULL) && !qauth_token_call_audience(NULL));
    CHECK(!qauth_token_call_resource(NULL) && !qauth_token_call_profile((qauth_token_call *)engine));
    qauth_token_call_free(NULL);
    qauth_token_call_free((qauth_token_call *)engine);
}

static void answer_twice(struct host *host, qauth_token_call *call)
{
    give(host, call);
    /* Fault 76: seen as long as the memory has not been used again. Reads freed memory, which tools for memory report. */
    if (!getenv("QAUTH_TEST_MEMORY"))
        FAILS(QAUTH_INVALID_ARGUMENT, qauth_token_call_fail(call, QAUTH_NETWORK, NULL, &error));
}

static void a_second_answer_is_refused(void)
{
    struct host *host = host_that(answer_twice);
    qauth_source *source;
    qauth_token *token = NULL;

    source = make("twice", host);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    qauth_token_free(token);
    qauth_source_free(source);
}

static pthread_barrier_t together;

struct caller {
    qauth_source *source;
    qauth_code code;
    uint64_t generation;
};

static void *ask(void *user_data)
{
    struct caller *caller = user_data;
    qauth_token *token = NULL;
    pthread_barrier_wait(&together);
    caller->code = qauth_source_token(caller->source, ever, &token, NULL);
    caller->generation = qauth_token_generation(token);
    qauth_token_free(token);
    return NULL;
}

static void slowly(struct host *host, qauth_token_call *call)
{
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
    give(host, call);
}

static void a_crowd_makes_one_call(void)
{
    static struct caller callers[CROWD];
    pthread_t threads[CROWD];
    char name[32];
    int round, i, good = 0, once = 0, freed = 0;

    pthread_barrier_init(&together, NULL, CROWD);
    for (round = 0; round < ROUNDS; ++round) {
        /* It answers on the spot, after a while, or on another thread. */
        struct host *host = host_that(round % 3 == 0 ? give : round % 3 == 1 ? slowly : answer_on_another_thread);
        qauth_source *source;
        snprintf(name, sizeof name, "crowd-%d", round);
        source = make(name, host);
        for (i = 0; i < CROWD; ++i) {
            callers[i].source = source;
            if (pthread_create(&threads[i], NULL, ask, &callers[i]) != 0)
                exit(2);
        }
        for (i = 0; i < CROWD; ++i)
            pthread_join(threads[i], NULL);
        for (i = 0; i < CROWD; ++i)
            good += callers[i].code == QAUTH_OK && callers[i].generation == callers[0].generation;
        once += host->calls == 1;
        qauth_source_free(source);
        qauth_engine_remove(engine, name, NULL, NULL);
        /* A caller that came last may have let go of it on a thread of the engine. */
        for (i = 0; i < 1000 && !__atomic_load_n(&host->freed, __ATOMIC_ACQUIRE); ++i)
            qauth_error_free(NULL);
        freed += host->freed == 1;
    }
    CHECK(good == CROWD * ROUNDS);
    CHECK(once == ROUNDS);
    CHECK(freed == ROUNDS);
    pthread_barrier_destroy(&together);
}

/* A child of fork cannot answer for its parent, and uses the function itself. */
static void a_child_of_fork_makes_calls_of_its_own(void)
{
    struct host *host = host_that(keep);
    struct caller caller = {0};
    qauth_source *source;
    pthread_t thread;
    pid_t pid;
    int status = -1;

    source = make("parent", host);
    caller.source = source;
    pthread_barrier_init(&together, NULL, 2);
    CHECK(pthread_create(&thread, NULL, ask, &caller) == 0);
    pthread_barrier_wait(&together);
    while (!__atomic_load_n(&host->kept, __ATOMIC_ACQUIRE))
        sched_yield();
    pid = fork();
    if (pid == 0) {
        qauth_custom_token given = QAUTH_CUSTOM_TOKEN_INIT;
        qauth_token *token = NULL;
        alarm(30);
        given.access_token = "a-token";
        if (qauth_token_call_give(host->kept, &given, NULL) != QAUTH_INVALID_ARGUMENT)
            _exit(1);
        host->act = give;
        if (qauth_source_token(source, 10000, &token, NULL) != QAUTH_OK || host->calls != 2)
            _exit(2);
        qauth_token_free(token);
        qauth_source_free(source);
        /* Its parent's waiting thread, which is not here, still holds the data. */
        if (qauth_engine_close(engine, NULL) != QAUTH_OK || host->freed != 0)
            _exit(3);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    if (status != 0)
        fprintf(stderr, "status %x\n", (unsigned)status);
    give(host, host->kept);
    pthread_join(thread, NULL);
    CHECK(caller.code == QAUTH_OK && host->calls == 1 && host->freed == 0);
    pthread_barrier_destroy(&together);
    qauth_source_free(source);
}

/* The last to let go is a thread of the engine: it leaves the data to the next call of the program. */
static void data_is_never_freed_on_a_thread_of_the_library(void)
{
    const struct timespec pause = {0, 1000000};
    struct host *host = host_that(keep);
    qauth_engine *own = NULL;
    qauth_source *source = NULL;
    qauth_queue *queue = NULL;
    qauth_code ended = -1;
    int i;

    SUCCEEDS(qauth_engine_new(&own, &error));
    source = make_on(own, "last", NULL, host, free_host);
    SUCCEEDS(qauth_queue_new(&queue, &error));
    SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &ended, NULL, &error));
    SUCCEEDS(qauth_queue_run(queue, 10000, NULL, &error));
    CHECK(host->kept && host->freed == 0);
    qauth_queue_free(queue);
    qauth_source_free(source);
    qauth_engine_free(own);
    CHECK(ended == QAUTH_CANCELLED && host->freed == 0);
    give(host, host->kept);
    for (i = 0; i < 5000 && host->freed == 0; ++i) {
        nanosleep(&pause, NULL);
        qauth_error_free(NULL);
    }
    CHECK(host->freed == 1 && pthread_equal(host->freed_by, pthread_self()));
}

static void a_closed_engine_ends_it(void)
{
    struct host *host = host_that(keep);
    struct caller caller = {0};
    qauth_source *source;
    pthread_t thread;

    source = make("closing", host);
    caller.source = source;
    pthread_barrier_init(&together, NULL, 2);
    CHECK(pthread_create(&thread, NULL, ask, &caller) == 0);
    pthread_barrier_wait(&together);
    while (!__atomic_load_n(&host->kept, __ATOMIC_ACQUIRE))
        sched_yield();
    SUCCEEDS(qauth_engine_close(engine, &error));
    pthread_join(thread, NULL);
    CHECK(caller.code == QAUTH_CLOSED && host->freed == 1);
    /* Too late, and no harm. */
    give(host, host->kept);
    pthread_barrier_destroy(&together);
    FAILS(QAUTH_CLOSED, qauth_engine_custom_source(engine, "closing", NULL, function, host, free_host, &source, &error));
    CHECK(host->freed == 1);
    qauth_source_free(source);
}

int main(void)
{
    int i;

    SUCCEEDS(qauth_engine_from_toml("[profiles.fixed]\nprovider = \"quable\"\ninstance = \"acme\"\n"
                                    "grant = \"static\"\ngeneric_token = \"generic-5c1d7a90f2e84b6f\"\n", &engine, &error));
    a_token_of_a_function_is_a_token_like_any_other();
    what_is_known_beside_the_token_is_kept();
    failures_reach_who_waits();
    it_may_answer_later_on_another_thread_or_run_in_a_queue();
    a_queue_that_nobody_runs_keeps_it_from_nobody_else();
    it_may_call_the_library();
    data_is_freed_once_when_nobody_needs_it();
    a_handle_that_is_no_call_is_refused();
    a_second_answer_is_refused();
    a_crowd_makes_one_call();
    a_child_of_fork_makes_calls_of_its_own();
    data_is_never_freed_on_a_thread_of_the_library();
    a_closed_engine_ends_it();
    qauth_engine_free(engine);
    /* Whatever happened: once for each time that it was handed over. */
    for (i = 0; i < used; ++i)
        CHECK(hosts[i].freed == hosts[i].lent);
    return done();
}
