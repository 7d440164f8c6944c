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

/* Where a directive stands. */
typedef struct {
    const char *path;           /* of the <Location> around it, as written; NULL: none */
    int is_pattern;             /* that is a regular expression */
    int has_condition;          /* a RewriteCond before it says /walt-vpn/ */
} surroundings;

/* Is this path /walt-vpn or below it? */
static int is_path_of_ours(const char *path)
{
    return *path == '/' && strncmp(path + 1, segment, sizeof(segment) - 1) == 0
           && (path[sizeof(segment)] == '/' || path[sizeof(segment)] == '\0');
}

/* Is this the URL of such a path?  A host of that name is none. */
static int is_url_of_ours(const char *url)
{
    const char *path = ap_strstr_c(url, "://");

    path = path ? ap_strchr_c(path + 3, '/') : NULL;
    return path && is_path_of_ours(path);
}

static int is_of_a_name(char c)
{
    return apr_isalnum(c) || c == '-' || c == '_';
}

/* Does this regular expression ask for such a path?  "!^/walt-vpn/", "(?!walt-vpn)" ask for
 * others. */
static int is_pattern_of_ours(apr_pool_t *p, const char *pattern)
{
    char *plain = apr_pstrdup(p, pattern);
    const char *found, *before;
    char *to = plain;

    for (; *pattern; pattern++) {
        if (*pattern != '\\')
            *to++ = *pattern;
    }
    *to = '\0';
    if (*plain == '!' || !(found = ap_strstr_c(plain, segment)))
        return 0;
    before = found > plain && found[-1] == '/' ? found - 1 : found;
    return (before == plain || (before[-1] != '!' && !is_of_a_name(before[-1])))
           && !is_of_a_name(found[sizeof(segment) - 1]);
}

/* Does what stands around a directive say /walt-vpn/? */
static int is_around_ours(apr_pool_t *p, const surroundings *around)
{
    return around->path && (around->is_pattern ? is_pattern_of_ours(p, around->path)
                                               : is_path_of_ours(around->path));
}

/* Is this ProxyPass, or ProxyPassMatch, about /walt-vpn/?  "!" for a target passes nothing on. */
static int is_proxypass_of_ours(apr_pool_t *p, const char *args, int is_pattern,
                                const surroundings *around)
{
    const char *path = around->path ? NULL : ap_getword_conf(p, &args);
    const char *target = ap_getword_conf(p, &args);

    if (strcmp(target, "!") == 0)
        return 0;
    return is_url_of_ours(target) || is_around_ours(p, around)
           || (path && (is_pattern ? is_pattern_of_ours(p, path) : is_path_of_ours(path)));
}

/* Is P, or proxy, among these flags of a rule: "[P,L]"? */
static int passes_on(apr_pool_t *p, const char *flags)
{
    char *list = apr_pstrdup(p, *flags == '[' ? flags + 1 : flags), *state;
    const char *flag;

    for (flag = apr_strtok(list, ", ]", &state); flag; flag = apr_strtok(NULL, ", ]", &state)) {
        if (ap_cstr_casecmp(flag, "P") == 0 || ap_cstr_casecmp(flag, "proxy") == 0)
            return 1;
    }
    return 0;
}

static int is_rule_of_ours(apr_pool_t *p, const char *args, const surroundings *around)
{
    const char *pattern = ap_getword_conf(p, &args);
    const char *target = ap_getword_conf(p, &args);

    return passes_on(p, ap_getword_conf(p, &args))
           && (is_url_of_ours(target) || is_pattern_of_ours(p, pattern) || around->has_condition
               || is_around_ours(p, around));
}

static int is_condition_of_ours(apr_pool_t *p, const char *args)
{
    (void)ap_getword_conf(p, &args);    /* what is matched */
    return is_pattern_of_ours(p, ap_getword_conf(p, &args));
}

static int is_handler_of_ours(apr_pool_t *p, const char *args, const surroundings *around)
{
    const char *handler = ap_getword_conf(p, &args);

    return ap_cstr_casecmpn(handler, "proxy:", 6) == 0
           && (is_url_of_ours(handler) || is_around_ours(p, around));
}

/* Does this directive pass on what is below /walt-vpn/? */
static int is_leftover(apr_pool_t *p, const ap_directive_t *directive, const surroundings *around)
{
    const char *name = directive->directive, *args = directive->args;

    if (ap_cstr_casecmp(name, "ProxyPass") == 0)
        return is_proxypass_of_ours(p, args, 0, around);
    if (ap_cstr_casecmp(name, "ProxyPassMatch") == 0)
        return is_proxypass_of_ours(p, args, 1, around);
    if (ap_cstr_casecmp(name, "RewriteRule") == 0)
        return is_rule_of_ours(p, args, around);
    return ap_cstr_casecmp(name, "SetHandler") == 0 && is_handler_of_ours(p, args, around);
}

/* What stands around the directives of this section, itself inside of others. */
static surroundings inside(apr_pool_t *p, const ap_directive_t *section,
                           const surroundings *around)
{
    surroundings within = *around;
    const char *args = section->args;
    apr_size_t length = strlen(args);

    within.has_condition = 0;
    if (ap_cstr_casecmpn(section->directive, "<Location", 9) != 0)
        return within;
    if (length && args[length - 1] == '>')
        args = apr_pstrmemdup(p, args, length - 1);
    within.path = ap_getword_conf(p, &args);
    within.is_pattern = ap_cstr_casecmp(section->directive, "<LocationMatch") == 0;
    if (strcmp(within.path, "~") == 0) {
        within.path = ap_getword_conf(p, &args);
        within.is_pattern = 1;
    }
    return within;
}

/* Add what of these directives, and of those inside them, passes on what is below /walt-vpn/. */
static void walk(apr_pool_t *p, const ap_directive_t *directive, surroundings around,
                 apr_array_header_t *faults)
{
    for (; directive; directive = directive->next) {
        if (directive->first_child)
            walk(p, directive->first_child, inside(p, directive, &around), faults);
        else if (is_leftover(p, directive, &around))
            APR_ARRAY_PUSH(faults, const char *) =
                apr_psprintf(p, "%s %s (%s:%d): it passes requests below " BOOT_PREFIX " on to the "
                             "WalT server unguarded, under every name that is no entrypoint's; "
                             "take it out", directive->directive, directive->args,
                             directive->filename, directive->line_num);
        if (ap_cstr_casecmp(directive->directive, "RewriteCond") == 0)
            around.has_condition |= is_condition_of_ours(p, directive->args);
        else if (ap_cstr_casecmp(directive->directive, "RewriteRule") == 0)
            around.has_condition = 0;
    }
}

apr_array_header_t *leftover_check_faults(apr_pool_t *p)
{
    apr_array_header_t *faults = apr_array_make(p, 1, sizeof(const char *));
    surroundings none = { NULL, 0, 0 };

    walk(p, ap_conftree, none, faults);
    return faults;
}
