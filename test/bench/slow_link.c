/*
 * slow_link.c: a way to a server that is slow, shared by all, long, and breaks, as a test wants it.
 *
 *     slow_link --to PORT [--rate BYTES] [--queue BYTES] [--delay S] [--cut S]
 *
 * Connections to its port are carried to 127.0.0.1:PORT.  Requests cross at once.  Replies stand in
 * one queue, in the order in which they came, and cross at the rate (0: at once), each --delay
 * seconds after it came at the soonest.  Whoever sends an image keeps --queue bytes of it there
 * besides those that the delay holds, so each reply, however small, waits behind them, as behind the
 * full buffer of a router.
 *
 * Every --cut seconds, from the first connection on, all connections are reset at both ends, and
 * what stood in the queue is lost.
 *
 * It says "port N".  Each line on its standard input is answered with the bytes of replies that
 * have crossed since the line before; it ends with that input.
 */
#define _GNU_SOURCE
#include "image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE (16 * 1024)
#define REQUEST_MAX (16 * 1024)

/* So many bytes may have crossed to a client that does not take them. */
#define LANDED_MAX (256 * 1024)

/* Bytes that may be on their way where there is no rate. */
#define UNLIMITED_QUEUE (16.0 * 1024 * 1024)

/* So much of the link's time may be caught up with when this program was not run in time. */
#define CATCH_UP 0.02

typedef struct connection connection;
typedef struct piece piece;

/* One end of a connection, as the poller knows it. */
typedef struct {
    int fd;
    connection *owner;
} end;

typedef enum { PIECE_BYTES, PIECE_CLOSE, PIECE_RESET } piece_kind;

struct piece {
    piece_kind kind;
    connection *owner;
    double due;                 /* when it may cross */
    size_t length, written;
    piece *next;
    char bytes[];
};

typedef struct {
    piece *first, *last;
    size_t bytes;
} pieces;

struct connection {
    end client, server;
    char request[REQUEST_MAX];  /* what has not gone to the server yet */
    size_t request_length;
    pieces landed;              /* what has crossed, and the client has not taken yet */
    int in_link;                /* pieces in the link's queue */
    int is_readable;            /* the server may have sent more: it stands among the ready */
    int has_ended;              /* the server will send no more */
    int is_dead;
    connection *next, *before;  /* of all; of the dead, next alone */
    connection *next_ready;
};

static struct {
    int to;
    double rate, queue, delay, cut;
} option = { .queue = PIECE };

static int poller;
static connection *all, *dead, *ready_first, *ready_last;
static pieces link_queue;
static double tokens, tokens_at, next_cut;
static unsigned long long carried;

static void append(pieces *list, piece *p)
{
    p->next = NULL;
    if (list->last)
        list->last->next = p;
    else
        list->first = p;
    list->last = p;
    list->bytes += p->length;
}

static piece *take_first(pieces *list)
{
    piece *p = list->first;

    list->first = p->next;
    if (!list->first)
        list->last = NULL;
    list->bytes -= p->length;
    return p;
}

static void free_all(pieces *list)
{
    while (list->first)
        free(take_first(list));
}

/* ------------------------------------------------------------------ connections */

static void make_ready(connection *c)
{
    if (c->is_readable || c->has_ended || c->is_dead)
        return;
    c->is_readable = 1;
    c->next_ready = NULL;
    if (ready_last)
        ready_last->next_ready = c;
    else
        ready_first = c;
    ready_last = c;
}

static connection *take_ready(void)
{
    connection *c = ready_first;

    ready_first = c->next_ready;
    if (!ready_first)
        ready_last = NULL;
    c->is_readable = 0;
    return c;
}

/* End both of its ends.  What it has in the link crosses all the same, to nobody. */
static void drop(connection *c, int by_reset)
{
    struct linger linger = { 1, 0 };
    int fds[2] = { c->client.fd, c->server.fd }, i;

    if (c->is_dead)
        return;
    for (i = 0; i < 2; i++) {
        if (by_reset)
            setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(fds[i]);
    }
    c->is_dead = 1;
    free_all(&c->landed);
    if (c->before)
        c->before->next = c->next;
    else
        all = c->next;
    if (c->next)
        c->next->before = c->before;
    c->next = dead;
    dead = c;
}

/* Free the dead that stand in no queue.  Called when no event of theirs is left. */
static void bury(void)
{
    connection **place = &dead, *c;

    while ((c = *place)) {
        if (c->in_link || c->is_readable)
            place = &c->next;
        else {
            *place = c->next;
            free(c);
        }
    }
}

static int watch(end *e)
{
    struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLET, { .ptr = e } };

    return epoll_ctl(poller, EPOLL_CTL_ADD, e->fd, &event) == 0;
}

static void accept_all(int listener)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((in_port_t)option.to),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        connection *c = calloc(1, sizeof(*c));

        if (!c)
            exit(2);
        c->client.fd = fd;
        c->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        c->client.owner = c->server.owner = c;
        c->next = all;
        if (all)
            all->before = c;
        all = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(c->server.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if ((connect(c->server.fd, (struct sockaddr *)&address, sizeof(address)) != 0
             && errno != EINPROGRESS) || !watch(&c->client) || !watch(&c->server)) {
            drop(c, 1);
        }
        else if (next_cut == 0 && option.cut > 0)
            next_cut = seconds_now() + option.cut;
    }
}

/* Pass on what the client has sent, as far as there is room for it. */
static void carry_request(connection *c)
{
    for (;;) {
        size_t room = REQUEST_MAX - c->request_length;
        ssize_t got = room ? recv(c->client.fd, c->request + c->request_length, room, 0) : -1;
        ssize_t sent = 0;

        if (got == 0 || (got < 0 && room && errno != EAGAIN)) {
            drop(c, got < 0);
            return;
        }
        if (got > 0)
            c->request_length += (size_t)got;
        if (c->request_length > 0)
            sent = send(c->server.fd, c->request, c->request_length, MSG_NOSIGNAL);
        if (sent < 0 && errno == ECONNREFUSED) {
            drop(c, 1);
            return;
        }
        if (sent > 0) {
            c->request_length -= (size_t)sent;
            memmove(c->request, c->request + sent, c->request_length);
        }
        if (got <= 0 && sent <= 0)
            return;             /* the poller tells when either is possible */
    }
}

/* Let the client have what has crossed. */
static void deliver(connection *c)
{
    while (!c->is_dead && c->landed.first) {
        piece *p = c->landed.first;
        ssize_t sent;

        if (p->kind == PIECE_RESET) {
            drop(c, 1);
            return;
        }
        if (p->kind == PIECE_CLOSE) {
            shutdown(c->client.fd, SHUT_WR);    /* it closes, too, and then the connection ends */
            free(take_first(&c->landed));
            continue;
        }
        sent = send(c->client.fd, p->bytes + p->written, p->length - p->written, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                drop(c, 1);
            return;
        }
        p->written += (size_t)sent;
        if (p->written == p->length)
            free(take_first(&c->landed));
    }
    if (!c->is_dead && c->landed.bytes < LANDED_MAX)
        make_ready(c);
}

/* ------------------------------------------------------------------ the link */

/* Put the next piece of this reply into the queue; 0: there is none for now. */
static int enter(connection *c)
{
    piece *p = malloc(sizeof(*p) + PIECE);
    ssize_t got;

    if (!p)
        exit(2);
    got = recv(c->server.fd, p->bytes, PIECE, 0);
    if (got < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
        free(p);
        return 0;
    }
    c->has_ended = got <= 0;
    p->kind = got > 0 ? PIECE_BYTES : got == 0 ? PIECE_CLOSE : PIECE_RESET;
    p->owner = c;
    p->due = seconds_now() + option.delay;
    p->length = got > 0 ? (size_t)got : 0;
    p->written = 0;
    append(&link_queue, p);
    c->in_link++;
    return got > 0;
}

/* Fill the queue: a piece of each reply in turn. */
static void fill(void)
{
    double room = option.rate > 0 ? option.queue + option.rate * option.delay : UNLIMITED_QUEUE;

    while (ready_first && (double)link_queue.bytes < room) {
        connection *c = take_ready();

        if (!c->is_dead && c->landed.bytes < LANDED_MAX && enter(c))
            make_ready(c);
    }
}

/* Let cross what may by now. */
static void cross(void)
{
    double now = seconds_now();

    tokens += (now - tokens_at) * option.rate;
    if (tokens > CATCH_UP * option.rate)
        tokens = CATCH_UP * option.rate;
    tokens_at = now;
    while (link_queue.first && link_queue.first->due <= now && (option.rate <= 0 || tokens > 0)) {
        piece *p = take_first(&link_queue);
        connection *c = p->owner;

        tokens -= (double)p->length;
        carried += p->length;
        c->in_link--;
        if (c->is_dead)
            free(p);
        else {
            append(&c->landed, p);
            deliver(c);
        }
    }
}

static void cut(void)
{
    if (next_cut == 0 || seconds_now() < next_cut)
        return;
    next_cut += option.cut;
    while (link_queue.first) {
        piece *p = take_first(&link_queue);

        p->owner->in_link--;
        free(p);
    }
    while (all)
        drop(all, 1);
}

/* Milliseconds until something is to be done without an event; -1: never. */
static int pause_length(void)
{
    double now = seconds_now(), until = -1, seconds;

    if (link_queue.first) {
        until = link_queue.first->due - now;
        if (option.rate > 0 && -tokens / option.rate > until)
            until = -tokens / option.rate;
        if (until < 0)
            until = 0;
    }
    if (next_cut > 0) {
        seconds = next_cut - now > 0 ? next_cut - now : 0;
        if (until < 0 || seconds < until)
            until = seconds;
    }
    return until < 0 ? -1 : (int)(until * 1000) + 1;
}

static void handle(end *e, unsigned events)
{
    connection *c = e->owner;

    if (c->is_dead)
        return;
    if (e == &c->server) {
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            make_ready(c);
        if (events & EPOLLOUT)
            carry_request(c);
    }
    else {
        if (events & EPOLLOUT)
            deliver(c);
        if (!c->is_dead && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            carry_request(c);
    }
}

/* Tell what has crossed; 0: nobody asks any more. */
static int obey(void)
{
    char line[100];

    if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
        return 0;
    printf("%llu\n", carried);
    carried = 0;
    return 1;
}

static void serve(end *listener, end *input)
{
    struct epoll_event events[256];
    int i, count;

    tokens_at = seconds_now();
    for (;;) {
        count = epoll_wait(poller, events, 256, pause_length());
        for (i = 0; i < count; i++) {
            end *e = events[i].data.ptr;

            if (e == listener)
                accept_all(e->fd);
            else if (e != input)
                handle(e, events[i].events);
            else if (!obey())
                return;
        }
        cut();
        fill();
        cross();
        fill();
        bury();
    }
}

static int take_option(const char *name, const char *value)
{
    double number = atof(value);

    if (strcmp(name, "--to") == 0)
        option.to = atoi(value);
    else if (strcmp(name, "--rate") == 0)
        option.rate = number;
    else if (strcmp(name, "--queue") == 0)
        option.queue = number;
    else if (strcmp(name, "--delay") == 0)
        option.delay = number;
    else if (strcmp(name, "--cut") == 0)
        option.cut = number;
    else
        return 0;
    return 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    end listener = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), NULL };
    end input = { STDIN_FILENO, NULL };
    struct epoll_event event = { EPOLLIN, { .ptr = &input } };
    socklen_t length = sizeof(address);
    int i, good = argc % 2;

    for (i = 1; good && i + 1 < argc; i += 2)
        good = take_option(argv[i], argv[i + 1]);
    if (!good || option.to <= 0 || bind(listener.fd, (struct sockaddr *)&address, length) != 0
        || listen(listener.fd, 4096) != 0
        || getsockname(listener.fd, (struct sockaddr *)&address, &length) != 0) {
        fprintf(stderr, "what this understands is said at the top of slow_link.c\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    event.data.ptr = &listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener.fd, &event);
    printf("port %d\n", ntohs(address.sin_port));
    serve(&listener, &input);
    return 0;
}
