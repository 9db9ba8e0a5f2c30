/* A new client that is saved as a profile: with both forms of the call, and what becomes of an answer that cannot be kept. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <sys/stat.h>

static const uint64_t ever = QAUTH_TIMEOUT_DEFAULT;
static const char *const client = "{\"tenant_id\": \"issuer-001\", \"name\": \"batch\", \"roles\": [\"issuer\"]}";

static qauth_engine *engine_of_a_file(void)
{
    qauth_engine *engine = NULL;
    FILE *file = fopen("qauth.toml", "w");
    if (!file || fputs(sim_profiles(""), file) < 0 || fclose(file) != 0)
        exit(2);
    SUCCEEDS(qauth_engine_from_file("qauth.toml", &engine, &error));
    return engine;
}

static int is_private(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && (status.st_mode & 0777) == 0600;
}

static void it_gives_tokens(const qauth_engine *engine, const char *profile)
{
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    SUCCEEDS(qauth_engine_source(engine, profile, &source, &error));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    qauth_token_free(token);
    qauth_source_free(source);
}

static void note(void *user_data, qauth_code code, qauth_string *result, qauth_error *error)
{
    qauth_code *seen = user_data;
    *seen = code;
    CHECK((code == QAUTH_OK) == (result != NULL));
    CHECK(code != QAUTH_PROTOCOL || strstr(qauth_error_answer(error), "canary-secret"));
    qauth_string_free(result);
    qauth_error_free(error);
}

static qauth_code queued(const qauth_source *source, const char *name)
{
    qauth_queue *queue = NULL;
    qauth_code seen = -1;
    SUCCEEDS(qauth_queue_new(&queue, &error));
    SUCCEEDS(qauth_source_call_saving_async(source, "create_client", client, name, ever, queue, note, &seen, NULL, &error));
    while (seen == -1)
        SUCCEEDS(qauth_queue_run(queue, 5000, NULL, &error));
    qauth_queue_free(queue);
    return seen;
}

static void a_new_client_is_saved(const qauth_engine *engine, const qauth_source *person)
{
    qauth_string *result = NULL;
    SUCCEEDS(qauth_source_call_saving(person, "create_client", client, "first", ever, &result, &error));
    CHECK(strstr(qauth_string_text(result), "client_secret") && is_private("profiles.d/first.toml"));
    qauth_string_free(result);
    it_gives_tokens(engine, "first");
    CHECK(queued(person, "second") == QAUTH_OK && is_private("profiles.d/second.toml"));
    it_gives_tokens(engine, "second");

    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call_saving(person, "create_client", client, "first", ever, &result, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call_saving(person, "create_client", client, "", ever, &result, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call_saving(person, "create_client", client, "\xff", ever, &result, &error));
    CHECK(queued(person, "first") == QAUTH_INVALID_ARGUMENT);
    SUCCEEDS(qauth_source_call_saving(person, "whoami", NULL, NULL, ever, &result, &error));
    qauth_string_free(result);
}

static void an_answer_that_cannot_be_kept_comes_with_the_error(const qauth_source *person)
{
    const char *const fault = "{\"vendor\": \"qpay\", \"endpoint\": \"api\", \"status\": 201, \"times\": 2,"
                              " \"body\": {\"id\": \"7\", \"client_secret\": \"canary-secret\"}}";
    qauth_string *result = NULL;
    qauth_error *kept = NULL;
    qauth_code code;

    sim_post("faults", fault);
    code = qauth_source_call_saving(person, "create_client", client, "third", ever, &result, &kept);
    check_failure(QAUTH_PROTOCOL, code, kept, "call_saving", __LINE__);
    CHECK(strstr(qauth_error_answer(kept), "\"client_secret\":\"canary-secret\"") && !result);
    qauth_error_free(kept);
    CHECK(queued(person, "third") == QAUTH_PROTOCOL && !is_private("profiles.d/third.toml"));

    kept = NULL;
    CHECK(qauth_source_call(person, "nothing", NULL, ever, &result, &kept) == QAUTH_INVALID_ARGUMENT);
    CHECK(!qauth_error_answer(kept) && !qauth_error_answer(NULL));
    qauth_error_free(kept);
}

int main(void)
{
    qauth_engine *engine = engine_of_a_file();
    qauth_source *person = NULL;
    SUCCEEDS(qauth_engine_source(engine, "qpay-person", &person, &error));
    a_new_client_is_saved(engine, person);
    an_answer_that_cannot_be_kept_comes_with_the_error(person);
    qauth_source_free(person);
    qauth_engine_free(engine);
    return done();
}
