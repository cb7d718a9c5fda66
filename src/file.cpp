#include "trlm/adapt/file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "descriptor.hpp"
#include "guard.hpp"

namespace trlm::adapt {
namespace {

/// The text of an errno value, safe to call from any thread.
std::string error_text(int error) {
    return std::generic_category().message(error);
}

Finding file_finding(FindingCode code, const std::string& path, std::string message) {
    Finding finding;
    finding.code = code;
    finding.file = path;
    finding.message = std::move(message);
    return finding;
}

bool contains_nul(const std::string& path) noexcept {
    return path.find('\0') != std::string::npos;
}

/// What stands in the way of reading `path`, by the error that opening it gave.
Finding open_finding(const std::string& path, int error) {
    const bool missing = error == ENOENT || error == ENOTDIR;
    return file_finding(
        missing ? FindingCode::file_missing : FindingCode::file_unreadable, path,
        missing ? "there is no such file" : "cannot be opened: " + error_text(error));
}

/// Why a file that is not a regular one cannot be read.
std::string_view kind_of_file(mode_t mode) noexcept {
    if (S_ISDIR(mode)) return "is a folder, but a file is needed";
    if (S_ISFIFO(mode)) return "is a pipe, but only regular files can be mapped";
    if (S_ISSOCK(mode)) return "is a socket, but only regular files can be mapped";
    return "is a device, but only regular files can be mapped";
}

/// Maps the first `size` bytes, of which there is one at least, of an open file.
Result<Bytes> map_bytes(int file, std::uint64_t size, const std::string& path) {
    if (size > std::numeric_limits<std::size_t>::max()) {
        return failure(file_finding(FindingCode::file_unreadable, path,
                                    "is larger than this machine's address space"));
    }
    void* const address =
        ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, file, 0);
    if (address == MAP_FAILED) {
        const int error = errno;
        return failure(file_finding(
            error == ENOMEM ? FindingCode::out_of_memory : FindingCode::file_unreadable, path,
            "cannot be mapped: " + error_text(error)));
    }
    // Advice only: reading works without it.
    (void)::madvise(address, static_cast<std::size_t>(size), MADV_SEQUENTIAL);
    return Bytes(static_cast<const std::byte*>(address), static_cast<std::size_t>(size));
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
    return guarded([&]() -> Result<MappedFile> {
        if (contains_nul(path)) {
            return failure(
                file_finding(FindingCode::file_missing, path, "the path holds a NUL byte"));
        }
        // O_NONBLOCK: opening a pipe must not wait for a writer.
        const Descriptor file(without_interruption(
            [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
        if (!file.valid()) return failure(open_finding(path, errno));

        struct stat status {};
        if (::fstat(file.number(), &status) != 0) return failure(open_finding(path, errno));
        if (!S_ISREG(status.st_mode)) {
            return failure(file_finding(FindingCode::file_unreadable, path,
                                        std::string(kind_of_file(status.st_mode))));
        }
        if (status.st_size == 0) return MappedFile(Bytes{});

        const Result<Bytes> bytes =
            map_bytes(file.number(), static_cast<std::uint64_t>(status.st_size), path);
        if (!bytes) return failure(bytes.error());
        return MappedFile(*bytes);
    });
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
}

MappedFile::~MappedFile() {
    if (bytes_.empty()) return;
    // munmap takes a pointer to non-const, though it changes no byte.
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release() const noexcept {
    if (bytes_.empty()) return;
    // The file is what the pages hold: nothing is lost. Where the system refuses, they stay.
    (void)::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

// Everything is done relative to the opened folder: a temporary name that is longer than the
// target's cannot exceed the longest path, and a folder that is moved meanwhile does no harm.
struct OutputFile::State {
    std::string path;       // as the caller gave it, for findings
    std::string name;       // in the folder
    std::string temporary;  // in the folder; empty once it is gone
    Descriptor folder;
    Descriptor file;
    std::uint64_t reserved = 0;
    std::uint64_t written = 0;
    std::uint64_t on_its_way = 0;      // bytes that the system was told to bring to the disk
    std::atomic<bool> failed = false;  // set by `read_at` and `synchronize`, perhaps at once
    bool published = false;            // under its name
    bool replaced = false;             // another file, by being published

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { remove_temporary(); }

    void remove_temporary() noexcept {
        if (temporary.empty()) return;
        ::unlinkat(folder.number(), temporary.c_str(), 0);
        temporary.clear();
    }

    [[nodiscard]] tl::unexpected<Findings> fail(std::string_view what, int error) {
        failed = true;
        return failure(file_finding(FindingCode::output_failed, path,
                                    std::string(what) + ": " + error_text(error)));
    }

    [[nodiscard]] tl::unexpected<Findings> fail(std::string_view what) {
        failed = true;
        return failure(file_finding(FindingCode::output_failed, path, std::string(what)));
    }
};

namespace {

constexpr std::string_view temporary_prefix = ".";
constexpr std::string_view temporary_suffix = ".trlm-XXXXXXXX.tmp";
constexpr std::size_t random_characters = 8;

/// The folder of `path` and the name in it; "." for a path without a folder.
std::pair<std::string, std::string> split_path(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {".", path};
    return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

/// Longest name that the folder's file system takes.
std::size_t longest_name(int folder) noexcept {
    const long longest = ::fpathconf(folder, _PC_NAME_MAX);
    return longest > 0 ? static_cast<std::size_t>(longest) : 255;
}

/// `name` cut to at most `size` bytes, not inside a UTF-8 sequence.
std::string cut_name(const std::string& name, std::size_t size) {
    if (name.size() <= size) return name;
    while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0) == 0x80)
        --size;
    return name.substr(0, size);
}

/// `.NAME.trlm-XXXXXXXX.tmp` with random characters; empty when the machine has none to give.
std::string temporary_name(const std::string& name, std::size_t longest) {
    std::array<unsigned char, random_characters> random{};
    if (::getentropy(random.data(), random.size()) != 0) return {};
    const std::size_t added = temporary_prefix.size() + temporary_suffix.size();
    std::string result(temporary_prefix);
    result += cut_name(name, longest > added ? longest - added : 0);
    result += temporary_suffix;
    constexpr std::string_view alphabet = "0123456789abcdefghijklmnopqrstuv";
    const std::size_t first = result.find("XXXXXXXX", result.size() - temporary_suffix.size());
    for (std::size_t i = 0; i < random_characters; ++i) {
        result[first + i] = alphabet[random[i] % alphabet.size()];
    }
    return result;
}

/// Opens a folder so that names in it can be used, and, where it may be read, synchronized.
Descriptor open_folder(const std::string& folder) noexcept {
    Descriptor opened(without_interruption(
        [&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
#if defined(O_PATH)
    // A folder that may be written but not listed.
    if (!opened.valid() && errno == EACCES) {
        opened = Descriptor(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
#endif
    return opened;
}

/// Asks the file system for room, so that a full disk is found before the work and not after it.
/// Returns the error, or 0; file systems that cannot promise room are no error.
int reserve(int file, std::uint64_t bytes) noexcept {
    if (bytes == 0) return 0;
    if (bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return EFBIG;
#if defined(__linux__)
    const int result =
        without_interruption([&] { return ::fallocate(file, 0, 0, static_cast<off_t>(bytes)); });
#elif defined(__APPLE__)
    fstore_t store{};
    store.fst_flags = F_ALLOCATEALL;
    store.fst_posmode = F_PEOFPOSMODE;
    store.fst_length = static_cast<off_t>(bytes);
    const int result = ::fcntl(file, F_PREALLOCATE, &store);
#else
    const int result = 0;
    (void)file;
#endif
    if (result == 0) return 0;
    return errno == ENOSPC || errno == EFBIG || errno == EDQUOT || errno == EIO ? errno : 0;
}

/// Writes all of `bytes` at `offset`; returns the error, or 0.
int write_fully(int file, std::uint64_t offset, Bytes bytes) noexcept {
    constexpr std::size_t largest_write = std::size_t{1} << 30;  // some systems refuse 2 GiB
    while (!bytes.empty()) {
        const std::size_t size = std::min(bytes.size(), largest_write);
        const ssize_t done = without_interruption(
            [&] { return ::pwrite(file, bytes.data(), size, static_cast<off_t>(offset)); });
        if (done < 0) return errno;
        if (done == 0) return ENOSPC;
        bytes = bytes.subspan(static_cast<std::size_t>(done));
        offset += static_cast<std::uint64_t>(done);
    }
    return 0;
}

/// Has the system start to write these bytes to the disk, so that `synchronize` waits for less.
void start_writing_back(int file, std::uint64_t begin, std::uint64_t end) noexcept {
#if defined(__linux__)
    (void)::sync_file_range(file, static_cast<off_t>(begin), static_cast<off_t>(end - begin),
                            SYNC_FILE_RANGE_WRITE);
#else
    (void)file, (void)begin, (void)end;
#endif
}

/// Some file systems have nothing to synchronize and say so.
bool synchronization_unsupported(int error) noexcept {
    return error == EINVAL || error == ENOTSUP || error == EBADF || error == EROFS;
}

/// Brings a file's bytes to the disk; returns the error, or 0.
int synchronize(int file) noexcept {
#if defined(__APPLE__)
    if (::fcntl(file, F_FULLFSYNC) == 0) return 0;  // fsync alone leaves them in the drive's cache
#endif
    if (without_interruption([&] { return ::fsync(file); }) == 0) return 0;
    return synchronization_unsupported(errno) ? 0 : errno;
}

/// Gives `from` the name `to` in one step unless `to` exists; returns the error, or 0.
int rename_if_absent(int folder, const char* from, const char* to) noexcept {
#if defined(__linux__) && defined(RENAME_NOREPLACE)
    if (::renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) return errno;
#elif defined(__APPLE__)
    if (::renameatx_np(folder, from, folder, to, RENAME_EXCL) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) return errno;
#endif
    if (::linkat(folder, from, folder, to, 0) == 0) {
        return ::unlinkat(folder, from, 0) == 0 ? 0 : errno;
    }
    if (errno != EPERM && errno != ENOSYS && errno != ENOTSUP && errno != EMLINK) return errno;
    // A file system with neither: a file that appears between these two calls is replaced.
    struct stat status {};
    if (::fstatat(folder, to, &status, AT_SYMLINK_NOFOLLOW) == 0) return EEXIST;
    return ::renameat(folder, from, folder, to) == 0 ? 0 : errno;
}

}  // namespace

OutputFile::OutputFile(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
OutputFile::OutputFile(OutputFile&& other) noexcept = default;
OutputFile& OutputFile::operator=(OutputFile&& other) noexcept = default;
OutputFile::~OutputFile() = default;

Result<OutputFile> OutputFile::create(const std::string& path, std::uint64_t bytes) {
    return guarded([&]() -> Result<OutputFile> {
        auto state = std::make_unique<State>();
        state->path = path;
        auto [folder, name] = split_path(path);
        state->name = std::move(name);
        if (contains_nul(path)) return state->fail("the path holds a NUL byte");
        if (state->name.empty() || state->name == "." || state->name == "..") {
            return state->fail("this names a folder; a file is to be written");
        }
        state->folder = open_folder(folder);
        if (!state->folder.valid()) {
            return state->fail("the folder " + folder + " cannot be opened", errno);
        }
        const std::size_t longest = longest_name(state->folder.number());
        if (state->name.size() > longest) return state->fail("the name is too long", ENAMETOOLONG);

        constexpr int attempts = 100;
        for (int attempt = 0; attempt < attempts && !state->file.valid(); ++attempt) {
            std::string temporary = temporary_name(state->name, longest);
            if (temporary.empty()) return state->fail("there are no random numbers", errno);
            state->file = Descriptor(without_interruption([&] {
                return ::openat(state->folder.number(), temporary.c_str(),
                                O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode_t{0666});
            }));
            if (state->file.valid()) {
                state->temporary = std::move(temporary);
            } else if (errno != EEXIST) {
                return state->fail("no file can be made in the folder " + folder, errno);
            }
        }
        if (!state->file.valid()) return state->fail("no free temporary name was found");

        if (const int error = reserve(state->file.number(), bytes); error != 0) {
            return state->fail("there is no room for " + std::to_string(bytes) + " bytes", error);
        }
        state->reserved = bytes;
        return OutputFile(std::move(state));
    });
}

Status OutputFile::write(Bytes bytes) {
    return guarded([&]() -> Status {
        if (const int error = write_fully(state_->file.number(), state_->written, bytes);
            error != 0) {
            return state_->fail("cannot be written", error);
        }
        State& state = *state_;
        state.written += bytes.size();
        constexpr std::uint64_t write_back_bytes = std::uint64_t{8} << 20;
        if (state.written - state.on_its_way >= write_back_bytes) {
            start_writing_back(state.file.number(), state.on_its_way, state.written);
            state.on_its_way = state.written;
        }
        return {};
    });
}

Status OutputFile::write_at(std::uint64_t offset, Bytes bytes) {
    return guarded([&]() -> Status {
        if (!range_inside(offset, bytes.size(), state_->written)) {
            return state_->fail("bytes that were not written yet cannot be overwritten");
        }
        if (const int error = write_fully(state_->file.number(), offset, bytes); error != 0) {
            return state_->fail("cannot be written", error);
        }
        return {};
    });
}

Status OutputFile::read_at(std::uint64_t offset, MutableBytes buffer) const {
    return guarded([&]() -> Status {
        if (!range_inside(offset, buffer.size(), state_->written)) {
            return state_->fail("bytes that were not written yet cannot be read back");
        }
        while (!buffer.empty()) {
            const ssize_t done = without_interruption([&] {
                return ::pread(state_->file.number(), buffer.data(), buffer.size(),
                               static_cast<off_t>(offset));
            });
            if (done < 0) return state_->fail("cannot be read back", errno);
            if (done == 0) return state_->fail("is shorter than what was written");
            buffer = buffer.subspan(static_cast<std::size_t>(done));
            offset += static_cast<std::uint64_t>(done);
        }
        return {};
    });
}

Result<MappedFile> OutputFile::map() const {
    return guarded([&]() -> Result<MappedFile> {
        if (state_->written == 0) return MappedFile(Bytes{});
        const Result<Bytes> bytes = map_bytes(state_->file.number(), state_->written, state_->path);
        if (!bytes) return failure(bytes.error());
        return MappedFile(*bytes);
    });
}

Status OutputFile::synchronize() {
    return guarded([&]() -> Status {
        if (const int error = trlm::adapt::synchronize(state_->file.number()); error != 0) {
            return state_->fail("cannot be brought to the disk", error);
        }
        return {};
    });
}

Status OutputFile::commit(bool replace) {
    return guarded([&]() -> Status {
        State& state = *state_;
        if (state.failed || state.temporary.empty()) {
            return state.fail("cannot be completed after an earlier failure");
        }
        const int file = state.file.number();
        const bool shorter = state.written < state.reserved;
        if (shorter && without_interruption([&] {
                           return ::ftruncate(file, static_cast<off_t>(state.written));
                       }) != 0) {
            return state.fail("cannot be cut to its length", errno);
        }
        if (Status synchronized = synchronize(); !synchronized) return synchronized;
        if (const int error = state.file.close(); error != 0) {
            return state.fail("cannot be closed", error);
        }

        const int folder = state.folder.number();
        const char* const from = state.temporary.c_str();
        const char* const to = state.name.c_str();
        int error = rename_if_absent(folder, from, to);
        if (error == EEXIST && replace) {
            error = ::renameat(folder, from, folder, to) == 0 ? 0 : errno;
            state.replaced = error == 0;
        } else if (error == EEXIST) {
            state.failed = true;
            return failure(file_finding(FindingCode::usage_error, state.path,
                                        "exists and is not to be replaced"));
        }
        if (error != 0) return state.fail("cannot be given its name", error);
        state.temporary.clear();

        if (const int folder_error = trlm::adapt::synchronize(folder); folder_error != 0) {
            if (!state.replaced) ::unlinkat(folder, to, 0);
            return state.fail("its name cannot be brought to the disk", folder_error);
        }
        state.published = true;
        return {};
    });
}

Status OutputFile::withdraw() {
    return guarded([&]() -> Status {
        State& state = *state_;
        if (!state.published) return {};
        if (state.replaced) {
            return state.fail("has replaced the file of this name and stays");
        }
        if (::unlinkat(state.folder.number(), state.name.c_str(), 0) != 0) {
            return state.fail("cannot be removed again", errno);
        }
        state.published = false;
        return {};
    });
}

bool same_file(const std::string& a, const std::string& b) noexcept {
    struct stat first {};
    struct stat second {};
    return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

namespace {

bool is_package_name(std::string_view name) noexcept {
    return name.ends_with(".adp1") || name.ends_with(".asp1") || name.ends_with(".alr1");
}

/// Follows links: a link to a folder is a folder, a link to nothing is not.
bool is_folder(const std::string& path) noexcept {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// An open folder that closes itself.
using Listing = std::unique_ptr<DIR, int (*)(DIR*)>;

}  // namespace

Result<std::vector<std::string>> list_packages(const std::string& folder) {
    return guarded([&]() -> Result<std::vector<std::string>> {
        const Listing listing(contains_nul(folder) ? nullptr : ::opendir(folder.c_str()),
                              &::closedir);
        if (!listing) {
            const int error = contains_nul(folder) ? ENOENT : errno;
            if (error == ENOENT) {
                return failure(
                    file_finding(FindingCode::file_missing, folder, "there is no such folder"));
            }
            return failure(file_finding(FindingCode::file_unreadable, folder,
                                        "cannot be listed: " + error_text(error)));
        }
        std::vector<std::string> packages;
        const std::string prefix = folder.ends_with('/') ? folder : folder + '/';
        errno = 0;
        while (const dirent* entry = ::readdir(listing.get())) {
            const std::string_view name(static_cast<const char*>(entry->d_name));
            if (is_package_name(name)) {
                std::string path = prefix;
                path += name;
                if (!is_folder(path)) packages.push_back(std::move(path));
            }
            errno = 0;
        }
        if (errno != 0) {
            return failure(file_finding(FindingCode::file_unreadable, folder,
                                        "cannot be listed: " + error_text(errno)));
        }
        if (packages.empty()) {
            return failure(
                file_finding(FindingCode::file_missing, folder,
                             "there is no package (*.adp1, *.asp1, *.alr1) in this folder"));
        }
        std::sort(packages.begin(), packages.end());
        return packages;
    });
}

}  // namespace trlm::adapt
