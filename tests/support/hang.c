/* A disk that hangs on demand: every sync of a process waits for as long as a file exists.
 *
 *   LD_PRELOAD=hang.so HANG=/some/file program
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int synced(int fd, const char *name) {
    int (*sync)(int) = dlsym(RTLD_NEXT, name);
    const char *file = getenv("HANG");
    while (file && access(file, F_OK) == 0) usleep(10000);
    return sync ? sync(fd) : -1;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
