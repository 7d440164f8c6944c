"""What walt-server-setup does when the administrator enters a new VPN HTTP entrypoint."""

import asyncio

import aiohttp

TRIES = 3
SECONDS = 2


def setup_check(entrypoint, fqdn, host=None):
    """None if walt-server-setup takes the entrypoint, else why not. host: the name to ask for, when it is reached under
    another name or port than the real one would be."""
    return asyncio.run(check("http://%s/walt-vpn/server" % entrypoint, fqdn, {"Host": host} if host else {}))


async def check(url, fqdn, headers):
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    for _ in range(TRIES):
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                async with session.get(url, headers=headers) as reply:
                    if reply.status >= 400:
                        return "status %d" % reply.status
                    answer = (await reply.text()).strip()
            return None if answer == fqdn else "%r instead of %r" % (answer, fqdn)
        except asyncio.TimeoutError:
            continue
        except aiohttp.ClientError as problem:
            return str(problem)
    return "no answer within %d s, %d times" % (SECONDS, TRIES)
