/*
 * site/resolver_check.c: have the WalT servers an address?
 *
 * getaddrinfo() may wait for a silent resolver for half a minute, and nothing but its process's end
 * stops it; httpd's start must not wait so long.  So each name is looked up in a process of its
 * own, all at a time, with an alarm that ends it.
 */
#include "site/resolver_check.h"

#include "apr_signal.h"
#include "apr_strings.h"

#include <unistd.h>

/* The exit code for what is none of getaddrinfo()'s errors, which are small numbers. */
#define OTHER_ERROR 255

void resolver_check_begin(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                          unsigned seconds, apr_proc_t *process)
{
    apr_sockaddr_t *address;
    apr_status_t rv = apr_proc_fork(process, p);

    if (rv == APR_INCHILD) {
        apr_signal(SIGALRM, SIG_DFL);
        alarm(seconds);
        /* As mod_proxy will. */
        rv = apr_sockaddr_info_get(&address, entrypoint->host, APR_UNSPEC, entrypoint->port, 0, p);
        /* Without the cleanups of httpd's pools. */
        _exit(rv > APR_OS_START_EAIERR ? rv - APR_OS_START_EAIERR : rv ? OTHER_ERROR : 0);
    }
    if (rv != APR_INPARENT)
        process->pid = 0;       /* then nothing is said */
}

const char *resolver_check_end(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                               unsigned seconds, apr_proc_t *process)
{
    const char *reason;
    apr_exit_why_e why;
    char word[256];
    int code;

    if (!process->pid || apr_proc_wait(process, &code, &why, APR_WAIT) != APR_CHILD_DONE
        || (APR_PROC_CHECK_EXIT(why) && code == 0))
        return NULL;
    reason = APR_PROC_CHECK_EXIT(why)
             ? apr_strerror(APR_OS_START_EAIERR + code, word, sizeof(word))
             : apr_psprintf(p, "it did not answer within %u s", seconds);
    return apr_psprintf(p, "this machine's resolver finds no address of it (%s); no node boots "
                        "until it has one; try \"getent hosts %s\", and mend the name, write the "
                        "address in its place, or add it to /etc/hosts", reason, entrypoint->host);
}
