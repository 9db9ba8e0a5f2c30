/* Fault 73: a child of fork uses what its parent made: the cached token at once, a fresh one over connections of its own; and
   where they share a store, what others have put there. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <pthread.h>
#include <sys/wait.h>

enum { CHILDREN = 300 };

static qauth_engine *engine;
static qauth_source *source;
static int stop;
static bool shared; /* The store is: siblings' renewals are seen. */

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

static void *visit(void *unused)
{
    char buffer[128];
    qauth_source *again = NULL;
    (void)unused;
    qauth_engine_source(engine, "quiqup", &again, NULL);
    qauth_source_header(again, buffer, sizeof buffer, NULL, NULL);
    qauth_source_free(again);
    return NULL;
}

/* Threads that begin and end. */
static void *visits(void *unused)
{
    pthread_t thread;
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        if (pthread_create(&thread, NULL, visit, NULL) == 0)
            pthread_join(thread, NULL);
    return NULL;
}

/* In the child; its exit status says at which step it failed. */
static int child(void)
{
    char header[128];
    qauth_token *token = NULL, *fresh = NULL;
    bool acted = false;
    pthread_t thread;

    alarm(30);
    if (qauth_source_token(source, 10000, &token, NULL) != QAUTH_OK)
        return 1;
    /* With a store that is shared, the parent may have renewed since, and this token is not the current one. */
    if (qauth_source_invalidate(source, token, &acted, NULL) != QAUTH_OK || !(acted || shared))
        return 2;
    if (qauth_source_reset(source, NULL) != QAUTH_OK || qauth_source_token(source, 10000, &fresh, NULL) != QAUTH_OK)
        return 3;
    if (qauth_token_generation(fresh) <= qauth_token_generation(token))
        return 4;
    if (qauth_source_header(source, header, sizeof header, NULL, NULL) != QAUTH_OK || strncmp(header, "Bearer ", 7) != 0)
        return 5;
    /* A thread that its parent had not. */
    if (pthread_create(&thread, NULL, visit, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 6;
    qauth_token_free(fresh);
    qauth_token_free(token);
    qauth_source_free(source);
    if (qauth_engine_close(engine, NULL) != QAUTH_OK)
        return 7;
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

/* A child that becomes another program has nothing of its parent but the store. */
static int another_program(const char *store)
{
    qauth_token *token = NULL;
    const long before = sim_count("quiqup", "token_requests");

    alarm(30);
    SUCCEEDS(qauth_engine_from_toml(sim_profiles(store), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    CHECK(sim_count("quiqup", "token_requests") == before);
    qauth_token_free(token);
    qauth_source_free(source);
    qauth_engine_free(engine);
    return failed;
}

static void forks(const char *program, const char *store)
{
    qauth_token *token = NULL;
    pthread_t threads[3];
    void *(*const work[3])(void *) = {storm, storm, visits};
    int i, status = -1;
    pid_t pid;

    shared = *store != '\0';
    SUCCEEDS(qauth_engine_from_toml(sim_profiles(store), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "quiqup", &source, &error));
    /* Before anything was started, then after, then in the middle of everything. */
    a_child_works();
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    qauth_token_free(token);
    a_child_works();
    __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
    for (i = 0; i < 3; ++i)
        CHECK(pthread_create(&threads[i], NULL, work[i], NULL) == 0);
    for (i = 0; i < CHILDREN; ++i)
        a_child_works();
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 3; ++i)
        pthread_join(threads[i], NULL);
    SUCCEEDS(qauth_source_reset(source, &error));
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    qauth_token_free(token);
    if (*store) {
        pid = fork();
        if (pid == 0) {
            execl(program, program, store, (char *)NULL);
            _exit(127);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    }
    qauth_source_free(source);
    SUCCEEDS(qauth_engine_close(engine, &error));
    qauth_engine_free(engine);
}

int main(int count, char **arguments)
{
    if (count == 2)
        return another_program(arguments[1]);
    forks(arguments[0], "");
    forks(arguments[0], "[store]\nkind = \"file\"\npath = \"store\"\n");
    return done();
}
