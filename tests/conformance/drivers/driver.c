/* The C driver: each line becomes one call of qauth.h (see ../README.md for the protocol). */

#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qauth.h>

enum { MAX_FIELDS = 64, MAX_THREADS = 1000 };

/* What the driver holds between two lines. */
static qauth_engine *engine;
static qauth_source *source;
static qauth_token *token; /* the last one it got */
static qauth_queue *queue; /* of events alone */
static qauth_subscription *subscription;

/* A thread that asks for a token. */
typedef struct {
    pthread_t thread;
    const qauth_source *source;
    uint64_t timeout_ms;
    uint64_t min_remaining_ms;
    pthread_barrier_t *start;
    qauth_code code;
    qauth_token *token;
    qauth_error *error;
} asking;

static asking started;
static bool has_started;

/* ---- the protocol ---- */

static int hex(char c) { return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10; }

/* Splits a line at its tabs and decodes the fields, all in place. */
static int split(char *line, char **fields) {
    int count = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *rest = line; rest != NULL && count < MAX_FIELDS;) {
        char *field = rest, *end = strchr(rest, '\t'), *out = rest;
        rest = end == NULL ? NULL : end + 1;
        if (end != NULL) *end = '\0';
        for (char *in = field; *in != '\0'; out++) {
            if (*in == '%' && isxdigit((unsigned char)in[1]) && isxdigit((unsigned char)in[2])) {
                *out = (char)(hex(in[1]) * 16 + hex(in[2]));
                in += 3;
            } else {
                *out = *in++;
            }
        }
        *out = '\0';
        fields[count++] = field;
    }
    return count;
}

static void put_bytes(const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte > ' ' && byte < 0x7f && byte != '%') putchar(byte);
        else printf("%%%02X", byte);
    }
}

static void put(const char *text) { put_bytes(text, strlen(text)); }

static void value(const char *key, const char *text) {
    if (text == NULL) return;
    printf("\t%s=", key);
    put(text);
}

static void number(const char *key, double amount) { printf("\t%s=%.10g", key, amount); }

static void flag(const char *key, bool yes) { value(key, yes ? "true" : "false"); }

static void header(const char *name, const char *text) {
    printf("\theader.");
    put(name);
    putchar('=');
    put(text);
}

static void refused(qauth_code code, qauth_error *error) {
    printf("error");
    value("code", qauth_code_name(code));
    value("message", qauth_error_message(error));
    value("profile", qauth_error_profile(error));
    value("provider", qauth_error_provider(error));
    if (qauth_error_http_status(error) != 0) number("status", qauth_error_http_status(error));
    value("server_error", qauth_error_server_error(error));
    value("server_error_description", qauth_error_server_error_description(error));
    flag("retryable", qauth_error_retryable(error));
    if (qauth_error_retry_after_ms(error) >= 0) number("retry_after", (double)qauth_error_retry_after_ms(error) / 1000);
    value("answer", qauth_error_answer(error));
    qauth_error_free(error);
}

/* "ok", or the error. */
static bool answer(qauth_code code, qauth_error *error) {
    if (code == QAUTH_OK) printf("ok");
    else refused(code, error);
    return code == QAUTH_OK;
}

static void answer_token(qauth_code code, qauth_token *got, qauth_error *error) {
    if (!answer(code, error)) return;
    qauth_token_free(token);
    token = got;
    value("access_token", qauth_token_access_token(token));
    value("token_type", qauth_token_type(token));
    if (qauth_token_expires_in_ms(token) >= 0) number("expires_in", (double)qauth_token_expires_in_ms(token) / 1000);
    value("scope", qauth_token_scope(token));
    value("extras", qauth_token_extras_json(token));
}

/* ---- threads ---- */

static void *ask(void *argument) {
    asking *it = argument;
    if (it->start != NULL) pthread_barrier_wait(it->start);
    it->code = qauth_source_token_min(it->source, it->timeout_ms, it->min_remaining_ms, &it->token, &it->error);
    return NULL;
}

static asking prepare(const char *min_remaining, const char *timeout_ms) {
    asking it = {.source = source, .timeout_ms = QAUTH_TIMEOUT_DEFAULT};
    if (*timeout_ms != '\0') it.timeout_ms = strtoull(timeout_ms, NULL, 10);
    if (*min_remaining != '\0') it.min_remaining_ms = (uint64_t)(strtod(min_remaining, NULL) * 1000);
    return it;
}

static void concurrent(unsigned threads) {
    static asking all[MAX_THREADS];
    pthread_barrier_t start;
    unsigned ok = 0, distinct = 0;
    bool codes[256] = {false};
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    pthread_barrier_init(&start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        all[i] = prepare("", "");
        all[i].start = &start;
        if (pthread_create(&all[i].thread, NULL, ask, &all[i]) != 0) abort();
    }
    for (unsigned i = 0; i < threads; i++) pthread_join(all[i].thread, NULL);
    for (unsigned i = 0; i < threads; i++) {
        if (all[i].code != QAUTH_OK) {
            codes[all[i].code & 255] = true;
            continue;
        }
        bool seen = false;
        const char *text = qauth_token_access_token(all[i].token);
        for (unsigned j = 0; j < i && !seen; j++)
            seen = all[j].code == QAUTH_OK && strcmp(qauth_token_access_token(all[j].token), text) == 0;
        ok++;
        distinct += !seen;
    }
    printf("ok");
    number("ok", ok);
    number("distinct", distinct);
    printf("\terrors=");
    const char *comma = "";
    for (int code = 0; code < 256; code++) {
        if (!codes[code]) continue;
        printf("%s%s", comma, qauth_code_name(code));
        comma = ",";
    }
    for (unsigned i = 0; i < threads; i++) {
        qauth_token_free(all[i].token);
        qauth_error_free(all[i].error);
    }
    pthread_barrier_destroy(&start);
}

/* ---- a token function ---- */

/* What a function of a custom source gives: three texts for each result. */
typedef struct {
    unsigned count;
    char texts[MAX_FIELDS][256];
} script;

static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned custom_calls;

static void give(void *user_data, qauth_token_call *call) {
    const script *results = user_data;
    pthread_mutex_lock(&calls_lock);
    unsigned index = custom_calls++;
    pthread_mutex_unlock(&calls_lock);
    if (index >= results->count) index = results->count - 1;
    const char(*result)[256] = &results->texts[3 * index];
    if (result[2][0] != '\0') {
        qauth_code code = QAUTH_OK + 1;
        while (code < 100 && strcmp(qauth_code_name(code), result[2]) != 0) code++;
        qauth_token_call_fail(call, code, "the function says so", NULL);
        return;
    }
    qauth_custom_token made = QAUTH_CUSTOM_TOKEN_INIT;
    made.access_token = result[0];
    if (result[1][0] != '\0') made.expires_in_ms = (int64_t)(strtod(result[1], NULL) * 1000);
    qauth_token_call_give(call, &made, NULL);
}

/* ---- events ---- */

/* A JSON array that grows; its opening bracket is the first byte. */
static FILE *events;

/* A member of an object: a comma before all but the first. */
static void member(const char *name, const char *text) {
    fprintf(events, "%s\"%s\":\"", strcmp(name, "kind") == 0 ? "" : ",", name);
    for (const char *byte = text; *byte != '\0'; byte++) {
        if (*byte == '"' || *byte == '\\') fprintf(events, "\\%c", *byte);
        else if ((unsigned char)*byte < ' ') fprintf(events, "\\u%04x", (unsigned)*byte);
        else putc(*byte, events);
    }
    putc('"', events);
}

static const char *severity(const qauth_event *event) {
    switch (qauth_event_severity(event)) {
        case QAUTH_SEVERITY_DEBUG: return "debug";
        case QAUTH_SEVERITY_INFO: return "info";
        case QAUTH_SEVERITY_WARNING: return "warning";
        default: return "unknown";
    }
}

static void hear(void *user_data, const qauth_event *event) {
    const qauth_error *error = qauth_event_error(event);
    const uint64_t generation = qauth_event_generation(event);
    (void)user_data;
    fputs(ftell(events) > 1 ? ",{" : "{", events);
    member("kind", qauth_event_kind_name(qauth_event_kind(event)));
    member("severity", severity(event));
    member("profile", qauth_event_profile(event));
    member("provider", qauth_event_provider(event));
    member("reason", qauth_event_reason(event));
    fprintf(events, ",\"seconds\":%.10g", qauth_event_seconds(event));
    if (generation != 0) fprintf(events, ",\"generation\":%llu", (unsigned long long)generation);
    if (error != NULL) member("code", qauth_code_name(qauth_error_code(error)));
    putc('}', events);
}

static void do_events(void) {
    char *json = NULL;
    size_t size = 0;
    qauth_error *error = NULL;
    events = open_memstream(&json, &size);
    if (events == NULL) abort();
    putc('[', events);
    qauth_code code = qauth_queue_run(queue, 0, NULL, &error);
    putc(']', events);
    fclose(events);
    if (answer(code, error)) value("events", json);
    free(json);
}

static void do_metrics(void) {
    qauth_string *json = NULL, *text = NULL;
    qauth_error *error = NULL;
    qauth_code code = qauth_engine_metrics(engine, &json, &error);
    if (code == QAUTH_OK) code = qauth_engine_prometheus(engine, &text, &error);
    if (answer(code, error)) {
        value("metrics", qauth_string_text(json));
        value("prometheus", qauth_string_text(text));
    }
    qauth_string_free(json);
    qauth_string_free(text);
}

static void do_records(void) {
    qauth_string *json = NULL;
    qauth_error *error = NULL;
    qauth_code code = qauth_engine_records(engine, &json, &error);
    if (answer(code, error)) value("records", qauth_string_text(json));
    qauth_string_free(json);
}

/* ---- the commands ---- */

static void forget(void) {
    qauth_subscription_free(subscription);
    qauth_queue_free(queue);
    qauth_token_free(token);
    qauth_source_free(source);
    qauth_engine_close(engine, NULL);
    qauth_engine_free(engine);
    token = NULL;
    source = NULL;
    engine = NULL;
    queue = NULL;
    subscription = NULL;
}

static void make_engine(qauth_code (*make)(const char *, qauth_engine **, qauth_error **), const char *from) {
    qauth_error *error = NULL;
    forget();
    qauth_code code = make(from, &engine, &error);
    if (code == QAUTH_OK) code = qauth_queue_new(&queue, &error);
    if (code == QAUTH_OK) code = qauth_engine_on_event(engine, queue, hear, NULL, NULL, &subscription, &error);
    answer(code, error);
}

/* A new source takes the place of the old one. */
static void take(qauth_code code, qauth_source *made, qauth_error *error) {
    if (!answer(code, error)) return;
    qauth_source_free(source);
    source = made;
}

static const char *or_null(const char *text) { return *text == '\0' ? NULL : text; }

static void custom_source(char **field, int count) {
    qauth_error *error = NULL;
    qauth_source *made = NULL;
    script *results = calloc(1, sizeof *results);
    for (int i = 3; i < count && i + 2 < MAX_FIELDS; i += 3, results->count++)
        for (int j = 0; j < 3; j++)
            snprintf(results->texts[3 * results->count + j], sizeof results->texts[0], "%s", field[i + j]);
    custom_calls = 0;
    qauth_code code = qauth_engine_custom_source(engine, field[1], field[2], give, results, free, &made, &error);
    if (code != QAUTH_OK) free(results);
    take(code, made, error);
}

static bool on_engine(const char *command, char **field, int count) {
    qauth_error *error = NULL;
    qauth_source *made = NULL;
    if (strcmp(command, "source") == 0) {
        qauth_code code = qauth_engine_source(engine, field[1], &made, &error);
        take(code, made, error);
    } else if (strcmp(command, "source_with") == 0) {
        qauth_code code = qauth_engine_source_with_json(engine, field[1], field[2], &made, &error);
        take(code, made, error);
    } else if (strcmp(command, "custom_source") == 0) {
        custom_source(field, count);
    } else if (strcmp(command, "custom_calls") == 0) {
        if (answer(QAUTH_OK, NULL)) number("count", custom_calls);
    } else if (strcmp(command, "events") == 0) {
        do_events();
    } else if (strcmp(command, "metrics") == 0) {
        do_metrics();
    } else if (strcmp(command, "records") == 0) {
        do_records();
    } else if (strcmp(command, "clear") == 0) {
        bool cleared = false;
        qauth_code code = qauth_engine_clear(engine, field[1], &cleared, &error);
        if (answer(code, error)) flag("cleared", cleared);
    } else if (strcmp(command, "advance") == 0) {
        qauth_code code = qauth_engine_advance(engine, strtod(field[1], NULL), &error);
        answer(code, error);
    } else if (strcmp(command, "suspend") == 0) {
        qauth_code code = qauth_engine_suspend(engine, strtod(field[1], NULL), &error);
        answer(code, error);
    } else if (strcmp(command, "step_wall_clock") == 0) {
        qauth_code code = qauth_engine_step_wall_clock(engine, strtod(field[1], NULL), &error);
        answer(code, error);
    } else if (strcmp(command, "remove") == 0) {
        bool removed = false;
        qauth_code code = qauth_engine_remove(engine, field[1], &removed, &error);
        if (answer(code, error)) flag("removed", removed);
    } else {
        return false;
    }
    return true;
}

static void do_header(void) {
    char room[16384];
    size_t needed = 0;
    qauth_error *error = NULL;
    qauth_code code = qauth_source_header(source, room, sizeof room, &needed, &error);
    if (answer(code, error)) value("value", room);
}

static void do_headers(const char *method, const char *url) {
    qauth_headers *headers = NULL;
    qauth_error *error = NULL;
    qauth_code code = qauth_source_headers(source, method, url, QAUTH_TIMEOUT_DEFAULT, &headers, &error);
    if (!answer(code, error)) return;
    number("count", (double)qauth_headers_count(headers));
    for (size_t i = 0; i < qauth_headers_count(headers); i++)
        header(qauth_headers_name(headers, i), qauth_headers_value(headers, i));
    qauth_headers_free(headers);
}

static void do_request(char **field, int count) {
    qauth_request request = QAUTH_REQUEST_INIT;
    qauth_pair pairs[MAX_FIELDS / 2];
    qauth_response *response = NULL;
    qauth_error *error = NULL;
    request.method = field[1];
    request.target = field[2];
    if (*field[3] != '\0') {
        request.body = (const uint8_t *)field[3];
        request.body_length = strlen(field[3]);
    }
    for (int i = 4; i + 1 < count; i += 2)
        pairs[request.header_count++] = (qauth_pair){.name = field[i], .value = field[i + 1]};
    request.headers = pairs;
    qauth_code code = qauth_source_request(source, &request, &response, &error);
    if (!answer(code, error)) return;
    number("status", qauth_response_status(response));
    printf("\tbody=");
    put_bytes((const char *)qauth_response_body(response), qauth_response_body_length(response));
    for (size_t i = 0; i < qauth_response_header_count(response); i++)
        header(qauth_response_header_name(response, i), qauth_response_header_value(response, i));
    qauth_response_free(response);
}

static void do_call(const char *operation, const char *parameters, const char *save_as) {
    qauth_string *result = NULL;
    qauth_error *error = NULL;
    qauth_code code =
        qauth_source_call_saving(source, operation, parameters, save_as, QAUTH_TIMEOUT_DEFAULT, &result, &error);
    if (answer(code, error)) value("result", qauth_string_text(result));
    qauth_string_free(result);
}

static bool on_source(const char *command, char **field, int count) {
    qauth_error *error = NULL;
    if (strcmp(command, "token") == 0) {
        asking it = prepare(field[1], field[2]);
        ask(&it);
        answer_token(it.code, it.token, it.error);
    } else if (strcmp(command, "start") == 0 && !has_started) {
        started = prepare(field[1], field[2]);
        has_started = pthread_create(&started.thread, NULL, ask, &started) == 0;
        answer(QAUTH_OK, NULL);
    } else if (strcmp(command, "join") == 0 && has_started) {
        pthread_join(started.thread, NULL);
        has_started = false;
        answer_token(started.code, started.token, started.error);
    } else if (strcmp(command, "header") == 0) {
        do_header();
    } else if (strcmp(command, "headers") == 0) {
        do_headers(field[1], field[2]);
    } else if (strcmp(command, "request") == 0) {
        do_request(field, count);
    } else if (strcmp(command, "call") == 0) {
        do_call(field[1], field[2], or_null(field[3]));
    } else if (strcmp(command, "invalidate") == 0 && token != NULL) {
        bool acted = false;
        qauth_code code = qauth_source_invalidate(source, token, &acted, &error);
        if (answer(code, error)) flag("acted", acted);
    } else if (strcmp(command, "reset") == 0) {
        qauth_code code = qauth_source_reset(source, &error);
        answer(code, error);
    } else if (strcmp(command, "update") == 0) {
        qauth_code code = qauth_source_update_json(source, field[1], &error);
        answer(code, error);
    } else if (strcmp(command, "scoped") == 0) {
        qauth_source *made = NULL;
        qauth_code code =
            qauth_source_scoped(source, or_null(field[1]), or_null(field[2]), or_null(field[3]), &made, &error);
        take(code, made, error);
    } else if (strcmp(command, "concurrent") == 0) {
        concurrent((unsigned)strtoul(field[1], NULL, 10));
    } else {
        return false;
    }
    return true;
}

static void handle(char **field, int count) {
    if (strcmp(field[0], "engine") == 0) {
        make_engine(qauth_engine_from_json, field[1]);
    } else if (strcmp(field[0], "engine_from_file") == 0) {
        make_engine(qauth_engine_from_file, field[1]);
    } else if (strcmp(field[0], "close") == 0) {
        if (engine != NULL) qauth_engine_close(engine, NULL);
        answer(QAUTH_OK, NULL);
    } else if (engine == NULL || !on_engine(field[0], field, count)) {
        if (source == NULL || !on_source(field[0], field, count)) printf("unsupported");
    }
}

int main(void) {
    char *line = NULL;
    size_t size = 0;
    if (qauth_abi_version() != QAUTH_ABI_VERSION) return 3;
    while (getline(&line, &size, stdin) > 0) {
        static char nothing[1];
        char *field[MAX_FIELDS];
        for (int i = 0; i < MAX_FIELDS; i++) field[i] = nothing;
        int count = split(line, field);
        handle(field, count);
        putchar('\n');
        fflush(stdout);
    }
    free(line);
    forget();
    return 0;
}
