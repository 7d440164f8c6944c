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

#include "apr_lib.h"
#include "apr_strings.h"

static const char segment[] = "walt-vpn";       /* BOOT_PREFIX without its slashes */

static int is_of_a_name(char c)
{
    return apr_isalnum(c) || c == '-' || c == '_';
}

/* Is this a path, a URL, or a pattern, of /walt-vpn/?  A host of that name is none, and neither are
 * "!^/walt-vpn/" and "(?!walt-vpn/)", which ask for others. */
static int is_word_of_ours(char *word)
{
    const char *from = word, *found, *before;
    char *to = word;

    do {                        /* "walt\-vpn" is the same */
        if (*from != '\\')
            *to++ = *from;
    } while (*from++);
    found = *word == '!' ? NULL : ap_strstr_c(word, segment);
    if (!found || is_of_a_name(found[sizeof(segment) - 1]))
        return 0;
    if (found == word || found[-1] != '/')
        return found == word || (found[-1] != '!' && !is_of_a_name(found[-1]));
    before = found - 1;
    return before == word || !strchr("!/", before[-1]);
}

/* Does one of these words say /walt-vpn/? */
static int says_ours(apr_pool_t *p, const char *args)
{
    while (*args) {
        if (is_word_of_ours(ap_getword_conf(p, &args)))
            return 1;
    }
    return 0;
}

/* Does this directive pass requests on?  A ProxyPass to "!" does not, nor a RewriteRule without
 * "[P]", or "proxy", among its flags. */
static int passes_on(apr_pool_t *p, const ap_directive_t *directive)
{
    const char *name = directive->directive, *args = directive->args;
    char *last = NULL, *flag, *state;

    if (ap_cstr_casecmp(name, "SetHandler") == 0)
        return ap_cstr_casecmpn(ap_getword_conf(p, &args), "proxy:", 6) == 0;
    while (*args) {
        last = ap_getword_conf(p, &args);
        if (ap_cstr_casecmpn(name, "ProxyPass", 9) == 0 && strcmp(last, "!") == 0)
            return 0;
    }
    if (ap_cstr_casecmp(name, "RewriteRule") != 0 || !last)
        return ap_cstr_casecmp(name, "ProxyPass") == 0
               || ap_cstr_casecmp(name, "ProxyPassMatch") == 0;
    for (flag = apr_strtok(last, "[, ]", &state); flag; flag = apr_strtok(NULL, "[, ]", &state)) {
        if (ap_cstr_casecmp(flag, "P") == 0 || ap_cstr_casecmp(flag, "proxy") == 0)
            return 1;
    }
    return 0;
}

/* Add what of these directives, and of those inside them, passes on what is below /walt-vpn/; in a
 * <Location> that says so, what passes anything on. */
static void walk(apr_pool_t *p, const ap_directive_t *directive, int is_inside,
                 apr_array_header_t *faults)
{
    int on_condition = 0;       /* a RewriteCond before it says so */

    for (; directive; directive = directive->next) {
        const char *name = directive->directive;
        int is_ours = says_ours(p, directive->args);
        int is_rule = ap_cstr_casecmp(name, "RewriteRule") == 0;

        if (directive->first_child)
            walk(p, directive->first_child,
                 is_inside || (is_ours && ap_cstr_casecmpn(name, "<Location", 9) == 0), faults);
        else if ((is_ours || is_inside || (is_rule && on_condition)) && passes_on(p, directive))
            APR_ARRAY_PUSH(faults, const char *) =
                apr_psprintf(p, "%s %s (%s:%d): it passes requests below " BOOT_PREFIX " on to the "
                             "WalT server unguarded, under every name that is no entrypoint's; "
                             "take it out", name, directive->args, directive->filename,
                             directive->line_num);
        if (is_rule)
            on_condition = 0;
        else if (ap_cstr_casecmp(name, "RewriteCond") == 0)
            on_condition |= is_ours;
    }
}

apr_array_header_t *leftover_check_faults(apr_pool_t *p)
{
    apr_array_header_t *faults = apr_array_make(p, 1, sizeof(const char *));

    walk(p, ap_conftree, 0, faults);
    return faults;
}
