/* Callbacks: on the thread that runs the queue, once, whatever happens. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

static const uint64_t ever = QAUTH_TIMEOUT_DEFAULT;
static qauth_engine *engine;
static qauth_queue *queue;

struct seen {
    int calls;
    qauth_code code;
    pthread_t thread;
    char text[256];
    qauth_source *again;
};

static void note(struct seen *seen, qauth_code code, const void *value, const qauth_error *error)
{
    ++seen->calls;
    seen->code = code;
    seen->thread = pthread_self();
    CHECK((code == QAUTH_OK) == (value != NULL) && (code == QAUTH_OK) == (error == NULL));
    CHECK(!error || qauth_error_code(error) == code);
    check_text(qauth_error_message(error), __LINE__);
}

static void on_token(void *user_data, qauth_code code, qauth_token *token, qauth_error *error)
{
    struct seen *seen = user_data;
    note(seen, code, token, error);
    if (token)
        strncpy(seen->text, qauth_token_header_value(token), sizeof seen->text - 1);
    qauth_token_free(token);
    qauth_error_free(error);
    /* Fault 59: any call, the queue's own too, from inside a callback. */
    if (seen->again) {
        qauth_source *source = seen->again;
        seen->again = NULL;
        SUCCEEDS(qauth_source_token(source, ever, &token, &error));
        qauth_token_free(token);
        SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, seen, NULL, &error));
        SUCCEEDS(qauth_queue_run(queue, 5000, NULL, &error));
    }
}

static void on_response(void *user_data, qauth_code code, qauth_response *response, qauth_error *error)
{
    struct seen *seen = user_data;
    note(seen, code, response, error);
    if (response)
        strncpy(seen->text, (const char *)qauth_response_body(response), sizeof seen->text - 1);
    qauth_response_free(response);
    qauth_error_free(error);
}

static void on_string(void *user_data, qauth_code code, qauth_string *string, qauth_error *error)
{
    struct seen *seen = user_data;
    note(seen, code, string, error);
    if (string)
        strncpy(seen->text, qauth_string_text(string), sizeof seen->text - 1);
    qauth_string_free(string);
    qauth_error_free(error);
}

static void free_the_queue(void *user_data, qauth_code code, qauth_token *token, qauth_error *error)
{
    note(user_data, code, token, error);
    qauth_token_free(token);
    qauth_error_free(error);
    qauth_queue_free(queue);
    queue = NULL;
}

static void run_until(const struct seen *seen, int calls)
{
    int tries;
    for (tries = 0; tries < 100 && seen->calls < calls; ++tries)
        SUCCEEDS(qauth_queue_run(queue, 1000, NULL, &error));
    CHECK(seen->calls == calls);
}

static qauth_source *source_of(const char *profile)
{
    qauth_source *source = NULL;
    SUCCEEDS(qauth_engine_source(engine, profile, &source, &error));
    return source;
}

static void results_come_by_the_queue(void)
{
    struct seen token = {0}, response = {0}, string = {0};
    qauth_source *quiqup = source_of("quiqup"), *person = source_of("qpay-person");
    qauth_request request = QAUTH_REQUEST_INIT;
    struct pollfd ready = {0};
    char target[] = "/echo", body[] = "hello";

    SUCCEEDS(qauth_source_token_async(quiqup, ever, queue, on_token, &token, NULL, &error));
    CHECK(token.calls == 0);
    ready.fd = qauth_queue_fd(queue);
    ready.events = POLLIN;
    CHECK(ready.fd >= 0 && poll(&ready, 1, 10000) == 1);
    CHECK(token.calls == 0);
    run_until(&token, 1);
    CHECK(token.code == QAUTH_OK && pthread_equal(token.thread, pthread_self()) && strncmp(token.text, "Bearer ", 7) == 0);
    CHECK(poll(&ready, 1, 0) == 0);

    /* Everything is borrowed during the call only. */
    request.method = "POST";
    request.target = target;
    request.body = (const uint8_t *)body;
    request.body_length = 5;
    SUCCEEDS(qauth_source_request_async(quiqup, &request, queue, on_response, &response, NULL, &error));
    memset(target, 'x', 5);
    memset(body, 'x', 5);
    qauth_source_free(quiqup);
    run_until(&response, 1);
    CHECK(response.code == QAUTH_OK && strstr(response.text, "/quiqup/echo") && strstr(response.text, "POST"));

    SUCCEEDS(qauth_source_call_async(person, "whoami", NULL, ever, queue, on_string, &string, NULL, &error));
    run_until(&string, 1);
    CHECK(string.code == QAUTH_OK && strstr(string.text, "issuer-001"));
    SUCCEEDS(qauth_source_call_async(person, "no-such", "{}", ever, queue, on_string, &string, NULL, &error));
    run_until(&string, 2);
    CHECK(string.code == QAUTH_INVALID_ARGUMENT);
    qauth_source_free(person);
}

static void a_callback_may_call_anything(void)
{
    struct seen seen = {0};
    seen.again = source_of("quiqup");
    {
        qauth_source *source = seen.again;
        SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &seen, NULL, &error));
        run_until(&seen, 2);
        qauth_source_free(source);
    }
}

static void a_call_that_is_given_up_is_told_so_once(void)
{
    struct seen seen = {0};
    qauth_source *source = source_of("quantaprice");
    qauth_pending *pending = NULL;
    qauth_token *token = NULL;

    sim_post("settings", "{\"vendor\": \"quantaprice\", \"delay_ms\": 400}");
    SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &seen, &pending, &error));
    qauth_pending_cancel(pending);
    run_until(&seen, 1);
    CHECK(seen.code == QAUTH_CANCELLED);
    qauth_pending_cancel(pending);
    qauth_pending_free(pending);
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    qauth_token_free(token);
    CHECK(sim_count("quantaprice", "token_requests") == 1);

    /* Freed is not cancelled; cancelled when done changes nothing. */
    SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &seen, &pending, &error));
    qauth_pending_free(pending);
    run_until(&seen, 2);
    CHECK(seen.code == QAUTH_OK);
    SUCCEEDS(qauth_queue_run(queue, 0, NULL, &error));
    CHECK(seen.calls == 2);
    qauth_source_free(source);
}

static void a_queue_that_is_freed_answers_everybody(void)
{
    struct seen waits = {0}, frees = {0};
    qauth_source *quable = source_of("quable"), *quiqup = source_of("quiqup");
    qauth_pending *pending = NULL;

    sim_post("settings", "{\"vendor\": \"quable\", \"delay_ms\": 500}");
    SUCCEEDS(qauth_source_token_async(quable, ever, queue, on_token, &waits, &pending, &error));
    SUCCEEDS(qauth_source_token_async(quiqup, ever, queue, free_the_queue, &frees, NULL, &error));
    while (queue)
        SUCCEEDS(qauth_queue_run(queue, 5000, NULL, &error));
    CHECK(frees.calls == 1 && frees.code == QAUTH_OK);
    CHECK(waits.calls == 1 && waits.code == QAUTH_CANCELLED);
    qauth_pending_cancel(pending);
    qauth_pending_free(pending);
    qauth_source_free(quable);
    qauth_source_free(quiqup);
    SUCCEEDS(qauth_queue_new(&queue, &error));
}

static void an_engine_that_is_closed_answers_everybody(void)
{
    enum { CALLS = 20 };
    static struct seen seen[CALLS];
    qauth_source *source = source_of("quartile");
    const long before = sim_count("quartile", "token_requests");
    int i, tries, answered = 0;

    sim_post("settings", "{\"vendor\": \"quartile\", \"delay_ms\": 20000}");
    for (i = 0; i < CALLS; ++i)
        SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &seen[i], NULL, &error));
    sim_wait_above("quartile", "token_requests", before);
    SUCCEEDS(qauth_engine_close(engine, &error));
    for (tries = 0; tries < 100 && answered < CALLS; ++tries) {
        SUCCEEDS(qauth_queue_run(queue, 100, NULL, &error));
        for (i = 0, answered = 0; i < CALLS; ++i)
            answered += seen[i].calls == 1 && seen[i].code == QAUTH_CLOSED;
    }
    CHECK(answered == CALLS);
    FAILS(QAUTH_CLOSED, qauth_source_token_async(source, ever, queue, on_token, &seen[0], NULL, &error));
    SUCCEEDS(qauth_queue_run(queue, 50, NULL, &error));
    CHECK(seen[0].calls == 1);
    qauth_source_free(source);
}

int main(void)
{
    SUCCEEDS(qauth_engine_from_toml(sim_profiles(""), &engine, &error));
    SUCCEEDS(qauth_queue_new(&queue, &error));
    results_come_by_the_queue();
    a_callback_may_call_anything();
    a_call_that_is_given_up_is_told_so_once();
    a_queue_that_is_freed_answers_everybody();
    an_engine_that_is_closed_answers_everybody();
    qauth_queue_free(queue);
    qauth_engine_free(engine);
    return done();
}
