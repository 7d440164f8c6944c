/*
 * report/memory.c: what each node last took, kept over a restart.
 *
 * A file beside the images for each entrypoint that has a folder, named by a hash of the
 * entrypoint's name and its WalT server: a head, and the ledger's rows as they are.  Children write
 * it, as the user that they are: the first boot that ends writes, then one in a minute at most,
 * behind the last byte of its reply, and each child that ends.  It becomes current by a rename.
 * Losing it does no harm, so it is not synced, and who can't write it goes on in silence: no image
 * can be kept then either, which is said.
 *
 * Nothing here allocates while it writes: prefork ends its children in a signal handler.
 */
#include "report/memory.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "store/folder.h"

#include "apr_strings.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

/* What a file begins with.  One whose layout or size of rows is another is not read. */
#define MARK "mod_walt_vpn boots"

typedef struct {
    char mark[24];
    apr_uint64_t layout;
    apr_uint64_t row_size;
    apr_uint64_t hash;          /* of all rows */
} file_head;

/* A process that ends tries so often while another writes, as nobody writes its boots after it. */
#define LAST_TRIES 20
#define LAST_PAUSE apr_time_from_msec(10)

/* FNV-1a, 64 bits. */
#define FNV_BASIS APR_UINT64_C(14695981039346656037)
#define FNV_PRIME APR_UINT64_C(1099511628211)

static apr_uint64_t fnv(apr_uint64_t hash, const void *bytes, apr_size_t length)
{
    const unsigned char *byte = bytes;

    while (length-- > 0)
        hash = (hash ^ *byte++) * FNV_PRIME;
    return hash;
}

/* The file's name, also of the one that will take its place. */
typedef struct {
    char text[sizeof("boots.0123456789abcdef.new")];
} memory_name;

static memory_name name_of(const entrypoint_counters *counters, const char *extension)
{
    apr_uint64_t hash = fnv(FNV_BASIS, counters->name, strlen(counters->name) + 1);
    memory_name name;

    hash = fnv(hash, counters->url, strlen(counters->url));
    apr_snprintf(name.text, sizeof(name.text), "boots.%016" APR_UINT64_T_HEX_FMT "%s", hash,
                 extension);
    return name;
}

static int has_ended(const boot_row *boot)
{
    return boot->state == BOOT_DONE || boot->state == BOOT_SHORT;
}

/* ------------------------------------------------------------------ keeping */

/* Open the file that is to take the place of the current one.  -1, and errno; EBUSY: another
 * process writes it, or has just made it current. */
static int open_next(int folder_fd, const char *name)
{
    int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && image_folder_names(folder_fd, name, fd))
        return fd;
    if (fd >= 0) {
        close(fd);
        errno = EBUSY;
    }
    return -1;
}

/* Write the head and all rows.  0: that failed. */
static int write_rows(int fd, int entrypoint)
{
    file_head head = { MARK, BOOT_LAYOUT, sizeof(boot_row), FNV_BASIS };
    int fine = ftruncate(fd, 0) == 0 && lseek(fd, sizeof(head), SEEK_SET) >= 0, row;
    boot_row boot;

    for (row = 0; fine && row < BOOT_ROWS; row++) {
        if (!boots_copy(row, &boot) || boot.entrypoint != entrypoint || !has_ended(&boot))
            continue;
        head.hash = fnv(head.hash, &boot, sizeof(boot));
        fine = write(fd, &boot, sizeof(boot)) == sizeof(boot);
    }
    return fine && pwrite(fd, &head, sizeof(head), 0) == sizeof(head);
}

void boot_memory_keep(const walt_vpn_entrypoint *entrypoint, apr_interval_time_t pause)
{
    memory_name current = name_of(counters_at(entrypoint->place), "");
    memory_name next = name_of(counters_at(entrypoint->place), ".new");
    int folder_fd, fd, tries = pause == 0 ? LAST_TRIES : 1;

    if (!entrypoint->folder || entrypoint->place < 0
        || !boots_keep_claim(entrypoint->place, pause)
        || (folder_fd = image_folder_descriptor(entrypoint->folder)) < 0)
        return;
    while ((fd = open_next(folder_fd, next.text)) < 0 && errno == EBUSY && --tries > 0)
        apr_sleep(LAST_PAUSE);
    if (fd >= 0 && (!write_rows(fd, entrypoint->place)
                    || renameat(folder_fd, next.text, folder_fd, current.text) != 0))
        (void)unlinkat(folder_fd, next.text, 0);
    if (fd >= 0)
        close(fd);
    close(folder_fd);
}

/* ------------------------------------------------------------------ recalling */

/* Open the file as children do: the folder is theirs alone, and root may lack the right to enter it
 * (CapabilityBoundingSet= of a systemd unit).  -1, and errno. */
static int open_memory(const char *path)
{
    int fd = -1, error;

    if (image_folder_be_child(1))
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    error = errno;
    (void)image_folder_be_child(0);
    errno = error;
    return fd;
}

/* Tell the ledger of the boots in a file.  0: it is damaged; of another layout nothing is told. */
static int recall_rows(int fd, int entrypoint)
{
    apr_uint64_t hash = FNV_BASIS;
    file_head head;
    boot_row boot;
    int rows = 0;

    if (read(fd, &head, sizeof(head)) != sizeof(head)
        || strncmp(head.mark, MARK, strlen(MARK)) != 0)
        return 0;
    if (head.layout != BOOT_LAYOUT || head.row_size != sizeof(boot))
        return 1;
    for (; rows < BOOT_ROWS && read(fd, &boot, sizeof(boot)) == sizeof(boot); rows++)
        hash = fnv(hash, &boot, sizeof(boot));
    if (hash != head.hash || lseek(fd, sizeof(head), SEEK_SET) < 0)
        return 0;
    while (rows-- > 0 && read(fd, &boot, sizeof(boot)) == sizeof(boot)) {
        if (has_ended(&boot) && boot.answer < WALT_VPN_ANSWERS && boot.size >= 0) {
            boot.entrypoint = entrypoint;
            boots_recall(&boot);
        }
    }
    return 1;
}

void boot_memory_recall(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint)
{
    const char *path;
    int fd;

    if (!entrypoint->folder || entrypoint->place < 0)
        return;
    path = apr_pstrcat(p, entrypoint->folder->root, "/",
                       name_of(counters_at(entrypoint->place), "").text, NULL);
    if ((fd = open_memory(path)) < 0) {
        if (errno != ENOENT)
            ap_log_error(APLOG_MARK, APLOG_WARNING, errno, entrypoint->server, "can't read %s: "
                         "which nodes booted before this start is not known", path);
        return;
    }
    if (!recall_rows(fd, entrypoint->place))
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, entrypoint->server, "%s is damaged: which nodes "
                     "booted before this start is not known", path);
    close(fd);
}
