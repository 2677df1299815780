/* Count the system calls that write below some folders, and kill the process at one of them.

   To be preloaded. Audit hooks hear of what Python opens and removes; this hears of each write, and
   of what SQLite does. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *below[2];
static int counts = 0, count, last, in_half;
static char names[1 << 20];
static size_t used;

/* Begin to count; kill before call `number`, or when it has written half if `half`. */
void crash_begin(const char *folder, const char *other, int number, int half)
{
    below[0] = strdup(folder), below[1] = strdup(other);
    used = 0, names[0] = 0, count = 0, last = number, in_half = half, counts = 1;
}

/* Stop to count; return a line for each call. */
const char *crash_end(void)
{
    counts = 0;
    return names;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Count a call; return whether it is to be done by half. */
static int step(const char *what, const char *path)
{
    int half = 0;

    if (!strstr(path, below[0]) && !strstr(path, below[1]))
        return 0;
    pthread_mutex_lock(&lock);
    if (counts && used + PATH_MAX + 64 < sizeof names)
        used += snprintf(names + used, PATH_MAX + 64, "%s %s\n", what, path);
    if (counts && count++ == last) {
        if (!in_half)
            die();
        half = 1;
    }
    pthread_mutex_unlock(&lock);
    return half;
}

static int at_file(const char *what, int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t size;

    if (!counts)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return step(what, path);
}

static void at_path(const char *what, const char *path)
{
    char full[2 * PATH_MAX], folder[PATH_MAX];

    if (!counts)
        return;
    if (*path != '/' && getcwd(folder, sizeof folder)) {
        snprintf(full, sizeof full, "%s/%s", folder, path);
        path = full;
    }
    step(what, path);
}

#define WRITE(name, kind, ...)                                                          \
    {                                                                                   \
        REAL(name);                                                                     \
        if (at_file(kind, fd)) {                                                        \
            size /= 2;                                                                  \
            real(fd, data, size __VA_OPT__(, ) __VA_ARGS__);                            \
            die();                                                                      \
        }                                                                               \
        return real(fd, data, size __VA_OPT__(, ) __VA_ARGS__);                         \
    }

ssize_t write(int fd, const void *data, size_t size) WRITE(write, "write")
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) WRITE(pwrite, "write", at)
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) WRITE(pwrite64, "write", at)

#define AT_FILE(name, ...)                                                              \
    {                                                                                   \
        REAL(name);                                                                     \
        at_file(#name, fd);                                                             \
        return real(fd __VA_OPT__(, ) __VA_ARGS__);                                     \
    }

int fsync(int fd) AT_FILE(fsync)
int fdatasync(int fd) AT_FILE(fdatasync)
int ftruncate(int fd, off_t size) AT_FILE(ftruncate, size)
int ftruncate64(int fd, off64_t size) AT_FILE(ftruncate64, size)
int posix_fallocate(int fd, off_t at, off_t size) AT_FILE(posix_fallocate, at, size)
int posix_fallocate64(int fd, off64_t at, off64_t size) AT_FILE(posix_fallocate64, at, size)

int unlink(const char *path)
{
    REAL(unlink);
    at_path("unlink", path);
    return real(path);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    at_path("rename", to);
    return real(from, to);
}
