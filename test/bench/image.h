/*
 * image.h: the boot images that the stand-in server sends and the nodes check, as files in memory.
 */
#ifndef BENCH_IMAGE_H
#define BENCH_IMAGE_H

#include <stddef.h>

typedef struct {
    const char *bytes;
    size_t length;
    char digest[65];            /* SHA-256 of the bytes in hexadecimal digits */
} image;

/* Map a file and compute its digest; ends the program with a message if that is not possible. */
image image_load(const char *path);

/* The image that a node of this number boots when there are so many. */
const image *image_of_node(const image *images, int count, unsigned number);

/* Seconds on a clock that only runs forward. */
double seconds_now(void);

#endif
