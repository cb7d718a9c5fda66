/* System calls that fail when they are told to: preloaded into the tool, which knows nothing of it.

   FAILING_CALLS_LOG=FILE    each call, one line: its name, how often that name was called, its path
   FAILING_CALLS=NAME:N:E    the N-th call of that name fails with errno E
   FAILING_CALLS=NAME:N+:E   that one and all that follow
   FAILING_CALLS=kill:N      the N-th of all calls ends the process
   FAILING_CALLS=interrupt   each call that a signal can interrupt is interrupted once
   FAILING_CALLS=short:N     no transfer moves more than N bytes
   FAILING_CALLS=cut:N:PATH  before the N-th of all calls this file loses its second half

   Standard streams are left alone, but for the name "print": writing to stdout. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call {
    call_open,
    call_read,
    call_write,
    call_print,
    call_sync,
    call_rename,
    call_rename_new,
    call_link,
    call_unlink,
    call_mkdir,
    call_stat,
    call_mmap,
    call_advise,
    call_truncate,
    call_reserve,
    call_close,
    call_random,
    call_list,
    call_next_entry,
    call_write_back,
    call_lock,
    call_mode,
    call_duplicate,
    call_thread,
    calls
};

static const char* const names[calls] = {
    "open",   "read",  "write",      "print",      "sync",   "rename",   "rename_new", "link",
    "unlink", "mkdir", "stat",       "mmap",       "advise", "truncate", "reserve",    "close",
    "random", "list",  "next_entry", "write_back", "lock",   "mode",     "duplicate",  "thread"};

static atomic_long counts[calls];
static int log_file = -1;
static int failing = -1; /* the call that fails */
static long first = 0;
static bool and_all_after = false;
static int with_error = 0;
static bool interrupting = false;
static long deadly = 0;  /* of all calls, from 1 on */
static long cutting = 0; /* likewise */
static const char* victim = NULL;
static atomic_long all_calls;
static size_t longest_transfer = SIZE_MAX;
static _Thread_local bool was_interrupted = false;

static void read_plan(const char* plan) {
    if (strcmp(plan, "interrupt") == 0) {
        interrupting = true;
        return;
    }
    const char* const colon = strchr(plan, ':');
    if (colon == NULL) abort();
    const size_t length = (size_t)(colon - plan);
    char* end = NULL;
    first = strtol(colon + 1, &end, 10);
    if (length == strlen("short") && strncmp(plan, "short", length) == 0) {
        longest_transfer = (size_t)first;
        return;
    }
    if (length == strlen("kill") && strncmp(plan, "kill", length) == 0) {
        deadly = first;
        return;
    }
    if (length == strlen("cut") && strncmp(plan, "cut", length) == 0) {
        if (*end != ':') abort();
        cutting = first;
        victim = end + 1;
        return;
    }
    and_all_after = *end == '+';
    if (and_all_after) ++end;
    if (*end != ':') abort();
    with_error = (int)strtol(end + 1, NULL, 10);
    for (int call = 0; call < calls; ++call) {
        if (strlen(names[call]) == length && strncmp(plan, names[call], length) == 0) {
            failing = call;
        }
    }
    if (failing < 0) abort();
}

__attribute__((constructor)) static void prepare(void) {
    const char* const path = getenv("FAILING_CALLS_LOG");
    if (path != NULL) {
        log_file = (int)syscall(SYS_openat, AT_FDCWD, path,
                                O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of the numbers that the tool gets. */
        log_file = (int)syscall(SYS_fcntl, log_file, F_DUPFD_CLOEXEC, 500);
    }
    const char* const plan = getenv("FAILING_CALLS");
    if (plan != NULL) read_plan(plan);
}

/* Where a descriptor leads. */
static void name_of(int file, char* path, size_t size) {
    if (file == AT_FDCWD) {
        path[0] = '\0';
        return;
    }
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
    path[length > 0 ? length : 0] = '\0';
}

static void note(enum call call, long count, int folder, const char* name) {
    if (log_file < 0) return;
    char where[PATH_MAX] = "";
    if (name == NULL || name[0] != '/') name_of(folder, where, sizeof where);
    char line[2 * PATH_MAX];
    const int length =
        snprintf(line, sizeof line, "%s\t%ld\t%s%s%s\n", names[call], count, where,
                 where[0] != '\0' && name != NULL ? "/" : "", name != NULL ? name : "");
    (void)syscall(SYS_write, log_file, line, (size_t)length);
}

/* What another process might do meanwhile. */
static void cut_victim(void) {
    struct stat status;
    if (syscall(SYS_newfstatat, AT_FDCWD, victim, &status, 0) != 0) abort();
    if (syscall(SYS_truncate, victim, status.st_size / 2) != 0) abort();
}

/* Whether this call fails; errno says why. */
static bool fails(enum call call, bool can_be_interrupted, int folder, const char* name) {
    const int error = errno;
    const long count = atomic_fetch_add(&counts[call], 1) + 1;
    const long of_all = atomic_fetch_add(&all_calls, 1) + 1;
    if (of_all == deadly) raise(SIGKILL);
    if (of_all == cutting) cut_victim();
    note(call, count, folder, name);
    errno = error;
    if (interrupting && can_be_interrupted) {
        was_interrupted = !was_interrupted;
        if (was_interrupted) errno = EINTR;
        return was_interrupted;
    }
    if ((int)call != failing || count < first || (count > first && !and_all_after)) return false;
    errno = with_error;
    return true;
}

static bool is_standard(int file) {
    return file >= 0 && file <= 2;
}

static size_t cut(size_t size) {
    return size < longest_transfer ? size : longest_transfer;
}

#define REAL(type, name, ...)                \
    static type (*real)(__VA_ARGS__) = NULL; \
    if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, name)

static mode_t mode_of(int flags, va_list arguments) {
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(arguments, int) : 0;
}

int open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    REAL(int, "open", const char*, int, ...);
    return fails(call_open, true, AT_FDCWD, path) ? -1 : real(path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    REAL(int, "openat", int, const char*, int, ...);
    return fails(call_open, true, folder, path) ? -1 : real(folder, path, flags, mode);
}

ssize_t read(int file, void* buffer, size_t size) {
    REAL(ssize_t, "read", int, void*, size_t);
    return fails(call_read, true, file, NULL) ? -1 : real(file, buffer, cut(size));
}

ssize_t pread(int file, void* buffer, size_t size, off_t offset) {
    REAL(ssize_t, "pread", int, void*, size_t, off_t);
    return fails(call_read, true, file, NULL) ? -1 : real(file, buffer, cut(size), offset);
}

ssize_t write(int file, const void* buffer, size_t size) {
    REAL(ssize_t, "write", int, const void*, size_t);
    if (file == STDERR_FILENO) return real(file, buffer, size);
    const enum call call = is_standard(file) ? call_print : call_write;
    return fails(call, true, file, NULL) ? -1 : real(file, buffer, cut(size));
}

ssize_t pwrite(int file, const void* buffer, size_t size, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void*, size_t, off_t);
    return fails(call_write, true, file, NULL) ? -1 : real(file, buffer, cut(size), offset);
}

int fsync(int file) {
    REAL(int, "fsync", int);
    return fails(call_sync, true, file, NULL) ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(int, "fdatasync", int);
    return fails(call_sync, true, file, NULL) ? -1 : real(file);
}

int rename(const char* from, const char* to) {
    REAL(int, "rename", const char*, const char*);
    return fails(call_rename, false, AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int folder, const char* from, int to_folder, const char* to) {
    REAL(int, "renameat", int, const char*, int, const char*);
    return fails(call_rename, false, to_folder, to) ? -1 : real(folder, from, to_folder, to);
}

int renameat2(int folder, const char* from, int to_folder, const char* to, unsigned int flags) {
    REAL(int, "renameat2", int, const char*, int, const char*, unsigned int);
    return fails(call_rename_new, false, to_folder, to) ? -1
                                                        : real(folder, from, to_folder, to, flags);
}

int linkat(int folder, const char* from, int to_folder, const char* to, int flags) {
    REAL(int, "linkat", int, const char*, int, const char*, int);
    return fails(call_link, false, to_folder, to) ? -1 : real(folder, from, to_folder, to, flags);
}

int unlink(const char* path) {
    REAL(int, "unlink", const char*);
    return fails(call_unlink, false, AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int folder, const char* path, int flags) {
    REAL(int, "unlinkat", int, const char*, int);
    return fails(call_unlink, false, folder, path) ? -1 : real(folder, path, flags);
}

int mkdir(const char* path, mode_t mode) {
    REAL(int, "mkdir", const char*, mode_t);
    return fails(call_mkdir, false, AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char* path, mode_t mode) {
    REAL(int, "mkdirat", int, const char*, mode_t);
    return fails(call_mkdir, false, folder, path) ? -1 : real(folder, path, mode);
}

char* mkdtemp(char* path) {
    REAL(char*, "mkdtemp", char*);
    return fails(call_mkdir, false, AT_FDCWD, path) ? NULL : real(path);
}

int stat(const char* restrict path, struct stat* restrict status) {
    REAL(int, "stat", const char*, struct stat*);
    return fails(call_stat, false, AT_FDCWD, path) ? -1 : real(path, status);
}

int lstat(const char* restrict path, struct stat* restrict status) {
    REAL(int, "lstat", const char*, struct stat*);
    return fails(call_stat, false, AT_FDCWD, path) ? -1 : real(path, status);
}

int fstat(int file, struct stat* status) {
    REAL(int, "fstat", int, struct stat*);
    return fails(call_stat, false, file, NULL) ? -1 : real(file, status);
}

int fstatat(int folder, const char* restrict path, struct stat* restrict status, int flags) {
    REAL(int, "fstatat", int, const char*, struct stat*, int);
    return fails(call_stat, false, folder, path) ? -1 : real(folder, path, status, flags);
}

void* mmap(void* address, size_t size, int protection, int flags, int file, off_t offset) {
    REAL(void*, "mmap", void*, size_t, int, int, int, off_t);
    if (file >= 0 && fails(call_mmap, false, file, NULL)) return MAP_FAILED;
    return real(address, size, protection, flags, file, offset);
}

int madvise(void* address, size_t size, int advice) {
    REAL(int, "madvise", void*, size_t, int);
    return fails(call_advise, false, AT_FDCWD, NULL) ? -1 : real(address, size, advice);
}

int ftruncate(int file, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    return fails(call_truncate, true, file, NULL) ? -1 : real(file, size);
}

int fallocate(int file, int mode, off_t offset, off_t size) {
    REAL(int, "fallocate", int, int, off_t, off_t);
    return fails(call_reserve, true, file, NULL) ? -1 : real(file, mode, offset, size);
}

int sync_file_range(int file, off_t offset, off_t size, unsigned int flags) {
    REAL(int, "sync_file_range", int, off_t, off_t, unsigned int);
    return fails(call_write_back, false, file, NULL) ? -1 : real(file, offset, size, flags);
}

int close(int file) {
    REAL(int, "close", int);
    /* The descriptor is gone, whatever close says. */
    const bool failed = fails(call_close, true, file, NULL);
    const int error = errno;
    const int result = real(file);
    if (!failed) return result;
    errno = error;
    return -1;
}

int dup(int file) {
    REAL(int, "dup", int);
    return fails(call_duplicate, false, file, NULL) ? -1 : real(file);
}

int flock(int file, int operation) {
    REAL(int, "flock", int, int);
    return fails(call_lock, true, file, NULL) ? -1 : real(file, operation);
}

int chmod(const char* path, mode_t mode) {
    REAL(int, "chmod", const char*, mode_t);
    return fails(call_mode, false, AT_FDCWD, path) ? -1 : real(path, mode);
}

int fchmod(int file, mode_t mode) {
    REAL(int, "fchmod", int, mode_t);
    return fails(call_mode, false, file, NULL) ? -1 : real(file, mode);
}

int fchmodat(int folder, const char* path, mode_t mode, int flags) {
    REAL(int, "fchmodat", int, const char*, mode_t, int);
    return fails(call_mode, false, folder, path) ? -1 : real(folder, path, mode, flags);
}

int getentropy(void* buffer, size_t size) {
    REAL(int, "getentropy", void*, size_t);
    return fails(call_random, false, AT_FDCWD, NULL) ? -1 : real(buffer, size);
}

DIR* opendir(const char* path) {
    REAL(DIR*, "opendir", const char*);
    return fails(call_list, false, AT_FDCWD, path) ? NULL : real(path);
}

DIR* fdopendir(int folder) {
    REAL(DIR*, "fdopendir", int);
    return fails(call_list, false, folder, NULL) ? NULL : real(folder);
}

struct dirent* readdir(DIR* listing) {
    REAL(struct dirent*, "readdir", DIR*);
    return fails(call_next_entry, false, dirfd(listing), NULL) ? NULL : real(listing);
}

int pthread_create(pthread_t* restrict thread, const pthread_attr_t* restrict attributes,
                   void* (*routine)(void*), void* restrict argument) {
    REAL(int, "pthread_create", pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    return fails(call_thread, false, AT_FDCWD, NULL) ? errno
                                                     : real(thread, attributes, routine, argument);
}
