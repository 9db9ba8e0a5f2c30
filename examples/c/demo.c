/*
 * A token of every vendor, and a call of the vendor's API with it: what a C program does with libqauth.
 *
 *     cc demo.c $(pkg-config --cflags --libs qauth) && QAUTH_CONFIG=qauth.toml ./a.out
 *
 * Prints a line per vendor: its name, how many seconds the token lives, the status of the API call.
 */
#include <qauth.h>
#include <stdio.h>

static const char *const vendors[][2] = {
    {"quantaprice", "/prices?sku=PRODUCT-001"},
    {"quiqup", "/orders"},
    {"quable", "/api/products"},
    {"quartile", "/reports"},
    {"qpay", "/cards"},
};

/* Says what went wrong; the text holds no secret. */
static int fail(const char *what, qauth_error *error)
{
    fprintf(stderr, "%s: %s\n", what, qauth_error_message(error));
    qauth_error_free(error);
    return 1;
}

static int show(qauth_engine *engine, const char *vendor, const char *path)
{
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    qauth_response *response = NULL;
    qauth_error *error = NULL;
    qauth_request request = QAUTH_REQUEST_INIT;

    if (qauth_engine_source(engine, vendor, &source, &error) != QAUTH_OK)
        return fail(vendor, error);
    if (qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error) != QAUTH_OK) {
        qauth_source_free(source);
        return fail(vendor, error);
    }
    request.method = "GET";
    request.target = path;
    if (qauth_source_request(source, &request, &response, &error) == QAUTH_OK) {
        /* Half a second up: what is left of 3600 s a moment after is still 3600. */
        printf("%s %lld %d\n", vendor, (long long)(qauth_token_expires_in_ms(token) + 500) / 1000,
               (int)qauth_response_status(response));
    }
    qauth_response_free(response);
    qauth_token_free(token);
    qauth_source_free(source);
    return error ? fail(vendor, error) : 0;
}

int main(void)
{
    qauth_engine *engine = NULL;
    qauth_error *error = NULL;
    size_t i;
    int failed = 0;

    if (qauth_engine_discover(&engine, &error) != QAUTH_OK)
        return fail("configuration", error);
    for (i = 0; i < sizeof vendors / sizeof vendors[0]; i++)
        failed |= show(engine, vendors[i][0], vendors[i][1]);
    qauth_engine_free(engine);
    return failed;
}
