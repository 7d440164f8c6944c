/*
 * boot/files.c: the handler of boot.sig and boot.img.
 *
 * Whatever has no digest, and whatever the folder can't take, is left to mod_proxy and src/reply.
 */
#include "boot/files.h"
#include "boot/room.h"
#include "reply/relay.h"
#include "report/watch.h"

#include "http_protocol.h"

/* Answer a node's request for one of its files, or decline it: then it is relayed. */
static int walt_vpn_handler(request_rec *r)
{
    walt_vpn_request *request = walt_vpn_request_of(r);
    int result = DECLINED;

    if (!request || request->question || request->is_declined)
        return DECLINED;
    request->came = waiting_clock();
    boot_watch_answer(r, WALT_VPN_RELAYED, NULL);       /* unless it is known better */
    if (r->method_number == M_GET
        && (request->boot.file == BOOT_FILE_SIG || request->boot.file == BOOT_FILE_IMG))
        result = room_stay(visit_begin(r, request));
    if (result == DECLINED)
        relay_begin(r, request);
    return result;
}

void boot_files_register_hooks(void)
{
    /* Before mod_proxy's (FIRST), which relays what this declines. */
    ap_hook_handler(walt_vpn_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
