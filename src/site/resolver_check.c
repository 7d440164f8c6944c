/*
 * site/resolver_check.c: have the WalT servers an address?
 *
 * getaddrinfo() may wait for a silent resolver for half a minute, and nothing but its process's end
 * stops it; httpd's start must not wait so long.  So each name is looked up in a process of its
 * own, all at a time, and those that have not answered in time are killed.
 */
#include "site/resolver_check.h"

#include "apr_strings.h"
#include "apr_thread_proc.h"

#include <signal.h>
#include <unistd.h>

/* The remedy that fits whatever is wrong. */
#define REMEDY "no node boots until it has one; try \"getent hosts %s\", and mend the name, " \
               "write the address in its place, or add it to /etc/hosts"

/* A name that is being looked up, or an address, which is found without asking anybody. */
typedef struct {
    apr_proc_t process;         /* who does it; pid 0: nobody */
    apr_file_t *answer;         /* where it writes the apr_status_t of its lookup */
} lookup;

/* In the process of its own: look up as mod_proxy will, write what became of it, end. */
static void answer_and_exit(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint, apr_file_t *out)
{
    apr_sockaddr_t *address;
    apr_status_t rv;

    rv = apr_sockaddr_info_get(&address, entrypoint->host, APR_UNSPEC, entrypoint->port, 0, p);
    apr_file_write_full(out, &rv, sizeof(rv), NULL);
    _exit(0);                   /* without the cleanups of httpd's pools */
}

/* Have a name looked up; where that can't even begin, nothing is said. */
static void begin(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint, lookup *its)
{
    apr_file_t *out;
    apr_status_t rv;

    if (apr_file_pipe_create_ex(&its->answer, &out, APR_FULL_BLOCK, p) != APR_SUCCESS)
        return;
    rv = apr_proc_fork(&its->process, p);
    if (rv == APR_INCHILD)
        answer_and_exit(p, entrypoint, out);
    if (rv != APR_INPARENT)
        its->process.pid = 0;
    apr_file_close(out);        /* so that the end of who writes is seen */
}

/* What became of a lookup, in p, waiting for it until the deadline; NULL: it has an address. */
static const char *end(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint, int seconds,
                       lookup *its, apr_time_t deadline)
{
    apr_interval_time_t left = deadline - apr_time_now();
    apr_status_t found, rv;
    char word[256];

    if (!its->process.pid)
        return NULL;
    apr_file_pipe_timeout_set(its->answer, left > 0 ? left : 0);
    rv = apr_file_read_full(its->answer, &found, sizeof(found), NULL);
    apr_file_close(its->answer);
    apr_proc_kill(&its->process, SIGKILL);
    apr_proc_wait(&its->process, NULL, NULL, APR_WAIT);
    if (APR_STATUS_IS_TIMEUP(rv) || APR_STATUS_IS_EAGAIN(rv))
        return apr_psprintf(p, "this machine's resolver has not found an address of it within %d "
                            "s; " REMEDY, seconds, entrypoint->host);
    if (rv != APR_SUCCESS || found == APR_SUCCESS)
        return NULL;
    return apr_psprintf(p, "this machine's resolver finds no address of it (%s); " REMEDY,
                        apr_strerror(found, word, sizeof(word)), entrypoint->host);
}

apr_array_header_t *resolver_check_faults(apr_pool_t *p, const apr_array_header_t *entrypoints,
                                          int seconds)
{
    apr_array_header_t *faults = apr_array_make(p, entrypoints->nelts + 1, sizeof(const char *));
    lookup *lookups = apr_pcalloc(p, sizeof(*lookups) * (apr_size_t)(entrypoints->nelts + 1));
    apr_time_t deadline = apr_time_now() + apr_time_from_sec(seconds);
    int i;

    for (i = 0; i < entrypoints->nelts; i++)
        begin(p, APR_ARRAY_IDX(entrypoints, i, const walt_vpn_entrypoint *), &lookups[i]);
    for (i = 0; i < entrypoints->nelts; i++)
        APR_ARRAY_PUSH(faults, const char *) =
            end(p, APR_ARRAY_IDX(entrypoints, i, const walt_vpn_entrypoint *), seconds, &lookups[i],
                deadline);
    return faults;
}
