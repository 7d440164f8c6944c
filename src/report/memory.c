/*
 * report/memory.c: what each node last took, kept over a restart.
 *
 * A file beside the images for each entrypoint that has a folder, named by a hash of the
 * entrypoint's name and its WalT server.  Children write it, as the user that they are: the first
 * boot that ends writes, then one in a minute at most, behind the last byte of its reply, and each
 * child that ends.  It becomes current by a rename, and ends with a checksum.  Losing it does no
 * harm, so it is not synced, and who can't write it goes on in silence: no image can be kept then
 * either, which is said.
 *
 * Nothing here allocates while it writes: prefork ends its children in a signal handler.
 */
#include "report/memory.h"
#include "ledger/boots.h"
#include "ledger/counters.h"
#include "request/times.h"
#include "store/folder.h"

#include "apr_strings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Most bytes of a line, and of a file. */
#define LINE_MAX_BYTES 256
#define FILE_MAX_BYTES ((BOOT_ROWS + 2) * LINE_MAX_BYTES)

/* Its first line. */
#define FILE_HEAD "mod_walt_vpn boots 1\n"

/* FNV-1a, 64 bits. */
#define FNV_BASIS APR_UINT64_C(14695981039346656037)
#define FNV_PRIME APR_UINT64_C(1099511628211)

static apr_uint64_t fnv(apr_uint64_t hash, const char *bytes, apr_size_t length)
{
    while (length-- > 0)
        hash = (hash ^ (unsigned char)*bytes++) * FNV_PRIME;
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

/* ------------------------------------------------------------------ keeping */

/* A file that is being written.  On the stack. */
typedef struct {
    int fd;
    int failed;
    apr_uint64_t hash;          /* of all bytes so far */
    apr_size_t length;          /* bytes that wait in text */
    char text[8192];
} writer;

static void flush_writer(writer *writer)
{
    apr_size_t done = 0;

    while (done < writer->length && !writer->failed) {
        ssize_t part = write(writer->fd, writer->text + done, writer->length - done);

        if (part > 0)
            done += (apr_size_t)part;
        else if (part == 0 || errno != EINTR)
            writer->failed = 1;
    }
    writer->length = 0;
}

static void put_line(writer *writer, const char *line)
{
    apr_size_t length = strlen(line);

    if (writer->length + length > sizeof(writer->text))
        flush_writer(writer);
    memcpy(writer->text + writer->length, line, length);
    writer->length += length;
    writer->hash = fnv(writer->hash, line, length);
}

static void put_boot(writer *writer, const boot_row *boot)
{
    char line[LINE_MAX_BYTES];

    apr_snprintf(line, sizeof(line), "%s %s %s %d %d %d %" APR_OFF_T_FMT " %" APR_UINT64_T_FMT
                 " %d %" APR_TIME_T_FMT " %" APR_TIME_T_FMT "\n", boot->node, boot->client,
                 boot->digest[0] ? boot->digest : "-", boot->state == BOOT_DONE, boot->answer,
                 boot->status, boot->size, (apr_uint64_t)boot->position, (int)boot->resumes,
                 boot->began, boot->touched);
    put_line(writer, line);
}

static void put_boots(writer *writer, int entrypoint)
{
    char line[LINE_MAX_BYTES];
    boot_row boot;
    int place;

    put_line(writer, FILE_HEAD);
    for (place = 0; place < BOOT_ROWS; place++) {
        if (boots_copy(place, &boot) && boot.entrypoint == entrypoint
            && (boot.state == BOOT_DONE || boot.state == BOOT_SHORT))
            put_boot(writer, &boot);
    }
    apr_snprintf(line, sizeof(line), "end %016" APR_UINT64_T_HEX_FMT "\n", writer->hash);
    put_line(writer, line);
    flush_writer(writer);
}

/* Write the file into this folder, unless another process is at it. */
static void write_memory(int folder_fd, int entrypoint)
{
    memory_name current = name_of(counters_at(entrypoint), "");
    memory_name next = name_of(counters_at(entrypoint), ".new");
    writer writer = { .hash = FNV_BASIS };

    writer.fd = openat(folder_fd, next.text, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (writer.fd < 0)
        return;
    /* Who had it before may just have made it current: then it is not ours to write. */
    if (flock(writer.fd, LOCK_EX | LOCK_NB) == 0
        && image_folder_names(folder_fd, next.text, writer.fd)
        && ftruncate(writer.fd, 0) == 0) {
        put_boots(&writer, entrypoint);
        if (writer.failed || renameat(folder_fd, next.text, folder_fd, current.text) != 0)
            (void)unlinkat(folder_fd, next.text, 0);
    }
    close(writer.fd);
}

static void keep(const walt_vpn_entrypoint *entrypoint, apr_interval_time_t pause)
{
    int fd;

    if (!entrypoint->folder || entrypoint->place < 0
        || !boots_keep_claim(entrypoint->place, pause))
        return;
    fd = image_folder_descriptor(entrypoint->folder);
    if (fd < 0)
        return;
    write_memory(fd, entrypoint->place);
    close(fd);
}

void boot_memory_keep(const walt_vpn_entrypoint *entrypoint)
{
    keep(entrypoint, KEEP_AGAIN);
}

void boot_memory_keep_last(const walt_vpn_entrypoint *entrypoint)
{
    keep(entrypoint, 0);
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

/* The whole file in p, NUL-terminated; NULL, and errno: it can't be opened. */
static char *read_memory(apr_pool_t *p, const char *path, apr_size_t *length)
{
    int fd = open_memory(path);
    struct stat st;
    char *text = NULL;
    ssize_t got;

    if (fd < 0)
        return NULL;
    *length = 0;
    text = apr_pcalloc(p, 1);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES) {
        text = apr_pcalloc(p, (apr_size_t)st.st_size + 1);
        while (*length < (apr_size_t)st.st_size
               && (got = read(fd, text + *length, (apr_size_t)st.st_size - *length)) > 0)
            *length += (apr_size_t)got;
    }
    close(fd);
    return text;
}

/* Is it whole, as it was written?  Cuts its first and its last line off. */
static int is_sound(char **text, apr_size_t length)
{
    const apr_size_t head = sizeof(FILE_HEAD) - 1, end = sizeof("end 0123456789abcdef\n") - 1;
    char expected[LINE_MAX_BYTES];
    char *last;

    if (length < head + end || strncmp(*text, FILE_HEAD, head) != 0)
        return 0;
    last = *text + length - end;
    apr_snprintf(expected, sizeof(expected), "end %016" APR_UINT64_T_HEX_FMT "\n",
                 fnv(FNV_BASIS, *text, length - end));
    if (strcmp(last, expected) != 0)
        return 0;
    *last = '\0';
    *text += head;
    return 1;
}

/* One line, as put_boot() writes it; 0: it is none. */
static int parse_boot(const char *line, boot_row *boot)
{
    unsigned answer;
    int is_done, end = 0;
    long long size, began, touched;
    unsigned long long position, resumes;

    memset(boot, 0, sizeof(*boot));
    if (sscanf(line, "%15s %45s %12s %d %u %d %lld %llu %llu %lld %lld%n", boot->node, boot->client,
               boot->digest, &is_done, &answer, &boot->status, &size, &position, &resumes,
               &began, &touched, &end) != 11
        || line[end] != '\0' || answer >= WALT_VPN_ANSWERS || size < 0)
        return 0;
    if (strcmp(boot->digest, "-") == 0)
        boot->digest[0] = '\0';
    boot->state = is_done ? BOOT_DONE : BOOT_SHORT;
    boot->answer = (walt_vpn_answer)answer;
    boot->size = (apr_off_t)size;
    boot->position = position;
    boot->resumes = resumes;
    boot->began = (apr_time_t)began;
    boot->touched = (apr_time_t)touched;
    return 1;
}

void boot_memory_recall(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint)
{
    memory_name name;
    char *path, *text, *line, *rest;
    apr_size_t length;
    boot_row boot;

    if (!entrypoint->folder || entrypoint->place < 0)
        return;
    name = name_of(counters_at(entrypoint->place), "");
    path = apr_pstrcat(p, entrypoint->folder->root, "/", name.text, NULL);
    if (!(text = read_memory(p, path, &length))) {
        if (errno != ENOENT)
            ap_log_error(APLOG_MARK, APLOG_WARNING, errno, entrypoint->server, "can't read %s: "
                         "which nodes booted before this start is not known", path);
        return;
    }
    if (!is_sound(&text, length)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, entrypoint->server, "%s is damaged: which nodes "
                     "booted before this start is not known", path);
        return;
    }
    for (line = apr_strtok(text, "\n", &rest); line; line = apr_strtok(NULL, "\n", &rest)) {
        if (parse_boot(line, &boot)) {
            boot.entrypoint = entrypoint->place;
            boots_recall(&boot);
        }
    }
}
