/* The simulator as a test program drives it: its address, profiles for it, and its control API. */
#ifndef SIM_H
#define SIM_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline const char *sim_url(void)
{
    const char *url = getenv("QAUTH_SIM_URL");
    if (!url) {
        fprintf(stderr, "QAUTH_SIM_URL is not set\n");
        exit(2);
    }
    return url;
}

/* Sends one request to /_sim/<path> and returns the answer's body; static. */
static inline const char *sim_send(const char *method, const char *path, const char *body)
{
    static char answer[1 << 20];
    char request[4096];
    struct sockaddr_in address;
    size_t used = 0;
    ssize_t got;
    int length;
    const char *colon = strrchr(sim_url(), ':');
    const char *begin;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(colon + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("the simulator");
        exit(2);
    }
    length = snprintf(request, sizeof request, "%s /_sim/%s HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                      method, path, strlen(body), body);
    if (write(fd, request, (size_t)length) != length)
        exit(2);
    while (used + 1 < sizeof answer && (got = read(fd, answer + used, sizeof answer - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    answer[used] = '\0';
    begin = strstr(answer, "\r\n\r\n");
    if (!begin || strncmp(answer, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "the simulator: %s\n", answer);
        exit(2);
    }
    return begin + 4;
}

static inline void sim_post(const char *path, const char *body)
{
    sim_send("POST", path, body);
}

/* A counter of one vendor, for instance ("quiqup", "token_requests"). */
static inline long sim_count(const char *vendor, const char *counter)
{
    char key[64];
    const char *at = sim_send("GET", "state", "");
    snprintf(key, sizeof key, "\"%s\":{", vendor);
    at = strstr(at, key);
    snprintf(key, sizeof key, "\"%s\":", counter);
    at = at ? strstr(at, key) : NULL;
    return at ? atol(at + strlen(key)) : -1;
}

/* Waits until a counter is above a value: until a call that waits for its answer has reached the simulator. */
static inline void sim_wait_above(const char *vendor, const char *counter, long before)
{
    while (sim_count(vendor, counter) <= before)
        continue;
}

/* A configuration with a profile for each vendor, named after it, and more; `more` is put before. Static. */
static inline const char *sim_profiles(const char *more)
{
    static char toml[8192];
    const char *url = sim_url();
    snprintf(toml, sizeof toml,
             "%s\n"
             "[profiles.quantaprice]\nprovider = \"quantaprice\"\nbase_url = \"%s/quantaprice\"\n"
             "client_id = \"a1b2c3d4e5f6a1b2c3d4e5f6\"\n"
             "client_secret = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n"
             "[profiles.quiqup]\nprovider = \"quiqup\"\nbase_url = \"%s/quiqup\"\n"
             "client_id = \"quiqup-client\"\nclient_secret = \"quiqup-secret-5f1c\"\n"
             "[profiles.quable]\nprovider = \"quable\"\ninstance = \"acme\"\nbase_url = \"%s/quable/acme\"\n"
             "username = \"api_catalogue\"\npassword = \"quable-password-93aa\"\n"
             "[profiles.quable-static]\nprovider = \"quable\"\ninstance = \"acme\"\nbase_url = \"%s/quable/acme\"\n"
             "grant = \"static\"\ngeneric_token = \"generic-5c1d7a90f2e84b6f\"\n"
             "[profiles.quartile]\nprovider = \"quartile\"\nbase_url = \"%s/quartile\"\n"
             "username = \"ops@example.com\"\npassword = \"quartile-password-2b7e\"\n"
             "subscription_key = \"quartile-subscription-77c0\"\n"
             "[profiles.qpay]\nprovider = \"qpay\"\nbase_url = \"%s/qpay\"\n"
             "client_id = \"qpay-machine\"\nclient_secret = \"qpay-secret-e41d\"\n"
             "[profiles.qpay-person]\nprovider = \"qpay\"\nbase_url = \"%s/qpay\"\n"
             "grant = \"password\"\nusername = \"maria\"\npassword = \"qpay-password-08fd\"\n",
             more, url, url, url, url, url, url, url);
    return toml;
}

#endif
