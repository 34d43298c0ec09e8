/* Between a program and its disk: writes down what it does to the files of one folder, and lets any of it fail.
 *
 * Preloaded by `shim.py` (LD_PRELOAD). Owns nothing but its record; must never change what succeeds.
 *
 *   DISK_ROOT   the folder; other files, and "-shm" files in it (memory, in truth), are left alone
 *   DISK_TRACE  where the record goes: what `image.py` reads
 *   DISK_FAULT  a file that, while it is there, says what fails: "OPS ERRNO END SKIP". OPS are letters: r read,
 *               w write (half of it is done first), s sync, t truncate, o open; h writes half and says so. END is
 *               that of the paths, or * for all. The first SKIP that match still succeed. With d nothing fails:
 *               each sync takes ERRNO milliseconds longer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 1024
#define SECTOR_BYTES 512
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct record {
    uint8_t op; /* Write, Truncate, Sync, Open, Unlink */
    uint8_t path_bytes;
    uint16_t reserved;
    uint32_t data_bytes;
    uint64_t offset; /* of a truncation: the new size */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *control;
static int trace = -1;
static char *names[FILES_MAX]; /* by descriptor, of watched files */
static long matched;

__attribute__((constructor)) static void prepare(void)
{
    const char *file = getenv("DISK_TRACE");
    if (file)
        trace = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    control = getenv("DISK_FAULT");
    root = getenv("DISK_ROOT");
}

static int watched(const char *path)
{
    size_t length = strlen(path);
    if (!root || strncmp(path, root, strlen(root)) != 0 || length > UINT8_MAX)
        return 0;
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static const char *name_of(int fd)
{
    return fd >= 0 && fd < FILES_MAX ? names[fd] : NULL;
}

static void note(char op, const char *path, uint64_t offset, const void *data, size_t bytes)
{
    if (trace < 0)
        return;
    struct record head = {(uint8_t)op, (uint8_t)strlen(path), 0, (uint32_t)bytes, offset};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)data, bytes}};
    pthread_mutex_lock(&lock);
    ssize_t all = sizeof head + head.path_bytes + bytes;
    if (writev(trace, parts, 3) != all)
        abort(); /* a record with a hole would prove nothing */
    pthread_mutex_unlock(&lock);
}

static int ends(const char *path, const char *end)
{
    size_t length = strlen(path), wanted = strlen(end);
    return strcmp(end, "*") == 0 || (length >= wanted && strcmp(path + length - wanted, end) == 0);
}

/* The errno with which this shall fail; 0: it shall not. */
static int fault(char op, const char *path)
{
    char text[256] = "", ops[16], end[128];
    int number, fd, result = 0;
    long skip;
    if (!control || !path)
        return 0;
    pthread_mutex_lock(&lock);
    int saved = errno;
    fd = REAL(open)(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        matched = 0;
    else {
        if (REAL(read)(fd, text, sizeof text - 1) > 0
            && sscanf(text, "%15s %d %127s %ld", ops, &number, end, &skip) == 4
            && strchr(ops, op) && ends(path, end) && ++matched > skip)
            result = number;
        REAL(close)(fd);
    }
    errno = saved;
    pthread_mutex_unlock(&lock);
    return result;
}

static int failed(int number)
{
    errno = number;
    return -1;
}

static int opened(const char *path, int fd, int flags)
{
    if (fd < 0 || fd >= FILES_MAX || !watched(path))
        return fd;
    free(names[fd]);
    names[fd] = strdup(path);
    if (!(flags & O_DIRECTORY) && (flags & O_ACCMODE) != O_RDONLY)
        note('O', path, 0, NULL, 0);
    return fd;
}

#define OPEN(name)                                                                                   \
    int name(const char *path, int flags, ...)                                                       \
    {                                                                                                \
        va_list rest;                                                                                \
        va_start(rest, flags);                                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                      \
        va_end(rest);                                                                                \
        int number = watched(path) ? fault('o', path) : 0;                                           \
        return number ? failed(number) : opened(path, REAL(name)(path, flags, mode), flags);         \
    }
OPEN(open)
OPEN(open64)

int close(int fd)
{
    if (name_of(fd)) {
        free(names[fd]);
        names[fd] = NULL;
    }
    return REAL(close)(fd);
}

/* Of a write that does not end inside a sector, the disk does whole ones. */
static size_t half(size_t bytes)
{
    size_t part = bytes / 2;
    if (bytes % SECTOR_BYTES == 0)
        part = (part + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    return bytes > 1 ? part : bytes;
}

#define PWRITE(name, place)                                                                          \
    ssize_t name(int fd, const void *data, size_t bytes, place offset)                               \
    {                                                                                                \
        const char *path = name_of(fd);                                                              \
        int number = fault('w', path);                                                               \
        size_t some = number || fault('h', path) ? half(bytes) : bytes;                              \
        ssize_t done = REAL(name)(fd, data, some, offset);                                           \
        if (path && done > 0)                                                                        \
            note('W', path, (uint64_t)offset, data, (size_t)done);                                   \
        return number ? failed(number) : done;                                                       \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* Python's; SQLite writes at an offset. */
ssize_t write(int fd, const void *data, size_t bytes)
{
    const char *path = name_of(fd);
    off_t offset = path ? lseek(fd, 0, SEEK_CUR) : 0;
    int number = fault('w', path);
    ssize_t done = number ? failed(number) : REAL(write)(fd, data, bytes);
    if (path && done > 0)
        note('W', path, (uint64_t)offset, data, (size_t)done);
    return done;
}

#define PREAD(name, place)                                                                           \
    ssize_t name(int fd, void *data, size_t bytes, place offset)                                     \
    {                                                                                                \
        int number = fault('r', name_of(fd));                                                        \
        return number ? failed(number) : REAL(name)(fd, data, bytes, offset);                        \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define SYNC(name)                                                                                   \
    int name(int fd)                                                                                 \
    {                                                                                                \
        const char *path = name_of(fd);                                                              \
        int number = fault('s', path);                                                               \
        usleep((useconds_t)fault('d', path) * 1000);                                                 \
        int status = number ? failed(number) : REAL(name)(fd);                                       \
        if (path && status == 0)                                                                     \
            note('S', path, 0, NULL, 0);                                                             \
        return status;                                                                               \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, place)                                                                        \
    int name(int fd, place size)                                                                     \
    {                                                                                                \
        const char *path = name_of(fd);                                                              \
        int number = fault('t', path);                                                               \
        int status = number ? failed(number) : REAL(name)(fd, size);                                 \
        if (path && status == 0)                                                                     \
            note('T', path, (uint64_t)size, NULL, 0);                                                \
        return status;                                                                               \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int unlink(const char *path)
{
    int status = REAL(unlink)(path);
    if (status == 0 && watched(path))
        note('U', path, 0, NULL, 0);
    return status;
}
