/*
 * nodes.c: many boot clients of a Raspberry Pi 5 in one thread, as a load on an entrypoint.
 *
 * Why not the boot client of the tests: it judges one node strictly, but a fleet of it would need
 * more processor time than the entrypoint that is measured.  This one sends the same requests and
 * holds the same connections.
 *
 *     nodes boot ...     --nodes N, at once [--rate BYTES [--hurry S]] [--patience S] [--limit S]
 *                        [--restart S]: a boot that fails starts over after S seconds
 *     nodes load ...     --clients N, again and again: --what server|sig|img|boot --seconds S
 *     nodes probe ...    /walt-vpn/server every 100 ms, until standard input ends
 *     everywhere         --port PORT --host NAME --image FILE [--image FILE]... as given to walt
 *
 * What is checked: boot.sig must begin with the digest of the file that this node is to boot, and
 * every byte of boot.img is compared with that file as it arrives, which says what its SHA-256
 * would say and costs less.  With "load --what img" the kernel discards the bytes instead, and
 * their number is checked: there the entrypoint is to be the slowest.
 *
 * A node with a rate reads that many bytes a second through a window of 64 KiB, with a segment
 * size of 1460, so that what it has not read stays with the entrypoint, as with a distant node.
 * After S seconds it hurries, so that a run ends: images must be larger than what the kernel takes
 * from the entrypoint for a connection, which is more than 1 MiB on loopback.
 *
 * A node resumes as the firmware does: after a reset, or patience seconds without a byte, at most
 * twice without new data.  Whatever else fails a boot makes a board start over, but for a clean
 * close before the last byte: there it hangs.  Prints one line of JSON.
 */
#define _GNU_SOURCE
#include "image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IMAGES_MAX 64
#define BUFFER (256 * 1024)
#define WINDOW (64 * 1024)
#define SEGMENT 1460
#define RESUMES_MAX 2

/* Slow nodes read this often, in as many groups: so a tick serves one group. */
#define READ_EVERY 0.1
#define GROUPS 10

#define PROBE_EVERY 0.1
#define PROBE_PATIENCE 2.0      /* that of walt-server-setup */

typedef enum { FILE_SERVER, FILE_SIG, FILE_IMG } file;

typedef enum { NODE_CONNECTING, NODE_HEAD, NODE_BODY, NODE_PAUSING, NODE_BOOTED,
               NODE_FAILED } node_state;

typedef struct {
    unsigned number;
    const image *image;
    node_state state;
    file file;
    int fd;                     /* -1: none */
    char head[1024];            /* of the reply */
    size_t head_length;
    char small[1024];           /* body of a small file */
    size_t length;              /* of the whole file; what has come of it */
    size_t got;
    int resumes;                /* in a row without a new byte */
    double began, byte_at;      /* the exchange (load) or boot began; the last byte came */
    double first_byte;          /* seconds to the first byte of boot.img */
    double seconds;             /* of the whole boot */
    const char *why;            /* it failed */
} node;

static struct {
    int port;
    const char *host;
    int nodes;
    double rate, hurry, patience, limit, seconds;
    double restart;             /* boot: seconds until a failed one starts over; 0: it does not */
    file first, last;           /* files of an exchange */
    int again;                  /* load: a client that is done begins anew */
    int discard;
} option = { .nodes = 1, .hurry = 1e9, .patience = 50, .limit = 600, .seconds = 3,
             .last = FILE_IMG };

static image images[IMAGES_MAX];
static int image_count;
static node *nodes;
static int poller, unfinished;
static char buffer[BUFFER];

/* What load counts. */
static unsigned long long done, failed, resumed, restarted, received;
static double *latencies;
static size_t latency_count, latency_room;

static void note_latency(double seconds)
{
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 4096;
        latencies = realloc(latencies, latency_room * sizeof(double));
        if (!latencies)
            exit(2);
    }
    latencies[latency_count++] = seconds;
}

static int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return one < other ? -1 : one > other;
}

/* The value that this share of the latencies does not exceed; 0 when there are none. */
static double quantile(double share)
{
    if (latency_count == 0)
        return 0;
    qsort(latencies, latency_count, sizeof(double), by_size);
    return latencies[(size_t)(share * (double)(latency_count - 1) + 0.5)];
}

/* ------------------------------------------------------------------ connections */

/* As the firmware does: the node resets the connection when it has its last byte. */
static void hang_up(node *n)
{
    struct linger linger = { 1, 0 };

    if (n->fd >= 0) {
        setsockopt(n->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(n->fd);
    }
    n->fd = -1;
}

static int connect_to_entrypoint(int is_slow)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((in_port_t)option.port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int window = WINDOW, segment = SEGMENT;

    if (fd < 0)
        return -1;
    if (is_slow) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
        setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void fail(node *n, const char *why);

static const char hangs[] = "a clean close before the last byte: the board hangs";

/* Open the connection for n->file; what n->got says is there already. */
static void begin_file(node *n)
{
    struct epoll_event event = { EPOLLOUT, { .ptr = n } };

    n->state = NODE_CONNECTING;
    n->head_length = 0;
    n->byte_at = seconds_now();
    n->fd = connect_to_entrypoint(option.rate > 0);
    if (n->fd < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, n->fd, &event) != 0)
        fail(n, strerror(errno));
}

static void begin(node *n)
{
    n->file = option.first;
    n->began = seconds_now();
    n->first_byte = 0;
    n->got = 0;
    n->resumes = 0;
    begin_file(n);
}

static void fail(node *n, const char *why)
{
    hang_up(n);
    n->why = why;
    if (option.restart > 0 && why != hangs) {
        n->state = NODE_PAUSING;
        n->byte_at = seconds_now();
        restarted++;
        return;
    }
    n->state = NODE_FAILED;
    failed++;
    unfinished--;
}

/* The boot that failed a while ago starts over; it is the same one for those who wait for it. */
static void start_over(node *n)
{
    n->file = option.first;
    n->got = 0;
    n->resumes = 0;
    begin_file(n);
}

/* The connection broke, or nothing came for too long: try to go on where it stopped. */
static void resume(node *n, const char *why)
{
    hang_up(n);
    if (n->resumes == RESUMES_MAX) {
        fail(n, why);
        return;
    }
    n->resumes++;
    resumed++;
    begin_file(n);
}

static void finish_file(node *n)
{
    hang_up(n);
    if (n->file < option.last) {
        n->file++;
        n->got = 0;
        n->resumes = 0;
        begin_file(n);
        return;
    }
    n->seconds = seconds_now() - n->began;
    done++;
    if (option.again) {
        note_latency(n->seconds);
        begin(n);
        return;
    }
    n->state = NODE_BOOTED;
    unfinished--;
}

static void send_request(node *n)
{
    static const char *const names[] = { "server", "boot.sig", "boot.img" };
    struct epoll_event event = { EPOLLIN, { .ptr = n } };
    char request[512], range[64] = "", place[64] = "";
    int length;

    if (n->file != FILE_SERVER)
        sprintf(place, "per-ip/10-0-%u-%u/", n->number / 256, n->number % 256);
    if (n->got > 0)
        sprintf(range, "Range: bytes=%zu-\r\n", n->got);
    length = snprintf(request, sizeof(request),
                      "GET /walt-vpn/%s%s HTTP/1.1\r\nhost: %s\r\nConnection: close\r\n%s"
                      "User-Agent: rpiboot/1.0 (0; version:0badcafe timestamp:1790000000)\r\n\r\n",
                      place, names[n->file], option.host, range);
    if (send(n->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        resume(n, strerror(errno));
        return;
    }
    n->state = NODE_HEAD;
    /* The clock of slow nodes reads boot.img, not the poller. */
    if (option.rate > 0 && n->file == FILE_IMG)
        event.events = 0;
    epoll_ctl(poller, EPOLL_CTL_MOD, n->fd, &event);
}

/* ------------------------------------------------------------------ replies */

/* Compare the bytes of boot.img, or keep those of a small file; 0: failed. */
static int take_body(node *n, const char *bytes, size_t length)
{
    if (length > n->length - n->got) {
        fail(n, "more than Content-Length bytes");
        return 0;
    }
    if (n->file == FILE_IMG) {
        if (bytes && memcmp(bytes, n->image->bytes + n->got, length) != 0) {
            fail(n, "boot.img is not what boot.sig vouches for");
            return 0;
        }
        if (n->first_byte == 0 && length > 0)
            n->first_byte = seconds_now() - n->began;
    }
    else {
        memcpy(n->small + n->got, bytes, length);
    }
    n->got += length;
    received += length;
    if (length > 0)
        n->resumes = 0;
    if (n->got < n->length)
        return 1;
    if (n->file == FILE_SIG && memcmp(n->small, n->image->digest, 64) != 0)
        fail(n, "boot.sig vouches for another image");
    else if (n->file == FILE_SERVER && (n->length < 4 || memcmp(n->small, "walt", 4) != 0))
        fail(n, "not the name of the WalT server");
    else
        finish_file(n);
    return 0;
}

/* The head of the reply is whole; 0: failed. */
static int take_head(node *n)
{
    const char *field = strcasestr(n->head, "\r\ncontent-length: ");
    int status = 0;
    size_t length;

    sscanf(n->head, "HTTP/1.%*c %d", &status);
    if (status != (n->got > 0 ? 206 : 200) || !field) {
        fail(n, status != 200 && status != 206 ? "an error status" : "not the reply to a resume");
        return 0;
    }
    length = strtoul(field + 18, NULL, 10);
    n->length = n->got + length;
    if (n->file == FILE_IMG ? n->length != n->image->length : n->length >= sizeof(n->small)) {
        fail(n, "a wrong Content-Length");
        return 0;
    }
    n->state = NODE_BODY;
    return 1;
}

/* Read up to this many bytes of what is there. */
static void receive(node *n, size_t most)
{
    while (most > 0 && (n->state == NODE_HEAD || n->state == NODE_BODY)) {
        int to_nowhere = option.discard && n->file == FILE_IMG && n->state == NODE_BODY;
        size_t room = to_nowhere ? (size_t)16 * BUFFER : BUFFER;
        ssize_t got;
        char *end;

        if (n->state == NODE_HEAD)
            room = sizeof(n->head) - 1 - n->head_length;
        if (room == 0) {
            fail(n, "a head without end");
            return;
        }
        got = recv(n->fd, n->state == NODE_HEAD ? n->head + n->head_length : buffer,
                   room < most ? room : most, to_nowhere ? MSG_TRUNC : 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got < 0) {
            resume(n, strerror(errno));
            return;
        }
        if (got == 0) {
            fail(n, hangs);
            return;
        }
        n->byte_at = seconds_now();
        most -= (size_t)got;
        if (n->state == NODE_BODY) {
            if (!take_body(n, to_nowhere ? NULL : buffer, (size_t)got))
                return;
            /* One at a time, each in turn. */
            if (option.rate <= 0)
                return;
            continue;
        }
        n->head_length += (size_t)got;
        n->head[n->head_length] = '\0';
        if ((end = strstr(n->head, "\r\n\r\n"))) {
            end += 4;
            if (!take_head(n) || !take_body(n, end, n->head_length - (size_t)(end - n->head)))
                return;
        }
    }
}

static void handle(node *n, unsigned events)
{
    if (n->state == NODE_CONNECTING) {
        int error = 0;
        socklen_t length = sizeof(error);

        getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error)
            resume(n, strerror(error));
        else
            send_request(n);
    }
    else if (n->state == NODE_HEAD || n->state == NODE_BODY) {
        if (option.rate > 0 && n->file == FILE_IMG && !(events & EPOLLERR))
            return;             /* a hang-up: there may be bytes to read at its rate */
        receive(n, 16 * BUFFER);
    }
}

/* Let one group of the slow nodes read, and give up on those that nothing comes for. */
static void tick(int group)
{
    double now = seconds_now();
    int i;

    for (i = group; i < option.nodes; i += GROUPS) {
        node *n = &nodes[i];

        if (option.rate > 0 && n->file == FILE_IMG
            && (n->state == NODE_HEAD || n->state == NODE_BODY))
            receive(n, (size_t)(option.rate * READ_EVERY));
        if (n->state < NODE_PAUSING && now - n->byte_at > option.patience)
            resume(n, "nothing came any more");
        else if (n->state == NODE_PAUSING && now - n->byte_at > option.restart)
            start_over(n);
    }
}

/* From now on all nodes read what they can. */
static void hurry(void)
{
    int i;

    option.rate = 0;
    for (i = 0; i < option.nodes; i++) {
        struct epoll_event event = { EPOLLIN, { .ptr = &nodes[i] } };

        if (nodes[i].state == NODE_HEAD || nodes[i].state == NODE_BODY)
            epoll_ctl(poller, EPOLL_CTL_MOD, nodes[i].fd, &event);
    }
}

/* Until all have ended, or the time is over. */
static void run(double until)
{
    struct epoll_event events[256];
    double began = seconds_now(), next_tick = began;
    int i, count, group = 0;

    while (unfinished > 0) {
        double now = seconds_now();

        if (now >= until)
            return;
        if (option.rate > 0 && now - began >= option.hurry)
            hurry();
        if (now >= next_tick) {
            tick(group++ % GROUPS);
            next_tick += READ_EVERY / GROUPS;
        }
        count = epoll_wait(poller, events, 256,
                           next_tick > now ? (int)((next_tick - now) * 1000) + 1 : 0);
        for (i = 0; i < count; i++)
            handle(events[i].data.ptr, events[i].events);
    }
}

/* ------------------------------------------------------------------ the three modes */

static void start(void)
{
    int i;

    nodes = calloc((size_t)option.nodes, sizeof(node));
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!nodes || poller < 0)
        exit(2);
    unfinished = option.nodes;
    for (i = 0; i < option.nodes; i++) {
        nodes[i].number = (unsigned)i;
        nodes[i].image = image_of_node(images, image_count, (unsigned)i);
        begin(&nodes[i]);
    }
}

static const char *first_reason(void)
{
    int i;

    for (i = 0; i < option.nodes; i++) {
        if (nodes[i].why)
            return nodes[i].why;
    }
    return "";
}

/* The median of the seconds to the first byte of boot.img, of those who had one. */
static double median_first_byte(void)
{
    int i;

    latency_count = 0;
    for (i = 0; i < option.nodes; i++) {
        if (nodes[i].first_byte > 0)
            note_latency(nodes[i].first_byte);
    }
    return quantile(0.5);
}

static void boot(void)
{
    double began = seconds_now(), last_first_byte = 0;
    int i, served = 0;          /* had a byte of boot.img before they hurried */

    start();
    run(began + option.limit);
    for (i = 0; i < option.nodes; i++) {
        if (nodes[i].state == NODE_BOOTED)
            note_latency(nodes[i].seconds);
        if (nodes[i].first_byte > 0 && nodes[i].first_byte < option.hurry)
            served++;
        if (nodes[i].first_byte > last_first_byte)
            last_first_byte = nodes[i].first_byte;
    }
    printf("{\"booted\": %llu, \"served\": %d, \"failed\": %llu, \"late\": %d, \"resumes\": %llu, "
           "\"restarts\": %llu, \"seconds\": %.3f, \"first\": %.3f, \"median\": %.3f, "
           "\"last\": %.3f, \"last_first_byte\": %.3f, ", done, served, failed, unfinished, resumed,
           restarted, seconds_now() - began, quantile(0), quantile(0.5), quantile(1),
           last_first_byte);
    printf("\"median_first_byte\": %.3f, \"why\": \"%s\"}\n", median_first_byte(), first_reason());
}

static void load(void)
{
    double began, seconds;

    option.again = 1;
    began = seconds_now();
    start();
    run(began + option.seconds);
    seconds = seconds_now() - began;
    printf("{\"done\": %llu, \"failed\": %llu, \"resumes\": %llu, \"bytes\": %llu, "
           "\"seconds\": %.3f, \"p50\": %.6f, \"p99\": %.6f, \"max\": %.6f, "
           "\"why\": \"%s\"}\n", done, failed, resumed, received, seconds, quantile(0.5),
           quantile(0.99), quantile(1), first_reason());
}

/* Ask until standard input ends: each time on a connection of its own. */
static void probe(void)
{
    struct pollfd end = { STDIN_FILENO, POLLIN, 0 };
    double next = seconds_now();
    unsigned long long asked = 0;

    option.first = option.last = FILE_SERVER;
    option.patience = PROBE_PATIENCE;
    option.nodes = 1;
    start();
    for (;;) {
        double now;

        nodes[0].resumes = RESUMES_MAX;         /* no second try */
        run(seconds_now() + 2 * PROBE_PATIENCE);
        asked++;
        if (nodes[0].state == NODE_BOOTED)
            note_latency(nodes[0].seconds);
        now = seconds_now();
        while (next <= now)
            next += PROBE_EVERY;
        if (poll(&end, 1, (int)((next - now) * 1000)) > 0)
            break;
        unfinished = 1;
        begin(&nodes[0]);
    }
    printf("{\"asked\": %llu, \"failed\": %llu, \"p50\": %.6f, \"max\": %.6f, \"why\": \"%s\"}\n",
           asked, asked - latency_count, quantile(0.5), quantile(1), first_reason());
}

static int choose(const char *what)
{
    static const struct {
        const char *name;
        file first, last;
    } choices[] = {
        { "server", FILE_SERVER, FILE_SERVER },
        { "sig", FILE_SIG, FILE_SIG },
        { "img", FILE_IMG, FILE_IMG },
        { "boot", FILE_SIG, FILE_IMG }
    };
    size_t i;

    for (i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        if (strcmp(what, choices[i].name) == 0) {
            option.first = choices[i].first;
            option.last = choices[i].last;
            option.discard = option.first == FILE_IMG;
            return 1;
        }
    }
    return 0;
}

/* Read "--name value"; 0: not understood. */
static int take_option(const char *name, const char *value)
{
    if (strcmp(name, "--port") == 0)
        option.port = atoi(value);
    else if (strcmp(name, "--host") == 0)
        option.host = value;
    else if (strcmp(name, "--nodes") == 0 || strcmp(name, "--clients") == 0)
        option.nodes = atoi(value);
    else if (strcmp(name, "--rate") == 0)
        option.rate = atof(value);
    else if (strcmp(name, "--hurry") == 0)
        option.hurry = atof(value);
    else if (strcmp(name, "--patience") == 0)
        option.patience = atof(value);
    else if (strcmp(name, "--restart") == 0)
        option.restart = atof(value);
    else if (strcmp(name, "--limit") == 0)
        option.limit = atof(value);
    else if (strcmp(name, "--seconds") == 0)
        option.seconds = atof(value);
    else if (strcmp(name, "--what") == 0)
        return choose(value);
    else if (strcmp(name, "--image") == 0 && image_count < IMAGES_MAX)
        images[image_count++] = image_load(value);
    else
        return 0;
    return 1;
}

int main(int argc, char **argv)
{
    int i, good = argc >= 2 && argc % 2 == 0;

    option.first = FILE_SIG;
    for (i = 2; good && i + 1 < argc; i += 2)
        good = take_option(argv[i], argv[i + 1]);
    good = good && option.port > 0 && option.host && option.nodes > 0 && image_count > 0;
    signal(SIGPIPE, SIG_IGN);
    if (good && strcmp(argv[1], "boot") == 0)
        boot();
    else if (good && strcmp(argv[1], "load") == 0)
        load();
    else if (good && strcmp(argv[1], "probe") == 0)
        probe();
    else {
        fprintf(stderr, "what this understands is said at the top of nodes.c\n");
        return 2;
    }
    return 0;
}
