/* All five vendors: a token, its texts, an API call; then what a program does with a source in its life. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <time.h>

static qauth_engine *engine;

static qauth_source *source_of(const char *profile)
{
    qauth_source *source = NULL;
    SUCCEEDS(qauth_engine_source(engine, profile, &source, &error));
    CHECK(source && strcmp(qauth_source_profile(source), profile) == 0);
    return source;
}

static qauth_token *token_of(const qauth_source *source)
{
    qauth_token *token = NULL;
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    return token;
}

static void each_vendor_gives_a_token_and_answers(const char *profile, const char *target, int64_t lifetime_s)
{
    qauth_source *source = source_of(profile);
    qauth_token *token = token_of(source), *again;
    qauth_request request = QAUTH_REQUEST_INIT;
    qauth_response *response = NULL;
    qauth_headers *headers = NULL;
    const char *value = qauth_token_header_value(token);

    CHECK(value && strncmp(value, "Bearer ", 7) == 0 && strcmp(value + 7, qauth_token_access_token(token)) == 0);
    if (lifetime_s < 0) {
        CHECK(qauth_token_expires_at_unix_s(token) == -1 && qauth_token_expires_in_ms(token) == -1);
    } else {
        const int64_t left = qauth_token_expires_in_ms(token);
        const int64_t end = qauth_token_expires_at_unix_s(token) - (int64_t)time(NULL);
        CHECK(left > (lifetime_s - 20) * 1000 && left <= lifetime_s * 1000);
        CHECK(end > lifetime_s - 20 && end <= lifetime_s + 1);
    }
    again = qauth_source_cached(source);
    CHECK(again && qauth_token_generation(again) == qauth_token_generation(token));
    qauth_token_free(again);

    request.method = "GET";
    request.target = target;
    SUCCEEDS(qauth_source_request(source, &request, &response, &error));
    CHECK(qauth_response_status(response) == 200);
    CHECK(qauth_response_body_length(response) == strlen((const char *)qauth_response_body(response)));
    CHECK(strstr(qauth_response_header(response, "CONTENT-type"), "application/json"));
    CHECK(qauth_response_header(response, "x-none") == NULL);
    CHECK(qauth_response_header_count(response) > 0 && qauth_response_header_name(response, 0) && qauth_response_header_value(response, 0));
    CHECK(!qauth_response_header_name(response, 999) && !qauth_response_header_value(response, (size_t)-1));
    qauth_response_free(response);

    SUCCEEDS(qauth_source_headers(source, "GET", target, 0, &headers, &error));
    CHECK(qauth_headers_count(headers) == (strcmp(profile, "quartile") == 0 ? 2 : 1));
    CHECK(strcmp(qauth_headers_name(headers, 0), "Authorization") == 0 && strcmp(qauth_headers_value(headers, 0), value) == 0);
    CHECK(!qauth_headers_name(headers, 2) && !qauth_headers_value(headers, 2));
    qauth_headers_free(headers);
    qauth_token_free(token);
    qauth_source_free(source);
}

static void one_header_is_copied_whole_or_not_at_all(void)
{
    qauth_source *source = source_of("quiqup");
    char buffer[256];
    size_t needed = 0;

    SUCCEEDS(qauth_source_header(source, buffer, sizeof buffer, &needed, &error));
    CHECK(needed == strlen(buffer) + 1 && strncmp(buffer, "Bearer ", 7) == 0);
    SUCCEEDS(qauth_source_header(source, buffer, needed, NULL, &error));

    memset(buffer, 'x', sizeof buffer);
    needed = 0;
    FAILS(QAUTH_BUFFER_TOO_SMALL, qauth_source_header(source, buffer, 10, &needed, &error));
    CHECK(needed == 72 && buffer[0] == '\0' && memchr(buffer + 1, 'B', sizeof buffer - 1) == NULL);
    FAILS(QAUTH_BUFFER_TOO_SMALL, qauth_source_header(source, buffer, needed - 1, NULL, &error));
    needed = 0;
    FAILS(QAUTH_BUFFER_TOO_SMALL, qauth_source_header(source, NULL, 0, &needed, &error));
    CHECK(needed == 72);
    qauth_source_free(source);

    source = source_of("quartile");
    FAILS(QAUTH_UNSUPPORTED, qauth_source_header(source, buffer, sizeof buffer, &needed, &error));
    qauth_source_free(source);
}

static void a_request_carries_query_headers_and_body(void)
{
    qauth_source *source = source_of("quiqup");
    const qauth_pair query[] = {{"a", "1 & 2"}, {"b", "\xc3\xa4"}};
    const qauth_pair headers[] = {{"X-Trace", "t-1"}, {"Content-Type", "text/plain"}};
    qauth_request request = QAUTH_REQUEST_INIT;
    qauth_response *response = NULL;
    const char *echo;

    request.method = "PUT";
    request.target = "/echo";
    request.query = query;
    request.query_count = 2;
    request.headers = headers;
    request.header_count = 2;
    request.body = (const uint8_t *)"hello";
    request.body_length = 5;
    SUCCEEDS(qauth_source_request(source, &request, &response, &error));
    echo = (const char *)qauth_response_body(response);
    CHECK(strstr(echo, "\"PUT\"") && strstr(echo, "t-1") && strstr(echo, "hello") && strstr(echo, "\"body_bytes\":5"));
    CHECK(strstr(echo, "a=1") && strstr(echo, "%C3%A4"));
    qauth_response_free(response);

    /* Refused before anything is sent: a header of qauth's own, another host, a bad method. */
    request.headers = (const qauth_pair[]){{"authorization", "canary"}};
    request.header_count = 1;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_request(source, &request, &response, &error));
    request.header_count = 0;
    request.target = "http://127.0.0.1:1/elsewhere";
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_request(source, &request, &response, &error));
    request.target = "/echo";
    request.method = "CONNECT";
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_request(source, &request, &response, &error));
    request.method = "GET";
    request.struct_size = sizeof request - 1;
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_request(source, &request, &response, &error));
    qauth_source_free(source);
}

static void an_operation_answers_as_json(void)
{
    qauth_source *source = source_of("qpay-person");
    qauth_string *result = NULL;

    SUCCEEDS(qauth_source_call(source, "whoami", NULL, QAUTH_TIMEOUT_DEFAULT, &result, &error));
    CHECK(strstr(qauth_string_text(result), "issuer-001") && strlen(qauth_string_text(result)) == qauth_string_length(result));
    qauth_string_free(result);
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call(source, "no-such", "{}", 0, &result, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call(source, "get_client", "\"canary\"", 0, &result, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call(source, "get_client", "{\"id\": canary", 0, &result, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_call(source, "get_client", "{}", QAUTH_TIMEOUT_DEFAULT, &result, &error));
    qauth_source_free(source);

    source = source_of("quartile");
    SUCCEEDS(qauth_source_call(source, "validate", NULL, QAUTH_TIMEOUT_DEFAULT, &result, &error));
    CHECK(strcmp(qauth_string_text(result), "true") == 0);
    qauth_string_free(result);
    sim_post("revoke", "{\"vendor\": \"quartile\", \"tokens\": true}");
    SUCCEEDS(qauth_source_call(source, "validate", NULL, QAUTH_TIMEOUT_DEFAULT, &result, &error));
    CHECK(strcmp(qauth_string_text(result), "false") == 0);
    qauth_string_free(result);
    qauth_source_free(source);
}

static void a_rejected_token_is_replaced(void)
{
    qauth_source *source = source_of("quantaprice");
    qauth_token *first = token_of(source), *second;
    bool acted = false;

    SUCCEEDS(qauth_source_invalidate(source, first, &acted, &error));
    CHECK(acted);
    CHECK(qauth_source_cached(source) == NULL);
    second = token_of(source);
    CHECK(qauth_token_generation(second) > qauth_token_generation(first));
    SUCCEEDS(qauth_source_invalidate(source, first, &acted, &error));
    CHECK(!acted);
    SUCCEEDS(qauth_source_invalidate_generation(source, qauth_token_generation(second), &acted, &error));
    CHECK(acted);
    SUCCEEDS(qauth_source_reset(source, &error));
    qauth_token_free(second);
    second = token_of(source);

    /* Counted: the texts live until the last owner is gone. */
    CHECK(qauth_token_retain(second) == second);
    qauth_token_free(second);
    CHECK(strncmp(qauth_token_header_value(second), "Bearer ey", 9) == 0);
    qauth_token_free(second);
    qauth_token_free(first);
    qauth_source_free(source);
}

static void a_wrong_secret_is_told_remembered_and_replaced(void)
{
    qauth_source *source = source_of("quiqup");
    qauth_token *token = NULL;
    qauth_error *refused = NULL;
    long before;

    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_update_json(source, NULL, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_source_update_json(source, "[\"canary\"]", &error));
    FAILS(QAUTH_CONFIG, qauth_source_update_json(source, "{\"no_such_key\": \"canary\"}", &error));
    SUCCEEDS(qauth_source_update_json(source, "{\"client_secret\": \"canary-wrong\"}", &error));

    before = sim_count("quiqup", "token_requests");
    CHECK(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &refused) == QAUTH_INVALID_CLIENT && !token);
    CHECK(qauth_error_code(refused) == QAUTH_INVALID_CLIENT && qauth_error_http_status(refused) == 401);
    CHECK(strcmp(qauth_error_profile(refused), "quiqup") == 0 && strcmp(qauth_error_provider(refused), "quiqup") == 0);
    CHECK(!qauth_error_retryable(refused) && strcmp(qauth_error_server_error(refused), "invalid_client") == 0);
    CHECK(strstr(qauth_error_message(refused), "401") && !strstr(qauth_error_message(refused), "canary"));
    qauth_error_free(refused);
    FAILS(QAUTH_INVALID_CLIENT, qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    CHECK(sim_count("quiqup", "token_requests") == before + 1);
    SUCCEEDS(qauth_source_reset(source, &error));
    FAILS(QAUTH_INVALID_CLIENT, qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    CHECK(sim_count("quiqup", "token_requests") == before + 2);

    SUCCEEDS(qauth_source_update_json(source, "{\"client_secret\": \"quiqup-secret-5f1c\"}", &error));
    token = token_of(source);
    qauth_token_free(token);
    qauth_source_free(source);
}

static void an_overloaded_server_says_when_to_come_back(void)
{
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    qauth_error *limited = NULL;

    /* Another key: the token of the first one would do for the same. */
    SUCCEEDS(qauth_engine_source_with_json(engine, "quantaprice",
                                           "{\"client_id\": \"b1b2c3d4e5f6a1b2c3d4e5f6\", \"client_secret\": "
                                           "\"fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\"}",
                                           &source, &error));
    sim_post("faults", "{\"vendor\": \"quantaprice\", \"endpoint\": \"token\", \"status\": 429, \"headers\": {\"Retry-After\": \"120\"}}");
    CHECK(qauth_source_token(source, 2000, &token, &limited) == QAUTH_RATE_LIMITED);
    CHECK(qauth_error_retryable(limited) && qauth_error_retry_after_ms(limited) > 100000);
    CHECK(qauth_error_http_status(limited) == 429 && !qauth_error_server_error_description(limited));
    qauth_error_free(limited);
    qauth_source_free(source);
}

static void sources_narrow_and_go(void)
{
    qauth_source *source = source_of("qpay"), *narrow = NULL, *same = NULL, *quable = source_of("quable");
    qauth_token *token;
    qauth_string *records = NULL;
    bool removed = false, cleared = false;

    SUCCEEDS(qauth_source_scoped(source, "cards", NULL, NULL, &narrow, &error));
    SUCCEEDS(qauth_source_scoped(source, "cards", NULL, NULL, &same, &error));
    token = token_of(narrow);
    CHECK(strcmp(qauth_token_scope(token), "email profile cards") == 0);
    qauth_token_free(token);
    token = qauth_source_cached(same);
    CHECK(token != NULL);
    qauth_token_free(token);
    FAILS(QAUTH_CONFIG, qauth_source_scoped(quable, "cards", NULL, NULL, &same, &error));

    SUCCEEDS(qauth_engine_records(engine, &records, &error));
    CHECK(strstr(qauth_string_text(records), "\"profile\":\"qpay\"") != NULL);
    qauth_string_free(records);
    SUCCEEDS(qauth_engine_clear(engine, "qpay", &cleared, &error));
    CHECK(cleared && qauth_source_cached(narrow) == NULL);
    SUCCEEDS(qauth_engine_clear(engine, "qpay", NULL, &error));

    SUCCEEDS(qauth_engine_remove(engine, "qpay", &removed, &error));
    CHECK(removed);
    SUCCEEDS(qauth_engine_remove(engine, "qpay", &removed, &error));
    CHECK(!removed);
    FAILS(QAUTH_CLOSED, qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    FAILS(QAUTH_CLOSED, qauth_source_token(narrow, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    qauth_source_free(source);
    source = source_of("qpay");
    qauth_token_free(token_of(source));
    qauth_source_free(source);
    qauth_source_free(same);
    qauth_source_free(narrow);
    qauth_source_free(quable);
}

static void lists_are_json(void)
{
    qauth_string *json = NULL;

    SUCCEEDS(qauth_engine_profiles_json(engine, &json, &error));
    CHECK(strstr(qauth_string_text(json), "\"quantaprice\",\"quiqup\",\"quable\",\"quable-static\",\"quartile\",\"qpay\",\"qpay-person\""));
    qauth_string_free(json);
    SUCCEEDS(qauth_providers_json(&json, &error));
    CHECK(strstr(qauth_string_text(json), "\"create_client\"") && strstr(qauth_string_text(json), "QUABLE_PASSWORD"));
    qauth_string_free(json);
    SUCCEEDS(qauth_engine_provider_json(engine, "quiqup", &json, &error));
    CHECK(strstr(qauth_string_text(json), "\"environments\":[\"production\",\"staging\",\"mock\"]"));
    qauth_string_free(json);
    FAILS(QAUTH_CONFIG, qauth_engine_provider_json(engine, "none", &json, &error));
}

int main(void)
{
    qauth_engine *other = NULL;
    qauth_source *source;
    qauth_token *token;
    FILE *file;

    SUCCEEDS(qauth_engine_from_toml(sim_profiles(""), &engine, &error));
    each_vendor_gives_a_token_and_answers("quantaprice", "/prices?sku=PRODUCT-001", 3600);
    each_vendor_gives_a_token_and_answers("quiqup", "/orders", 3600);
    each_vendor_gives_a_token_and_answers("quable", "/api/products", 3600);
    each_vendor_gives_a_token_and_answers("quable-static", "/api/products", -1);
    each_vendor_gives_a_token_and_answers("quartile", "/reports", 43200);
    each_vendor_gives_a_token_and_answers("qpay", "/cards", 300);
    one_header_is_copied_whole_or_not_at_all();
    a_request_carries_query_headers_and_body();
    an_operation_answers_as_json();
    a_rejected_token_is_replaced();
    a_wrong_secret_is_told_remembered_and_replaced();
    an_overloaded_server_says_when_to_come_back();
    sources_narrow_and_go();
    lists_are_json();

    /* After close: a clean error, and everything can still be freed. A token that was lent lives on. */
    source = source_of("quiqup");
    token = token_of(source);
    FAILS(QAUTH_UNSUPPORTED, qauth_engine_advance(engine, 1, &error));
    SUCCEEDS(qauth_engine_close(engine, &error));
    SUCCEEDS(qauth_engine_close(engine, &error));
    FAILS(QAUTH_CLOSED, qauth_engine_source(engine, "quiqup", &source, &error));
    qauth_engine_free(engine);
    CHECK(strncmp(qauth_token_header_value(token), "Bearer ", 7) == 0);
    CHECK(qauth_source_cached(source) == NULL);
    qauth_token_free(token);
    qauth_source_free(source);

    /* The other ways to make an engine. */
    SUCCEEDS(qauth_engine_new(&other, &error));
    qauth_engine_free(other);
    SUCCEEDS(qauth_engine_from_json("{\"testing\": {\"clock\": \"manual\"}}", &other, &error));
    SUCCEEDS(qauth_engine_advance(other, 0.5, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_engine_advance(other, -1, &error));
    FAILS(QAUTH_INVALID_ARGUMENT, qauth_engine_advance(other, 0.0 / 0.0, &error));
    qauth_engine_free(other);
    FAILS(QAUTH_CONFIG, qauth_engine_from_json("{\"profiles\": \"canary\"}", &other, &error));
    FAILS(QAUTH_CONFIG, qauth_engine_from_toml("[profiles.x]\nprovider = \"quiqup\"\nclient_secrte = \"canary\"\n[canary", &other, &error));
    FAILS(QAUTH_CONFIG, qauth_engine_from_file("/nowhere/qauth.toml", &other, &error));
    file = fopen("qauth.toml", "w");
    fputs(sim_profiles(""), file);
    fclose(file);
    SUCCEEDS(qauth_engine_from_file("qauth.toml", &other, &error));
    qauth_engine_free(other);
    setenv("QAUTH_CONFIG", "qauth.toml", 1);
    SUCCEEDS(qauth_engine_discover(&other, &error));
    SUCCEEDS(qauth_engine_source(other, "quiqup", &source, &error));
    qauth_engine_free(other);
    token = token_of(source);
    qauth_token_free(token);
    qauth_source_free(source);
    return done();
}
