/* The test recipes' application: small, quick to start, its state in a volume, its faults switched on from outside.
 *
 *   GET  /             title and version (APP_VERSION)
 *   GET  /healthz      200 or 503
 *   GET  /data/        the names of what is kept;  GET, PUT, DELETE /data/NAME  one of them
 *
 * Settings come from the environment; a line KEY=value in /etc/app.env (or APP_ENV_FILE) wins, if it has a value.
 *   PORT (8080)  APP_VERSION  APP_TITLE (cc-ci test app)  DATA_DIR (/data)  SECRETS_DIR (/run/secrets)
 *   MODE: any of these, joined by commas
 *     ok              nothing wrong
 *     crash           exit 1 at once              crash-after:N   exit 1 after N seconds
 *     never-healthy   /healthz says 503           slow:N          everything says 503 for N seconds
 *     broken          / says 500, /healthz 200    ignore-term     SIGTERM does nothing
 *     lose-data       empties /data at start      print-secret    prints each secret as it is, in base64 and in hex
 *     flood:N         N log lines at start
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
    int port, never_healthy, broken, ignore_term, print_secret, lose_data;
    long slow, crash_after, flood; /* seconds, seconds, lines; crash_after < 0: never */
    char version[128], title[128], data[PATH_MAX], secrets[PATH_MAX], mode[256];
} app;
static time_t started;

/* One write a line, so that lines of several processes do not mix. */
static void say(const char *format, ...) {
    char line[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n < 0) return;
    if (n > (int)sizeof line - 2) n = sizeof line - 2;
    line[n++] = '\n';
    if (write(1, line, n) < 0) return;
}

/* ---- settings ---- */

static void setting(const char *key, const char *fallback, char *value, size_t size) {
    const char *given = getenv(key);
    snprintf(value, size, "%s", given && *given ? given : fallback);
    const char *path = getenv("APP_ENV_FILE");
    FILE *file = fopen(path ? path : "/etc/app.env", "r");
    if (!file) return;
    char line[1024];
    size_t n = strlen(key);
    while (fgets(line, sizeof line, file)) {
        char *end = line + strlen(line);
        while (end > line && isspace((unsigned char)end[-1])) *--end = 0;
        if (!strncmp(line, key, n) && line[n] == '=' && line[n + 1]) snprintf(value, size, "%s", line + n + 1);
    }
    fclose(file);
}

static void read_mode(char *modes) {
    app.crash_after = -1;
    for (char *rest = modes, *mode; (mode = strsep(&rest, ","));) {
        char *colon = strchr(mode, ':');
        long n = colon ? atol(colon + 1) : 0;
        if (colon) *colon = 0;
        if (!strcmp(mode, "ok") || !*mode) continue;
        else if (!strcmp(mode, "crash")) app.crash_after = 0;
        else if (!strcmp(mode, "crash-after")) app.crash_after = n;
        else if (!strcmp(mode, "never-healthy")) app.never_healthy = 1;
        else if (!strcmp(mode, "slow")) app.slow = n;
        else if (!strcmp(mode, "broken")) app.broken = 1;
        else if (!strcmp(mode, "ignore-term")) app.ignore_term = 1;
        else if (!strcmp(mode, "print-secret")) app.print_secret = 1;
        else if (!strcmp(mode, "lose-data")) app.lose_data = 1;
        else if (!strcmp(mode, "flood")) app.flood = n;
        else { say("unknown MODE: %s", mode); exit(2); }
    }
}

static void read_settings(void) {
    char port[16], modes[256];
    setting("PORT", "8080", port, sizeof port);
    setting("APP_VERSION", "0", app.version, sizeof app.version);
    setting("APP_TITLE", "cc-ci test app", app.title, sizeof app.title);
    setting("DATA_DIR", "/data", app.data, sizeof app.data);
    setting("SECRETS_DIR", "/run/secrets", app.secrets, sizeof app.secrets);
    setting("MODE", "ok", app.mode, sizeof app.mode);
    app.port = atoi(port);
    snprintf(modes, sizeof modes, "%s", app.mode);
    read_mode(modes);
}

/* ---- faults at start ---- */

static void print_secret(const char *name, const unsigned char *bytes, size_t n) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char base64[1400], hex[2100], *b = base64, *h = hex;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = bytes[i] << 16 | (i + 1 < n ? bytes[i + 1] << 8 : 0) | (i + 2 < n ? bytes[i + 2] : 0);
        *b++ = alphabet[v >> 18];
        *b++ = alphabet[v >> 12 & 63];
        *b++ = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
        *b++ = i + 2 < n ? alphabet[v & 63] : '=';
    }
    for (size_t i = 0; i < n; i++) h += sprintf(h, "%02x", bytes[i]);
    *b = *h = 0;
    say("secret %s plain %.*s", name, (int)n, bytes);
    say("secret %s base64 %s", name, base64);
    say("secret %s hex %s", name, hex);
}

/* Calls `each` with every plain name in a directory. */
static void each_name(const char *path, void (*each)(const char *path, const char *name)) {
    DIR *directory = opendir(path);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (*entry->d_name != '.') each(path, entry->d_name);
    closedir(directory);
}

static void show_secret_file(const char *directory, const char *name) {
    char path[PATH_MAX + 300];
    unsigned char bytes[1000];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int file = open(path, O_RDONLY);
    if (file < 0) return;
    ssize_t n = read(file, bytes, sizeof bytes);
    close(file);
    while (n > 0 && bytes[n - 1] == '\n') n--;
    if (n > 0) print_secret(name, bytes, n);
}

static void remove_file(const char *directory, const char *name) {
    char path[PATH_MAX + 300];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    unlink(path);
}

/* ---- HTTP: one process a connection, one request a connection ---- */

static void respond(int client, int head, int status, const char *type, const char *body, size_t length) {
    const char *reason = status == 200 ? "OK" : status == 201 ? "Created" : status == 204 ? "No Content"
        : status == 404 ? "Not Found" : status == 405 ? "Method Not Allowed" : status == 411 ? "Length Required"
        : status == 503 ? "Service Unavailable" : status == 500 ? "Internal Server Error" : "Bad Request";
    dprintf(client, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nX-App-Version: %s\r\nConnection: close\r\n\r\n",
            status, reason, type, length, app.version);
    while (!head && length) {
        ssize_t n = write(client, body, length);
        if (n <= 0) return;
        body += n;
        length -= n;
    }
}

static int text(int client, int head, int status, const char *body) {
    respond(client, head, status, "text/plain; charset=utf-8", body, strlen(body));
    return status;
}

static int page(int client, int head) {
    char body[1024];
    if (app.broken) return text(client, head, 500, "broken, as asked\n");
    int n = snprintf(body, sizeof body,
        "<!doctype html>\n<html lang=\"en\"><title>%s</title>\n<h1>%s</h1>\n<p>version <b id=\"version\">%s</b></p>\n</html>\n",
        app.title, app.title, app.version);
    respond(client, head, 200, "text/html; charset=utf-8", body, n);
    return 200;
}

static char names[65536];
static void add_name(const char *directory, const char *name) {
    (void)directory;
    size_t used = strlen(names);
    if (used + strlen(name) + 2 < sizeof names) sprintf(names + used, "%s\n", name);
}

static int get_data(int client, int head, const char *path) {
    struct stat about;
    int file = open(path, O_RDONLY | O_NOFOLLOW);
    if (file < 0 || fstat(file, &about) || !S_ISREG(about.st_mode)) return text(client, head, 404, "no such file\n");
    respond(client, 1, 200, "application/octet-stream", NULL, about.st_size);
    char buffer[65536];
    for (ssize_t n; !head && (n = read(file, buffer, sizeof buffer)) > 0;)
        for (ssize_t sent = 0, w; sent < n; sent += w)
            if ((w = write(client, buffer + sent, n - sent)) <= 0) return 200;
    return 200;
}

/* `start` is what of the body came along with the head. The file appears whole or not at all. */
static int put_data(int client, const char *path, const char *start, size_t have, long long length) {
    char part[PATH_MAX + 400], buffer[65536];
    if (length < 0) return text(client, 0, 411, "Content-Length, please\n");
    const char *slash = strrchr(path, '/');
    snprintf(part, sizeof part, "%.*s/.part-%d-%s", (int)(slash - path), path, getpid(), slash + 1);
    int file = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) return text(client, 0, 500, "cannot write into the data directory\n");
    if ((long long)have > length) have = length;
    int good = write(file, start, have) == (ssize_t)have;
    length -= have;
    while (good && length > 0) {
        ssize_t n = read(client, buffer, length < (long long)sizeof buffer ? (size_t)length : sizeof buffer);
        good = n > 0 && write(file, buffer, n) == n;
        if (n > 0) length -= n;
    }
    good = good && !fsync(file);
    close(file);
    if (good) good = !rename(part, path);
    if (!good) unlink(part);
    return good ? text(client, 0, 201, "kept\n") : text(client, 0, 500, "not kept\n");
}

static int data(int client, const char *method, const char *name, const char *body, size_t have, long long length) {
    char path[PATH_MAX + 300];
    int head = !strcmp(method, "HEAD");
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c)) return text(client, head, 400, "names are letters, digits, . _ -\n");
    if (*name == '.' || strlen(name) > 200) return text(client, head, 400, "no such name\n");
    if (!*name) {
        each_name(app.data, add_name);
        return text(client, head, 200, names);
    }
    snprintf(path, sizeof path, "%s/%s", app.data, name);
    if (head || !strcmp(method, "GET")) return get_data(client, head, path);
    if (!strcmp(method, "PUT")) return put_data(client, path, body, have, length);
    if (!strcmp(method, "DELETE")) return unlink(path) ? text(client, 0, 404, "no such file\n") : (respond(client, 1, 204, "text/plain", "", 0), 204);
    return text(client, 0, 405, "GET, PUT or DELETE\n");
}

static const char *header(const char *request, const char *name) {
    for (const char *line = strstr(request, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, strlen(name))) return line + 2 + strlen(name);
    return NULL;
}

static int answer(int client, char *request, char *body, size_t have) {
    char *method = strsep(&request, " "), *path = strsep(&request, " ?\r");
    int head = !strcmp(method, "HEAD");
    if (!path || *path != '/') return text(client, 0, 400, "not a request\n");
    const char *rest = request ? request : "", *length = header(rest, "content-length:"), *expect = header(rest, "expect:");
    int status;
    if (time(NULL) - started < app.slow) status = text(client, head, 503, "starting\n");
    else if (!strcmp(path, "/healthz")) status = app.never_healthy ? text(client, head, 503, "never healthy, as asked\n") : text(client, head, 200, "ok\n");
    else if (!strcmp(path, "/")) status = page(client, head);
    else if (!strncmp(path, "/data/", 6)) {
        if (expect) dprintf(client, "HTTP/1.1 100 Continue\r\n\r\n");
        status = data(client, method, path + 6, body, have, length ? atoll(length) : -1);
    } else status = text(client, head, 404, "nothing here\n");
    say("%s %s %d", method, path, status);
    return status;
}

static void serve(int client) {
    static char request[16384];
    size_t have = 0;
    struct timeval patience = {.tv_sec = 20};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (;;) {
        ssize_t n = read(client, request + have, sizeof request - 1 - have);
        if (n <= 0) return;
        have += n;
        request[have] = 0;
        char *end = strstr(request, "\r\n\r\n");
        if (end) {
            *end = 0;
            answer(client, request, end + 4, request + have - end - 4);
            /* Let the peer close first: unread bytes would turn our close into a reset that eats the answer. */
            shutdown(client, SHUT_WR);
            char rest[4096];
            while (read(client, rest, sizeof rest) > 0) {}
            return;
        }
        if (have == sizeof request - 1) { text(client, 0, 400, "too long\n"); return; }
    }
}

static int listen_at(int port) {
    int on = 1, off = 0, listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (listener >= 0) {
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (!bind(listener, (struct sockaddr *)&six, sizeof six) && !listen(listener, 1024)) return listener;
        close(listener);
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&four, sizeof four) || listen(listener, 1024)) {
        say("cannot listen on port %d: %s", port, strerror(errno));
        exit(1);
    }
    return listener;
}

static void on_term(int signal) {
    (void)signal;
    if (write(1, "ending\n", 7)) {}
    _exit(0);
}

static void on_alarm(int signal) {
    (void)signal;
    if (write(1, "crashing, as asked\n", 19)) {}
    _exit(1);
}

int main(void) {
    /* As process 1 no signal has a default action: without a handler SIGTERM would be ignored. */
    signal(SIGTERM, on_term);
    signal(SIGINT, on_term);
    signal(SIGALRM, on_alarm);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* children are reaped by the kernel */
    started = time(NULL);
    read_settings();
    if (app.ignore_term) signal(SIGTERM, SIG_IGN);
    say("%s %s starts, mode %s", app.title, app.version, app.mode);
    if (app.print_secret) each_name(app.secrets, show_secret_file);
    for (long i = 0; i < app.flood; i++) say("flood line %ld of %ld", i + 1, app.flood);
    if (app.lose_data) each_name(app.data, remove_file);
    if (app.crash_after == 0) on_alarm(SIGALRM);
    if (app.crash_after > 0) alarm(app.crash_after);
    int listener = listen_at(app.port);
    say("listening on port %d", app.port);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        pid_t child = fork(); /* alarms are not inherited: only this process crashes */
        if (child == 0) {
            close(listener);
            signal(SIGTERM, SIG_DFL);
            serve(client);
            _exit(0);
        }
        if (child < 0) text(client, 0, 503, "too many connections\n");
        close(client);
    }
}
