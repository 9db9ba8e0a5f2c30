/* Events: told on the thread that runs the queue, until the subscription or the queue ends; and the counters. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 8, ROUNDS = 200, WAITING = 1000 };

static const uint64_t ever = QAUTH_TIMEOUT_DEFAULT;
static qauth_engine *engine;
static qauth_queue *queue;

/* What a subscription of these tests saw, and what its callback is to do. */
struct ear {
    int calls, freed;
    pthread_t thread;
    qauth_kind kind;
    qauth_severity severity;
    char profile[32], provider[32], reason[32], message[256];
    double seconds;
    int64_t at;
    uint64_t generation, lost;
    qauth_code code;
    qauth_subscription *subscription;
    void (*act)(struct ear *ear);
};

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
    check_text(from, __LINE__);
}

static void hear(void *user_data, const qauth_event *event)
{
    struct ear *ear = user_data;
    const qauth_error *error = qauth_event_error(event);

    CHECK(ear->freed == 0);
    ++ear->calls;
    ear->thread = pthread_self();
    ear->kind = qauth_event_kind(event);
    ear->severity = qauth_event_severity(event);
    copy(ear->profile, sizeof ear->profile, qauth_event_profile(event));
    copy(ear->provider, sizeof ear->provider, qauth_event_provider(event));
    copy(ear->reason, sizeof ear->reason, qauth_event_reason(event));
    copy(ear->message, sizeof ear->message, qauth_event_message(event));
    ear->seconds = qauth_event_seconds(event);
    ear->at = qauth_event_at_unix_s(event);
    ear->generation = qauth_event_generation(event);
    ear->lost = qauth_event_lost(event);
    ear->code = qauth_error_code(error);
    CHECK((error == NULL) == (ear->code == QAUTH_OK) && qauth_event_error(event) == error);
    check_text(qauth_error_message(error), __LINE__);
    if (ear->act)
        ear->act(ear);
    CHECK(ear->freed == 0);
}

static void free_ear(void *user_data)
{
    ++((struct ear *)user_data)->freed;
}

static void listen_on(qauth_queue *on, struct ear *ear)
{
    SUCCEEDS(qauth_engine_on_event(engine, on, hear, ear, free_ear, &ear->subscription, &error));
}

static size_t run(qauth_queue *on)
{
    size_t ran = 77;
    SUCCEEDS(qauth_queue_run(on, 0, &ran, &error));
    return ran;
}

static void give(void *user_data, qauth_token_call *call)
{
    qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;
    (void)user_data;
    token.access_token = "canary";
    token.expires_in_ms = 600000;
    SUCCEEDS(qauth_token_call_give(call, &token, &error));
}

/* One event: a token of a source that is made for it and forgotten; its successors adopt that token. */
static uint64_t obtain_as(const char *name)
{
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    uint64_t generation;
    SUCCEEDS(qauth_engine_custom_source(engine, name, NULL, give, NULL, NULL, &source, &error));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    generation = qauth_token_generation(token);
    qauth_token_free(token);
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_remove(engine, name, NULL, &error));
    return generation;
}

static void obtain(void)
{
    obtain_as("vault");
}

static void an_event_says_what_happened(void)
{
    struct ear ear = {0};
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    uint64_t generation;

    listen_on(queue, &ear);
    generation = obtain_as("first-vault");
    CHECK(ear.calls == 0);
    CHECK(run(queue) == 1 && ear.calls == 1 && pthread_equal(ear.thread, pthread_self()));
    CHECK(ear.kind == QAUTH_EVENT_OBTAINED && ear.severity == QAUTH_SEVERITY_DEBUG && ear.code == QAUTH_OK);
    CHECK(strcmp(ear.profile, "first-vault") == 0 && strcmp(ear.provider, "custom") == 0);
    CHECK(strcmp(ear.reason, "first_use") == 0 && strstr(ear.message, "token obtained in "));
    CHECK(ear.seconds >= 0 && ear.generation == generation && generation > 0 && ear.lost == 0);
    CHECK(ear.at > 1700000000 && ear.at <= (int64_t)time(NULL));
    CHECK(strcmp(qauth_event_kind_name(ear.kind), "obtained") == 0);

    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    SUCCEEDS(qauth_source_update_json(source, "{\"client_secret\": \"canary\"}", &error));
    FAILS(QAUTH_INVALID_CLIENT, qauth_source_token(source, ever, &token, &error));
    CHECK(run(queue) == 1 && ear.calls == 2);
    CHECK(ear.kind == QAUTH_EVENT_FAILED && ear.severity == QAUTH_SEVERITY_WARNING && ear.code == QAUTH_INVALID_CLIENT);
    CHECK(strcmp(ear.profile, "quiqup") == 0 && strcmp(ear.provider, "quiqup") == 0 && ear.generation == 0);
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_remove(engine, "quiqup", NULL, &error));
    qauth_subscription_free(ear.subscription);
    CHECK(ear.freed == 1);
}

static void what_waits_when_it_ends_is_not_told(void)
{
    struct ear ear = {0}, other = {0};
    qauth_subscription *plain = NULL;

    listen_on(queue, &ear);
    listen_on(queue, &other);
    obtain();
    qauth_subscription_free(ear.subscription);
    CHECK(ear.freed == 1 && other.freed == 0);
    obtain();
    run(queue);
    CHECK(ear.calls == 0 && other.calls == 2);
    qauth_subscription_free(other.subscription);
    CHECK(other.freed == 1);
    CHECK(run(queue) == 0);

    /* Nothing to free; and a call that fails takes nothing. */
    memset(&ear, 0, sizeof ear);
    SUCCEEDS(qauth_engine_on_event(engine, queue, hear, &ear, NULL, &plain, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_engine_on_event(engine, NULL, hear, &ear, free_ear, &plain, &error));
    obtain();
    run(queue);
    qauth_subscription_free(plain);
    CHECK(ear.calls == 1 && ear.freed == 0);
}

/* Fault 59. */
static void use_everything(struct ear *ear)
{
    qauth_subscription *subscription = NULL;
    qauth_string *json = NULL;
    ear->act = NULL;
    obtain();
    run(queue);
    CHECK(ear->calls == 2);
    SUCCEEDS(qauth_engine_on_event(engine, queue, hear, ear, NULL, &subscription, &error));
    qauth_subscription_free(subscription);
    SUCCEEDS(qauth_engine_metrics(engine, &json, &error));
    qauth_string_free(json);
    qauth_subscription_free(ear->subscription);
    CHECK(ear->freed == 0);
}

static void free_the_queue(struct ear *ear)
{
    qauth_queue_free(queue);
    CHECK(ear->freed == 0);
}

static void a_callback_may_call_anything_and_end_itself(void)
{
    struct ear ear = {0}, frees = {0}, waits = {0};

    ear.act = use_everything;
    listen_on(queue, &ear);
    obtain();
    obtain();
    run(queue);
    /* The second one was told by the run inside of the first, or not at all. */
    CHECK(ear.calls == 2 && ear.freed == 1);

    frees.act = free_the_queue;
    listen_on(queue, &frees);
    listen_on(queue, &waits);
    obtain();
    obtain();
    SUCCEEDS(qauth_queue_run(queue, 0, NULL, &error));
    CHECK(frees.calls == 1 && waits.calls == 0 && frees.freed == 1 && waits.freed == 1);
    qauth_subscription_free(frees.subscription);
    qauth_subscription_free(waits.subscription);
    SUCCEEDS(qauth_queue_new(&queue, &error));
}

static void it_ends_with_its_queue(void)
{
    struct ear ear = {0}, ended = {0};
    qauth_queue *own = NULL;

    SUCCEEDS(qauth_queue_new(&own, &error));
    listen_on(own, &ear);
    listen_on(own, &ended);
    obtain();
    qauth_subscription_free(ended.subscription);
    qauth_queue_free(own);
    CHECK(ear.calls == 0 && ear.freed == 1 && ended.freed == 1);
    obtain();
    qauth_subscription_free(ear.subscription);
    CHECK(ear.calls == 0 && ear.freed == 1 && ended.freed == 1);
}

static void it_outlives_its_engine(void)
{
    struct ear closed = {0}, freed = {0};
    qauth_engine *common = engine;

    SUCCEEDS(qauth_engine_new(&engine, &error));
    listen_on(queue, &closed);
    obtain();
    SUCCEEDS(qauth_engine_close(engine, &error));
    CHECK(run(queue) == 1 && closed.calls == 1 && closed.freed == 0);
    qauth_engine_free(engine);

    SUCCEEDS(qauth_engine_new(&engine, &error));
    listen_on(queue, &freed);
    obtain();
    qauth_engine_free(engine);
    CHECK(run(queue) == 1 && freed.calls == 1 && freed.freed == 0);
    qauth_subscription_free(closed.subscription);
    qauth_subscription_free(freed.subscription);
    CHECK(closed.freed == 1 && freed.freed == 1);
    engine = common;
}

static void a_queue_that_nobody_runs_tells_how_many_it_lost(void)
{
    struct ear ear = {0};
    int i;

    listen_on(queue, &ear);
    for (i = 0; i < WAITING + 2; ++i)
        obtain();
    CHECK(run(queue) == WAITING && ear.lost == 0);
    obtain();
    CHECK(run(queue) == 1 && ear.lost == 2);
    qauth_subscription_free(ear.subscription);
}

/* Data that nobody may touch once it is freed. */
struct racing {
    int begun, ended, freed;
};

static void count(void *user_data, const qauth_event *event)
{
    struct racing *racing = user_data;
    check(__atomic_load_n(&racing->freed, __ATOMIC_ACQUIRE) == 0, "not freed", __FILE__, __LINE__);
    __atomic_add_fetch(&racing->begun, 1, __ATOMIC_ACQ_REL);
    CHECK(qauth_event_kind(event) != 0);
    __atomic_add_fetch(&racing->ended, 1, __ATOMIC_ACQ_REL);
}

static void free_racing(void *user_data)
{
    struct racing *racing = user_data;
    check(racing->begun == racing->ended, "no call runs", __FILE__, __LINE__);
    __atomic_add_fetch(&racing->freed, 1, __ATOMIC_ACQ_REL);
}

static int stop;

static void *run_the_queue(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        qauth_queue_run(queue, 1, NULL, NULL);
    return NULL;
}

/* Fault 53: it ends while other threads run the queue. */
static void data_is_freed_once_after_the_last_call(void)
{
    static struct racing racing[ROUNDS];
    pthread_t threads[THREADS];
    int i;

    for (i = 0; i < THREADS; ++i)
        CHECK(pthread_create(&threads[i], NULL, run_the_queue, NULL) == 0);
    for (i = 0; i < ROUNDS; ++i) {
        qauth_subscription *subscription = NULL;
        SUCCEEDS(qauth_engine_on_event(engine, queue, count, &racing[i], free_racing, &subscription, &error));
        obtain();
        qauth_subscription_free(subscription);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (i = 0; i < THREADS; ++i)
        pthread_join(threads[i], NULL);
    run(queue);
    for (i = 0; i < ROUNDS; ++i)
        CHECK(racing[i].freed == 1 && racing[i].begun == racing[i].ended && racing[i].begun <= 1);
}

static void note(void *user_data, qauth_code code, qauth_token *token, qauth_error *failure)
{
    (void)code;
    ++*(int *)user_data;
    qauth_token_free(token);
    qauth_error_free(failure);
}

/* In the child; its exit status says at which step it failed. */
static int child(struct ear *ear, qauth_queue *calls, const int *noted)
{
    struct ear own = {0};
    qauth_queue *mine = NULL;
    qauth_queue *parents = queue;

    alarm(30);
    if (qauth_queue_new(&mine, NULL) != QAUTH_OK)
        return 1;
    obtain();
    qauth_subscription_free(ear->subscription);
    if (ear->freed != 0 || ear->calls != 0)
        return 2;
    queue = mine;
    listen_on(queue, &own);
    obtain();
    if (run(queue) != 1 || own.calls != 1)
        return 3;
    qauth_subscription_free(own.subscription);
    /* What waits in its parent's queues is its parent's. */
    qauth_queue_free(calls);
    qauth_queue_free(parents);
    return own.freed == 1 && *noted == 0 ? 0 : 4;
}

/* Fault 73. */
static void a_child_of_fork_makes_its_own(void)
{
    struct ear ear = {0};
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    qauth_queue *calls = NULL;
    int status = -1, noted = 0;
    pid_t pid;

    SUCCEEDS(qauth_engine_custom_source(engine, "kept", NULL, give, NULL, NULL, &source, &error));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    SUCCEEDS(qauth_queue_new(&calls, &error));
    SUCCEEDS(qauth_source_token_async(source, ever, calls, note, &noted, NULL, &error));
    listen_on(queue, &ear);
    pid = fork();
    if (pid == 0)
        _exit(child(&ear, calls, &noted));
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    obtain();
    CHECK(run(queue) == 1 && ear.calls == 1);
    qauth_subscription_free(ear.subscription);
    CHECK(ear.freed == 1 && noted == 0);
    qauth_queue_free(calls);
    CHECK(noted == 1);
    qauth_token_free(token);
    qauth_source_free(source);
}

static void counters_are_given_as_json_and_for_prometheus(void)
{
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    qauth_string *json = NULL, *text = NULL;

    SUCCEEDS(qauth_engine_custom_source(engine, "counted", NULL, give, NULL, NULL, &source, &error));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    SUCCEEDS(qauth_engine_metrics(engine, &json, &error));
    CHECK(strstr(qauth_string_text(json), "\"counted\":{") && strstr(qauth_string_text(json), "\"obtained\":1"));
    CHECK(strstr(qauth_string_text(json), "\"provider\":\"custom\"") && !strstr(qauth_string_text(json), "canary"));
    SUCCEEDS(qauth_engine_prometheus(engine, &text, &error));
    CHECK(strstr(qauth_string_text(text), "profile=\"counted\"") && !strstr(qauth_string_text(text), "canary"));
    CHECK(strcmp(qauth_string_text(text) + qauth_string_length(text) - 6, "# EOF\n") == 0);
    qauth_string_free(json);
    qauth_string_free(text);
    qauth_token_free(token);
    qauth_source_free(source);
}

int main(void)
{
    SUCCEEDS(qauth_engine_from_toml(sim_profiles(""), &engine, &error));
    SUCCEEDS(qauth_queue_new(&queue, &error));
    an_event_says_what_happened();
    what_waits_when_it_ends_is_not_told();
    a_callback_may_call_anything_and_end_itself();
    it_ends_with_its_queue();
    it_outlives_its_engine();
    a_queue_that_nobody_runs_tells_how_many_it_lost();
    data_is_freed_once_after_the_last_call();
    a_child_of_fork_makes_its_own();
    counters_are_given_as_json_and_for_prometheus();
    qauth_queue_free(queue);
    qauth_engine_free(engine);
    return done();
}
