/*
 * walt.c: a stand-in WalT server that is never the bottleneck, behind a link of a given rate.
 *
 * The one of the tests (walt_server.py) behaves like the real one, but Python needs a processor
 * core for what a link of 1 Gb/s carries.  This one answers the three requests of a boot as facts
 * about the real server say (facts.md 2): Content-Length, no ETag, head and body written
 * separately.  The released version of WalT knows no Range; the coming one sends both files with
 * Last-Modified, and the first range that it is asked for.  All connections share the link, a piece
 * each in turn; a small reply goes at once, as fair queueing on a real link would have it.
 *
 *     walt [--version released|coming] --image FILE [--image FILE]...
 *
 * Node 10.0.A.B boots image number (256 A + B) modulo the number of images.  It says "port N", and
 * then obeys lines on its standard input until that ends:
 *
 *     rate BYTES      of the link, a second; 0: no limit (as at start)
 *     stats           answers "BYTES IMAGES OTHERS": written of bodies, and requests; from 0 again
 */
#define _GNU_SOURCE
#include "image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IMAGES_MAX 64
#define DESCRIPTORS_MAX 16384
#define PIECE (64 * 1024)

/* So much of the link's time may be caught up with when this program was not run in time. */
#define CATCH_UP 0.02

typedef struct connection connection;
struct connection {
    int fd;
    char head[2048];            /* of the request, as far as it has come */
    size_t head_length;
    const char *body;           /* what is left to send */
    size_t left;
    int keep;                   /* the connection stays after this reply */
    int queued;
    connection *next;           /* in the queue of those who can send */
};

static image images[IMAGES_MAX];
static char signatures[IMAGES_MAX][700];
static int image_count;
static int is_coming;           /* the version of WalT */
static connection *connections[DESCRIPTORS_MAX];
static connection *queue_first, *queue_last;
static int poller;

static double rate, tokens, tokens_at;
static unsigned long long bytes_written, image_requests, other_requests;

static void make_signature(int i)
{
    int length = sprintf(signatures[i], "%s\nts: 1790000000\nrsa2048: ", images[i].digest);

    memset(signatures[i] + length, 'a', 512);
    strcpy(signatures[i] + length + 512, "\n");
}

static void enqueue(connection *c)
{
    if (c->queued)
        return;
    c->queued = 1;
    c->next = NULL;
    if (queue_last)
        queue_last->next = c;
    else
        queue_first = c;
    queue_last = c;
}

static connection *dequeue(void)
{
    connection *c = queue_first;

    queue_first = c->next;
    if (!queue_first)
        queue_last = NULL;
    c->queued = 0;
    return c;
}

/* Close; one that is queued is freed when its turn comes. */
static void drop(connection *c)
{
    if (c->fd >= 0) {
        connections[c->fd] = NULL;
        close(c->fd);
        c->fd = -1;
    }
    if (!c->queued)
        free(c);
}

/* What is asked for, as body and length; NULL: not found. */
static const char *content(const char *head, size_t *length, int *is_sig)
{
    unsigned a, b;
    char name[9];
    int i;

    head = strchr(head, ' ') ? strchr(head, ' ') + 1 : "";      /* behind the method */
    if (sscanf(head, "/walt-vpn/per-ip/10-0-%u-%u/%8s ", &a, &b, name) == 3) {
        i = (int)(image_of_node(images, image_count, a * 256 + b) - images);
        if (strcmp(name, "boot.img") == 0) {
            image_requests++;
            *length = images[i].length;
            return images[i].bytes;
        }
        other_requests++;
        *length = strlen(signatures[i]);
        *is_sig = strcmp(name, "boot.sig") == 0;
        return *is_sig ? signatures[i] : NULL;
    }
    other_requests++;
    *length = strlen("walt.example.org\n");
    return strncmp(head, "/walt-vpn/server ", 17) == 0 ? "walt.example.org\n" : NULL;
}

/* The first byte and the number of bytes that "bytes=N-" or "bytes=N-M" asks for: 1; 0: no range
 * is asked for; -1: none of these bytes is there.  Nobody here asks for another form. */
static int range_of(const char *head, size_t size, size_t *first, size_t *length)
{
    const char *field = strcasestr(head, "\r\nrange: bytes=");
    size_t last = size - 1;

    if (!field)
        return 0;
    if (sscanf(field + 15, "%zu-%zu", first, &last) < 1 || *first >= size || last < *first)
        return -1;
    *length = (last < size ? last + 1 : size) - *first;
    return 1;
}

/* Write the head of the reply for what c->body and c->left say, whole or in part; its length. */
static int make_head(connection *c, char *head, int is_file, int is_sig)
{
    static const char missing[] = "not found\n";
    const char *status = c->body ? "200 OK" : "404 Not Found";
    char more[200] = "";
    size_t size = c->left, first = 0;
    int ranged = 0;

    if (!c->body) {
        c->body = missing;
        c->left = strlen(missing);
    }
    else if (is_coming && is_file) {
        ranged = range_of(c->head, size, &first, &c->left);
        sprintf(more, "Last-Modified: Sat, 01 Aug 2026 10:00:00 GMT\r\nAccept-Ranges: bytes\r\n");
    }
    if (ranged > 0) {
        status = "206 Partial Content";
        c->body += first;
        sprintf(more + strlen(more), "Content-Range: bytes %zu-%zu/%zu\r\n", first,
                first + c->left - 1, size);
    }
    else if (ranged < 0) {
        status = "416 Requested Range Not Satisfiable";
        c->left = 0;
        more[0] = '\0';
    }
    return sprintf(head, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
                   status,
                   is_coming && is_sig ? "application/pgp-signature" : "text/html; charset=UTF-8",
                   c->left, more, c->keep ? "" : "Connection: close\r\n");
}

/* Answer the request whose head is whole; 0: the connection is of no use any more. */
static int answer(connection *c)
{
    char head[512];
    int head_length, is_sig = 0;

    c->body = content(c->head, &c->left, &is_sig);
    c->keep = strstr(c->head, " HTTP/1.1\r\n") && !strcasestr(c->head, "\r\nconnection: close\r\n");
    head_length = make_head(c, head, strstr(c->head, "/per-ip/") != NULL, is_sig);
    if (strncmp(c->head, "HEAD ", 5) == 0)
        c->left = 0;
    if (send(c->fd, head, (size_t)head_length, MSG_NOSIGNAL) != head_length)
        return 0;
    if (c->left >= PIECE) {
        enqueue(c);
        return 1;
    }
    if (c->left > 0 && send(c->fd, c->body, c->left, MSG_NOSIGNAL) != (ssize_t)c->left)
        return 0;
    bytes_written += c->left;
    tokens -= (double)c->left;
    c->left = 0;
    return c->keep;
}

static void receive(connection *c)
{
    ssize_t got = 0;
    char *end;

    while (c->left == 0 && c->head_length < sizeof(c->head) - 1
           && (got = recv(c->fd, c->head + c->head_length, sizeof(c->head) - 1 - c->head_length,
                          0)) > 0) {
        c->head_length += (size_t)got;
        c->head[c->head_length] = '\0';
        if ((end = strstr(c->head, "\r\n\r\n"))) {
            c->head_length = 0;         /* nobody pipelines */
            if (!answer(c)) {
                drop(c);
                return;
            }
        }
    }
    if (c->left > 0 || (got < 0 && errno == EAGAIN))
        return;
    drop(c);
}

/* Its turn on the link: a piece. */
static void send_piece(connection *c)
{
    size_t length = c->left < PIECE ? c->left : PIECE;
    ssize_t sent;

    if (c->fd < 0) {
        drop(c);
        return;
    }
    sent = send(c->fd, c->body, length, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            drop(c);
        return;                 /* the poller tells when there is room again */
    }
    bytes_written += (unsigned long long)sent;
    tokens -= (double)sent;
    c->body += sent;
    c->left -= (size_t)sent;
    if (c->left > 0)
        enqueue(c);
    else if (c->keep)
        receive(c);
    else
        drop(c);
}

static void accept_all(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .fd = fd } };

        if (fd >= DESCRIPTORS_MAX || !(connections[fd] = calloc(1, sizeof(connection)))) {
            close(fd);
            continue;
        }
        connections[fd]->fd = fd;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* An order on standard input; 0: that has ended. */
static int obey(void)
{
    char line[100];
    ssize_t length = read(STDIN_FILENO, line, sizeof(line) - 1);

    if (length <= 0)
        return 0;
    line[length] = '\0';
    if (sscanf(line, "rate %lf", &rate) == 1) {
        tokens = 0;
        tokens_at = seconds_now();
    }
    else {
        printf("%llu %llu %llu\n", bytes_written, image_requests, other_requests);
        bytes_written = image_requests = other_requests = 0;
    }
    return 1;
}

static void refill(void)
{
    double now = seconds_now();

    tokens += (now - tokens_at) * rate;
    if (tokens > CATCH_UP * rate)
        tokens = CATCH_UP * rate;
    tokens_at = now;
}

static void serve(int listener)
{
    struct epoll_event events[256];
    int i, count, turns;

    for (;;) {
        count = epoll_wait(poller, events, 256, !queue_first ? -1 : rate > 0 && tokens <= 0);
        for (i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd == listener)
                accept_all(listener);
            else if (fd == STDIN_FILENO) {
                if (!obey())
                    return;
            }
            else if (connections[fd]) {
                if (connections[fd]->left == 0)
                    receive(connections[fd]);
                else
                    enqueue(connections[fd]);
            }
        }
        if (rate > 0)
            refill();
        for (turns = 0; queue_first && turns < 64 && (rate <= 0 || tokens > 0); turns++)
            send_piece(dequeue());
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct epoll_event event = { EPOLLIN, { .fd = STDIN_FILENO } };
    socklen_t length = sizeof(address);
    int i, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    for (i = 1; i + 1 < argc && image_count < IMAGES_MAX; i += 2) {
        if (strcmp(argv[i], "--version") == 0) {
            is_coming = strcmp(argv[i + 1], "coming") == 0;
            continue;
        }
        images[image_count] = image_load(argv[i + 1]);
        make_signature(image_count++);
    }
    if (image_count == 0 || bind(listener, (struct sockaddr *)&address, length) != 0
        || listen(listener, 4096) != 0
        || getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        fprintf(stderr, "usage: walt [--version coming] --image FILE [--image FILE]...\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    event.data.fd = listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("port %d\n", ntohs(address.sin_port));
    serve(listener);
    return 0;
}
