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
#include "http_vhost.h"

#define HTTP_PORT 80            /* nodes ask no other (facts.md 1) */

/* Whom a request would reach. */
typedef struct {
    const server_rec *server;   /* NULL: httpd refuses such a name with 400 */
    const char *host;           /* the name as httpd has it: lower case, no dot at the end */
    const server_rec *asked;    /* the entrypoint's */
    server_rec *beside;         /* that, if httpd chooses it from several by name there */
} verdict;

/* An address and port at which an entrypoint expects requests. */
typedef struct {
    apr_sockaddr_t *address;    /* a wildcard's: any address that no <VirtualHost> names */
    const char *text;           /* as in "httpd -S" */
} place;

/* Names that lead astray at the same places for the same reason. */
typedef struct {
    const char *names;
    const char *places;
    const char *reason;         /* whom they lead to, and what to change */
} finding;

/* ------------------------------------------------------------------ addresses */

/* Is it the address of a wildcard?  As httpd sees it: 0.0.0.0 or [::]. */
static int is_any(const apr_sockaddr_t *address)
{
    static const char any[sizeof(struct in6_addr)] = { 0 };

    return memcmp(address->ipaddr_ptr, any, (apr_size_t)address->ipaddr_len) == 0;
}

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

    if (is_any(address) || apr_sockaddr_ip_get(&ip, address) != APR_SUCCESS)
        return apr_pstrcat(p, "*:", number, NULL);
    return apr_psprintf(p, ap_strchr_c(ip, ':') ? "[%s]:%s" : "%s:%s", ip, number);
}

/* The same address with another port, in p. */
static apr_sockaddr_t *at_port(apr_pool_t *p, apr_sockaddr_t *address, apr_port_t port)
{
    apr_sockaddr_t *copy;
    char *ip;

    if (apr_sockaddr_ip_get(&ip, address) != APR_SUCCESS
        || apr_sockaddr_info_get(&copy, ip, address->family, port, 0, p) != APR_SUCCESS)
        return address;
    return copy;
}

/* Was httpd built so that a socket of [::] takes IPv4, too, as it is by default? */
#ifdef AP_ENABLE_V4_MAPPED
#define IPV6_TAKES_ALL 1
#else
#define IPV6_TAKES_ALL 0
#endif

/* Does a connection to this address come in through this listener?  "Listen 80" takes IPv4 and
 * IPv6. */
static int covers(const ap_listen_rec *listener, const apr_sockaddr_t *address)
{
    if (!is_any(listener->bind_addr))
        return is_any(address) || apr_sockaddr_equal(listener->bind_addr, address);
    return !listener->bind_addr->hostname || is_any(address)
           || listener->bind_addr->family == address->family
           || (IPV6_TAKES_ALL && listener->bind_addr->family == APR_INET6);
}

/* Is there a listener of this port that takes connections to this address? */
static int is_listened_on(const apr_sockaddr_t *address, apr_port_t port)
{
    const ap_listen_rec *listener;

    for (listener = ap_listeners; listener; listener = listener->next) {
        if (listener->bind_addr->port == port && covers(listener, address))
            return 1;
    }
    return 0;
}

/* Has this machine the address now? */
static int is_own_address(apr_pool_t *p, apr_sockaddr_t *address)
{
    apr_socket_t *probe;
    apr_status_t rv;

    if (apr_socket_create(&probe, address->family, SOCK_STREAM, 0, p) != APR_SUCCESS)
        return 1;
    rv = apr_socket_bind(probe, at_port(p, address, 0));
    apr_socket_close(probe);
    return rv != EADDRNOTAVAIL;
}

/* ------------------------------------------------------------------ httpd's own matching */

static int note_asked(void *baton, conn_rec *c, server_rec *s)
{
    verdict *found = baton;

    (void)c;
    if (s == found->asked)
        found->beside = s;
    return 0;
}

/* A connection to this address, as far as httpd's matching of addresses looks at it, in p. */
static conn_rec *connection_to(apr_pool_t *p, server_rec *main_server, apr_sockaddr_t *address)
{
    conn_rec *c = apr_pcalloc(p, sizeof(*c));

    c->pool = p;
    c->base_server = main_server;
    c->local_addr = address;
    c->local_ip = c->client_ip = "-";
    c->log_id = "-";            /* or a log line would have one made, from what is not there */
    c->notes = apr_table_make(p, 1);
    c->conn_config = ap_create_conn_config(p);
    ap_update_vhost_given_ip(c);
    return c;
}

/* Has it more colons than that of a port, and no brackets? */
static int is_bare_ipv6(const char *name)
{
    return *name != '[' && ap_strchr_c(name, ':') != ap_strrchr_c(name, ':');
}

/*
 * Whom a request reaches that comes to this address under this name, a ServerName or ServerAlias
 * (no pattern) of the server that is asked about.  The name goes in as a node's Host line does.
 */
static verdict ask(apr_pool_t *p, server_rec *main_server, const server_rec *asked,
                   apr_sockaddr_t *address, const char *name)
{
    verdict found = { NULL, NULL, asked, NULL };
    conn_rec *c = connection_to(p, main_server, address);
    request_rec *r = apr_pcalloc(p, sizeof(*r));

    r->pool = p;
    r->connection = c;
    r->server = c->base_server;
    r->per_dir_config = r->server->lookup_defaults;
    r->useragent_ip = c->client_ip;
    r->log_id = "-";
    r->uri = "/";
    r->status = HTTP_OK;
    r->headers_in = apr_table_make(p, 1);
    /* httpd says at LogLevel debug what is wrong with a name: ErrorLogFormat and modules that read
     * along look into these. */
    r->headers_out = apr_table_make(p, 1);
    r->err_headers_out = apr_table_make(p, 1);
    r->subprocess_env = apr_table_make(p, 1);
    r->notes = apr_table_make(p, 1);
    r->request_config = ap_create_request_config(p);
    apr_table_setn(r->headers_in, "Host",
                   is_bare_ipv6(name) ? apr_pstrcat(p, "[", name, "]", NULL) : name);
    ap_update_vhost_from_headers(r);
    ap_vhost_iterate_given_conn(c, note_asked, &found);
    found.server = r->status == HTTP_OK ? r->server : NULL;
    found.host = r->hostname;
    return found;
}

/* ------------------------------------------------------------------ where it expects requests */

static int has_listener_without_tls(apr_port_t port)
{
    const ap_listen_rec *listener;

    for (listener = ap_listeners; listener; listener = listener->next) {
        if (listener->bind_addr->port == port
            && !(listener->protocol && strcmp(listener->protocol, "https") == 0))
            return 1;
    }
    return 0;
}

/* Is s meant by requests on a port that it names with all others ("*:*", the main server)?  By
 * those of nodes; where there is no port 80, on each that speaks plain HTTP. */
static int is_meant_among_all(apr_port_t port)
{
    return port == HTTP_PORT
           || (!has_listener_without_tls(HTTP_PORT) && has_listener_without_tls(port));
}

/* Does s expect requests at this address and port? */
static int expects(const server_rec *s, const apr_sockaddr_t *address, apr_port_t port)
{
    const server_addr_rec *own;

    if (!s->is_virtual)
        return is_meant_among_all(port);
    for (own = s->addrs; own; own = own->next) {
        if ((own->host_port == port || (own->host_port == 0 && is_meant_among_all(port)))
            && (is_any(own->host_addr) || apr_sockaddr_equal(own->host_addr, address)))
            return 1;
    }
    return 0;
}

/* Does a <VirtualHost> of s name this very address? */
static int names_address(const server_rec *s, const apr_sockaddr_t *address)
{
    const server_addr_rec *own;

    for (own = s->addrs; own; own = own->next) {
        if (apr_sockaddr_equal(own->host_addr, address))
            return 1;
    }
    return 0;
}

/* Add a place to an array of them, if s expects requests there and it is not among them. */
static void add_place(apr_pool_t *p, apr_array_header_t *places, const server_rec *s,
                      apr_sockaddr_t *address, apr_port_t port)
{
    const char *text = address_text(p, address, port);
    place *added;
    int i;

    if (!expects(s, address, port))
        return;
    for (i = 0; i < places->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(places, i, place).text, text) == 0)
            return;
    }
    added = apr_array_push(places);
    added->address = at_port(p, address, port);
    added->text = text;
}

/*
 * Where s expects requests, as places in p.  What a wildcard listener takes are the addresses of
 * this machine that any <VirtualHost> names, each of which may lead elsewhere, and all others,
 * which lead alike.  By those of loopback no node comes, unless s or Listen names them.
 */
static apr_array_header_t *places_of(apr_pool_t *p, server_rec *main_server, const server_rec *s)
{
    apr_array_header_t *places = apr_array_make(p, 4, sizeof(place));
    const ap_listen_rec *listener;
    const server_rec *other;
    const server_addr_rec *its;

    for (listener = ap_listeners; listener; listener = listener->next) {
        apr_port_t port = listener->bind_addr->port;

        add_place(p, places, s, listener->bind_addr, port);
        for (other = main_server; is_any(listener->bind_addr) && other; other = other->next) {
            for (its = other->addrs; its; its = its->next) {
                if ((its->host_port == 0 || its->host_port == port)
                    && !is_any(its->host_addr) && covers(listener, its->host_addr)
                    && is_own_address(p, its->host_addr)
                    && (!is_loopback(its->host_addr) || names_address(s, its->host_addr)))
                    add_place(p, places, s, its->host_addr, port);
            }
        }
    }
    return places;
}

/* ------------------------------------------------------------------ findings */

/* What a complaint shall read of a server's place. */
static const char *place_of(apr_pool_t *p, const server_rec *s)
{
    return s->defn_name ? apr_psprintf(p, "the <VirtualHost> at %s:%u", s->defn_name,
                                       s->defn_line_number) : "the main server";
}

/* What stands in the <VirtualHost> line of an entrypoint. */
static const char *addresses_of(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint)
{
    const ap_directive_t *section = entrypoint->directive->parent;
    apr_size_t length = section ? strlen(section->args) : 0;

    return length ? apr_pstrmemdup(p, section->args,
                                   length - (section->args[length - 1] == '>')) : "*";
}

/* Why a request goes past an entrypoint to the server found, whose <VirtualHost> is more
 * specific. */
static const char *address_reason(apr_pool_t *p, const walt_vpn_entrypoint *entrypoint,
                                  const verdict *found, const place *at)
{
    if (!entrypoint->server->is_virtual)
        return apr_psprintf(p, "%s, ahead of the main server; move WaltVpnServer and its "
                            "ServerName into a <VirtualHost %s>", place_of(p, found->server),
                            at->text);
    return apr_psprintf(p, "%s, which is more specific; write <VirtualHost %s %s> for the "
                        "entrypoint%s", place_of(p, found->server), addresses_of(p, entrypoint),
                        at->text, is_any(at->address) ? ""
                        : ", or in place of * the addresses alone at which nodes come");
}

/* Why a request goes past an entrypoint to the server found, where httpd chooses by name. */
static const char *name_reason(apr_pool_t *p, const server_rec *main_server,
                               const verdict *found)
{
    const walt_vpn_entrypoint *other = entrypoint_of(found->server);
    const char *whom = place_of(p, found->server);

    if (!entrypoint_is_named(found->server, found->host))
        return apr_psprintf(p, "%s, as httpd does not know the name in this form; write %s", whom,
                            found->host);
    if (other)
        return apr_psprintf(p, "%s, another entrypoint of this name (WaltVpnServer %s) that is "
                            "read first; remove one of the two", whom, other->value);
    /* A pointer: httpd gives a site without one the main server's. */
    if (found->server->is_virtual && found->server->server_hostname == main_server->server_hostname)
        return apr_psprintf(p, "%s, which has no ServerName and so goes by the main server's; give "
                            "it a ServerName of its own", whom);
    return apr_psprintf(p, "%s, which goes by this name too (ServerName or ServerAlias) and is "
                        "read first; take the name out there, or have the entrypoint read first "
                        "(sites-enabled is read in the order of the names)", whom);
}

/* What is wrong with where this name leads at this place, in p; NULL: nothing. */
static const char *reason_of(apr_pool_t *p, server_rec *main_server,
                             const walt_vpn_entrypoint *entrypoint, const place *at,
                             const char *name)
{
    verdict found = ask(p, main_server, entrypoint->server, at->address, name);
    const walt_vpn_entrypoint *other;

    if (found.server == entrypoint->server && entrypoint_is_named(found.server, found.host))
        return NULL;
    if (!found.server)
        return "nobody, as httpd refuses such a name with 400 (HttpProtocolOptions Strict); use "
               "one of letters, digits, hyphens and dots whose last part begins with a letter";
    if (found.beside)
        return name_reason(p, main_server, &found);
    /* One entrypoint may be written as several, by addresses. */
    other = entrypoint_of(found.server);
    if (other && strcmp(other->url, entrypoint->url) == 0
        && entrypoint_is_named(found.server, found.host))
        return NULL;
    return address_reason(p, entrypoint, &found, at);
}

/* Join two texts with a comma, in p; either may be NULL. */
static const char *joined(apr_pool_t *p, const char *list, const char *more)
{
    return list ? apr_pstrcat(p, list, ", ", more, NULL) : more;
}

/* Add that this name leads astray at this place to the findings of its own, by their reasons. */
static void add_place_found(apr_pool_t *p, apr_array_header_t *findings, const char *name,
                            const char *where, const char *reason)
{
    finding *known;
    int i;

    for (i = 0; i < findings->nelts; i++) {
        known = &APR_ARRAY_IDX(findings, i, finding);
        if (strcmp(known->reason, reason) == 0) {
            known->places = joined(p, known->places, where);
            return;
        }
    }
    known = apr_array_push(findings);
    known->names = name;
    known->places = where;
    known->reason = reason;
}

/* Add a finding to those of other names, which may have the same. */
static void add_name_found(apr_pool_t *p, apr_array_header_t *findings, const finding *one)
{
    int i;

    for (i = 0; i < findings->nelts; i++) {
        finding *known = &APR_ARRAY_IDX(findings, i, finding);

        if (strcmp(known->reason, one->reason) == 0 && strcmp(known->places, one->places) == 0) {
            known->names = joined(p, known->names, one->names);
            return;
        }
    }
    APR_ARRAY_PUSH(findings, finding) = *one;
}

/* A name that the pattern of a ServerAlias stands for, in p. */
static const char *example_of(apr_pool_t *p, const char *pattern)
{
    const char *example = "";

    for (; *pattern; pattern++) {
        if (*pattern == '*')
            example = apr_pstrcat(p, example, "any", NULL);
        else
            example = apr_psprintf(p, "%s%c", example, *pattern == '?' ? 'x' : *pattern);
    }
    return example;
}

/* Add where requests for one name lead astray; shown: the name, or the pattern that it stands
 * for. */
static void check_name(apr_pool_t *p, server_rec *main_server,
                       const walt_vpn_entrypoint *entrypoint, const apr_array_header_t *places,
                       const char *name, const char *shown, apr_array_header_t *findings)
{
    apr_array_header_t *own = apr_array_make(p, 1, sizeof(finding));
    int i;

    for (i = 0; i < places->nelts; i++) {
        const place *at = &APR_ARRAY_IDX(places, i, const place);
        const char *reason = reason_of(p, main_server, entrypoint, at, name);

        if (reason)
            add_place_found(p, own, shown, at->text, reason);
    }
    for (i = 0; i < own->nelts; i++)
        add_name_found(p, findings, &APR_ARRAY_IDX(own, i, const finding));
}

/* Add what leads any of its names astray. */
static void check_names(apr_pool_t *p, server_rec *main_server,
                        const walt_vpn_entrypoint *entrypoint, const apr_array_header_t *places,
                        apr_array_header_t *faults)
{
    const server_rec *s = entrypoint->server;
    apr_array_header_t *findings = apr_array_make(p, 1, sizeof(finding));
    int i;

    check_name(p, main_server, entrypoint, places, s->server_hostname, s->server_hostname,
               findings);
    for (i = 0; s->names && i < s->names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(s->names, i, const char *);

        check_name(p, main_server, entrypoint, places, name, name, findings);
    }
    for (i = 0; s->wild_names && i < s->wild_names->nelts; i++) {
        const char *pattern = APR_ARRAY_IDX(s->wild_names, i, const char *);

        check_name(p, main_server, entrypoint, places, example_of(p, pattern), pattern, findings);
    }
    for (i = 0; i < findings->nelts; i++) {
        const finding *found = &APR_ARRAY_IDX(findings, i, const finding);

        APR_ARRAY_PUSH(faults, const char *) =
            apr_psprintf(p, "requests for %s at %s go to %s", found->names, found->places,
                         found->reason);
    }
}

/* Add the addresses and ports of its <VirtualHost> at which no request can come in. */
static void check_addresses(apr_pool_t *p, const server_rec *s, apr_array_header_t *faults)
{
    const server_addr_rec *own;
    const char *last = "";

    for (own = s->addrs; own; own = own->next) {
        const char *text = address_text(p, own->host_addr, own->host_port);

        if (strcmp(text, last) == 0)
            continue;           /* "*" is two addresses, of IPv4 and of IPv6 */
        last = text;
        if (own->host_port && !is_listened_on(own->host_addr, own->host_port))
            APR_ARRAY_PUSH(faults, const char *) =
                apr_psprintf(p, "httpd does not listen on %s of its <VirtualHost>; write Listen %u "
                             "(Debian: in /etc/apache2/ports.conf), or a port that it listens on",
                             text, own->host_port);
        else if (!is_any(own->host_addr) && !is_own_address(p, own->host_addr))
            APR_ARRAY_PUSH(faults, const char *) =
                apr_psprintf(p, "no request comes to <VirtualHost %s>, an address that this "
                             "machine does not have; behind address translation write "
                             "<VirtualHost *:%u>", text,
                             own->host_port ? own->host_port : HTTP_PORT);
    }
}

/* Do nodes, on port 80, find an entrypoint under this name that is written as another server? */
static int is_served_on_port_80(apr_pool_t *p, server_rec *main_server, const server_rec *s)
{
    const ap_listen_rec *listener;

    for (listener = ap_listeners; listener; listener = listener->next) {
        verdict found;

        if (listener->bind_addr->port != HTTP_PORT)
            continue;
        found = ask(p, main_server, s, listener->bind_addr, s->server_hostname);
        if (found.server && entrypoint_of(found.server)
            && entrypoint_is_named(found.server, found.host))
            return 1;
    }
    return 0;
}

/* Add that it is not on port 80, unless what was added of that port says so. */
static void check_port_80(apr_pool_t *p, server_rec *main_server,
                          const walt_vpn_entrypoint *entrypoint, const apr_array_header_t *places,
                          apr_array_header_t *faults)
{
    const server_rec *s = entrypoint->server;
    const server_addr_rec *own;
    int i;

    for (own = s->addrs; own; own = own->next) {
        if (own->host_port == HTTP_PORT)
            return;
    }
    for (i = 0; i < places->nelts; i++) {
        if (APR_ARRAY_IDX(places, i, place).address->port == HTTP_PORT)
            return;
    }
    if (is_served_on_port_80(p, main_server, s))
        return;
    APR_ARRAY_PUSH(faults, const char *) =
        apr_psprintf(p, "nodes ask port 80 alone, and %s is not there; write %s, unless port 80 is "
                     "forwarded to it", s->server_hostname,
                     entrypoint_is_listened_on(HTTP_PORT) ? "<VirtualHost *:80>"
                     : s->is_virtual ? "Listen 80 and <VirtualHost *:80>" : "Listen 80");
}

apr_array_header_t *name_check_faults(apr_pool_t *p, server_rec *main_server,
                                      const walt_vpn_entrypoint *entrypoint)
{
    apr_array_header_t *faults = apr_array_make(p, 1, sizeof(const char *));
    const apr_array_header_t *places = places_of(p, main_server, entrypoint->server);

    check_addresses(p, entrypoint->server, faults);
    check_names(p, main_server, entrypoint, places, faults);
    check_port_80(p, main_server, entrypoint, places, faults);
    return faults;
}

/* Add a port to an array of them, if it is not among them. */
static void add_port(apr_array_header_t *ports, apr_port_t port)
{
    int i;

    for (i = 0; i < ports->nelts; i++) {
        if (APR_ARRAY_IDX(ports, i, apr_port_t) == port)
            return;
    }
    APR_ARRAY_PUSH(ports, apr_port_t) = port;
}

const char *name_check_ports(apr_pool_t *p, server_rec *main_server,
                             const walt_vpn_entrypoint *entrypoint)
{
    const server_rec *s = entrypoint->server;
    const apr_array_header_t *places = places_of(p, main_server, s);
    apr_array_header_t *ports = apr_array_make(p, 1, sizeof(apr_port_t));
    const char *text = NULL;
    int i;

    for (i = 0; i < places->nelts; i++) {
        apr_sockaddr_t *address = APR_ARRAY_IDX(places, i, place).address;

        if (ask(p, main_server, s, address, s->server_hostname).server == s)
            add_port(ports, address->port);
    }
    for (i = 0; i < ports->nelts; i++)
        text = joined(p, text, apr_psprintf(p, "%u", APR_ARRAY_IDX(ports, i, apr_port_t)));
    return text ? apr_pstrcat(p, ports->nelts > 1 ? "ports " : "port ", text, NULL) : NULL;
}
