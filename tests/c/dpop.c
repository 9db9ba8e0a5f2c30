/* DPoP (RFC 9449) for a program that sends its requests itself: proofs by qauth_source_headers, answers by qauth_source_answered. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <strings.h>

static const uint64_t ever = QAUTH_TIMEOUT_DEFAULT;
static qauth_engine *engine;

/* What the API answered. */
struct answer {
    int status;
    char challenge[512], nonce[128], body[2048];
    uint64_t generation;
};

static const char *value(const qauth_headers *headers, const char *name)
{
    size_t i;
    for (i = 0; i < qauth_headers_count(headers); ++i)
        if (strcasecmp(qauth_headers_name(headers, i), name) == 0)
            return qauth_headers_value(headers, i);
    return NULL;
}

static void copy_header(const char *answer, const char *name, char *to, size_t size)
{
    const char *at = strstr(answer, name);
    size_t length = at ? strcspn(at + strlen(name), "\r") : 0;
    if (length >= size)
        length = size - 1;
    memcpy(to, at ? at + strlen(name) : "", length);
    to[length] = '\0';
}

/* One GET of the simulator's API as any HTTP client sends it, with fresh headers. */
static void send_request(qauth_source *source, const char *path, struct answer *answer)
{
    static char text[1 << 16];
    struct sockaddr_in address;
    qauth_headers *headers = NULL;
    const char *end;
    size_t used, i;
    ssize_t got;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(answer, 0, sizeof *answer);
    SUCCEEDS(qauth_source_headers(source, "GET", path, ever, &headers, &error));
    answer->generation = qauth_headers_generation(headers);
    used = (size_t)snprintf(text, sizeof text, "GET /generic%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", path,
                            sim_url() + strlen("http://"));
    for (i = 0; i < qauth_headers_count(headers); ++i)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s: %s\r\n", qauth_headers_name(headers, i),
                                 qauth_headers_value(headers, i));
    used += (size_t)snprintf(text + used, sizeof text - used, "\r\n");
    qauth_headers_free(headers);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(strrchr(sim_url(), ':') + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 || write(fd, text, used) != (ssize_t)used)
        exit(2);
    used = 0;
    while (used + 1 < sizeof text && (got = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    text[used] = '\0';
    answer->status = atoi(text + strlen("HTTP/1.1 "));
    copy_header(text, "\r\nwww-authenticate: ", answer->challenge, sizeof answer->challenge);
    copy_header(text, "\r\ndpop-nonce: ", answer->nonce, sizeof answer->nonce);
    end = strstr(text, "\r\n\r\n");
    snprintf(answer->body, sizeof answer->body, "%.2000s", end ? end + 4 : "");
}

static qauth_again note(qauth_source *source, const char *path, const struct answer *answer)
{
    qauth_again again = -1;
    SUCCEEDS(qauth_source_answered(source, path, answer->generation, answer->status, answer->challenge[0] ? answer->challenge : NULL,
                                   answer->nonce[0] ? answer->nonce : NULL, &again, &error));
    return again;
}

static void proofs_go_with_every_request(qauth_source *source)
{
    struct answer answer;
    qauth_headers *headers = NULL, *others = NULL;
    qauth_token *token = NULL;
    char buffer[64] = "x";

    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(strcmp(qauth_token_type(token), "DPoP") == 0);
    CHECK(strncmp(qauth_token_header_value(token), "DPoP ", 5) == 0);
    SUCCEEDS(qauth_source_headers(source, "GET", "/api/whoami", ever, &headers, &error));
    SUCCEEDS(qauth_source_headers(source, "GET", "/api/whoami", ever, &others, &error));
    CHECK(qauth_headers_count(headers) == 2 && qauth_headers_generation(headers) == qauth_token_generation(token));
    CHECK(value(headers, "authorization") && strcmp(value(headers, "authorization"), qauth_token_header_value(token)) == 0);
    /* A proof is for one request only. */
    CHECK(value(headers, "dpop") && value(others, "dpop") && strcmp(value(headers, "dpop"), value(others, "dpop")) != 0);
    qauth_headers_free(others);
    qauth_headers_free(headers);
    qauth_token_free(token);

    FAILS(QAUTH_UNSUPPORTED, qauth_source_header(source, buffer, sizeof buffer, NULL, &error));
    CHECK(strcmp(buffer, "x") == 0);

    send_request(source, "/api/whoami", &answer);
    CHECK(answer.status == 200 && note(source, "/api/whoami", &answer) == QAUTH_AGAIN_NO);
}

static void a_nonce_is_asked_for_once(qauth_source *source)
{
    const long before = sim_count("generic", "token_requests");
    struct answer answer;

    sim_post("dpop", "{\"require\": \"api\", \"mode\": \"keep\"}");
    send_request(source, "/api/whoami", &answer);
    CHECK(answer.status == 401 && answer.nonce[0] && strstr(answer.challenge, "use_dpop_nonce"));
    CHECK(note(source, "/api/whoami", &answer) == QAUTH_AGAIN_NONCE);
    send_request(source, "/api/whoami", &answer);
    CHECK(answer.status == 200 && note(source, "/api/whoami", &answer) == QAUTH_AGAIN_NO);

    /* One that comes with a success is for the next proof. */
    sim_post("dpop", "{\"mode\": \"rotate\"}");
    send_request(source, "/api/whoami", &answer);
    CHECK(answer.status == 200 && answer.nonce[0] && note(source, "/api/whoami", &answer) == QAUTH_AGAIN_NO);
    send_request(source, "/api/whoami", &answer);
    CHECK(answer.status == 200 && note(source, "/api/whoami", &answer) == QAUTH_AGAIN_NO);
    sim_post("dpop", "{\"require\": \"none\", \"mode\": \"keep\"}");
    CHECK(sim_count("generic", "token_requests") == before);
}

static void a_rejected_token_is_replaced(qauth_source *source)
{
    const long before = sim_count("generic", "token_requests");
    struct answer answer, again;

    sim_post("revoke", "{\"vendor\": \"generic\", \"tokens\": true}");
    send_request(source, "/api/whoami", &answer);
    CHECK(answer.status == 401 && note(source, "/api/whoami", &answer) == QAUTH_AGAIN_TOKEN);
    send_request(source, "/api/whoami", &again);
    CHECK(again.status == 200 && again.generation > answer.generation);
    CHECK(note(source, "/api/whoami", &again) == QAUTH_AGAIN_NO);
    CHECK(sim_count("generic", "token_requests") == before + 1);
}

static void answers_that_make_no_sense_are_refused(qauth_source *source)
{
    qauth_again again = -1;
#define REFUSED(call) FAILS(QAUTH_INVALID_ARGUMENT, call); CHECK(again == -1)
    REFUSED(qauth_source_answered(NULL, "/x", 1, 200, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered((qauth_source *)engine, "/x", 1, 200, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered(source, NULL, 1, 200, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered(source, "\xff", 1, 200, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered(source, "/x", 1, 200, "\xff", NULL, &again, &error));
    REFUSED(qauth_source_answered(source, "/x", 1, 200, NULL, "\xff", &again, &error));
    REFUSED(qauth_source_answered(source, "/x", 1, 0, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered(source, "/x", 1, -401, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered(source, "/x", 1, 65536 + 401, NULL, NULL, &again, &error));
    REFUSED(qauth_source_answered(source, "/x", 1, 200, NULL, NULL, (qauth_again *)(void *)((char *)&again + 1), &error));
    SUCCEEDS(qauth_source_answered(source, "/x", 1, 200, NULL, NULL, NULL, &error));
    /* A generation that was never given invalidates nothing. */
    SUCCEEDS(qauth_source_answered(source, "/x", 0, 401, NULL, NULL, NULL, &error));
    CHECK(qauth_headers_generation(NULL) == 0);
}

/* Without DPoP: a 401 is about the token; a static one has no successor. */
static void other_sources_take_answers_too(void)
{
    qauth_source *source = NULL;
    qauth_headers *headers = NULL;
    qauth_token *token = NULL;
    qauth_again again = -1;
    uint64_t generation;

    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    SUCCEEDS(qauth_source_headers(source, "GET", "/orders", ever, &headers, &error));
    generation = qauth_headers_generation(headers);
    qauth_headers_free(headers);
    SUCCEEDS(qauth_source_answered(source, "/orders", generation, 403, NULL, NULL, &again, &error));
    CHECK(again == QAUTH_AGAIN_NO);
    SUCCEEDS(qauth_source_answered(source, "/orders", generation, 401, "Bearer", "ignored", &again, &error));
    CHECK(again == QAUTH_AGAIN_TOKEN && !qauth_source_cached(source));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    CHECK(qauth_token_generation(token) > generation);
    qauth_token_free(token);
    qauth_source_free(source);

    SUCCEEDS(qauth_engine_source(engine, "quable-static", &source, &error));
    SUCCEEDS(qauth_source_token(source, ever, &token, &error));
    SUCCEEDS(qauth_source_answered(source, "/products", qauth_token_generation(token), 401, NULL, NULL, &again, &error));
    CHECK(again == QAUTH_AGAIN_NO);
    qauth_token_free(token);
    qauth_source_free(source);
}

int main(void)
{
    char profile[1024];
    qauth_source *source = NULL;

    snprintf(profile, sizeof profile,
             "[profiles.bound]\nprovider = \"oauth2\"\ndpop = true\ntoken_endpoint = \"%s/generic/token\"\n"
             "api_base_url = \"%s/generic\"\nclient_id = \"generic-post\"\nclient_secret = \"generic-post-secret-81d0\"\n"
             "client_auth = \"client_secret_post\"\n",
             sim_url(), sim_url());
    SUCCEEDS(qauth_engine_from_toml(sim_profiles(profile), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "bound", &source, &error));
    proofs_go_with_every_request(source);
    a_nonce_is_asked_for_once(source);
    a_rejected_token_is_replaced(source);
    answers_that_make_no_sense_are_refused(source);
    other_sources_take_answers_too();
    qauth_source_free(source);
    qauth_engine_free(engine);
    return done();
}
