/*
 * site/upkeep.h: what the processes do for folders and ledger beside answering requests.
 */
#ifndef WALT_VPN_SITE_UPKEEP_H
#define WALT_VPN_SITE_UPKEEP_H

void upkeep_register_hooks(void);

#endif
