/*
 * walt/signature.c: asking the WalT server for a node's boot.sig.
 *
 * Its first line is the digest of the node's image: what the image is known by, and the only thing
 * that tells the right file from another node's (facts.md 2).
 */
#include "walt/signature.h"
#include "ledger/waiting.h"
#include "request/times.h"
#include "store/folder.h"
#include "walt/line.h"

#include "apr_lib.h"
#include "apr_strings.h"

/* Most bytes of a boot.sig; what is larger is another file, answered one behind (facts.md 2). */
#define SIGNATURE_MAX (64 * 1024)

/* Room that a signature gets at first: it lasts as long as the node's download. */
#define SIGNATURE_USUAL 1024

static apr_status_t take_signature(walt_query *query, const char *bytes, apr_size_t length)
{
    boot_signature *signature = query->data;

    if (length > SIGNATURE_MAX - signature->length)
        return APR_ENOSPC;
    if (length > signature->room - signature->length) {
        char *text = signature->text;

        while (length > signature->room - signature->length)
            signature->room *= 2;
        signature->text = apr_palloc(signature->pool, signature->room);
        memcpy(signature->text, text, signature->length);
    }
    memcpy(signature->text + signature->length, bytes, length);
    signature->length += length;
    return APR_SUCCESS;
}

int boot_signature_try_again(const request_rec *r, const walt_query *query, int tries)
{
    /* A refusal of the site's or the WalT server's is an answer; and when mod_proxy could not
     * connect, that the WalT server is down is said at once. */
    if (!ap_is_HTTP_SERVER_ERROR(query->status) || query->status == HTTP_SERVICE_UNAVAILABLE)
        return 0;
    if (tries >= BOOT_SIGNATURE_TRIES
        || waiting_clock() - walt_vpn_request_of(r)->came >= LAST_TRY)
        return 0;
    apr_sleep(BOOT_SIGNATURE_PAUSE * tries);
    return 1;
}

const char *boot_signature_path(apr_pool_t *pool, const walt_vpn_request *request,
                                const char *file)
{
    char *node = apr_pstrdup(pool, request->boot.node), *dot;

    for (dot = node; (dot = strchr(dot, '.')); )
        *dot = '-';
    return apr_pstrcat(pool, "per-ip/", node, "/", file, NULL);
}

int boot_signature_ask(request_rec *r, walt_query *query, boot_signature *signature, int *tries,
                       apr_time_t deadline)
{
    memset(query, 0, sizeof(*query));
    query->rest = boot_signature_path(r->pool, walt_vpn_request_of(r), "boot.sig");
    query->file = BOOT_FILE_SIG;
    query->take = take_signature;
    query->data = signature;
    if (!signature->text) {
        signature->pool = r->pool;
        signature->room = SIGNATURE_USUAL;
        signature->text = apr_palloc(r->pool, SIGNATURE_USUAL);
    }
    do {
        signature->length = 0;
        if (!question_line_ask(r, query, deadline))
            return 0;
        ++*tries;
    } while (!query->whole && boot_signature_try_again(r, query, *tries));
    return 1;
}

const char *boot_signature_digest(const boot_signature *signature)
{
    char *digest;
    apr_size_t i;

    if (signature->length <= IMAGE_DIGEST_LENGTH
        || !apr_isspace(signature->text[IMAGE_DIGEST_LENGTH]))
        return NULL;
    digest = apr_pstrmemdup(signature->pool, signature->text, IMAGE_DIGEST_LENGTH);
    for (i = 0; i < IMAGE_DIGEST_LENGTH; i++) {
        if (!apr_isxdigit(digest[i]))
            return NULL;
    }
    ap_str_tolower(digest);
    return digest;
}
