/* Writes down what a process does to the files of one folder, in the order in which it happens.
 *
 *   LD_PRELOAD=record.so RECORD_FOLDER=/folder RECORD_LOG=/elsewhere/log program
 *
 * SQLite is linked into the program and calls libc, as Rust's own library does, so a library in front of libc sees every write
 * and every sync. Each call is made and written down under one lock: the order of the log is that of the effects. What goes past
 * these calls, as a mapped file does, is not seen; replay.rs finds that out, for at its end the log has to make the same files.
 *
 * A record: what (1 byte), length of the name (1), offset or length (8), length of the bytes (8), name, bytes. main.rs reads it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static size_t folder_length;
static int record = -1;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate)(int, off_t), (*real_unlink)(const char *);
static int (*real_open)(const char *, int, ...);

/* Whoever can't write the log down has to end: a log with a hole proves nothing. */
static void must(int holds) {
    if (!holds) abort();
}

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_open = dlsym(RTLD_NEXT, "open64");
    folder = getenv("RECORD_FOLDER");
    must(folder != NULL && getenv("RECORD_LOG") != NULL);
    folder_length = strlen(folder);
    record = real_open(getenv("RECORD_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    must(record >= 0);
}

/* The name below the folder; "" is the folder itself, NULL is elsewhere. */
static const char *below(const char *path) {
    if (strncmp(path, folder, folder_length) != 0) return NULL;
    if (path[folder_length] == '\0') return "";
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

/* The same of an open file; `path` is room for its whole path. */
static const char *name_of(int fd, char path[PATH_MAX]) {
    char link[64] = "/proc/self/fd/";
    char digits[16];
    int count = 0, at = strlen(link);
    if (fd < 0 || record < 0) return NULL;
    do digits[count++] = '0' + fd % 10; while ((fd /= 10) > 0);
    while (count > 0) link[at++] = digits[--count];
    link[at] = '\0';
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = '\0';
    return below(path);
}

static void put(char what, const char *name, uint64_t number, const void *bytes, uint64_t length) {
    unsigned char head[18] = {what, strlen(name)};
    memcpy(head + 2, &number, 8);
    memcpy(head + 10, &length, 8);
    must(real_write(record, head, sizeof head) == sizeof head);
    must(real_write(record, name, strlen(name)) == (ssize_t)strlen(name));
    must(length == 0 || real_write(record, bytes, length) == (ssize_t)length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd, path);
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    int error = errno;
    if (name && written > 0) put('w', name, offset, bytes, written);
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd, path);
    off_t offset = name ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = real_write(fd, bytes, length);
    int error = errno;
    if (name && written > 0) put('w', name, offset, bytes, written);
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

static int synced(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd, path);
    int done = sync(fd), error = errno;
    if (name && done == 0) put('s', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int ftruncate64(int fd, off_t length) {
    char path[PATH_MAX];
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd, path);
    int done = real_ftruncate(fd, length), error = errno;
    if (name && done == 0) put('t', name, length, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int done = real_unlink(path), error = errno;
    const char *name = below(path);
    if (name && done == 0) put('u', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int opened(const char *path, int flags, mode_t mode) {
    struct stat before;
    pthread_mutex_lock(&lock);
    const char *name = record < 0 ? NULL : below(path);
    int is_new = name && (flags & O_CREAT) && stat(path, &before) != 0;
    int fd = real_open(path, flags, mode), error = errno;
    if (is_new && fd >= 0) put('c', name, 0, NULL, 0);
    else if (name && fd >= 0 && (flags & O_TRUNC)) put('t', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode);
}
