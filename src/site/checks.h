/*
 * site/checks.h: what in the configuration keeps nodes from booting, or opens more than they
 * need.
 */
#ifndef WALT_VPN_SITE_CHECKS_H
#define WALT_VPN_SITE_CHECKS_H

void site_check_register_hooks(void);

#endif
