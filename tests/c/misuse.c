/* Faults 76 to 78: what a program can do wrong gives an error and nothing else. */
#include "check.h"
#include "sim.h"

static void on_token(void *user_data, qauth_code code, qauth_token *token, qauth_error *error)
{
    (void)code;
    ++*(int *)user_data;
    qauth_token_free(token);
    qauth_error_free(error);
}

static void on_response(void *user_data, qauth_code code, qauth_response *response, qauth_error *error)
{
    (void)code;
    ++*(int *)user_data;
    qauth_response_free(response);
    qauth_error_free(error);
}

static void on_string(void *user_data, qauth_code code, qauth_string *string, qauth_error *error)
{
    (void)code;
    ++*(int *)user_data;
    qauth_string_free(string);
    qauth_error_free(error);
}

static void on_event(void *user_data, const qauth_event *event)
{
    (void)event;
    ++*(int *)user_data;
}

#define REFUSED(call) FAILS(QAUTH_INVALID_ARGUMENT, call)

int main(void)
{
    static const char bad[] = "\xff\xfe";
    qauth_engine *engine = NULL, *no_engine = NULL;
    qauth_source *source = NULL, *no_source = NULL;
    qauth_token *token = NULL, *no_token = NULL;
    qauth_headers *headers = NULL, *no_headers = NULL;
    qauth_response *response = NULL, *no_response = NULL;
    qauth_string *string = NULL, *no_string = NULL;
    qauth_queue *queue = NULL, *no_queue = NULL;
    qauth_pending *pending = NULL;
    qauth_subscription *subscription = NULL;
    qauth_request request = QAUTH_REQUEST_INIT;
    const qauth_pair half[] = {{"name", NULL}}, wrong[] = {{bad, "value"}};
    char buffer[16];
    size_t size = 77;
    bool flag = true;
    int calls = 0;
    const uint64_t ever = QAUTH_TIMEOUT_DEFAULT;

    /* What asks nothing of anybody. */
    CHECK(qauth_abi_version() == QAUTH_ABI_VERSION);
    CHECK(strlen(qauth_version()) >= 5);
    CHECK(strcmp(qauth_code_name(QAUTH_OK), "ok") == 0 && strcmp(qauth_code_name(QAUTH_SESSION_CONFLICT), "session_conflict") == 0);
    CHECK(strcmp(qauth_code_name(-1), "unknown") == 0 && strcmp(qauth_code_name(12345), "unknown") == 0);
    CHECK(qauth_code_retryable(QAUTH_NETWORK) && !qauth_code_retryable(QAUTH_CONFIG) && !qauth_code_retryable(-7));

    SUCCEEDS(qauth_engine_from_toml(sim_profiles(""), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    SUCCEEDS(qauth_source_headers(source, "GET", "/orders", ever, &headers, &error));
    request.method = "GET";
    request.target = "/orders";
    SUCCEEDS(qauth_source_request(source, &request, &response, &error));
    SUCCEEDS(qauth_providers_json(&string, &error));
    SUCCEEDS(qauth_queue_new(&queue, &error));

    /* NULL for each pointer. */
    REFUSED(qauth_engine_new(NULL, &error));
    REFUSED(qauth_engine_discover(NULL, &error));
    REFUSED(qauth_engine_from_file(NULL, &no_engine, &error));
    REFUSED(qauth_engine_from_file("x", NULL, &error));
    REFUSED(qauth_engine_from_toml(NULL, &no_engine, &error));
    REFUSED(qauth_engine_from_toml("", NULL, &error));
    REFUSED(qauth_engine_from_json(NULL, &no_engine, &error));
    REFUSED(qauth_engine_from_json("{}", NULL, &error));
    REFUSED(qauth_engine_source(NULL, "quiqup", &no_source, &error));
    REFUSED(qauth_engine_source(engine, NULL, &no_source, &error));
    REFUSED(qauth_engine_source(engine, "quiqup", NULL, &error));
    REFUSED(qauth_engine_source_with_json(NULL, "quiqup", "{}", &no_source, &error));
    REFUSED(qauth_engine_source_with_json(engine, NULL, "{}", &no_source, &error));
    REFUSED(qauth_engine_source_with_json(engine, "quiqup", "{}", NULL, &error));
    REFUSED(qauth_engine_remove(NULL, "quiqup", &flag, &error));
    REFUSED(qauth_engine_remove(engine, NULL, &flag, &error));
    SUCCEEDS(qauth_engine_remove(engine, "nobody", NULL, &error));
    REFUSED(qauth_engine_advance(NULL, 1, &error));
    REFUSED(qauth_engine_profiles_json(NULL, &no_string, &error));
    REFUSED(qauth_engine_profiles_json(engine, NULL, &error));
    REFUSED(qauth_engine_provider_json(NULL, "quiqup", &no_string, &error));
    REFUSED(qauth_engine_provider_json(engine, NULL, &no_string, &error));
    REFUSED(qauth_engine_provider_json(engine, "quiqup", NULL, &error));
    REFUSED(qauth_providers_json(NULL, &error));
    REFUSED(qauth_engine_close(NULL, &error));
    REFUSED(qauth_source_token(NULL, ever, &no_token, &error));
    REFUSED(qauth_source_token(source, ever, NULL, &error));
    REFUSED(qauth_source_token_min(NULL, ever, 1, &no_token, &error));
    REFUSED(qauth_source_token_min(source, ever, 1, NULL, &error));
    REFUSED(qauth_source_header(NULL, buffer, sizeof buffer, &size, &error));
    REFUSED(qauth_source_header(source, NULL, 1, &size, &error));
    REFUSED(qauth_source_header(source, buffer, (size_t)-1, &size, &error));
    REFUSED(qauth_source_headers(NULL, "GET", "/", ever, &no_headers, &error));
    REFUSED(qauth_source_headers(source, NULL, "/", ever, &no_headers, &error));
    REFUSED(qauth_source_headers(source, "GET", NULL, ever, &no_headers, &error));
    REFUSED(qauth_source_headers(source, "GET", "/", ever, NULL, &error));
    REFUSED(qauth_source_request(NULL, &request, &no_response, &error));
    REFUSED(qauth_source_request(source, NULL, &no_response, &error));
    REFUSED(qauth_source_request(source, &request, NULL, &error));
    REFUSED(qauth_source_call(NULL, "x", "{}", ever, &no_string, &error));
    REFUSED(qauth_source_call(source, NULL, "{}", ever, &no_string, &error));
    REFUSED(qauth_source_call(source, "x", "{}", ever, NULL, &error));
    REFUSED(qauth_source_invalidate(NULL, token, &flag, &error));
    REFUSED(qauth_source_invalidate(source, NULL, &flag, &error));
    REFUSED(qauth_source_invalidate_generation(NULL, 1, &flag, &error));
    SUCCEEDS(qauth_source_invalidate_generation(source, 999, NULL, &error));
    REFUSED(qauth_source_reset(NULL, &error));
    REFUSED(qauth_source_update_json(NULL, "{}", &error));
    REFUSED(qauth_source_update_json(source, NULL, &error));
    REFUSED(qauth_source_scoped(NULL, "a", NULL, NULL, &no_source, &error));
    REFUSED(qauth_source_scoped(source, "a", NULL, NULL, NULL, &error));
    REFUSED(qauth_queue_new(NULL, &error));
    REFUSED(qauth_queue_run(NULL, 0, &size, &error));
    REFUSED(qauth_source_token_async(NULL, ever, queue, on_token, &calls, NULL, &error));
    REFUSED(qauth_source_token_async(source, ever, NULL, on_token, &calls, NULL, &error));
    REFUSED(qauth_source_token_async(source, ever, queue, NULL, &calls, NULL, &error));
    REFUSED(qauth_source_request_async(NULL, &request, queue, on_response, &calls, NULL, &error));
    REFUSED(qauth_source_request_async(source, NULL, queue, on_response, &calls, NULL, &error));
    REFUSED(qauth_source_request_async(source, &request, NULL, on_response, &calls, NULL, &error));
    REFUSED(qauth_source_request_async(source, &request, queue, NULL, &calls, NULL, &error));
    REFUSED(qauth_source_call_async(NULL, "x", "{}", ever, queue, on_string, &calls, NULL, &error));
    REFUSED(qauth_source_call_async(source, NULL, "{}", ever, queue, on_string, &calls, NULL, &error));
    REFUSED(qauth_source_call_async(source, "x", "{}", ever, NULL, on_string, &calls, NULL, &error));
    REFUSED(qauth_source_call_async(source, "x", "{}", ever, queue, NULL, &calls, NULL, &error));
    REFUSED(qauth_engine_on_event(NULL, queue, on_event, &calls, NULL, &subscription, &error));
    REFUSED(qauth_engine_on_event(engine, NULL, on_event, &calls, NULL, &subscription, &error));
    REFUSED(qauth_engine_on_event(engine, queue, NULL, &calls, NULL, &subscription, &error));
    REFUSED(qauth_engine_on_event(engine, queue, on_event, &calls, NULL, NULL, &error));
    REFUSED(qauth_engine_metrics(NULL, &no_string, &error));
    REFUSED(qauth_engine_metrics(engine, NULL, &error));
    REFUSED(qauth_engine_records(NULL, &no_string, &error));
    REFUSED(qauth_engine_records(engine, NULL, &error));
    REFUSED(qauth_engine_clear(NULL, "orders", NULL, &error));
    REFUSED(qauth_engine_clear(engine, NULL, NULL, &error));
    REFUSED(qauth_engine_prometheus(NULL, &no_string, &error));
    REFUSED(qauth_engine_prometheus(engine, NULL, &error));
    SUCCEEDS(qauth_queue_run(queue, 0, NULL, &error));
    CHECK(calls == 0 && size == 77);

    /* What has no code to return gives NULL or nothing. */
    CHECK(!qauth_error_message(NULL) && !qauth_error_profile(NULL) && !qauth_error_provider(NULL));
    CHECK(!qauth_error_server_error(NULL) && !qauth_error_server_error_description(NULL));
    CHECK(qauth_error_code(NULL) == QAUTH_OK && qauth_error_http_status(NULL) == 0);
    CHECK(!qauth_error_retryable(NULL) && qauth_error_retry_after_ms(NULL) == -1);
    CHECK(!qauth_token_access_token(NULL) && !qauth_token_header_value(NULL) && !qauth_token_type(NULL));
    CHECK(!qauth_token_scope(NULL) && !qauth_token_extras_json(NULL) && qauth_token_generation(NULL) == 0);
    CHECK(qauth_token_expires_at_unix_s(NULL) == -1 && qauth_token_expires_in_ms(NULL) == -1 && !qauth_token_retain(NULL));
    CHECK(qauth_headers_count(NULL) == 0 && !qauth_headers_name(NULL, 0) && !qauth_headers_value(NULL, 0));
    CHECK(qauth_response_status(NULL) == 0 && qauth_response_header_count(NULL) == 0 && qauth_response_body_length(NULL) == 0);
    CHECK(!qauth_response_header(NULL, "a") && !qauth_response_header(response, NULL) && !qauth_response_header(response, bad));
    CHECK(!qauth_response_header_name(NULL, 0) && !qauth_response_header_value(NULL, 0) && !qauth_response_body(NULL));
    CHECK(!qauth_string_text(NULL) && qauth_string_length(NULL) == 0 && qauth_queue_fd(NULL) == -1);
    CHECK(!qauth_source_profile(NULL) && !qauth_source_provider(NULL) && !qauth_source_cached(NULL));
    CHECK(qauth_event_kind(NULL) == 0 && qauth_event_severity(NULL) == 0 && qauth_event_seconds(NULL) == 0);
    CHECK(!qauth_event_profile(NULL) && !qauth_event_provider(NULL) && !qauth_event_reason(NULL) && !qauth_event_message(NULL));
    CHECK(qauth_event_at_unix_s(NULL) == -1 && qauth_event_generation(NULL) == 0 && qauth_event_lost(NULL) == 0);
    CHECK(!qauth_event_error(NULL));
    CHECK(strcmp(qauth_event_kind_name(0), "unknown") == 0 && strcmp(qauth_event_kind_name(-1), "unknown") == 0);
    qauth_subscription_free(NULL);
    qauth_pending_cancel(NULL);
    qauth_engine_free(NULL);
    qauth_source_free(NULL);
    qauth_token_free(NULL);
    qauth_error_free(NULL);
    qauth_headers_free(NULL);
    qauth_response_free(NULL);
    qauth_string_free(NULL);
    qauth_queue_free(NULL);
    qauth_pending_free(NULL);

    /* A caller who does not want the error object gets the code all the same. */
    CHECK(qauth_engine_source(engine, NULL, &no_source, NULL) == QAUTH_INVALID_ARGUMENT);
    CHECK(qauth_source_header(source, buffer, 4, NULL, NULL) == QAUTH_BUFFER_TOO_SMALL);

    /* Texts that are not UTF-8 are refused by name, and not repeated. */
#define NOT_UTF8(parameter, call)                                                                                      \
    do {                                                                                                               \
        qauth_error *error = NULL;                                                                                     \
        CHECK((call) == QAUTH_INVALID_ARGUMENT);                                                                       \
        CHECK(strstr(qauth_error_message(error), parameter ": is not UTF-8"));                                         \
        qauth_error_free(error);                                                                                       \
    } while (0)
    NOT_UTF8("path", qauth_engine_from_file(bad, &no_engine, &error));
    NOT_UTF8("toml", qauth_engine_from_toml(bad, &no_engine, &error));
    NOT_UTF8("json", qauth_engine_from_json(bad, &no_engine, &error));
    NOT_UTF8("name", qauth_engine_source(engine, bad, &no_source, &error));
    NOT_UTF8("name", qauth_engine_source_with_json(engine, bad, NULL, &no_source, &error));
    NOT_UTF8("overrides_json", qauth_engine_source_with_json(engine, "quiqup", bad, &no_source, &error));
    NOT_UTF8("name", qauth_engine_remove(engine, bad, NULL, &error));
    NOT_UTF8("name", qauth_engine_clear(engine, bad, NULL, &error));
    NOT_UTF8("name", qauth_engine_provider_json(engine, bad, &no_string, &error));
    NOT_UTF8("method", qauth_source_headers(source, bad, "/", ever, &no_headers, &error));
    NOT_UTF8("url", qauth_source_headers(source, "GET", bad, ever, &no_headers, &error));
    NOT_UTF8("operation", qauth_source_call(source, bad, NULL, ever, &no_string, &error));
    NOT_UTF8("parameters_json", qauth_source_call(source, "x", bad, ever, &no_string, &error));
    NOT_UTF8("changes_json", qauth_source_update_json(source, bad, &error));
    NOT_UTF8("scope", qauth_source_scoped(source, bad, NULL, NULL, &no_source, &error));
    NOT_UTF8("audience", qauth_source_scoped(source, NULL, bad, NULL, &no_source, &error));
    NOT_UTF8("resource", qauth_source_scoped(source, NULL, NULL, bad, &no_source, &error));
    NOT_UTF8("operation", qauth_source_call_async(source, bad, NULL, ever, queue, on_string, &calls, NULL, &error));
    request.target = bad;
    NOT_UTF8("request.target", qauth_source_request(source, &request, &no_response, &error));
    request.target = "/orders";
    request.headers = wrong;
    request.header_count = 1;
    NOT_UTF8("request.headers[0].name", qauth_source_request(source, &request, &no_response, &error));
    request.headers = half;
    REFUSED(qauth_source_request(source, &request, &no_response, &error));
    request.headers = NULL;
    REFUSED(qauth_source_request(source, &request, &no_response, &error));
    request.header_count = 0;
    request.body_length = 3;
    REFUSED(qauth_source_request(source, &request, &no_response, &error));
    request.body = (const uint8_t *)"abc";
    request.body_length = (size_t)-1;
    REFUSED(qauth_source_request(source, &request, &no_response, &error));
    request.body_length = 0;
    request.struct_size = 0;
    REFUSED(qauth_source_request(source, &request, &no_response, &error));

    /* A handle of another type is refused and not freed. */
    REFUSED(qauth_source_token((qauth_source *)engine, ever, &no_token, &error));
    REFUSED(qauth_engine_source((qauth_engine *)source, "quiqup", &no_source, &error));
    REFUSED(qauth_source_invalidate(source, (qauth_token *)headers, &flag, &error));
    REFUSED(qauth_source_token_async(source, ever, (qauth_queue *)engine, on_token, &calls, NULL, &error));
    REFUSED(qauth_engine_on_event((qauth_engine *)queue, queue, on_event, &calls, NULL, &subscription, &error));
    REFUSED(qauth_engine_on_event(engine, (qauth_queue *)engine, on_event, &calls, NULL, &subscription, &error));
    REFUSED(qauth_engine_metrics((qauth_engine *)source, &no_string, &error));
    CHECK(qauth_event_kind((qauth_event *)source) == 0 && !qauth_event_error((qauth_event *)engine));
    qauth_subscription_free((qauth_subscription *)queue);
    CHECK(!qauth_token_access_token((qauth_token *)source) && !qauth_string_text((qauth_string *)token));
    CHECK(!qauth_error_message((qauth_error *)response) && qauth_error_code((qauth_error *)response) == QAUTH_INVALID_ARGUMENT);
    qauth_engine_free((qauth_engine *)source);
    qauth_source_free((qauth_source *)token);
    qauth_token_free((qauth_token *)engine);
    qauth_error_free((qauth_error *)queue);
    CHECK(strcmp(qauth_source_profile(source), "quiqup") == 0);
    REFUSED(qauth_source_token((qauth_source *)(void *)((char *)source + 1), ever, &no_token, &error));

    /* Nothing was written that should not be. */
    CHECK(!no_engine && !no_source && !no_token && !no_headers && !no_response && !no_string && !no_queue && !subscription && calls == 0);

    SUCCEEDS(qauth_source_token_async(source, ever, queue, on_token, &calls, &pending, &error));
    SUCCEEDS(qauth_queue_run(queue, 10000, &size, &error));
    CHECK(calls == 1 && size == 1);
    qauth_pending_cancel(pending);
    qauth_pending_cancel(pending);
    qauth_pending_free(pending);
    qauth_queue_free(queue);
    qauth_string_free(string);
    qauth_response_free(response);
    qauth_headers_free(headers);
    qauth_token_free(token);
    qauth_source_free(source);
    qauth_engine_free(engine);
    return done();
}
