/*
 * boot/feeder.h: nodes that are sent an image while it is fetched, without a thread each.
 */
#ifndef WALT_VPN_BOOT_FEEDER_H
#define WALT_VPN_BOOT_FEEDER_H

#include "boot/sender.h"

/*
 * Take the sending of an image off this thread's hands.  1: it was taken, the handler returns
 * SUSPENDED at once and touches neither request nor sender any more.  0: this MPM, or this
 * connection, can't do that.
 */
int image_feeder_take(image_sender *sender);

void image_feeder_register_hooks(void);

#endif
