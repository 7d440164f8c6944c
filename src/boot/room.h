/*
 * boot/room.h: visits that wait, or are sent an image piece by piece.
 */
#ifndef WALT_VPN_BOOT_ROOM_H
#define WALT_VPN_BOOT_ROOM_H

#include "boot/visit.h"

/*
 * See a visit to its end: where it has to wait, without a thread if the MPM and the request allow
 * that, else in this thread.  Returns what the handler returns; with SUSPENDED it touches neither
 * request nor visit any more.
 */
int room_stay(visit *its);

void room_register_hooks(void);

#endif
