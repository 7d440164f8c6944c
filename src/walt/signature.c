/*
 * walt/signature.c: a node's boot.sig.
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

/* How often is looked whose turn it is. */
#define LOOK apr_time_from_msec(5)

static apr_status_t take_signature(walt_query *query, const char *bytes, apr_size_t length)
{
    const boot_signature *signature = query->data;
    apr_array_header_t piece = { .elt_size = 1, .nelts = (int)length, .elts = (char *)bytes };

    if (length > SIGNATURE_MAX - (apr_size_t)signature->text->nelts)
        return APR_ENOSPC;
    apr_array_cat(signature->text, &piece);
    return APR_SUCCESS;
}

const char *boot_signature_path(apr_pool_t *pool, const char *node, const char *file)
{
    char *name = apr_pstrdup(pool, node), *dot;

    for (dot = name; (dot = strchr(dot, '.')); )
        *dot = '-';
    return apr_pstrcat(pool, "per-ip/", name, "/", file, NULL);
}

void boot_signature_begin(boot_signature *signature, apr_pool_t *pool,
                          const walt_vpn_entrypoint *entrypoint, const char *node,
                          const apr_sockaddr_t *client_addr)
{
    walt_query *query = &signature->query;

    memset(signature, 0, sizeof(*signature));
    query->entrypoint = entrypoint;
    query->pool = pool;
    query->client_addr = client_addr;
    query->rest = boot_signature_path(pool, node, "boot.sig");
    query->take = take_signature;
    query->data = signature;
    signature->text = apr_array_make(pool, SIGNATURE_USUAL, 1);
}

void boot_signature_take(boot_signature *signature, question_turn *turn)
{
    apr_array_clear(signature->text);
    signature->tries++;
    question_line_take(turn, signature->text);
}

int boot_signature_ask(boot_signature *signature, apr_time_t deadline)
{
    walt_query *query = &signature->query;
    apr_time_t came = waiting_clock();

    do {
        question_turn *turn = question_line_come(query);

        while (!question_line_look(turn)) {
            if (waiting_clock() >= deadline) {
                question_line_leave(turn);
                return 0;
            }
            apr_sleep(LOOK);
        }
        boot_signature_take(signature, turn);
    } while (!query->whole && boot_signature_try_again(signature, came));
    return 1;
}

int boot_signature_try_again(const boot_signature *signature, apr_time_t came)
{
    int status = signature->query.status;

    /* A refusal of the site's or the WalT server's is an answer; and when mod_proxy could not
     * connect, that the WalT server is down is said at once. */
    if (!ap_is_HTTP_SERVER_ERROR(status) || status == HTTP_SERVICE_UNAVAILABLE)
        return 0;
    if (signature->tries >= BOOT_SIGNATURE_TRIES || waiting_clock() - came >= LAST_TRY)
        return 0;
    apr_sleep(BOOT_SIGNATURE_PAUSE * signature->tries);
    return 1;
}

int boot_signature_is_file(const boot_signature *signature)
{
    return apr_table_get(signature->query.headers, "Last-Modified") != NULL;
}

const char *boot_signature_digest(const boot_signature *signature)
{
    const apr_array_header_t *text = signature->text;
    char *digest;
    int i;

    if (text->nelts <= IMAGE_DIGEST_LENGTH || !apr_isspace(text->elts[IMAGE_DIGEST_LENGTH]))
        return NULL;
    digest = apr_pstrmemdup(signature->query.pool, text->elts, IMAGE_DIGEST_LENGTH);
    for (i = 0; i < IMAGE_DIGEST_LENGTH; i++) {
        if (!apr_isxdigit(digest[i]))
            return NULL;
    }
    ap_str_tolower(digest);
    return digest;
}
