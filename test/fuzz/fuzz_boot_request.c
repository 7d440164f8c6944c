/*
 * fuzz_boot_request.c: libFuzzer's way into request/judge.c, and a second opinion on its verdicts.
 *
 * A path that is not below /walt-vpn/ is treated as servers treat it, in every order and as often as
 * three times: decoded, resolved with and without empty segments, freed of ;parameters, of bytes that
 * are no UTF-8.  What begins with /walt-vpn/ after any of this is to be called disguised.
 *
 * An input is such a path, and what stands behind /walt-vpn/ in a request target; the first '?'
 * begins the query.  Whatever the judgement finds no fault with is read here as servers read it: decoded up to three
 * times, with backslashes as slashes, without ;parameters, with and without the bytes that are no
 * UTF-8 (bottle 0.13 drops them).  In no reading may it lie outside /walt-vpn/, be a directory
 * below per-ip/ (overlays in a node's folder is one), or name a fake_requester_ip.  None of this
 * shares code or approach with request/judge.c.
 *
 *     make fuzz       (FUZZ_SECONDS=600)
 */
#include "request/judge.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Readings: decoded so many times at most. */
#define READINGS 3

/* A text that may hold NUL bytes. */
typedef struct {
    unsigned char *bytes;
    size_t length;
} text;

static void fail(const char *why, const char *rest, const char *query)
{
    fprintf(stderr, "judged acceptable, but %s: /walt-vpn/%s%s%s\n", why, rest, query ? "?" : "",
            query ? query : "");
    abort();
}

static text copy_of(const void *bytes, size_t length)
{
    text copy = { malloc(length + 1), length };

    memcpy(copy.bytes, bytes, length);
    copy.bytes[length] = '\0';
    return copy;
}

/* Decode %XX once, in place. */
static void decode(text *t)
{
    size_t from, to = 0;

    for (from = 0; from < t->length; from++, to++) {
        unsigned int byte;
        char digits[3] = { 0 }, *end;

        if (t->bytes[from] == '%' && from + 2 < t->length
            && strchr("0123456789abcdefABCDEF", t->bytes[from + 1]) && t->bytes[from + 1]) {
            memcpy(digits, t->bytes + from + 1, 2);
            byte = (unsigned int)strtoul(digits, &end, 16);
            if (end == digits + 2) {
                t->bytes[to] = (unsigned char)byte;
                from += 2;
                continue;
            }
        }
        t->bytes[to] = t->bytes[from];
    }
    t->length = to;
}

/* Length of the character at s if it is one of UTF-8, else 0: decoded, and the value judged. */
static size_t character(const unsigned char *s, size_t left)
{
    static const unsigned long least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3
                    : s[0] >> 3 == 30 ? 4 : 0, i;
    unsigned long value = length == 1 ? s[0] : s[0] & (0x7fu >> length);

    if (length == 0 || length > left)
        return 0;
    for (i = 1; i < length; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        value = value << 6 | (s[i] & 0x3f);
    }
    return value >= least[length] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff)
           ? length : 0;
}

/* Drop what is no UTF-8, in place. */
static void drop_invalid(text *t)
{
    size_t from = 0, to = 0;

    while (from < t->length) {
        size_t length = character(t->bytes + from, t->length - from);

        memmove(t->bytes + to, t->bytes + from, length);
        to += length;
        from += length ? length : 1;
    }
    t->length = to;
}

/*
 * Walk the path as a file system would, from /walt-vpn.  What is wrong with where it arrives;
 * NULL: nothing.
 */
static const char *walk(const text *path)
{
    size_t depth = 0, start = 0, i, below_per_ip = 0;
    int directory = 1, overlays = 0;

    for (i = 0; i <= path->length; i++) {
        const unsigned char *segment = path->bytes + start;
        const unsigned char *parameters;
        size_t length = i - start;

        if (i < path->length && path->bytes[i] == '\0')
            return "it holds a NUL byte";
        if (i < path->length && path->bytes[i] != '/' && path->bytes[i] != '\\')
            continue;
        start = i + 1;
        parameters = length ? memchr(segment, ';', length) : NULL;
        if (parameters)
            length = (size_t)(parameters - segment);
        directory = 1;
        if (length == 0 || (length == 1 && segment[0] == '.'))
            continue;
        if (length == 2 && memcmp(segment, "..", 2) == 0) {
            if (depth == 0)
                return "it leaves /walt-vpn/";
            depth--;
            continue;
        }
        if (depth == 0)
            below_per_ip = length == 6 && memcmp(segment, "per-ip", 6) == 0;
        depth++;
        directory = 0;
        overlays = length == 8 && memcmp(segment, "overlays", 8) == 0;
    }
    if (depth > 0 && below_per_ip && (directory || depth < 3 || (depth == 3 && overlays)))
        return "it is a directory below per-ip/";
    return NULL;
}

/* Does the query, parsed as Python's parse_qsl does it, have the argument? */
static int names_requester(const text *query)
{
    size_t start = 0, i;

    for (i = 0; i <= query->length; i++) {
        text key;
        unsigned char *end;
        int found;

        if (i < query->length && query->bytes[i] != '&' && query->bytes[i] != ';')
            continue;
        key = copy_of(query->bytes + start, i - start);
        start = i + 1;
        if ((end = memchr(key.bytes, '=', key.length)))
            key.length = (size_t)(end - key.bytes);
        decode(&key);
        drop_invalid(&key);
        found = key.length == strlen("fake_requester_ip")
                && memcmp(key.bytes, "fake_requester_ip", key.length) == 0;
        free(key.bytes);
        if (found)
            return 1;
    }
    return 0;
}

static void check_path(const char *rest, const char *query)
{
    text reading = copy_of(rest, strlen(rest));
    int n;

    for (n = 0; n <= READINGS; n++) {
        text valid = copy_of(reading.bytes, reading.length);
        const char *fault = walk(&reading);

        drop_invalid(&valid);
        if (fault || (fault = walk(&valid)))
            fail(fault, rest, query);
        free(valid.bytes);
        decode(&reading);
    }
    free(reading.bytes);
}

static void check_query(const char *rest, const char *query)
{
    text reading = copy_of(query, strlen(query));
    int n;

    for (n = 0; n < READINGS; n++) {
        if (names_requester(&reading))
            fail("it names a fake_requester_ip", rest, query);
        decode(&reading);
    }
    free(reading.bytes);
}

/* What is called plain is, byte for byte, what a node or the setup check asks for. */
static void check_plain(const boot_request *b, const char *rest, const char *query)
{
    unsigned int d[4];
    char expected[64];

    if (query)
        fail("it is called plain and has a query", rest, query);
    if (strcmp(rest, "server") == 0)
        return;
    if (sscanf(b->node, "%3u.%3u.%3u.%3u", d, d + 1, d + 2, d + 3) != 4
        || d[0] > 255 || d[1] > 255 || d[2] > 255 || d[3] > 255)
        fail("it is called plain and its node has no address", rest, query);
    snprintf(expected, sizeof(expected), "per-ip/%u-%u-%u-%u/boot.%s", d[0], d[1], d[2], d[3],
             b->file == BOOT_FILE_SIG ? "sig" : "img");
    if (strcmp(rest, expected) != 0)
        fail("it is called plain and is not", rest, query);
}

/* A path that is taken for one below /walt-vpn/ is one. */
static void check_prefix(const char *path)
{
    const char *rest = boot_request_rest(path);
    text start;

    if (!rest)
        return;
    start = copy_of(path, (size_t)(rest - path));
    decode(&start);
    if (start.length != strlen(BOOT_PREFIX) || memcmp(start.bytes, BOOT_PREFIX, start.length) != 0)
        fail("it is not below /walt-vpn/", path, NULL);
    free(start.bytes);
}

static void to_slashes(text *t)
{
    size_t i;

    for (i = 0; i < t->length; i++)
        t->bytes[i] = t->bytes[i] == '\\' ? '/' : t->bytes[i];
}

static void drop_parameters(text *t)
{
    size_t from, to = 0;
    int within = 0;

    for (from = 0; from < t->length; from++) {
        within = t->bytes[from] == ';' || (within && t->bytes[from] != '/');
        if (!within)
            t->bytes[to++] = t->bytes[from];
    }
    t->length = to;
}

/* Resolve dots; merging: empty segments are none. */
static void resolve(text *t, int merging)
{
    size_t from = 1, to = 0;

    if (t->length == 0 || t->bytes[0] != '/')
        return;
    while (from <= t->length) {
        const unsigned char *end = memchr(t->bytes + from, '/', t->length - from);
        size_t length = end ? (size_t)(end - t->bytes) - from : t->length - from;
        int is_back = length == 2 && memcmp(t->bytes + from, "..", 2) == 0;

        if (is_back) {
            while (to > 0 && t->bytes[--to] != '/')
                continue;
        }
        else if (!(length == 1 && t->bytes[from] == '.') && !(length == 0 && merging && end)) {
            memmove(t->bytes + to + 1, t->bytes + from, length);
            t->bytes[to] = '/';
            to += length + 1;
        }
        from += length + 1;
    }
    t->length = to;
}

static void merge(text *t)
{
    resolve(t, 1);
}

static void keep(text *t)
{
    resolve(t, 0);
}

/* Does this text, or what servers make of it, begin with /walt-vpn/? */
static int can_lead_below(const text *path, int decodings, int *budget)
{
    static void (*const ways[])(text *) = { decode, drop_invalid, drop_parameters, to_slashes, merge, keep };
    size_t i;
    int found = 0;

    if (path->length >= strlen(BOOT_PREFIX) && memcmp(path->bytes, BOOT_PREFIX, strlen(BOOT_PREFIX)) == 0)
        return 1;
    for (i = 0; i < sizeof(ways) / sizeof(ways[0]) && !found && --*budget > 0; i++) {
        text next = copy_of(path->bytes, path->length);

        ways[i](&next);
        if ((next.length != path->length || memcmp(next.bytes, path->bytes, next.length) != 0)
            && (i > 0 || decodings < READINGS))
            found = can_lead_below(&next, decodings + (i == 0), budget);
        free(next.bytes);
    }
    return found;
}

static void check_disguise(const char *path)
{
    text copy = copy_of(path, strlen(path)), plain = copy_of(path, strlen(path));
    int budget = 500;

    if (!boot_request_rest(path) && !boot_request_is_disguised((char *)copy.bytes)
        && can_lead_below(&plain, 0, &budget)) {
        fprintf(stderr, "judged no disguise of a path below /walt-vpn/, but some server takes it for one: %s\n", path);
        abort();
    }
    free(copy.bytes);
    free(plain.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text input = copy_of(data, size);
    char *rest = (char *)input.bytes, *query;
    boot_request b;

    check_prefix(rest);
    if ((query = strchr(rest, '?')))
        *query++ = '\0';
    check_disguise(rest);
    boot_request_judge(&b, rest, query);
    if (!b.fault) {
        check_path(rest, query);
        if (query)
            check_query(rest, query);
        if (b.plain)
            check_plain(&b, rest, query);
    }
    free(input.bytes);
    return 0;
}
