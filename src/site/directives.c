/*
 * site/directives.c: what the directives make of a server: reading them, refusing to start, the
 * worker, what each child ends with.
 *
 * What can be judged from a directive alone is judged where it is read; what only the whole
 * configuration shows, in check_config, so that configtest says it; post_config builds.
 */
#include "site/directives.h"
#include "ledger/counters.h"
#include "ledger/ledger.h"
#include "report/memory.h"
#include "request/judge.h"
#include "request/times.h"
#include "store/folder.h"
#include "walt/address.h"
#include "walt/line.h"

#include "ap_mmn.h"
#include "apr_lib.h"
#include "apr_strings.h"
#include "mod_proxy.h"

#include <arpa/inet.h>

#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 130)
#error "mod_walt_vpn needs httpd 2.4.59 or later"     /* ap_proxy_determine_address */
#endif

/*
 * mod_proxy's functions are a real dependence of this module.  Linked hard, their absence would
 * end in dlopen's "undefined symbol" before any message of ours; weak, they are NULL and
 * walt_vpn_check_config says what to type.
 */
#pragma weak ap_proxy_define_worker
#pragma weak ap_proxy_get_worker

/* Default of WaltVpnCacheSize, in bytes. */
#define DEFAULT_CACHE_SIZE ((apr_off_t)1 << 30)

/* Most connections of a process to a WalT server: more than there can be threads. */
#define CONNECTIONS_MAX 100000

/* To be completed here; everybody else only reads it. */
static walt_vpn_entrypoint *own_entrypoint(const server_rec *s)
{
    return entrypoint_of(s) ? entrypoint_config(s)->entrypoint : NULL;
}

void *directives_create_config(apr_pool_t *p, server_rec *s)
{
    (void)s;
    return apr_pcalloc(p, sizeof(walt_vpn_config));
}

/* An entrypoint is named where it is; the rest may be said once for all of them. */
void *directives_merge_config(apr_pool_t *p, void *base_config, void *add_config)
{
    const walt_vpn_config *base = base_config, *add = add_config;
    walt_vpn_config *merged = apr_pcalloc(p, sizeof(*merged));

    merged->entrypoint = add->entrypoint;
    merged->expose = add->expose == EXPOSE_UNSET ? base->expose : add->expose;
    merged->cache_root = add->cache_root ? add->cache_root : base->cache_root;
    merged->cache_directive = add->cache_root ? add->cache_directive : base->cache_directive;
    merged->cache_size = add->cache_size ? add->cache_size : base->cache_size;
    return merged;
}

/* ------------------------------------------------------------------ setters */

/* "the directive, its value: fault", the form of every complaint of a setter. */
static const char *complain(const cmd_parms *cmd, const char *value, const char *fault)
{
    return apr_psprintf(cmd->pool, "%s \"%s\": %s", cmd->cmd->name, value, fault);
}

/* Is host written as an address? */
static int is_address(const char *host)
{
    return ap_strchr_c(host, ':') || strspn(host, "0123456789.") == strlen(host);
}

/* "host[:port]": a name of DNS, or an address.  What is in brackets, and which numbers are ports,
 * APR judges; a number alone is a port to it. */
#define HOST_PORT "^(\\[[^]]+\\]|(?=[^:]{1,253}(:|$))([\\w-]{1,63}\\.)*[\\w-]{1,63}\\.?)" \
                  "(:\\d{1,5})?$"

/* Split it into *host (lower case, in pool, without brackets) and *port (80 unless said); 0: it is
 * none. */
static int split_host_port(apr_pool_t *pool, const char *value, char **host, apr_port_t *port)
{
    unsigned char address[sizeof(struct in_addr)];
    char *zone;

    if (ap_regexec(ap_pregcomp(pool, HOST_PORT, 0), value, 0, NULL, 0) != 0
        || apr_parse_addr_port(host, &zone, port, value, pool) != APR_SUCCESS
        || !*host || zone)
        return 0;
    ap_str_tolower(*host);
    if (*port == 0)
        *port = 80;
    return *value == '[' || !is_address(*host) || inet_pton(AF_INET, *host, address) == 1;
}

/* A complaint when the directive stands in a section narrower than a server; else NULL.  In an
 * .htaccess file httpd refuses it. */
static const char *refuse_section(cmd_parms *cmd, const char *value)
{
    if (!ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT | NOT_IN_LIMIT))
        return NULL;
    return complain(cmd, value,
                    apr_psprintf(cmd->pool, "it stands inside %s> but belongs to a whole server; "
                                 "move it out, directly into the <VirtualHost>",
                                 cmd->directive->parent->directive));
}

static const char *set_server(cmd_parms *cmd, void *dummy, int argc, char *const argv[])
{
    walt_vpn_config *config = entrypoint_config(cmd->server);
    walt_vpn_entrypoint *entrypoint = apr_pcalloc(cmd->pool, sizeof(*entrypoint));
    const char *value = argc > 1 ? cmd->directive->args : argc ? argv[0] : "";
    apr_uri_t url = { .scheme = "http", .path = BOOT_PREFIX };
    const char *fault;
    char *host;

    (void)dummy;
    if ((fault = refuse_section(cmd, value)))
        return fault;
    if (config->entrypoint)
        return complain(cmd, value,
                        apr_psprintf(cmd->pool, "this server has %s already; remove one of the two",
                                     config->entrypoint->where));
    if (argc > 1 || !split_host_port(cmd->pool, value, &host, &entrypoint->port))
        return complain(cmd, value, "this is no host[:port]; write a host name, an IPv4 address or "
                        "an IPv6 address in brackets, without http:// and without a path, and "
                        ":port if it is not 80");
    entrypoint->server = cmd->server;
    entrypoint->host = host;
    entrypoint->directive = cmd->directive;
    entrypoint->where = apr_psprintf(cmd->pool, "WaltVpnServer %s (%s:%d)", value,
                                     cmd->directive->filename, cmd->directive->line_num);
    /* The form that mod_proxy gives a worker's name: no default port, brackets kept. */
    url.hostname = host;
    url.port = entrypoint->port;
    url.port_str = apr_itoa(cmd->pool, entrypoint->port);
    entrypoint->url = apr_uri_unparse(cmd->pool, &url, 0);
    config->entrypoint = entrypoint;
    return NULL;
}

static const char *set_expose(cmd_parms *cmd, void *dummy, const char *value)
{
    walt_vpn_config *config = entrypoint_config(cmd->server);
    const char *fault;

    (void)dummy;
    if ((fault = refuse_section(cmd, value)))
        return fault;
    if (ap_cstr_casecmp(value, "all") == 0)
        config->expose = EXPOSE_ALL;
    else if (ap_cstr_casecmp(value, "boot") == 0)
        config->expose = EXPOSE_BOOT;
    else
        return complain(cmd, value, "write all (everything below /walt-vpn/) or boot (only what "
                        "distant nodes and the setup check need)");
    return NULL;
}

static const char *set_cache_root(cmd_parms *cmd, void *dummy, const char *value)
{
    walt_vpn_config *config = entrypoint_config(cmd->server);
    const char *fault;
    apr_size_t length;
    char *path;

    (void)dummy;
    if ((fault = refuse_section(cmd, value)))
        return fault;
    config->cache_directive = cmd->directive;
    if (ap_cstr_casecmp(value, "none") == 0) {
        config->cache_root = "";
        return NULL;
    }
    if (*value == '\0' || !(path = ap_server_root_relative(cmd->pool, value)))
        return complain(cmd, value, "write the path of a folder, as in WaltVpnCacheRoot "
                        "/var/cache/apache2/walt_vpn, or none");
    for (length = strlen(path); length > 1 && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
    config->cache_root = path;
    return NULL;
}

static const char *set_cache_size(cmd_parms *cmd, void *dummy, const char *value)
{
    static const char units[] = "KMG";
    walt_vpn_config *config = entrypoint_config(cmd->server);
    const char *fault, *unit;
    apr_off_t size = 0;
    char *end = NULL;
    int shift = 0;

    (void)dummy;
    if ((fault = refuse_section(cmd, value)))
        return fault;
    if (!apr_isdigit(*value) || apr_strtoff(&size, value, &end, 10) != APR_SUCCESS)
        end = NULL;
    if (end && *end && (unit = ap_strchr_c(units, apr_toupper(*end)))) {
        shift = 10 * (int)(unit - units + 1);
        end++;
    }
    if (!end || *end || size < 1 || size > (APR_INT64_MAX >> shift))
        return complain(cmd, value, "write a number of bytes greater than zero, with K, M or G "
                        "behind it if you like, as in WaltVpnCacheSize 1G");
    config->cache_size = size << shift;
    return NULL;
}

/* ------------------------------------------------------------------ start-up */

/* Does a ServerName stand beside this directive? httpd makes one up where it is missing. */
static int has_server_name(const ap_directive_t *directive)
{
    const ap_directive_t *sibling = directive->parent ? directive->parent->first_child
                                                      : ap_conftree;

    for (; sibling; sibling = sibling->next) {
        if (ap_cstr_casecmp(sibling->directive, "ServerName") == 0)
            return 1;
    }
    return 0;
}

/* What is wrong with the modules that this one stands on, and what to type; NULL: nothing. */
static const char *dependence_fault(void)
{
    if (!ap_find_linked_module("mod_proxy.c"))
        return "needs mod_proxy, which is not loaded; type \"a2enmod proxy proxy_http\", or "
               "write LoadModule proxy_module above LoadModule walt_vpn_module";
    if (!ap_proxy_define_worker || !ap_proxy_get_worker)
        return "needs mod_proxy loaded before it; move LoadModule proxy_module above LoadModule "
               "walt_vpn_module";
    if (!ap_find_linked_module("mod_proxy_http.c"))
        return "needs mod_proxy_http, which is not loaded; type \"a2enmod proxy_http\", or write "
               "LoadModule proxy_http_module above LoadModule walt_vpn_module";
    return NULL;
}

/* What is wrong with an entrypoint that only the whole configuration shows; NULL: nothing. */
static const char *entrypoint_fault(apr_pool_t *p, const server_rec *s,
                                    const walt_vpn_entrypoint *entrypoint)
{
    if (!has_server_name(entrypoint->directive))
        return apr_pstrcat(p, "there is no ServerName ",
                           s->is_virtual ? "in this virtual host" : "for the main server",
                           "; add one with the name that nodes use, as in ServerName "
                           "walt-entry.example.org", NULL);
    if (!entrypoint_answers_on(s, entrypoint->port))
        return NULL;
    if (entrypoint_has_name(s, entrypoint->host))
        return "this is the entrypoint itself, and requests would go round in circles; name the "
               "WalT server inside the lab";
    if (entrypoint_is_named(s, entrypoint->host) && !is_address(entrypoint->host))
        return "a ServerAlias with a wildcard makes this a name of the entrypoint itself, and "
               "requests would go round in circles; if it is another machine, write its address";
    return NULL;
}

/* Give the entrypoint its cache folder, if any; returns what is wrong with it, or NULL. */
static const char *set_folder(apr_pool_t *pconf, apr_pool_t *ptemp,
                              walt_vpn_entrypoint *entrypoint, const walt_vpn_config *config)
{
    image_folder *folder;

    if (!config->cache_root || !*config->cache_root)
        return NULL;
    folder = apr_pcalloc(pconf, sizeof(*folder));
    folder->root = config->cache_root;
    folder->size = config->cache_size ? config->cache_size : DEFAULT_CACHE_SIZE;
    entrypoint->folder = folder;
    folder->where = apr_psprintf(pconf, "WaltVpnCacheRoot %s (%s:%d)", folder->root,
                                 config->cache_directive->filename,
                                 config->cache_directive->line_num);
    return image_folder_fault(ptemp, folder);
}

/* Say why httpd does not start, on the terminal. */
static int refuse(const server_rec *s, const char *where, const char *fault)
{
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s, "%s: %s", where, fault);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Judge here, not in post_config: so the verdict reaches configtest and the terminal. */
static int walt_vpn_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                                 server_rec *main_server)
{
    const char *fault = dependence_fault();
    server_rec *s = main_server;

    (void)plog;
    if (fault) {
        while (s && !entrypoint_of(s))
            s = s->next;
        return refuse(main_server, s ? entrypoint_of(s)->where : "LoadModule walt_vpn_module",
                      apr_pstrcat(ptemp, "mod_walt_vpn ", fault, NULL));
    }
    for (; s; s = s->next) {
        walt_vpn_entrypoint *entrypoint = own_entrypoint(s);

        if (!entrypoint)
            continue;
        if ((fault = entrypoint_fault(ptemp, s, entrypoint)))
            return refuse(s, entrypoint->where, fault);
        entrypoint->boot_only = entrypoint_config(s)->expose == EXPOSE_BOOT;
        if ((fault = set_folder(pconf, ptemp, entrypoint, entrypoint_config(s))))
            return refuse(s, entrypoint->folder->where, fault);
    }
    return OK;
}

/* Have a directive of another module act as if it stood in this server.  Returns what is wrong with
 * it, or NULL. */
static const char *say_directive(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *s,
                                 const char *name, const char *args)
{
    ap_directive_t said = { .directive = name, .args = args };
    cmd_parms parms = { .pool = pconf, .temp_pool = ptemp, .server = s, .override = RSRC_CONF,
                        .limited = -1 };

    return ap_walk_config(&said, &parms, s->lookup_defaults);
}

/*
 * Define the worker of an entrypoint in the mod_proxy configuration of its server, unless the
 * administrator has.  mod_proxy initialises it with its own in each child, so it must be there
 * before.  Returns why mod_proxy refuses it, or NULL.
 *
 * disablereuse: the WalT server needs 44 ms more for a small reply on a connection that was kept,
 * and the setup check's throw-away server leaves stale ones behind (facts.md 2, 3).  retry: no
 * hold-down, as the first request after the WalT server is back must succeed.  addressttl: it keeps
 * the address that it is given (walt/address.c).  max: by default a process has a connection for
 * each of httpd's threads; but fetches and questions have threads of their own (boot/crew.c).
 */
static const char *define_worker(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *s,
                                 walt_vpn_entrypoint *entrypoint)
{
    const char *url = entrypoint->url, *fault;
    proxy_server_conf *conf = ap_get_module_config(s->module_config,
                                                   ap_find_linked_module("mod_proxy.c"));
    proxy_worker *worker = ap_proxy_get_worker(pconf, NULL, conf, url);

    if (!worker || !walt_address_is_worker_of(worker, url)) {
        fault = ap_proxy_define_worker(pconf, &worker, NULL, conf, url, 0);
        if (!fault)
            fault = say_directive(pconf, ptemp, s, "ProxySet",
                                  apr_psprintf(ptemp, "%s disablereuse=on connectiontimeout=%d "
                                               "timeout=%d max=%d retry=0 addressttl=-1", url,
                                               (int)apr_time_sec(CONNECT_TIMEOUT),
                                               (int)apr_time_sec(REPLY_TIMEOUT),
                                               CONNECTIONS_MAX));
        if (fault)
            return apr_psprintf(pconf, "mod_proxy refuses the worker %s: %s", url, fault);
    }
    entrypoint->timeout = worker->s->timeout_set ? worker->s->timeout
                          : conf->timeout_set ? conf->timeout : s->timeout;
    return NULL;
}

/* There is no shared memory, or it can't be used. */
static int refuse_for_memory(const server_rec *main_server, apr_status_t rv)
{
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, rv, main_server, "mod_walt_vpn can't get "
                 "its shared memory; free some, or raise the limit that httpd was started with "
                 "(\"ulimit -v\")");
    return HTTP_INTERNAL_SERVER_ERROR;
}

static int walt_vpn_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                                server_rec *main_server)
{
    server_rec *s;
    apr_status_t rv;

    (void)plog;
    if ((rv = ledger_open(main_server->process->pool)) != APR_SUCCESS)
        return refuse_for_memory(main_server, rv);
    for (s = main_server; s; s = s->next) {
        walt_vpn_entrypoint *entrypoint = own_entrypoint(s);
        const char *fault;
        int is_new;

        if (!entrypoint)
            continue;
        rv = question_line_open(&entrypoint->line, entrypoint->url, main_server->process->pool);
        if (rv == APR_SUCCESS && !is_address(entrypoint->host))
            rv = walt_address_open(pconf, main_server->process->pool, entrypoint);
        if (rv != APR_SUCCESS)
            return refuse_for_memory(main_server, rv);
        entrypoint->place = counters_place(s->server_hostname, entrypoint->url, &is_new);
        if (is_new)
            boot_memory_recall(ptemp, entrypoint);
        if (entrypoint->place < 0)
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, "%s: nothing is counted of more than %d "
                         "entrypoints; stop and start httpd if there are fewer by now",
                         entrypoint->where, COUNTED_ENTRYPOINTS);
        if ((fault = define_worker(pconf, ptemp, s, entrypoint)))
            return refuse(s, entrypoint->where, fault);
        /* mod_cache may answer before any other module is asked: the setup check and nodes must
         * see the WalT server as it is now. */
        if (ap_find_linked_module("mod_cache.c"))
            (void)say_directive(pconf, ptemp, s, "CacheDisable", BOOT_PREFIX);
    }
    return OK;
}

/* ------------------------------------------------------------------ children */

/* A child ends: what it knows of boots is kept. */
static apr_status_t keep_boots(void *main_server)
{
    const server_rec *s;

    for (s = main_server; s; s = s->next) {
        if (entrypoint_of(s))
            boot_memory_keep(entrypoint_of(s), 0);
    }
    return APR_SUCCESS;
}

static void walt_vpn_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    apr_pool_cleanup_register(pchild, main_server, keep_boots, apr_pool_cleanup_null);
}

/* ------------------------------------------------------------------ tables */

const command_rec directives_table[] = {
    AP_INIT_TAKE_ARGV("WaltVpnServer", set_server, NULL, RSRC_CONF | ACCESS_CONF,
        "the WalT server whose VPN HTTP entrypoint this virtual host is: host[:port], as in "
        "WaltVpnServer walt.lab.example.org; port 80 unless said"),
    AP_INIT_TAKE1("WaltVpnExpose", set_expose, NULL, RSRC_CONF | ACCESS_CONF,
        "what of the WalT server the entrypoint shows: all (everything below /walt-vpn/, the "
        "default) or boot (only what distant nodes and the setup check need)"),
    AP_INIT_TAKE1("WaltVpnCacheRoot", set_cache_root, NULL, RSRC_CONF | ACCESS_CONF,
        "folder in which verified boot images are kept, as in WaltVpnCacheRoot "
        "/var/cache/apache2/walt_vpn; none (the default): they are relayed"),
    AP_INIT_TAKE1("WaltVpnCacheSize", set_cache_size, NULL, RSRC_CONF | ACCESS_CONF,
        "most bytes that the folder may hold, with K, M or G behind the number if you like; "
        "the least recently used image goes first; default 1G"),
    { .name = NULL }
};

void directives_register_hooks(void)
{
    ap_hook_check_config(walt_vpn_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(walt_vpn_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(walt_vpn_child_init, NULL, NULL, APR_HOOK_MIDDLE);
}
