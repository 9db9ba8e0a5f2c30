/* What every test program here begins with: checks that are counted, and errors that are looked at. */
#ifndef CHECK_H
#define CHECK_H

#include <qauth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

#define CHECK(condition) check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

static inline void check(int good, const char *what, const char *file, int line)
{
    if (good) {
        ++passed;
        return;
    }
    ++failed;
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

/* Every secret of the simulator's credentials: none may be in a text. */
static const char *const secrets[] = {
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "quiqup-secret-5f1c", "quable-password-93aa", "generic-5c1d7a90f2e84b6f", "quartile-password-2b7e",
    "quartile-subscription-77c0", "qpay-secret-e41d", "qpay-password-08fd", "canary",
};

static inline void check_text(const char *text, int line)
{
    size_t i;
    if (!text)
        return;
    for (i = 0; i < sizeof secrets / sizeof *secrets; ++i)
        check(!strstr(text, secrets[i]), secrets[i], text, line);
}

#define FAILS(expected, call)                                                                                          \
    do {                                                                                                               \
        qauth_error *error = NULL;                                                                                     \
        const qauth_code code = (call);                                                                                \
        check_failure((expected), code, error, #call, __LINE__);                                                       \
        qauth_error_free(error);                                                                                       \
    } while (0)

#define SUCCEEDS(call)                                                                                                 \
    do {                                                                                                               \
        qauth_error *error = NULL;                                                                                     \
        const qauth_code code = (call);                                                                                \
        if (code != QAUTH_OK)                                                                                          \
            fprintf(stderr, "%s\n", qauth_error_message(error));                                                       \
        check(code == QAUTH_OK && !error, #call, __FILE__, __LINE__);                                                  \
        qauth_error_free(error);                                                                                       \
    } while (0)

/* The code, the object's code and the text agree, and nothing that the error says holds a secret. */
static inline void check_failure(qauth_code expected, qauth_code code, const qauth_error *error, const char *call, int line)
{
    const char *message = qauth_error_message(error);
    if (code != expected)
        fprintf(stderr, "got %s, expected %s: %s\n", qauth_code_name(code), qauth_code_name(expected), message ? message : "");
    check(code == expected && error && qauth_error_code(error) == expected, call, __FILE__, line);
    check(message && strncmp(message, qauth_code_name(expected), strlen(qauth_code_name(expected))) == 0, call, __FILE__, line);
    check_text(message, line);
    check_text(qauth_error_server_error(error), line);
    check_text(qauth_error_server_error_description(error), line);
}

static inline int done(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}

#endif
