/*
 * request/judge.c: what a request below /walt-vpn/ asks for, judged from its text alone.
 *
 * A text is judged as it stands and again after each decoding of its %XX escapes, until decoding
 * changes nothing: whichever of these readings a server takes, it was judged.  The WalT server
 * itself decodes once and opens what it gets as root; with bottle 0.13 it drops bytes that are no
 * UTF-8 (facts.md 2).
 */
#include "request/judge.h"

#include <arpa/inet.h>
#include <string.h>

/* Longest path or query that is judged, in bytes; a longer one is refused. */
#define TEXT_MAX 8190

/* Decodings that are followed; a text that is still not plain after them hides something. */
#define DECODINGS_MAX 3

const char *const boot_reason_texts[BOOT_REASONS] = {
    [REASON_NONE] = "by the configuration of this httpd",
    [REASON_DOT_SEGMENT] = "a dot segment",
    [REASON_EMPTY_SEGMENT] = "an empty segment",
    [REASON_ENCODED_SLASH] = "an encoded slash",
    [REASON_BACKSLASH] = "a backslash",
    [REASON_BROKEN_ESCAPE] = "a broken escape",
    [REASON_NESTED_ESCAPES] = "escapes within escapes",
    [REASON_NUL] = "a NUL byte",
    [REASON_CONTROL] = "a control character",
    [REASON_NOT_UTF8] = "bytes that are not UTF-8",
    [REASON_UNESCAPED] = "a byte that has to be escaped",
    [REASON_LONG_PATH] = "a path that is too long",
    [REASON_LONG_QUERY] = "a query that is too long",
    [REASON_DIRECTORY] = "a directory below per-ip/",
    [REASON_FAKE_REQUESTER] = "a fake_requester_ip argument",
    [REASON_DISGUISE] = "a path below " BOOT_PREFIX " in disguise",
    [REASON_NOT_EXPOSED] = "not among what WaltVpnExpose boot lets through",
    [REASON_METHOD] = "a method that is not a word in capitals",
    [REASON_HEADER] = "a header line that is none",
    [REASON_LARGE_ENROLL] = "an enroll body of more than 32 KiB",
    [REASON_LARGE_CHUNKED] = "a chunked body of more than 1 MiB",
    [REASON_BODY] = "a body, which WaltVpnExpose boot does not let through",
    [REASON_CHANGED] = "its image has changed since it began",
    [REASON_FAILED_FETCH] = "what it holds came of a fetch that failed",
    [REASON_HUNG_UP] = "its client has hung up"
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* The byte that the escape at s stands for, or -1 when there is no escape at s. */
static int escaped_byte(const char *s)
{
    int high, low;

    if (s[0] != '%' || (high = hex_value(s[1])) < 0 || (low = hex_value(s[2])) < 0)
        return -1;
    return high * 16 + low;
}

/*
 * Decode the escapes of text once, in place.  Returns how many there were; a NUL byte, which
 * would end the text early, counts as -1.
 */
static int decode_once(char *text)
{
    const char *from = text;
    char *to = text;
    int decoded = 0;

    while (*from) {
        int byte = escaped_byte(from);

        if (byte == 0)
            return -1;
        if (byte > 0) {
            *to++ = (char)byte;
            from += 3;
            decoded++;
        }
        else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return decoded;
}

/* Bytes of the UTF-8 character at s, or 0 when there is none (overlong and surrogates too). */
static int utf8_length(const unsigned char *s)
{
    static const long least[] = { 0, 0x1, 0x80, 0x800, 0x10000 };       /* of so many bytes */
    int length = *s < 0x80 ? 1
                 : *s < 0xc0 ? 0
                 : *s < 0xe0 ? 2
                 : *s < 0xf0 ? 3
                 : *s < 0xf8 ? 4 : 0;
    long character = length > 1 ? *s & (0x7f >> length) : *s;
    int k;

    for (k = 1; k < length; k++) {
        if ((s[k] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (s[k] & 0x3f);
    }
    return character < least[length] || character > 0x10ffff
           || (character >= 0xd800 && character <= 0xdfff) ? 0 : length;
}

/* What is wrong with the characters of one reading of a path. */
static boot_reason character_fault(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        int length = utf8_length(s);

        if (*s < 0x20 || *s == 0x7f)
            return REASON_CONTROL;
        if (*s == '\\')
            return REASON_BACKSLASH;
        if (length == 0)
            return REASON_NOT_UTF8;
        s += length;
    }
    return REASON_NONE;
}

/* Bytes that have no place in a request target (RFC 3986) as sent. */
static boot_reason byte_fault(const char *text)
{
    const unsigned char *s;

    for (s = (const unsigned char *)text; *s; s++) {
        if (*s <= 0x20 || *s >= 0x7f)
            return REASON_UNESCAPED;
    }
    return REASON_NONE;
}

/* Is the segment of this length, less its ;parameters, the given name? */
static int segment_is(const char *segment, size_t length, const char *name)
{
    const char *parameters = memchr(segment, ';', length);

    if (parameters)
        length = (size_t)(parameters - segment);
    return length == strlen(name) && memcmp(segment, name, length) == 0;
}

/* What is wrong with the segments of one reading of a path.  slashes is set to the number of '/' in
 * it. */
static boot_reason segment_fault(const char *rest, int *slashes)
{
    const char *segment = rest;
    int per_ip = 0;

    for (*slashes = 0;; (*slashes)++) {
        size_t length = strcspn(segment, "/");
        int last = segment[length] == '\0';

        if (segment_is(segment, length, ".") || segment_is(segment, length, ".."))
            return REASON_DOT_SEGMENT;
        if (*slashes == 0)
            per_ip = segment_is(segment, length, "per-ip");
        /* The WalT server's daemon ends when it is asked for a directory.  Of the directories in a
         * node's folder, only this one is known by its name. */
        if (per_ip && last && (*slashes < 2 || segment_is(segment, length, "")
                               || (*slashes == 2 && segment_is(segment, length, "overlays"))))
            return REASON_DIRECTORY;
        if ((!last || length > 0) && segment_is(segment, length, ""))
            return REASON_EMPTY_SEGMENT;
        if (last)
            return REASON_NONE;
        segment += length + 1;
    }
}

/* Escapes that some server decodes and RFC 3986 does not have. */
static boot_reason escape_fault(const char *text, int as_sent)
{
    const char *s;

    for (s = strchr(text, '%'); s; s = strchr(s + 1, '%')) {
        if (escaped_byte(s) < 0 && (as_sent || s[1] == 'u' || s[1] == 'U'))
            return REASON_BROKEN_ESCAPE;
    }
    return REASON_NONE;
}

/* What stands behind D-D-D-D/ in this text, with the address, with dots, in node; NULL: the text
 * does not begin so. */
static const char *behind_node(const char *text, char node[16])
{
    size_t length = strspn(text, "0123456789-"), k;
    struct in_addr address;

    if (length >= 16 || text[length] != '/')
        return NULL;
    for (k = 0; k < length; k++)
        node[k] = text[k] == '-' ? '.' : text[k];
    node[length] = '\0';
    return inet_pton(AF_INET, node, &address) == 1 ? text + length + 1 : NULL;
}

/* Which file a reading of the rest names; node is filled for boot.sig and boot.img alone. */
static boot_file name_file(const char *rest, char node[16])
{
    const char *name;

    if (strcmp(rest, "server") == 0)
        return BOOT_FILE_SERVER;
    if (segment_is(rest, strlen(rest), "enroll"))
        return BOOT_FILE_ENROLL;
    if (strncmp(rest, "per-ip/", 7) == 0 && (name = behind_node(rest + 7, node))) {
        if (strcmp(name, "boot.sig") == 0)
            return BOOT_FILE_SIG;
        if (strcmp(name, "boot.img") == 0)
            return BOOT_FILE_IMG;
    }
    node[0] = '\0';
    return BOOT_FILE_OTHER;
}

/* Judge all readings of the path; fills file and node. */
static boot_reason judge_path(boot_request *b, const char *rest)
{
    char text[TEXT_MAX + 1], node[16];
    boot_reason fault;
    int decodings, slashes, slashes_sent = 0;

    if (strlen(rest) > TEXT_MAX)
        return REASON_LONG_PATH;
    strcpy(text, rest);
    for (decodings = 0;; decodings++) {
        int decoded;

        if ((fault = character_fault(text))
            || (decodings == 0 && (fault = byte_fault(text)))
            || (fault = escape_fault(text, decodings == 0))
            || (fault = segment_fault(text, &slashes)))
            return fault;
        if (decodings == 0)
            slashes_sent = slashes;
        else if (slashes != slashes_sent)
            return REASON_ENCODED_SLASH;
        /* The WalT server decodes once; what anybody takes for an enrollment is one. */
        if (decodings <= 1 || name_file(text, node) == BOOT_FILE_ENROLL)
            b->file = name_file(text, b->node);
        if ((decoded = decode_once(text)) < 0)
            return REASON_NUL;
        if (decoded == 0)
            return REASON_NONE;
        if (decodings == DECODINGS_MAX)
            return REASON_NESTED_ESCAPES;
    }
}

/*
 * A fake_requester_ip argument lets an outsider enroll as a node (facts.md 2).  Whatever else is
 * in the query, that name must not be: in no case, no escaping, with no byte hidden in it.
 */
static boot_reason judge_query(const char *query)
{
    static const char kept[] = "abcdefghijklmnopqrstuvwxyz0123456789_&;=";
    char text[TEXT_MAX + 1];
    boot_reason fault = byte_fault(query);
    const char *from;
    char *to = text;
    int decodings, decoded;

    if (fault)
        return fault;
    if (strlen(query) > TEXT_MAX)
        return REASON_LONG_QUERY;
    strcpy(text, query);
    for (decodings = 0; (decoded = decode_once(text)) != 0; decodings++) {
        if (decoded < 0)
            return REASON_NUL;
        if (decodings == DECODINGS_MAX)
            return REASON_NESTED_ESCAPES;
    }
    for (from = text; *from; from++) {
        char c = *from >= 'A' && *from <= 'Z' ? (char)(*from - 'A' + 'a') : *from;

        if (strchr(kept, c))
            *to++ = c;
    }
    *to = '\0';
    return strstr(text, "fake_requester_ip") ? REASON_FAKE_REQUESTER : REASON_NONE;
}

const char *boot_request_rest(const char *path)
{
    const char *prefix;

    for (prefix = BOOT_PREFIX; *prefix; prefix++) {
        if (*path == *prefix)
            path++;
        else if (*prefix != '/' && escaped_byte(path) == *prefix)
            path += 3;
        else
            return NULL;
    }
    return path;
}

/* Drop what some server drops, in place: control characters, and bytes that are not
 * UTF-8. */
static void drop_bytes(char *text)
{
    const char *from = text;
    char *to = text;

    while (*from) {
        int length = utf8_length((const unsigned char *)from), i;

        if (length == 0 || (unsigned char)*from < 0x20 || *from == 0x7f) {
            from++;
            continue;
        }
        for (i = 0; i < length; i++)
            *to++ = *from++;
    }
    *to = '\0';
}

/*
 * Does one reading of a path have a folder walt-vpn at its beginning, or somewhere behind an empty
 * segment or dots?  Where these lead depends on who resolves them, when, and how often: nobody who
 * means well writes them, so no server's way is followed.
 */
static int leads_below(const char *path)
{
    static const char separators[] = "/\\";
    const char *segment = path + (*path && strchr(separators, *path) ? 1 : 0);
    int is_first = 1, is_odd = 0;

    for (;;) {
        size_t length = strcspn(segment, separators);

        if (segment[length] == '\0')
            return 0;
        if ((is_first || is_odd) && segment_is(segment, length, "walt-vpn"))
            return 1;
        is_first = 0;
        is_odd |= segment_is(segment, length, "") || segment_is(segment, length, ".")
                  || segment_is(segment, length, "..");
        segment += length + 1;
    }
}

int boot_request_is_disguised(char *path)
{
    int decodings, decoded = 1;

    for (decodings = 0; decoded != 0 && decodings <= DECODINGS_MAX; decodings++) {
        drop_bytes(path);
        if (leads_below(path))
            return 1;
        if ((decoded = decode_once(path)) < 0)
            return 1;
    }
    return 0;
}

void boot_request_judge(boot_request *b, const char *rest, const char *query)
{
    memset(b, 0, sizeof(*b));
    b->fault = judge_path(b, rest);
    if (!b->fault && query)
        b->fault = judge_query(query);
    b->plain = !query && !strchr(rest, '%') && b->file != BOOT_FILE_OTHER
               && b->file != BOOT_FILE_ENROLL;
}
