/*
 * site/name_check.c: do the names of an entrypoint lead to it?
 *
 * Which of the virtual hosts gets a request is decided by addresses first and then by names, in an
 * order that is easily misread: httpd itself is asked, with a connection and a request that hold no
 * more than its matching looks at.  Its tables are ready when check_config runs.
 */
#include "site/name_check.h"
#include "request/entrypoint.h"

#include "ap_listen.h"
#include "apr_strings.h"
#include "http_main.h"
#include "http_vhost.h"

#define HTTP_PORT 80            /* nodes ask no other (facts.md 1) */

/* Where requests come in. */
typedef struct {
    apr_sockaddr_t address;     /* a wildcard's is any address that no <VirtualHost> names */
    const char *text;           /* as a <VirtualHost> would have it */
} place;

/* What an entrypoint is checked with. */
typedef struct {
    apr_pool_t *p;
    const walt_vpn_entrypoint *entrypoint;
    apr_array_header_t *places;         /* where it expects requests: of place */
    apr_table_t *astray;        /* "NAME at PLACE, NAME at PLACE", by whom requests for them go to
                                 * instead, and what to change */
} check;

/* ------------------------------------------------------------------ addresses */

static int is_loopback(const apr_sockaddr_t *address)
{
    if (address->family == APR_INET)
        return *(const unsigned char *)address->ipaddr_ptr == 127;
    return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)address->ipaddr_ptr);
}

/* As a <VirtualHost> would have it, in p; port 0 is any. */
static const char *address_text(apr_pool_t *p, apr_sockaddr_t *address, apr_port_t port)
{
    const char *number = port ? apr_psprintf(p, "%u", port) : "*";
    char *ip;

    if (apr_sockaddr_is_wildcard(address) || apr_sockaddr_ip_get(&ip, address) != APR_SUCCESS)
        return apr_pstrcat(p, "*:", number, NULL);
    return apr_psprintf(p, ap_strchr_c(ip, ':') ? "[%s]:%s" : "%s:%s", ip, number);
}

/* The same address with another port; it lives as long as the first one. */
static apr_sockaddr_t at_port(const apr_sockaddr_t *address, apr_port_t port)
{
    apr_sockaddr_t copy = *address;

    copy.port = port;
    copy.sa.sin.sin_port = htons(port);         /* where IPv6 has it, too */
    return copy;
}

/* Does a connection to this address come in through this listener?  Through "Listen 80", or
 * "Listen [::]:80", come IPv4 and IPv6. */
static int covers(const ap_listen_rec *listener, const apr_sockaddr_t *address)
{
    const apr_sockaddr_t *own = listener->bind_addr;

    return apr_sockaddr_is_wildcard(address) || apr_sockaddr_equal(own, address)
           || (apr_sockaddr_is_wildcard(own)
               && (own->family == APR_INET6 || address->family == APR_INET));
}

/* Has this machine the address now? */
static int is_own_address(apr_pool_t *p, const apr_sockaddr_t *address)
{
    apr_sockaddr_t any_port = at_port(address, 0);
    apr_socket_t *probe;
    apr_status_t rv;

    if (apr_socket_create(&probe, address->family, SOCK_STREAM, 0, p) != APR_SUCCESS)
        return 1;
    rv = apr_socket_bind(probe, &any_port);
    apr_socket_close(probe);
    return rv != EADDRNOTAVAIL;
}

/* ------------------------------------------------------------------ httpd's own matching */

/*
 * Whom a request reaches that comes to this address under this name, a ServerName or ServerAlias
 * (no pattern) of the entrypoint; NULL: nobody, as httpd refuses such a name with 400.  The name
 * goes in as a node's Host line does; *host is the name as httpd has it: lower case, no dot at the
 * end.
 */
static const server_rec *ask(apr_pool_t *p, apr_sockaddr_t *address, const char *name,
                             const char **host)
{
    conn_rec *c = apr_pcalloc(p, sizeof(*c));
    request_rec *r = apr_pcalloc(p, sizeof(*r));
    int is_bare_ipv6 = *name != '[' && ap_strchr_c(name, ':') != ap_strrchr_c(name, ':');

    c->pool = r->pool = p;
    c->base_server = ap_server_conf;
    c->local_addr = address;
    c->local_ip = c->client_ip = r->useragent_ip = "-";
    /* Or a log line would have one made, from what is not there. */
    c->log_id = r->log_id = "-";
    /* httpd says at LogLevel debug what is wrong with a name: ErrorLogFormat and modules that read
     * along look into these. */
    c->notes = r->notes = r->headers_out = r->err_headers_out = r->subprocess_env
             = apr_table_make(p, 1);
    c->conn_config = ap_create_conn_config(p);
    ap_update_vhost_given_ip(c);
    r->connection = c;
    r->server = c->base_server;
    r->per_dir_config = r->server->lookup_defaults;
    r->uri = "/";
    r->status = HTTP_OK;
    r->request_config = ap_create_request_config(p);
    r->headers_in = apr_table_make(p, 1);
    apr_table_setn(r->headers_in, "Host",
                   is_bare_ipv6 ? apr_pstrcat(p, "[", name, "]", NULL) : name);
    ap_update_vhost_from_headers(r);
    *host = r->hostname;
    return r->status == HTTP_OK ? r->server : NULL;
}

/* Is that server the entrypoint, which has this name?  It may be written as several, by addresses
 * or ports. */
static int is_right(const check *its, const server_rec *s, const char *host)
{
    const walt_vpn_entrypoint *other = s ? entrypoint_of(s) : NULL;

    return other && strcmp(other->url, its->entrypoint->url) == 0 && entrypoint_is_named(s, host);
}

/* ------------------------------------------------------------------ where it expects requests */

/*
 * Does s expect requests that come through this listener to this address?  Who names all ports
 * ("*:*", the main server) means that of nodes; where there is none, each that speaks plain HTTP.
 */
static int expects(const server_rec *s, const ap_listen_rec *listener,
                   const apr_sockaddr_t *address)
{
    apr_port_t port = listener->bind_addr->port;
    int is_meant = port == HTTP_PORT
                   || (!entrypoint_is_listened_on(HTTP_PORT)
                       && !(listener->protocol && strcmp(listener->protocol, "https") == 0));
    const server_addr_rec *own;

    for (own = s->addrs; own; own = own->next) {
        if ((own->host_port ? own->host_port == port : is_meant)
            && (apr_sockaddr_is_wildcard(own->host_addr)
                || apr_sockaddr_equal(own->host_addr, address)))
            return 1;
    }
    return 0;
}

/* Note what comes through this listener to this address, if the entrypoint expects requests
 * there. */
static void add_place(check *its, const ap_listen_rec *listener, apr_sockaddr_t *address)
{
    apr_port_t port = listener->bind_addr->port;
    place found = { at_port(address, port), address_text(its->p, address, port) };
    int i;

    if (!expects(its->entrypoint->server, listener, address))
        return;
    for (i = 0; i < its->places->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(its->places, i, place).text, found.text) == 0)
            return;
    }
    APR_ARRAY_PUSH(its->places, place) = found;
}

/*
 * Note where the entrypoint expects requests.  What a wildcard listener takes are the addresses of
 * this machine that any <VirtualHost> names, each of which may lead elsewhere, and all others,
 * which lead alike.  By those of loopback no node comes, unless the entrypoint or Listen names
 * them.
 */
static void list_places(check *its)
{
    const server_rec *other;
    const ap_listen_rec *listener;
    const server_addr_rec *named;

    for (listener = ap_listeners; listener; listener = listener->next) {
        int takes_all = apr_sockaddr_is_wildcard(listener->bind_addr);

        add_place(its, listener, listener->bind_addr);
        for (other = ap_server_conf; takes_all && other; other = other->next) {
            for (named = other->addrs; named; named = named->next) {
                if ((named->host_port == 0 || named->host_port == listener->bind_addr->port)
                    && !apr_sockaddr_is_wildcard(named->host_addr)
                    && covers(listener, named->host_addr)
                    && (other == its->entrypoint->server || !is_loopback(named->host_addr))
                    && is_own_address(its->p, named->host_addr))
                    add_place(its, listener, named->host_addr);
            }
        }
    }
}

/* ------------------------------------------------------------------ findings */

/* Whom requests for a name go to instead of the entrypoint, and what to change, in p; host: the
 * name as httpd has it. */
static const char *reason_of(apr_pool_t *p, const server_rec *s, const char *name,
                             const char *host)
{
    const char *whom = "the main server";

    if (!s)
        return "nobody, as httpd refuses such a name with 400 (HttpProtocolOptions Strict); use "
               "letters, digits, hyphens and dots, and a letter where its last part begins";
    if (s->defn_name)
        whom = apr_psprintf(p, "the <VirtualHost> at %s:%u", s->defn_name, s->defn_line_number);
    if (ap_cstr_casecmp(name, host) != 0)
        return apr_psprintf(p, "%s, as httpd does not know the name in this form; write %s", whom,
                            host);
    return apr_pstrcat(p, whom, "; have the entrypoint read before it, in a <VirtualHost> that "
                       "names the same address and port", NULL);
}

/* Note where requests for a name lead elsewhere: a ServerAlias with wildcards by one of the names
 * that it stands for.  Returns the places where they lead here, in p; NULL: nowhere. */
static const char *check_name(const check *its, const char *name)
{
    char *example = apr_pstrdup(its->p, name), *wildcard = example;
    const char *reached = NULL, *host;
    int i;

    while ((wildcard = strpbrk(wildcard, "*?")))
        *wildcard = 'x';
    for (i = 0; i < its->places->nelts; i++) {
        place *at = &APR_ARRAY_IDX(its->places, i, place);
        const server_rec *s = ask(its->p, &at->address, example, &host);

        if (!is_right(its, s, host))
            apr_table_mergen(its->astray, reason_of(its->p, s, example, host),
                             apr_pstrcat(its->p, name, " at ", at->text, NULL));
        else
            reached = reached ? apr_pstrcat(its->p, reached, ", ", at->text, NULL) : at->text;
    }
    return reached;
}

/* The same of several names; NULL: there are none. */
static void check_names(const check *its, const apr_array_header_t *names)
{
    int i;

    for (i = 0; names && i < names->nelts; i++)
        (void)check_name(its, APR_ARRAY_IDX(names, i, const char *));
}

/* Add the addresses and ports of its <VirtualHost> at which no request can come in. */
static void check_addresses(apr_pool_t *p, const server_rec *s, apr_array_header_t *faults)
{
    const server_addr_rec *own;
    const char *last = "";

    for (own = s->addrs; own; own = own->next) {
        const char *text = address_text(p, own->host_addr, own->host_port);
        const ap_listen_rec *listener = ap_listeners;

        if (strcmp(text, last) == 0)
            continue;           /* "*" is two addresses, of IPv4 and of IPv6 */
        last = text;
        while (listener && !(listener->bind_addr->port == own->host_port
                             && covers(listener, own->host_addr)))
            listener = listener->next;
        if (own->host_port && !listener)
            APR_ARRAY_PUSH(faults, const char *) =
                apr_psprintf(p, "httpd does not listen on %s of its <VirtualHost>; write Listen %u "
                             "(Debian: in /etc/apache2/ports.conf)", text, own->host_port);
        else if (!apr_sockaddr_is_wildcard(own->host_addr) && !is_own_address(p, own->host_addr))
            APR_ARRAY_PUSH(faults, const char *) =
                apr_psprintf(p, "no request comes to <VirtualHost %s>, an address that this "
                             "machine does not have; write <VirtualHost *:80>", text);
    }
}

/* Do nodes, on port 80, find the entrypoint there, in this <VirtualHost> or another? */
static int is_on_port_80(const check *its)
{
    const char *name = its->entrypoint->server->server_hostname;
    const server_rec *s = ap_server_conf;

    while (s && !(is_right(its, s, name) && entrypoint_answers_on(s, HTTP_PORT)))
        s = s->next;
    return s != NULL;
}

const char *name_check(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                       apr_array_header_t *faults)
{
    const server_rec *s = entrypoint->server;
    check its = { p, entrypoint, apr_array_make(p, 4, sizeof(place)), apr_table_make(p, 1) };
    const apr_array_header_t *astray = apr_table_elts(its.astray);
    const char *reached;
    int i;

    list_places(&its);
    check_addresses(p, s, faults);
    reached = check_name(&its, s->server_hostname);
    check_names(&its, s->names);
    check_names(&its, s->wild_names);
    for (i = 0; i < astray->nelts; i++) {
        const apr_table_entry_t *reason = &APR_ARRAY_IDX(astray, i, apr_table_entry_t);

        APR_ARRAY_PUSH(faults, const char *) =
            apr_psprintf(p, "requests for %s go to %s", reason->val, reason->key);
    }
    if (faults->nelts == 0 && !is_on_port_80(&its))
        APR_ARRAY_PUSH(faults, const char *) =
            apr_psprintf(p, "nodes ask port 80 alone, and %s is not there; write Listen 80 and "
                         "<VirtualHost *:80>, unless port 80 is forwarded to it",
                         s->server_hostname);
    return reached;
}
