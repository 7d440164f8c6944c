# mod_walt_vpn: plain make, so that a distribution's flags reach compiler and linker.
#
#   make                build mod_walt_vpn.so        (APXS=/path/to/apxs CFLAGS=... LDFLAGS=...)
#   make install        install it                   (DESTDIR=...)
#   make clean

APXS       ?= apxs
CFLAGS     ?= -g -O2
CPPFLAGS   ?=
LDFLAGS    ?=
LDLIBS     ?= -lcrypto

INCLUDEDIR := $(shell $(APXS) -q INCLUDEDIR)
LIBEXECDIR := $(shell $(APXS) -q LIBEXECDIR)
APR_FLAGS  := $(shell $$($(APXS) -q APR_CONFIG) --includes --cppflags)
APU_FLAGS  := $(shell $$($(APXS) -q APU_CONFIG) --includes)

# What the module itself needs, whatever flags come from outside.  httpd's headers are system
# headers: their warnings are not ours to mend.
NEEDED_CPPFLAGS := -isystem $(INCLUDEDIR) \
                   $(patsubst -I%,-isystem %,$(filter-out -I/usr/include,$(APR_FLAGS) $(APU_FLAGS)))
NEEDED_CFLAGS   := -std=c11 -fPIC -Wall -Wextra
NEEDED_LDFLAGS  := -shared -Wl,--as-needed -Wl,--version-script=exports.map

SOURCES := $(wildcard *.c)
OBJECTS := $(SOURCES:.c=.o)

all: mod_walt_vpn.so

mod_walt_vpn.so: $(OBJECTS) exports.map
	$(CC) $(CFLAGS) $(NEEDED_LDFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LDLIBS)

%.o: %.c $(wildcard *.h)
	$(CC) $(CPPFLAGS) $(NEEDED_CPPFLAGS) $(CFLAGS) $(NEEDED_CFLAGS) -c -o $@ $<

install: mod_walt_vpn.so
	install -D -m 644 mod_walt_vpn.so $(DESTDIR)$(LIBEXECDIR)/mod_walt_vpn.so

clean:
	rm -f $(OBJECTS) mod_walt_vpn.so

.PHONY: all install clean
