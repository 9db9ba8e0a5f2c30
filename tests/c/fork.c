/* Fault 73: a child of fork uses what its parent made: the cached token at once, a fresh one over connections of its own. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <pthread.h>
#include <sys/wait.h>

enum { CHILDREN = 20 };

static qauth_engine *engine;
static qauth_source *source;
static int stop;

static void *storm(void *unused)
{
    char buffer[128];
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        qauth_token *token = NULL;
        qauth_source_header(source, buffer, sizeof buffer, NULL, NULL);
        if (qauth_source_token(source, 5000, &token, NULL) == QAUTH_OK)
            qauth_source_invalidate(source, token, NULL, NULL);
        qauth_source_reset(source, NULL);
        qauth_token_free(token);
    }
    return NULL;
}

/* In the child; its exit status says at which step it failed. */
static int child(void)
{
    char header[128];
    qauth_token *token = NULL, *fresh = NULL;
    bool acted = false;

    alarm(30);
    if (qauth_source_token(source, 10000, &token, NULL) != QAUTH_OK)
        return 1;
    if (qauth_source_invalidate(source, token, &acted, NULL) != QAUTH_OK || !acted)
        return 2;
    if (qauth_source_reset(source, NULL) != QAUTH_OK || qauth_source_token(source, 10000, &fresh, NULL) != QAUTH_OK)
        return 3;
    if (qauth_token_generation(fresh) <= qauth_token_generation(token))
        return 4;
    if (qauth_source_header(source, header, sizeof header, NULL, NULL) != QAUTH_OK || strncmp(header, "Bearer ", 7) != 0)
        return 5;
    qauth_token_free(fresh);
    qauth_token_free(token);
    qauth_source_free(source);
    if (qauth_engine_close(engine, NULL) != QAUTH_OK)
        return 6;
    qauth_engine_free(engine);
    return 0;
}

static void a_child_works(void)
{
    int status = -1;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(child());
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (status != 0)
        fprintf(stderr, "status %x\n", (unsigned)status);
    CHECK(status == 0);
}

int main(void)
{
    qauth_token *token = NULL;
    pthread_t threads[2];
    int i;

    SUCCEEDS(qauth_engine_from_toml(sim_profiles(""), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    /* Before anything was started, then after, then in the middle of everything. */
    a_child_works();
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    qauth_token_free(token);
    a_child_works();
    for (i = 0; i < 2; ++i)
        CHECK(pthread_create(&threads[i], NULL, storm, NULL) == 0);
    for (i = 0; i < CHILDREN; ++i)
        a_child_works();
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 2; ++i)
        pthread_join(threads[i], NULL);
    SUCCEEDS(qauth_source_reset(source, &error));
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    qauth_token_free(token);
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_close(engine, &error));
    qauth_engine_free(engine);
    return done();
}
