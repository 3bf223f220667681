/* A slow disk: every write and every sync of a file below a folder takes 50 ms longer.
 *
 *   LD_PRELOAD=slow.so SLOW=/some/folder program
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void slowed(int fd) {
    char link[32], path[4096];
    const char *folder = getenv("SLOW");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (folder == NULL || length < 0) return;
    path[length] = '\0';
    if (strncmp(path, folder, strlen(folder)) == 0) usleep(50000);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    slowed(fd);
    return real(fd, bytes, count);
}

static int synced(int fd, const char *name) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    slowed(fd);
    return real(fd);
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
