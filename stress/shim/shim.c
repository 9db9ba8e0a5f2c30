/* Preloaded into a worker: stands between it and the C library at each call that changes files below one folder, or that
 * sends and receives on a connection. By its environment:
 *
 *   SHIM_FOLDER   the folder; calls on other files pass
 *   SHIM_KILL_AT  the process kills itself at this point; there is one before and one after each call, and one in the
 *                 middle of each write, where half of it is written
 *   SHIM_LOG      what was done is written here, a line each, for a model of what a power cut may leave of it
 *   SHIM_ERRNO    calls fail with this number ...
 *   SHIM_CALLS    ... those of them that are named here: o(pening to write), w(riting), d(urable files), n(ames, durable)
 *   SHIM_WHILE    ... for as long as this file is there
 *   SHIM_TELL     a line says on the standard output that a request goes out
 *   SHIM_WALL     the wall clock is ahead by so many seconds: tokens end without anybody waiting
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { OTHER, STORED, FOLDER, CONNECTION };

static char folder[PATH_MAX];
static size_t folder_length;
static long kill_at, point, wall;
static int log_fd = -1, error_number;
static const char *error_while, *error_calls, *tells;
/* What each descriptor is. */
static unsigned char kinds[4096];
/* Held over a call and its line in the log, so that the lines stand in the order of the calls. */
static pthread_mutex_t logging = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *text;
    if ((text = getenv("SHIM_FOLDER"))) {
        strncpy(folder, text, sizeof folder - 1);
        folder_length = strlen(folder);
    }
    if ((text = getenv("SHIM_KILL_AT"))) kill_at = atol(text);
    if ((text = getenv("SHIM_WALL"))) wall = atol(text);
    if ((text = getenv("SHIM_ERRNO"))) error_number = atoi(text);
    error_while = getenv("SHIM_WHILE");
    error_calls = getenv("SHIM_CALLS");
    tells = getenv("SHIM_TELL");
    if ((text = getenv("SHIM_LOG"))) log_fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void die(void) {
    for (;;) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

/* One place where a process may die. */
static void at_point(void) {
    if (kill_at && __atomic_add_fetch(&point, 1, __ATOMIC_SEQ_CST) == kill_at) die();
}

static enum kind kind_of(int fd) { return fd >= 0 && fd < (int)sizeof kinds ? kinds[fd] : OTHER; }
static void set_kind(int fd, enum kind kind) { if (fd >= 0 && fd < (int)sizeof kinds) kinds[fd] = kind; }
static int is_file(int fd) { enum kind kind = kind_of(fd); return kind == STORED || kind == FOLDER; }

static int is_inside(const char *path) {
    return folder_length && path && strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || !path[folder_length]);
}

/* Below the folder, without a slash before it. */
static const char *below(const char *path) { return path[folder_length] ? path + folder_length + 1 : "."; }

static int fails(char call) {
    if (!error_number || !error_while || !error_calls || !strchr(error_calls, call) || syscall(SYS_faccessat, AT_FDCWD, error_while, F_OK)) return 0;
    errno = error_number;
    return 1;
}

static void say(const char *line, size_t length) {
    while (length) {
        long written = syscall(SYS_write, log_fd, line, length);
        if (written <= 0) die();
        line += written;
        length -= (size_t)written;
    }
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    if (log_fd < 0) return;
    char line[2 * PATH_MAX];
    va_list given;
    va_start(given, format);
    int length = vsnprintf(line, sizeof line, format, given);
    va_end(given);
    say(line, (size_t)length);
}

static unsigned long long inode(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? (unsigned long long)found.st_ino : 0;
}

static void note_write(int fd, long long at, const unsigned char *bytes, long written) {
    if (log_fd < 0 || written <= 0) return;
    size_t size = 64 + 2 * (size_t)written;
    char *line = malloc(size);
    if (!line) die();
    size_t length = (size_t)snprintf(line, size, "write %llu %lld ", inode(fd), at);
    for (long byte = 0; byte < written; byte++) length += (size_t)snprintf(line + length, 3, "%02x", bytes[byte]);
    line[length++] = '\n';
    say(line, length);
    free(line);
}

#define DONE(call) ({ pthread_mutex_lock(&logging); __auto_type done = (call); done; })
#define END() pthread_mutex_unlock(&logging)

/* --- files ------------------------------------------------------------------------------------------------------- */

static int opened(int at, const char *path, int flags, mode_t mode) {
    if (at != AT_FDCWD || !is_inside(path)) {
        int fd = (int)syscall(SYS_openat, at, path, flags, mode);
        set_kind(fd, OTHER);
        return fd;
    }
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (writes && fails('o')) return -1;
    if (writes) at_point();
    int new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int fd = DONE((int)syscall(SYS_openat, at, path, flags, mode));
    int error = errno;
    if (fd >= 0) {
        struct stat found;
        int is_folder = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
        set_kind(fd, is_folder ? FOLDER : STORED);
        if (new) note("create %s %llu\n", below(path), inode(fd));
        else if (flags & O_TRUNC) note("truncate %llu 0\n", inode(fd));
    }
    END();
    if (writes) at_point();
    errno = error;
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list given; va_start(given, flags); mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(given, mode_t) : 0; va_end(given); \
        return opened(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        va_list given; va_start(given, flags); mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(given, mode_t) : 0; va_end(given); \
        return opened(at, path, flags, mode); \
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

/* --- writing, to a file or a connection --------------------------------------------------------------------------- */

static ssize_t written(int fd, const void *bytes, size_t length, long long at) {
    long place = at < 0 && log_fd >= 0 ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : (long)at;
    ssize_t done = at < 0 ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, at);
    int error = errno;
    if (kind_of(fd) == STORED) note_write(fd, place, bytes, done);
    else if (done > 0) note(kind_of(fd) == CONNECTION ? "send\n" : "told\n");
    errno = error;
    return done;
}

static ssize_t write_or_die(int fd, const void *bytes, size_t length, long long at) {
    enum kind kind = kind_of(fd);
    if (kind == OTHER && !(fd == 1 && log_fd >= 0)) return at < 0 ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, at);
    if (kind == STORED && fails('w')) return -1;
    if (kind != OTHER) at_point();
    if (kind == STORED && kill_at && __atomic_add_fetch(&point, 1, __ATOMIC_SEQ_CST) == kill_at) {
        written(fd, bytes, length / 2, at);
        die();
    }
    ssize_t done = DONE(written(fd, bytes, length, at));
    int error = errno;
    END();
    if (kind != OTHER) at_point();
    errno = error;
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) { return write_or_die(fd, bytes, length, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return write_or_die(fd, bytes, length, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { return write_or_die(fd, bytes, length, at); }

/* --- all others: a point before, the call, its line, a point after -------------------------------------------------- */

#define CALL(counted, call, ...) do { \
        if (!(counted)) return (call); \
        at_point(); \
        __auto_type result = DONE(call); \
        int error = errno; \
        if (result >= 0) { note(__VA_ARGS__); } \
        END(); \
        at_point(); \
        errno = error; \
        return result; \
    } while (0)

static const char *durable(int fd) { return kind_of(fd) == FOLDER ? "durable_names %llu\n" : "durable %llu\n"; }

#pragma GCC diagnostic ignored "-Wformat-nonliteral"
int fsync(int fd) { if (is_file(fd) && fails(kind_of(fd) == FOLDER ? 'n' : 'd')) return -1; CALL(is_file(fd), (int)syscall(SYS_fsync, fd), durable(fd), inode(fd)); }
int fdatasync(int fd) { if (is_file(fd) && fails(kind_of(fd) == FOLDER ? 'n' : 'd')) return -1; CALL(is_file(fd), (int)syscall(SYS_fdatasync, fd), durable(fd), inode(fd)); }
int ftruncate(int fd, off_t to) { CALL(is_file(fd), (int)syscall(SYS_ftruncate, fd, to), "truncate %llu %lld\n", inode(fd), (long long)to); }
int ftruncate64(int fd, off64_t to) { CALL(is_file(fd), (int)syscall(SYS_ftruncate, fd, to), "truncate %llu %lld\n", inode(fd), (long long)to); }

static int renamed(const char *from, const char *to, unsigned flags) {
    CALL(is_inside(from), (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags), "rename %s %s\n", below(from), below(to));
}
int rename(const char *from, const char *to) { return renamed(from, to, 0); }
int renameat2(int at, const char *from, int there, const char *to, unsigned flags) {
    if (at == AT_FDCWD && there == AT_FDCWD) return renamed(from, to, flags);
    return (int)syscall(SYS_renameat2, at, from, there, to, flags);
}

static int linked(const char *from, const char *to, int flags) {
    CALL(is_inside(to), (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, flags), "link %s %s\n", below(from), below(to));
}
int link(const char *from, const char *to) { return linked(from, to, 0); }
int linkat(int at, const char *from, int there, const char *to, int flags) {
    if (at == AT_FDCWD && there == AT_FDCWD) return linked(from, to, flags);
    return (int)syscall(SYS_linkat, at, from, there, to, flags);
}

int unlink(const char *path) { CALL(is_inside(path), (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), "unlink %s\n", below(path)); }
int mkdir(const char *path, mode_t mode) { if (is_inside(path) && fails('o')) return -1; CALL(is_inside(path), (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), "mkdir %s\n", below(path)); }
int futimens(int fd, const struct timespec times[2]) { CALL(is_file(fd), (int)syscall(SYS_utimensat, fd, NULL, times, 0), "%s", ""); }

static int controlled(int fd, int command, long given) {
    CALL(is_file(fd) && command == F_OFD_SETLK, (int)syscall(SYS_fcntl, fd, command, given), "%s", "");
}
#define FCNTL(name) int name(int fd, int command, ...) { \
        va_list list; va_start(list, command); long given = va_arg(list, long); va_end(list); \
        return controlled(fd, command, given); \
    }
FCNTL(fcntl) FCNTL(fcntl64)

static int closed(int fd) {
    int counted = is_file(fd);
    set_kind(fd, OTHER);
    CALL(counted, (int)syscall(SYS_close, fd), "%s", "");
}
int close(int fd) { return closed(fd); }

/* --- connections ---------------------------------------------------------------------------------------------------- */

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    if (to && (to->sa_family == AF_INET || to->sa_family == AF_INET6)) set_kind(fd, CONNECTION);
    return (int)syscall(SYS_connect, fd, to, length);
}

/* One line, in one write. */
static int sends(int fd) {
    static const char line[] = "{\"event\":\"sends\"}\n";
    if (kind_of(fd) != CONNECTION) return 0;
    if (tells) syscall(SYS_write, 1, line, sizeof line - 1);
    return 1;
}
#define SENDS(fd) sends(fd)
ssize_t send(int fd, const void *bytes, size_t length, int flags) { CALL(SENDS(fd), syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0), "send\n"); }
ssize_t writev(int fd, const struct iovec *parts, int count) { CALL(SENDS(fd), syscall(SYS_writev, fd, parts, count), "send\n"); }
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) { CALL(SENDS(fd), syscall(SYS_sendmsg, fd, message, flags), "send\n"); }

/* Only what arrived counts, and the process may die before it has looked at it. */
static ssize_t received(int fd, ssize_t count) {
    int error = errno;
    if (kind_of(fd) == CONNECTION && count > 0) {
        note("receive\n");
        at_point();
    }
    errno = error;
    return count;
}
ssize_t recv(int fd, void *bytes, size_t length, int flags) { return received(fd, syscall(SYS_recvfrom, fd, bytes, length, flags, NULL, NULL)); }
ssize_t recvmsg(int fd, struct msghdr *message, int flags) { return received(fd, syscall(SYS_recvmsg, fd, message, flags)); }
ssize_t read(int fd, void *bytes, size_t length) { return received(fd, syscall(SYS_read, fd, bytes, length)); }
ssize_t readv(int fd, const struct iovec *parts, int count) { return received(fd, syscall(SYS_readv, fd, parts, count)); }

/* --- time ------------------------------------------------------------------------------------------------------------ */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wall;
    return result;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
