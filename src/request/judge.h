/*
 * request/judge.h: what a request below /walt-vpn/ asks for, judged from its text alone.
 *
 * The judgement is a pure function of the request target as the client sent it: no httpd, no
 * pool, no state.  So it can be tested with a table and fuzzed, and nothing that httpd, mod_proxy
 * or the WalT server decodes later can disagree with what was judged.
 */
#ifndef WALT_VPN_REQUEST_JUDGE_H
#define WALT_VPN_REQUEST_JUDGE_H

#define BOOT_PREFIX "/walt-vpn/"

/* The body that an enroll request may have, in bytes: a key of 64 KiB or more ends the WalT
 * server's daemon (facts.md 2); a real request is below 2 KiB. */
#define BOOT_ENROLL_MAX (32 * 1024)

typedef enum {
    BOOT_FILE_OTHER,            /* anything else below /walt-vpn/ */
    BOOT_FILE_SERVER,           /* server: the setup check */
    BOOT_FILE_SIG,              /* per-ip/D-D-D-D/boot.sig */
    BOOT_FILE_IMG,              /* per-ip/D-D-D-D/boot.img */
    BOOT_FILE_ENROLL,           /* enroll */
    BOOT_FILES                  /* how many there are */
} boot_file;

/* Why a request is refused. */
typedef enum {
    REASON_NONE,                /* the module refuses nothing; httpd's configuration may */
    /* for its text */
    REASON_DOT_SEGMENT,
    REASON_EMPTY_SEGMENT,
    REASON_ENCODED_SLASH,
    REASON_BACKSLASH,
    REASON_BROKEN_ESCAPE,
    REASON_NESTED_ESCAPES,
    REASON_NUL,
    REASON_CONTROL,
    REASON_NOT_UTF8,
    REASON_UNESCAPED,
    REASON_LONG_PATH,
    REASON_LONG_QUERY,
    REASON_DIRECTORY,
    REASON_FAKE_REQUESTER,
    REASON_DISGUISE,
    /* for what else it has (mod_walt_vpn.c) */
    REASON_NOT_EXPOSED,
    REASON_METHOD,
    REASON_HEADER,
    REASON_LARGE_ENROLL,
    REASON_LARGE_CHUNKED,
    REASON_BODY,
    /* for what its node holds, or as it has gone (boot/visit.c) */
    REASON_CHANGED,
    REASON_FAILED_FETCH,
    REASON_HUNG_UP,
    BOOT_REASONS                /* how many there are */
} boot_reason;

/* In words.  These are all: what a stranger sends makes no new reason. */
extern const char *const boot_reason_texts[BOOT_REASONS];

typedef struct {
    boot_file file;
    char node[16];              /* "192.168.152.7" for SIG and IMG, else "" */
    int plain;                  /* spelt exactly as a node or the setup check spells it, no query */
    boot_reason fault;          /* why this can't be legitimate; REASON_NONE: it may be */
} boot_request;

/*
 * The part of a path behind /walt-vpn/, or NULL when the path is not below it.  An escaped letter
 * in the prefix is the same letter (RFC 3986, 6.2.2.2); an escaped slash is not a slash.
 */
const char *boot_request_rest(const char *path);

/*
 * This path is not below /walt-vpn/ as it was sent.  Could httpd, in any configuration, or a server
 * behind it read it as a path below /walt-vpn/?  Dots, doubled or encoded slashes, backslashes,
 * ;parameters, escapes within escapes.  The path is overwritten.
 */
int boot_request_is_disguised(char *path);

/*
 * Judge the rest of a path behind /walt-vpn/ and its query (NULL: there was no '?'), both as
 * sent, still escaped.  Fills *b whole.
 */
void boot_request_judge(boot_request *b, const char *rest, const char *query);

#endif
