/*
 * ledger/boots.h: the boots of nodes, running and remembered.
 */
#ifndef WALT_VPN_LEDGER_BOOTS_H
#define WALT_VPN_LEDGER_BOOTS_H

#include "request/record.h"

#include "apr_tables.h"

#include <sys/types.h>

/* Counts the changes of what the bytes of a boot_row mean. */
#define BOOT_LAYOUT 4

/* Most boots that are written down. */
#define BOOT_ROWS 1536

/* Of an image's digest this many digits are shown. */
#define DIGEST_SHOWN 12

typedef enum {
    BOOT_FREE,
    BOOT_SIGNED,                /* the node has its boot.sig */
    BOOT_RUNNING,               /* it is being sent its boot.img */
    BOOT_SHORT,                 /* that ended early, or with an error; the node may resume */
    BOOT_DONE                   /* the last byte was sent */
} boot_state;

/* One boot of one node, from its boot.sig to the last byte of its boot.img. */
typedef struct {
    boot_state state;
    unsigned generation;                /* counts the requests that worked on this row */
    apr_off_t position;                 /* bytes of the file that the node was sent */
    pid_t process;                      /* that is sending; 0: none */
    int entrypoint;                     /* its place among the counters */
    char node[16];                      /* with dots */
    char client[46];                    /* the address that it comes from */
    char digest[64 + 1];                /* "": not known */
    int is_file;                        /* its boot.sig was one on the WalT server (facts.md 2) */
    walt_vpn_answer answer;             /* how its first request for boot.img was answered */
    int status;                         /* the error that its last request got; 0: none */
    apr_off_t size;                     /* bytes of its boot.img; 0: not known yet */
    apr_off_t from;                     /* first byte that its last request was sent */
    apr_time_t began;
    apr_time_t sending;                 /* when that byte was sent */
    apr_time_t touched;                 /* last progress; for BOOT_DONE its end */
    apr_off_t most;                     /* so many bytes the node may hold, when it has ended */
    apr_uint64_t resumes;
    apr_uint64_t fetch;                 /* whose bytes it was sent; 0: verified ones */
    int counted;                        /* its result was */
    int is_strangers;                   /* a download in the name of a node that has never had a
                                         * boot.sig at that address: shown while it lasts */
    char signer[46];                    /* the address that took its boot.sig; "": none did */
} boot_row;

/* A request's hold on a boot, 0: none; it loses it when another request of the node takes over. */
typedef apr_uint64_t boot_hold;

/* What is known of a node when a client asks for a file of it, copied at that moment. */
typedef struct {
    boot_row boot;              /* that a download, new or resumed, goes on with; BOOT_FREE: none */
    int is_part;                /* the download is part of that boot, rather than of the next one */
    int is_signers;             /* the client's address took that boot's boot.sig */
    int is_known;               /* the node has had a boot.sig, at whatever address */
    int is_known_here;          /* the node has had one at the client's address */
    int took_signature;         /* a boot goes on, or has just ended, whose boot.sig the client's
                                 * address took */
} known_node;

/* Find the table that an earlier call, before a restart, made, or make it; called in
 * post_config. */
apr_status_t boots_open(apr_pool_t *process_pool);

/* The node got its boot.sig, which was a file on the WalT server or was not: a boot begins. */
void boots_signed(int entrypoint, const char *node, const char *client, const char *digest,
                  int is_file);

/* A request of the node got this error instead of its file: noted if a boot of it has begun. */
void boots_failed(int entrypoint, const char *node, const char *client, int status);

/*
 * The node is being sent its boot.img of this many bytes, from this byte on (0: from the start).
 * Goes on with the boot that its boot.sig or an earlier request began, if there is one.  What it
 * is sent is of this fetch; 0: it is verified.
 */
boot_hold boots_start(int entrypoint, const char *node, const char *client, const char *digest,
                      apr_off_t size, apr_off_t from, walt_vpn_answer answer, apr_uint64_t fetch);

/* What it is sent from now on is of this fetch, and so is what it holds; 0: it is verified. */
void boots_go_on(boot_hold hold, apr_uint64_t fetch);

/* It has been sent this many bytes of the file. */
void boots_progress(boot_hold hold, apr_off_t position);

/* The request ended, with the last byte of the file or before: then the node holds so many bytes at
 * most.  Fills *copy, as boots_copy() does, and returns 1 unless another request of the node has
 * taken over, or it was a stranger's. */
int boots_end(boot_hold hold, int whole, apr_off_t most, boot_row *copy);

/* Find out what is known of this node for a download of this client, new or resumed: all at once,
 * as each look takes the book and goes through the table. */
void boots_find(int entrypoint, const char *node, const char *client, int resumed,
                known_node *known);

/* Did the boot that the download is part of begin with a boot.sig of another digest? */
int boots_changed(const known_node *known, const char *digest);

/* The digest in the boot.sig that the client got for the node, and that the download is to have,
 * as long as *known is; NULL: it got none, or nothing was heard of that boot for BOOT_SILENT. */
const char *boots_vouched(const known_node *known);

/* The fetch that the bytes came of which a node holds that resumes its download; 0: they are
 * verified, as far as anybody knows. */
apr_uint64_t boots_held_fetch(const known_node *known);

/* Has any node had a boot.sig at this address? */
int boots_know_client(int entrypoint, const char *client);

/*
 * This process has died: end the next boot, from row *row on, that it was sending.  Fills *copy and
 * moves *row behind it; 0: there are no more.
 */
int boots_bury(pid_t process, int *row, boot_row *copy);

/* Count the boots that have ended short and were not resumed in time. */
void boots_count_short(void);

/* Write down a boot that ended before httpd was started. */
void boots_recall(const boot_row *boot);

/*
 * Have boots of this entrypoint ended that no file tells of, and was it written longer ago than
 * this? The caller alone, among all processes, is to write it.
 */
int boots_keep_claim(int entrypoint, apr_interval_time_t pause);

/* A copy of this row, below BOOT_ROWS, with what is shown of its digest; 0: it is free. */
int boots_copy(int row, boot_row *copy);

/* Copies of all boots that are running, or of all that have ended, as boot_row in p: of this
 * entrypoint's nodes, or with -1 of all; by node, and the earlier first. */
apr_array_header_t *boots_list(apr_pool_t *p, int entrypoint, int are_running);

/* Each node's last boot, as boot_row in p: of its boots that have ended, the boot that began last.
 * Of this entrypoint's nodes, or with -1 of all; the latest end first. */
apr_array_header_t *boots_last(apr_pool_t *p, int entrypoint);

#endif
