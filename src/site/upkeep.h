/*
 * site/upkeep.h: what the processes keep beside answering requests.
 */
#ifndef WALT_VPN_SITE_UPKEEP_H
#define WALT_VPN_SITE_UPKEEP_H

void upkeep_register_hooks(void);

#endif
