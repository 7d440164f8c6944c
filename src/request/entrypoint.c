/*
 * request/entrypoint.c: what an entrypoint is: a server that WaltVpnServer has made one, its names,
 * and its ports.
 */
#include "request/entrypoint.h"

#include "ap_listen.h"
#include "apr_strings.h"
#include "http_main.h"

#include <arpa/inet.h>

walt_vpn_config *entrypoint_config(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &walt_vpn_module);
}

/* A virtual host in which no directive of ours stands has the main server's record, not a merged
 * one: its entrypoint is not inherited either. */
const walt_vpn_entrypoint *entrypoint_of(const server_rec *s)
{
    const walt_vpn_entrypoint *entrypoint = entrypoint_config(s)->entrypoint;

    return entrypoint && entrypoint->server == s ? entrypoint : NULL;
}

const walt_vpn_entrypoint *entrypoint_to_show(const server_rec *s)
{
    const walt_vpn_entrypoint *entrypoint = entrypoint_of(s);
    const server_rec *before;

    if (!entrypoint || entrypoint->place < 0)
        return NULL;
    for (before = ap_server_conf; before != s; before = before->next) {
        if (entrypoint_of(before)
            && entrypoint_of(before)->place == entrypoint->place)
            return NULL;
    }
    return entrypoint;
}

int entrypoint_shares_name(const server_rec *s)
{
    const server_rec *other;

    for (other = ap_server_conf; other; other = other->next) {
        if (other != s && entrypoint_to_show(other)
            && strcmp(other->server_hostname, s->server_hostname) == 0)
            return 1;
    }
    return 0;
}

/* ------------------------------------------------------------------ names and ports */

/* Is name another spelling of host?  Case, a dot at the end, IPv6 in or out of brackets. */
static int same_host(const char *host, const char *name)
{
    apr_size_t length = strlen(name), host_length = strlen(host);
    struct in6_addr one, other;
    char bare[INET6_ADDRSTRLEN];

    if (ap_strchr_c(host, ':')) {
        apr_cpystrn(bare, name + (*name == '['), sizeof(bare));
        bare[strcspn(bare, "]")] = '\0';
        return inet_pton(AF_INET6, host, &one) == 1 && inet_pton(AF_INET6, bare, &other) == 1
               && memcmp(&one, &other, sizeof(one)) == 0;
    }
    if (length && name[length - 1] == '.')
        length--;
    if (host_length && host[host_length - 1] == '.')
        host_length--;
    return length == host_length && ap_cstr_casecmpn(host, name, length) == 0;
}

int entrypoint_has_name(const server_rec *s, const char *host)
{
    int i;

    if (s->server_hostname && same_host(host, s->server_hostname))
        return 1;
    for (i = 0; s->names && i < s->names->nelts; i++) {
        if (same_host(host, APR_ARRAY_IDX(s->names, i, const char *)))
            return 1;
    }
    return 0;
}

int entrypoint_is_named(const server_rec *s, const char *host)
{
    int i;

    for (i = 0; s->wild_names && i < s->wild_names->nelts; i++) {
        if (!ap_strcasecmp_match(host, APR_ARRAY_IDX(s->wild_names, i, const char *)))
            return 1;
    }
    return entrypoint_has_name(s, host);
}

int entrypoint_is_listened_on(apr_port_t port)
{
    const ap_listen_rec *listener;

    for (listener = ap_listeners; listener; listener = listener->next) {
        if (listener->bind_addr->port == port)
            return 1;
    }
    return 0;
}

int entrypoint_answers_on(const server_rec *s, apr_port_t port)
{
    const server_addr_rec *address;

    if (!entrypoint_is_listened_on(port))
        return 0;
    for (address = s->addrs; address; address = address->next) {
        if (address->host_port == 0 || address->host_port == port)
            return 1;
    }
    return 0;
}
