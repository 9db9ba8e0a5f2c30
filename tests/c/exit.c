/* Fault 74: a process that ends while a refresh token that rotates is under way stores its successor first. Each way to end
   is tried in a program of its own: this one, started again. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "sim.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

static qauth_engine *engine;
static qauth_source *source;

static void open_store(const char *folder)
{
    char store[512];
    snprintf(store, sizeof store, "[store]\nkind = \"file\"\npath = \"%s\"\n", folder);
    SUCCEEDS(qauth_engine_from_toml(sim_profiles(store), &engine, &error));
    SUCCEEDS(qauth_engine_source(engine, "quartile", &source, &error));
}

/* Waits for the renewal, as those do whom the end of the process finds. */
static void *waits(void *unused)
{
    qauth_token *token = NULL;
    (void)unused;
    qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, NULL);
    qauth_token_free(token);
    return NULL;
}

static void *closes(void *unused)
{
    waits(unused);
    qauth_source_free(source);
    qauth_engine_close(engine, NULL);
    qauth_engine_free(engine);
    return NULL;
}

static void *exits(void *unused)
{
    (void)unused;
    exit(0);
}

static void closes_at_exit(void)
{
    qauth_engine_close(engine, NULL);
}

static int child(const char *way, const char *folder, int tell)
{
    uint64_t generation;
    pthread_t thread;
    qauth_token *token = NULL;

    alarm(30);
    open_store(folder);
    if (strcmp(way, "atexit") == 0)
        atexit(closes_at_exit);
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    generation = qauth_token_generation(token);
    CHECK(write(tell, &generation, sizeof generation) == sizeof generation);
    SUCCEEDS(qauth_source_invalidate(source, token, NULL, &error));
    qauth_token_free(token);
    sim_post("settings", "{\"vendor\": \"quartile\", \"delay_ms\": 400}");
    pthread_create(&thread, NULL, strcmp(way, "pthread_exit") == 0 ? closes : waits, NULL);
    sim_wait_above("quartile", "token_requests", 1);
    if (failed)
        return 1;
    if (strcmp(way, "exit in a thread") == 0) {
        pthread_create(&thread, NULL, exits, NULL);
        waits(NULL);
        sleep(20);
    } else if (strcmp(way, "pthread_exit") == 0) {
        /* The process ends with its last thread: the engine's are joined by close. */
        pthread_exit(NULL);
    }
    return 0;
}

static void ends_well(const char *program, const char *way, const char *folder)
{
    int status = -1, ends[2];
    char tell[16];
    uint64_t old = 0;
    qauth_token *token = NULL;
    pid_t pid;

    CHECK(pipe(ends) == 0);
    snprintf(tell, sizeof tell, "%d", ends[1]);
    pid = fork();
    if (pid == 0) {
        execl(program, program, way, folder, tell, (char *)NULL);
        _exit(127);
    }
    CHECK(read(ends[0], &old, sizeof old) == sizeof old);
    close(ends[0]);
    close(ends[1]);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (status != 0)
        fprintf(stderr, "%s: status %x\n", way, (unsigned)status);
    CHECK(status == 0);
    /* The next process: what was under way has come, been stored, and is good. */
    open_store(folder);
    SUCCEEDS(qauth_source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, &error));
    CHECK(sim_count("quartile", "token_requests") == 2);
    CHECK(qauth_token_generation(token) > old);
    qauth_token_free(token);
    qauth_source_free(source);
    qauth_engine_free(engine);
    sim_post("reset", "");
}

int main(int count, char **arguments)
{
    static const char *const ways[] = {"return", "exit in a thread", "atexit", "pthread_exit"};
    char folder[64];
    size_t i;

    if (count == 4)
        return child(arguments[1], arguments[2], atoi(arguments[3]));
    for (i = 0; i < sizeof ways / sizeof *ways; ++i) {
        snprintf(folder, sizeof folder, "store-%u", (unsigned)i);
        ends_well(arguments[0], ways[i], folder);
    }
    return done();
}
