"""httpd's resolver, for tests of names that move, and of name servers that fail."""

import contextlib
import socket

from preload import Preload

# A file has lines of a name and its addresses: "walt.test 127.0.0.1 127.0.0.2". In their place "fails": no name server answers;
# "hangs": the same, after 12 s, as with one that is silent. Other names are as they are.
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
    FILE *names = name ? fopen(getenv("NAMES_ARE_TOLD"), "r") : NULL;
    char line[2000], *word, *state, *address = NULL;
    int rv;

    while (names && !address && fgets(line, sizeof(line), names)) {
        word = strtok_r(line, " \n", &state);
        if (word && strcmp(word, name) == 0)
            address = strtok_r(NULL, " \n", &state);
    }
    if (names)
        fclose(names);
    if (!address)
        return real(name, service, hints, found);
    if (strcmp(address, "hangs") == 0)
        sleep(12);
    if (strcmp(address, "hangs") == 0 || strcmp(address, "fails") == 0)
        return EAI_AGAIN;
    for (*found = NULL; address; address = strtok_r(NULL, " \n", &state)) {
        if ((rv = real(address, service, hints, found)) != 0)
            return rv;
        while (*found)
            found = &(*found)->ai_next;
    }
    return 0;
}
"""


class Names(Preload):
    SOURCE = SOURCE
    VARIABLE = "NAMES_ARE_TOLD"

    def __init__(self, folder):
        super().__init__(folder)
        self.known = {}

    def set(self, name, *addresses):
        self.known[name] = addresses
        self.tell("".join("%s %s\n" % (name, " ".join(addresses)) for name, addresses in self.known.items()))

    def fail(self, name):
        self.set(name, "fails")

    def hang(self, name):
        self.set(name, "hangs")


@contextlib.contextmanager
def dead(address, port):
    """There, who connects gets no answer, as from a black hole: the queue of those who wait for it is full."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        full.bind((address, port))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield
