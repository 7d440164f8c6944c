/*
 * site/leftover_check.c: what the configuration still passes on below /walt-vpn/ without
 * this module.
 *
 * Whoever comes from a documented ProxyPass may have left it behind: requests for a name of no
 * entrypoint, or for the bare address, would go through it to the WalT server, unguarded.  Meant is
 * what says /walt-vpn/ itself, in what it matches or in where it leads; a site's "ProxyPass /" is
 * its own affair.  Read from the configuration as it is written, .htaccess files excepted:
 * mod_proxy's and mod_rewrite's tables are private.
 */
#include "site/leftover_check.h"
#include "request/judge.h"

#include "apr_strings.h"

/*
 * A word that is a path, a URL, or a pattern, of /walt-vpn/.  A host of that name is none ("//"
 * before it), and neither are "!^/walt-vpn/" and "(?!walt-vpn/)", which ask for others.
 */
#define OURS "(^|\\s)[\"']?+(?!!)(\\S*[^!/\\w\\\\-]|(\\S*[^!/\\\\])?\\\\*/)?" \
             "walt\\\\?-vpn(?!\\\\?[\\w-])"

/* What passes requests on.  A ProxyPass to "!" does not, nor a RewriteRule without "[P]", or
 * "proxy", among its flags. */
#define PASSES_ON "^(SetHandler\\s+[\"']?proxy:" \
                  "|ProxyPass(Match)?\\s(?!(.*\\s)?[\"']?![\"']?(\\s|$))" \
                  "|RewriteRule\\s.*\\s[\"']?\\[([^]]*[, ])?(P|proxy)([, ][^]]*)?\\][\"']?$)"

/* What the configuration is read with, in p. */
typedef struct {
    apr_pool_t *p;
    ap_regex_t *ours;
    ap_regex_t *passes_on;
    apr_array_header_t *faults;
} reader;

static int matches(const ap_regex_t *pattern, const char *text)
{
    return ap_regexec(pattern, text, 0, NULL, 0) == 0;
}

/* Add what of these directives, and of those inside them, passes on what is below /walt-vpn/; in a
 * <Location> that says so, what passes anything on. */
static void walk(const reader *its, const ap_directive_t *directive, int is_inside)
{
    int on_condition = 0;       /* a RewriteCond before it says so */

    for (; directive; directive = directive->next) {
        const char *name = directive->directive;
        const char *text = apr_pstrcat(its->p, name, " ", directive->args, NULL);
        int is_ours = matches(its->ours, directive->args);
        int is_rule = ap_cstr_casecmp(name, "RewriteRule") == 0;

        if (directive->first_child)
            walk(its, directive->first_child,
                 is_inside || (is_ours && ap_cstr_casecmpn(name, "<Location", 9) == 0));
        else if ((is_ours || is_inside || (is_rule && on_condition))
                 && matches(its->passes_on, text))
            APR_ARRAY_PUSH(its->faults, const char *) =
                apr_psprintf(its->p, "%s (%s:%d): it passes requests below " BOOT_PREFIX " on to "
                             "the WalT server unguarded, under every name that is no "
                             "entrypoint's; take it out", text, directive->filename,
                             directive->line_num);
        if (is_rule)
            on_condition = 0;
        else if (ap_cstr_casecmp(name, "RewriteCond") == 0)
            on_condition |= is_ours;
    }
}

apr_array_header_t *leftover_check_faults(apr_pool_t *p)
{
    reader its = { p, ap_pregcomp(p, OURS, 0), ap_pregcomp(p, PASSES_ON, AP_REG_ICASE),
                   apr_array_make(p, 1, sizeof(const char *)) };

    walk(&its, ap_conftree, 0);
    return its.faults;
}
