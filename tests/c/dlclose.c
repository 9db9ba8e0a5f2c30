/* Fault 74: dlclose while a refresh token that rotates is under way. The library stays, so that its threads keep their code,
   and the end of the process waits for the answer. Nothing here is linked with it. */
#define _POSIX_C_SOURCE 200809L
#include "sim.h"

#include <dlfcn.h>
#include <qauth.h>
#include <sys/wait.h>

static int passed, failed;

#define CHECK(condition) ((condition) ? (void)++passed : (void)(++failed, fprintf(stderr, "%d: %s\n", __LINE__, #condition)))

struct library {
    void *handle;
    qauth_code (*engine_from_toml)(const char *, qauth_engine **, qauth_error **);
    qauth_code (*engine_source)(qauth_engine *, const char *, qauth_source **, qauth_error **);
    qauth_code (*source_token)(const qauth_source *, uint64_t, qauth_token **, qauth_error **);
    qauth_code (*source_invalidate)(qauth_source *, const qauth_token *, bool *, qauth_error **);
    uint64_t (*token_generation)(const qauth_token *);
};

static void *symbol(const struct library *library, const char *name)
{
    void *found = dlsym(library->handle, name);
    CHECK(found);
    return found;
}

/* ISO C knows no pointer that is both data's and a function's; POSIX does. */
#define LOAD(name) (*(void **)&library.name = symbol(&library, "qauth_" #name))

static struct library load(qauth_source **source)
{
    struct library library;
    qauth_engine *engine = NULL;

    library.handle = dlopen("libqauth.so", RTLD_NOW | RTLD_LOCAL);
    CHECK(library.handle);
    LOAD(engine_from_toml);
    LOAD(engine_source);
    LOAD(source_token);
    LOAD(source_invalidate);
    LOAD(token_generation);
    CHECK(library.engine_from_toml(sim_profiles("[store]\nkind = \"file\"\npath = \"store\"\n"), &engine, NULL) == QAUTH_OK);
    CHECK(library.engine_source(engine, "quartile", source, NULL) == QAUTH_OK);
    return library;
}

static int child(int tell)
{
    uint64_t generation;
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    const struct library library = load(&source);

    alarm(30);
    CHECK(library.source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, NULL) == QAUTH_OK);
    generation = library.token_generation(token);
    CHECK(write(tell, &generation, sizeof generation) == sizeof generation);
    CHECK(library.source_invalidate(source, token, NULL, NULL) == QAUTH_OK);
    sim_post("settings", "{\"vendor\": \"quartile\", \"delay_ms\": 400}");
    CHECK(library.source_token(source, 1, &token, NULL) == QAUTH_TIMEOUT);
    sim_wait_above("quartile", "token_requests", 1);
    CHECK(dlclose(library.handle) == 0);
    CHECK(dlopen("libqauth.so", RTLD_NOW | RTLD_NOLOAD));
    return failed;
}

int main(void)
{
    int status = -1, ends[2];
    uint64_t old = 0;
    qauth_source *source = NULL;
    qauth_token *token = NULL;
    struct library library;
    pid_t pid;

    CHECK(pipe(ends) == 0);
    pid = fork();
    /* It has never seen the library, and ends by `exit`. */
    if (pid == 0)
        return child(ends[1]);
    CHECK(read(ends[0], &old, sizeof old) == sizeof old);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
    library = load(&source);
    CHECK(library.source_token(source, QAUTH_TIMEOUT_DEFAULT, &token, NULL) == QAUTH_OK);
    CHECK(library.token_generation(token) > old);
    CHECK(sim_count("quartile", "token_requests") == 2);
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
