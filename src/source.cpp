#include "trlm/adapt/source.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.hpp"
#include "guard.hpp"
#include "trlm/adapt/receipt/file_ref.hpp"

namespace trlm::adapt {
namespace {

constexpr std::size_t most_listed = 1'000'000;
constexpr std::size_t deepest_folder = 128;

Finding source_finding(FindingCode code, const std::string& path, std::string message) {
    return {.code = code, .message = std::move(message), .file = path};
}

Finding open_error(const std::string& path, int error) {
    switch (error) {
        case ENOENT:
            return source_finding(FindingCode::file_missing, path,
                                  "the bundle has no such file; add it, or take a whole copy");
        case ELOOP:    // O_NOFOLLOW on a link, on Linux and macOS
        case EMLINK:   // ... on FreeBSD
        case ENOTDIR:  // a link or a file where a folder is expected
        case ENXIO:    // a socket
            return source_finding(FindingCode::path_escape, path,
                                  "the path leads over a symbolic link, or over something that is "
                                  "neither a folder nor a regular file; replace it by the file");
        default:
            return source_finding(
                FindingCode::file_unreadable, path,
                fmt::format("cannot be opened: {}", std::generic_category().message(error)));
    }
}

/// Opens one step below `folder` without following a link.
Descriptor open_step(const Descriptor& folder, const std::string& name, int flags) {
    // O_NONBLOCK: opening a pipe must not wait for a writer.
    return Descriptor(without_interruption([&] {
        return ::openat(folder.number(), name.c_str(),
                        O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags);
    }));
}

Result<SourceFile> open_beneath(const Descriptor& root, const std::string& path) {
    Descriptor reached;
    const Descriptor* folder = &root;
    std::size_t start = 0;
    for (std::size_t slash = path.find('/'); slash != std::string::npos;
         start = slash + 1, slash = path.find('/', start)) {
        Descriptor next = open_step(*folder, path.substr(start, slash - start), O_DIRECTORY);
        if (!next.valid()) return failure(open_error(path, errno));
        reached = std::move(next);
        folder = &reached;
    }
    auto file = std::make_shared<Descriptor>(open_step(*folder, path.substr(start), 0));
    if (!file->valid()) return failure(open_error(path, errno));
    struct stat status {};
    if (::fstat(file->number(), &status) != 0) return failure(open_error(path, errno));
    if (!S_ISREG(status.st_mode)) return failure(open_error(path, ENOTDIR));
    return SourceFile(
        static_cast<std::uint64_t>(status.st_size),
        [file, path](MutableBytes buffer) -> Result<std::size_t> {
            std::size_t filled = 0;
            while (filled < buffer.size()) {
                const ssize_t got = without_interruption([&] {
                    return ::read(file->number(), buffer.data() + filled, buffer.size() - filled);
                });
                if (got < 0) {
                    return failure(source_finding(
                        FindingCode::file_unreadable, path,
                        fmt::format("cannot be read: {}", std::generic_category().message(errno))));
                }
                if (got == 0) break;
                filled += static_cast<std::size_t>(got);
            }
            return filled;
        });
}

/// Gathers what lies beneath `folder`, which it closes.
Status list_folder(Descriptor folder, const std::string& prefix, std::size_t depth,
                   std::vector<std::string>& paths) {
    const auto refuse = [&](std::string_view why) -> Status {
        return failure(source_finding(FindingCode::file_unreadable, prefix.empty() ? "." : prefix,
                                      fmt::format("the folder cannot be listed: {}", why)));
    };
    if (depth > deepest_folder) return refuse("it is nested too deep");
    DIR* const stream = ::fdopendir(folder.number());
    if (stream == nullptr) return refuse(std::generic_category().message(errno));
    folder.release();  // the stream owns it now
    const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, &::closedir);
    const int number = ::dirfd(stream);
    errno = 0;
    for (const dirent* entry = ::readdir(stream); entry != nullptr;
         errno = 0, entry = ::readdir(stream)) {
        const std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        if (paths.size() >= most_listed) return refuse("it has more than 1,000,000 files");
        struct stat status {};
        if (::fstatat(number, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) continue;  // it went away meanwhile
            return refuse(std::generic_category().message(errno));
        }
        if (!S_ISDIR(status.st_mode)) {
            paths.push_back(prefix + name);
            continue;
        }
        Descriptor below(without_interruption([&] {
            return ::openat(number, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
        }));
        if (!below.valid()) return refuse(std::generic_category().message(errno));
        if (Status listed = list_folder(std::move(below), prefix + name + '/', depth + 1, paths);
            !listed) {
            return listed;
        }
    }
    if (errno != 0) return refuse(std::generic_category().message(errno));
    return {};
}

}  // namespace

Source::Source(Open open, List list)
    : open_(std::move(open)),
      list_(std::move(list)),
      opened_(std::make_shared<std::vector<std::string>>()) {}

Result<Source> Source::folder(const std::string& path) {
    return guarded([&]() -> Result<Source> {
        if (path.find('\0') != std::string::npos) {
            return failure(
                source_finding(FindingCode::file_missing, path, "the path holds a NUL byte"));
        }
        auto root = std::make_shared<Descriptor>(without_interruption(
            [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY); }));
        if (!root->valid()) {
            const int error = errno;
            const bool missing = error == ENOENT;
            return failure(source_finding(
                missing ? FindingCode::file_missing : FindingCode::file_unreadable, path,
                missing ? "there is no such folder"
                        : fmt::format("cannot be opened as a folder: {}",
                                      std::generic_category().message(error))));
        }
        return Source([root](const std::string& file) { return open_beneath(*root, file); },
                      [root]() -> Result<std::vector<std::string>> {
                          Descriptor again(without_interruption([&] {
                              return ::openat(root->number(), ".",
                                              O_RDONLY | O_CLOEXEC | O_DIRECTORY);
                          }));
                          std::vector<std::string> paths;
                          Status listed = list_folder(std::move(again), "", 0, paths);
                          if (!listed) return failure(std::move(listed.error()));
                          return paths;
                      });
    });
}

Source Source::memory(std::map<std::string, Bytes> files) {
    const auto all = std::make_shared<const std::map<std::string, Bytes>>(std::move(files));
    return {[all](const std::string& path) -> Result<SourceFile> {
                const auto file = all->find(path);
                if (file == all->end()) return failure(open_error(path, ENOENT));
                return SourceFile(
                    file->second.size(),
                    [left = file->second](MutableBytes buffer) mutable -> Result<std::size_t> {
                        const std::size_t count = std::min(left.size(), buffer.size());
                        std::copy_n(left.begin(), count, buffer.begin());
                        left = left.subspan(count);
                        return count;
                    });
            },
            [all]() -> Result<std::vector<std::string>> {
                std::vector<std::string> paths;
                for (const auto& [path, bytes] : *all)
                    paths.push_back(path);
                return paths;
            }};
}

Source Source::callback(Open open, List list) {
    return {std::move(open), std::move(list)};
}

Result<SourceFile> Source::open(const std::string& path) {
    return guarded([&]() -> Result<SourceFile> {
        if (!is_document_path(path)) {
            return failure(source_finding(FindingCode::path_escape, path,
                                          "this path is not one that a document may hold"));
        }
        Result<SourceFile> file = open_(path);
        if (!file) {
            Findings findings = std::move(file.error());
            findings.set_file(path);
            return failure(std::move(findings));
        }
        opened_->push_back(path);
        return file;
    });
}

Result<std::vector<std::string>> Source::list() const {
    return guarded([&]() -> Result<std::vector<std::string>> {
        Result<std::vector<std::string>> paths = list_();
        if (paths) std::sort(paths->begin(), paths->end());
        return paths;
    });
}

Result<std::vector<std::byte>> read_whole(const SourceFile& file, std::uint64_t most_bytes) {
    return guarded([&]() -> Result<std::vector<std::byte>> {
        if (file.bytes() > most_bytes) {
            return failure({.code = FindingCode::limit_exceeded,
                            .message = fmt::format("the file has {} bytes, but at most {} are read",
                                                   file.bytes(), most_bytes),
                            .expected = fmt::format("at most {}", most_bytes),
                            .actual = fmt::format("{}", file.bytes())});
        }
        std::vector<std::byte> bytes(static_cast<std::size_t>(file.bytes()));
        Result<std::size_t> got = file.read(bytes);
        if (!got) return failure(std::move(got.error()));
        bytes.resize(*got);
        return bytes;
    });
}

}  // namespace trlm::adapt
