#include "trlm/adapt/file.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.hpp"
#include "guard.hpp"
#include "unfinished.hpp"

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

/// Fills `room` from the beginning of a file.
Status fill_from(int file, MutableBytes room, const std::string& path) {
    std::size_t filled = 0;
    while (filled < room.size()) {
        const ssize_t got = without_interruption([&] {
            return ::pread(file, room.data() + filled, room.size() - filled,
                           static_cast<off_t>(filled));
        });
        if (got < 0) {
            return failure(file_finding(FindingCode::file_unreadable, path,
                                        "cannot be read: " + error_text(errno)));
        }
        if (got == 0) {
            return failure(file_finding(FindingCode::file_unreadable, path,
                                        "became shorter while it was read; try again when nobody "
                                        "writes to it"));
        }
        filled += static_cast<std::size_t>(got);
    }
    return {};
}

/// Copies the first `size` bytes, of which there is one at least, of an open file into memory that
/// munmap gives back.
Result<Bytes> copy_bytes(int file, std::uint64_t size, const std::string& path) {
    void* const address = size > std::numeric_limits<std::size_t>::max()
                              ? MAP_FAILED
                              : ::mmap(nullptr, static_cast<std::size_t>(size),
                                       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) {
        return failure(file_finding(FindingCode::out_of_memory, path,
                                    "there is not enough memory for a copy of it"));
    }
    const MutableBytes room(static_cast<std::byte*>(address), static_cast<std::size_t>(size));
    if (Status filled = fill_from(file, room, path); !filled) {
        ::munmap(address, room.size());
        return failure(std::move(filled.error()));
    }
    return Bytes(room);
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path, FileReading reading) {
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
        if (status.st_size == 0) return MappedFile(Bytes{}, reading);

        const auto size = static_cast<std::uint64_t>(status.st_size);
        const Result<Bytes> bytes = reading == FileReading::mapped
                                        ? map_bytes(file.number(), size, path)
                                        : copy_bytes(file.number(), size, path);
        if (!bytes) return failure(bytes.error());
        return MappedFile(*bytes, reading);
    });
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), reading_(other.reading_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(reading_, other.reading_);
    return *this;
}

MappedFile::~MappedFile() {
    if (bytes_.empty()) return;
    // munmap takes a pointer to non-const, though it changes no byte.
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release() const noexcept {
    if (bytes_.empty() || reading_ == FileReading::copied) return;
    // The file is what the pages hold: nothing is lost. Where the system refuses, they stay.
    (void)::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

// Everything is done relative to the opened folder: a temporary name that is longer than the
// target's cannot exceed the longest path, and a folder that is moved meanwhile does no harm.
struct OutputFile::State {
    std::string path;       // as the caller gave it, for findings
    std::string name;       // in the folder
    std::string key;        // in the names of what is not finished
    std::string temporary;  // in the folder; empty once it is gone
    Descriptor folder;
    Descriptor file;
    Descriptor lock;    // of the file once that is closed
    Previous previous;  // what had the name
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

    /// Takes the new file's name away again, with the old file in its place if there was one.
    /// Returns the error, or 0.
    [[nodiscard]] int take_back() noexcept {
        if (previous.is_kept()) return previous.bring_back();
        return ::unlinkat(folder.number(), name.c_str(), 0) == 0 ? 0 : errno;
    }

    /// False when the new file has replaced one that was not kept.
    [[nodiscard]] bool can_be_taken_back() const noexcept {
        return !replaced || previous.is_kept();
    }

    [[nodiscard]] Status make_temporary(const std::string& folder_path);
    /// `last`: the file that is committed last, when there are several.
    [[nodiscard]] Status commit(bool replace, const State* last);
    [[nodiscard]] int give_name(bool replace, const State* last);

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

/// The folder of `path` and the name in it; "." for a path without a folder.
std::pair<std::string, std::string> split_path(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {".", path};
    return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
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

Status OutputFile::State::make_temporary(const std::string& folder_path) {
    const std::size_t longest = longest_name(folder.number());
    if (name.size() > longest) return fail("the name is too long", ENAMETOOLONG);
    constexpr int attempts = 100;
    bool can_be_locked = true;
    for (int attempt = 0; attempt < attempts; ++attempt) {
        key = random_key(can_be_locked);
        if (key.empty()) return fail("there are no random numbers", errno);
        std::string made = unfinished_name(name, key, new_ending, longest);
        Descriptor opened(without_interruption([&] {
            return ::openat(folder.number(), made.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                            mode_t{0666});
        }));
        if (!opened.valid() && errno == EEXIST) continue;
        if (!opened.valid()) {
            return fail("no file can be made in the folder " + folder_path, errno);
        }
        temporary = std::move(made);
        file = std::move(opened);
        if (!can_be_locked) return {};
        const Locking claimed = claim(file.number());
        if (claimed == Locking::locked) return {};
        remove_temporary();
        can_be_locked = claimed != Locking::impossible;
    }
    return fail("no free temporary name was found");
}

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
        tidy_folder(state->folder.number());
        if (Status made = state->make_temporary(folder); !made) {
            return failure(std::move(made.error()));
        }
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
        if (state_->written == 0) return MappedFile(Bytes{}, FileReading::mapped);
        const Result<Bytes> bytes = map_bytes(state_->file.number(), state_->written, state_->path);
        if (!bytes) return failure(bytes.error());
        return MappedFile(*bytes, FileReading::mapped);
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

Status OutputFile::State::commit(bool replace, const State* last) {
    if (failed || temporary.empty()) return fail("cannot be completed after an earlier failure");
    const bool shorter = written < reserved;
    if (shorter && without_interruption([&] {
                       return ::ftruncate(file.number(), static_cast<off_t>(written));
                   }) != 0) {
        return fail("cannot be cut to its length", errno);
    }
    if (const int error = trlm::adapt::synchronize(file.number()); error != 0) {
        return fail("cannot be brought to the disk", error);
    }
    // Closed before it gets its name: some file systems tell only then that a write has failed. The
    // copy keeps the lock, as a temporary file without one counts as left behind.
    lock = Descriptor(::dup(file.number()));
    if (const int error = file.close(); error != 0) return fail("cannot be closed", error);

    const int error = give_name(replace, last);
    if (error == EEXIST) {
        failed = true;
        return failure(
            file_finding(FindingCode::usage_error, path, "exists and is not to be replaced"));
    }
    if (error != 0) return fail("cannot be given its name", error);
    temporary.clear();

    if (const int folder_error = trlm::adapt::synchronize(folder.number()); folder_error != 0) {
        if (can_be_taken_back()) (void)take_back();
        return fail("its name cannot be brought to the disk", folder_error);
    }
    published = true;
    if (last == nullptr) previous.forget();
    return {};
}

/// Returns the error, or 0; EEXIST when there is a file that is not to be replaced.
int OutputFile::State::give_name(bool replace, const State* last) {
    const int in = folder.number();
    if (last != nullptr) previous.note_absence(in, name, temporary, last->key);
    int error = rename_if_absent(in, temporary.c_str(), name.c_str());
    if (error == 0) return 0;
    previous.forget();
    if (error != EEXIST || !replace) return error;

    previous.keep(in, name, last != nullptr ? last->key : key);
    error = ::renameat(in, temporary.c_str(), in, name.c_str()) == 0 ? 0 : errno;
    replaced = error == 0;
    if (!replaced) previous.forget();
    return error;
}

Status OutputFile::commit(bool replace) {
    return guarded([&] { return state_->commit(replace, nullptr); });
}

Status OutputFile::commit_before(const OutputFile& last, bool replace) {
    return guarded([&] { return state_->commit(replace, last.state_.get()); });
}

Status OutputFile::withdraw() {
    return guarded([&]() -> Status {
        State& state = *state_;
        if (!state.published) return {};
        if (!state.can_be_taken_back()) {
            return state.fail("has replaced the file of this name and stays");
        }
        if (const int error = state.take_back(); error != 0) {
            return state.fail("cannot be removed again", error);
        }
        state.published = false;
        return {};
    });
}

Status tidy_up(const std::string& folder) {
    return guarded([&]() -> Status {
        const Descriptor opened = open_folder(contains_nul(folder) ? std::string() : folder);
        if (opened.valid()) tidy_folder(opened.number());
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
