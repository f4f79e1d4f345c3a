/*
 * A disk and a clock that fail, for one program: loaded before the C library (LD_PRELOAD), it answers in the kernel's place
 * for what is below a folder named processed_data, as the switches in the file WEIR_SHIM say. A test turns them while the
 * program runs. It needs neither root nor mounts.
 *
 * It shows what the program does about ENOSPC, EROFS and EIO. It can't show what a kernel does: a write that fails here
 * leaves nothing half written, pages whose fsync fails here are still in memory, and memory maps are not looked at (weir
 * makes none of its files). The kernel's clock stays right: a wait that is under way when the clock steps ends when it would
 * have, where a real step back would make some waits longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* The same order as in tests/it/harness/shim.rs. */
struct switches {
    int64_t full;         /* Nothing can be written or made: ENOSPC. */
    int64_t read_only;    /* The same, nor removed: EROFS. */
    int64_t syncs_fail;   /* So many fsyncs from now on fail with EIO. */
    int64_t sync_ms;      /* Every fsync takes so much longer. */
    int64_t clock_s;      /* The wall clock is so many seconds ahead. */
    int64_t folder_syncs_fail; /* So many fsyncs of folders fail from now on. */
    int64_t room;         /* Files can grow by so many bytes less one: then ENOSPC. 0 is without end. */
};

static volatile struct switches *switches;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("WEIR_SHIM");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) {
        fprintf(stderr, "WEIR_SHIM names no file\n");
        abort();
    }
    void *map = mmap(NULL, sizeof(struct switches), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) abort();
    close(file);
    switches = map;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int ours(const char *path) {
    return strstr(path, "processed_data") != NULL;
}

static int ours_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ours(path);
}

/* Whether writing fails now, with errno set. */
static int refuses(void) {
    if (!switches) return 0;
    if (switches->full) errno = ENOSPC;
    if (switches->read_only) errno = EROFS;
    return switches->full || switches->read_only;
}

/* A relative path below the folder begins with its name, or is absolute: nobody changes into it. */
static int refuses_open(const char *path, int flags) {
    int writes = (flags & O_CREAT) || (flags & O_ACCMODE) != O_RDONLY;
    return switches && ours(path) && writes && refuses();
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        return refuses_open(path, flags) ? -1 : REAL(name)(path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        return refuses_open(path, flags) ? -1 : REAL(name)(at, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* Whether there is no room for so many bytes more, with errno set. A part of them fits, as on a disk. */
static int no_room(int fd, size_t *size) {
    if (!switches || !switches->room || !ours_fd(fd)) return 0;
    int64_t left = switches->room - 1;
    if (left == 0) {
        errno = ENOSPC;
        return 1;
    }
    if ((int64_t)*size > left) *size = left;
    __atomic_sub_fetch((int64_t *)&switches->room, *size, __ATOMIC_SEQ_CST);
    return 0;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    if (no_room(fd, &size)) return -1;
    int off = !switches || (!switches->full && !switches->read_only);
    return !off && ours_fd(fd) && refuses() ? -1 : REAL(write)(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int off = !switches || (!switches->full && !switches->read_only);
    return !off && ours_fd(fd) && refuses() ? -1 : REAL(writev)(fd, parts, count);
}

int mkdir(const char *path, mode_t mode) {
    return ours(path) && refuses() ? -1 : REAL(mkdir)(path, mode);
}

int link(const char *from, const char *to) {
    return ours(to) && refuses() ? -1 : REAL(link)(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    return ours(to) && refuses() ? -1 : REAL(linkat)(a, from, b, to, flags);
}

int unlink(const char *path) {
    if (switches && switches->read_only && ours(path)) {
        errno = EROFS;
        return -1;
    }
    return REAL(unlink)(path);
}

/* Takes one of the failures that were asked for, with errno set. */
static int is_due(volatile int64_t *failures) {
    int64_t left = *failures;
    while (left > 0) {
        if (__atomic_compare_exchange_n((int64_t *)failures, &left, left - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            errno = EIO;
            return 1;
        }
    }
    return 0;
}

/* Whether this fsync fails: each failure that was asked for is given once. */
static int sync_fails(int fd) {
    if (!switches || !ours_fd(fd)) return 0;
    if (switches->sync_ms) usleep(switches->sync_ms * 1000);
    struct stat what;
    int is_folder = switches->folder_syncs_fail && fstat(fd, &what) == 0 && S_ISDIR(what.st_mode);
    return is_due(&switches->syncs_fail) || (is_folder && is_due(&switches->folder_syncs_fail));
}

int fsync(int fd) {
    return sync_fails(fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd) {
    return sync_fails(fd) ? -1 : REAL(fdatasync)(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) real;
    if (!real) real = REAL(clock_gettime);
    int result = real(clock, now);
    if (switches && clock == CLOCK_REALTIME) now->tv_sec += switches->clock_s;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    static __typeof__(&gettimeofday) real;
    if (!real) real = REAL(gettimeofday);
    int result = real(now, zone);
    if (switches) now->tv_sec += switches->clock_s;
    return result;
}

/* A deadline is of the clock that steps; the kernel's is right. */
static struct timespec deadline(const struct timespec *until) {
    struct timespec real = *until;
    if (switches) real.tv_sec -= switches->clock_s;
    return real;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static __typeof__(&pthread_cond_timedwait) real;
    /* Without a version, the oldest is found, which is of another kind of condition. */
    if (!real) real = (__typeof__(real))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = REAL(pthread_cond_timedwait);
    struct timespec end = deadline(until);
    return real(condition, mutex, &end);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    struct timespec end = deadline(until);
    return REAL(cnd_timedwait)(condition, mutex, &end);
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
