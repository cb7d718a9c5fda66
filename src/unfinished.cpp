#include "unfinished.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "quietly.hpp"

namespace trlm::adapt {
namespace {

constexpr std::string_view prefix = ".";
constexpr std::string_view mark = ".trlm-";
constexpr std::string_view alphabet = "0123456789abcdefghijklmnopqrstuv";
constexpr char first_if_not_locked = 'z';  // not of the alphabet
constexpr std::size_t key_length = 8;
constexpr int deepest_tree = 64;

/// `name` cut to at most `size` bytes, not inside a UTF-8 sequence.
std::string cut_name(const std::string& name, std::size_t size) {
    if (name.size() <= size) return name;
    while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0) == 0x80)
        --size;
    return name.substr(0, size);
}

constexpr std::size_t added_length(std::string_view ending) noexcept {
    return prefix.size() + mark.size() + key_length + ending.size();
}

/// The parts of a name as `unfinished_name` makes it.
struct Unfinished {
    std::string whole;
    std::string name;
    std::string key;
};

std::optional<Unfinished> parse(std::string_view whole, std::string_view ending) {
    const std::size_t added = added_length(ending);
    if (whole.size() <= added || !whole.starts_with(prefix) || !whole.ends_with(ending)) return {};
    const std::size_t length = whole.size() - added;
    const std::string_view key =
        whole.substr(whole.size() - ending.size() - key_length, key_length);
    if (whole.substr(prefix.size() + length, mark.size()) != mark) return {};
    if (key.find_first_not_of(alphabet) != std::string_view::npos) return {};
    return Unfinished{std::string(whole), std::string(whole.substr(prefix.size(), length)),
                      std::string(key)};
}

using Listing = std::unique_ptr<DIR, int (*)(DIR*)>;

/// Lists a folder; nothing when it cannot be listed (errno).
Listing list(int parent, const char* name) noexcept {
    Descriptor folder(without_interruption(
        [&] { return ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
    DIR* const stream = folder.valid() ? ::fdopendir(folder.number()) : nullptr;
    if (stream != nullptr) folder.release();  // the stream owns it now
    return {stream, &::closedir};
}

bool names_a_child(const dirent& entry) noexcept {
    const std::string_view name(static_cast<const char*>(entry.d_name));
    return name != "." && name != "..";
}

std::vector<std::string> names_in(int folder) {
    std::vector<std::string> names;
    const Listing listing = list(folder, ".");
    if (!listing) return names;
    while (const dirent* const entry = ::readdir(listing.get())) {
        if (names_a_child(*entry)) names.emplace_back(static_cast<const char*>(entry->d_name));
    }
    return names;
}

/// Removes a file, or a folder with what lies in it; false when it is still there. Takes no memory
/// but the system's: this tidies up when there is none left.
bool remove_tree(int folder, const char* name, int depth) noexcept {
    if (::unlinkat(folder, name, 0) == 0) return true;
    if (depth == 0) return false;
    if (const Listing listing = list(folder, name)) {
        // Some file systems pass over names when others are removed meanwhile.
        for (bool removed = true; removed; ::rewinddir(listing.get())) {
            removed = false;
            while (const dirent* const entry = ::readdir(listing.get())) {
                if (!names_a_child(*entry)) continue;
                const bool gone = remove_tree(::dirfd(listing.get()), entry->d_name, depth - 1);
                removed = removed || gone;
            }
        }
    }
    return ::unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

bool try_to_lock(int descriptor) noexcept {
    return without_interruption([&] { return ::flock(descriptor, LOCK_EX | LOCK_NB); }) == 0;
}

/// What is called so when nobody has locked it, locked; not valid otherwise.
Descriptor take_leftover(int folder, const std::string& name, bool folders_too) noexcept {
    Descriptor leftover(without_interruption([&] {
        return ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }));
    struct stat status {};
    struct stat named {};
    if (!leftover.valid() || ::fstat(leftover.number(), &status) != 0) return Descriptor();
    const bool right_kind = S_ISREG(status.st_mode) || (folders_too && S_ISDIR(status.st_mode));
    if (!right_kind || status.st_uid != ::geteuid() || !try_to_lock(leftover.number())) {
        return Descriptor();
    }
    // Somebody else may have been quicker.
    const bool same = ::fstatat(folder, name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                      named.st_ino == status.st_ino && named.st_dev == status.st_dev;
    return same ? std::move(leftover) : Descriptor();
}

/// Gives old content its first name again; returns the error, or 0.
int rename_back(int folder, const std::string& note, const std::string& name) noexcept {
    if (::renameat(folder, note.c_str(), folder, name.c_str()) != 0) return errno;
    // Two names of one file stay as they are when one is renamed to the other.
    (void)::unlinkat(folder, note.c_str(), 0);
    return 0;
}

bool is_same_file(int folder, const std::string& a, const std::string& b) noexcept {
    struct stat first {};
    struct stat second {};
    return ::fstatat(folder, a.c_str(), &first, AT_SYMLINK_NOFOLLOW) == 0 &&
           ::fstatat(folder, b.c_str(), &second, AT_SYMLINK_NOFOLLOW) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/// Frees a name that was free before, unless something else has it now; returns the error, or 0.
int free_again(int folder, const std::string& note, const std::string& name) noexcept {
    if (is_same_file(folder, note, name) && ::unlinkat(folder, name.c_str(), 0) != 0) return errno;
    (void)::unlinkat(folder, note.c_str(), 0);
    return 0;
}

/// A note of what had a name before.
struct Note : Unfinished {
    bool absent = false;
};

/// Leftovers of a folder, by what they are.
struct Leftovers {
    std::vector<Unfinished> contents;
    std::vector<Note> notes;
};

Leftovers leftovers_in(int folder) {
    Leftovers found;
    for (const std::string& name : names_in(folder)) {
        if (auto parts = parse(name, new_ending)) found.contents.push_back(std::move(*parts));
        if (auto parts = parse(name, old_ending)) found.notes.push_back({std::move(*parts), false});
        if (auto parts = parse(name, free_ending)) found.notes.push_back({std::move(*parts), true});
    }
    return found;
}

/// New content that is still there says that its publication did not come to the end.
void undo_publication(int folder, const Unfinished& content, const std::vector<Note>& notes) {
    const Descriptor taken = take_leftover(folder, content.whole, /*folders_too=*/true);
    if (!taken.valid()) return;
    for (const Note& note : notes) {
        if (note.key != content.key) continue;
        const Descriptor taken_note = take_leftover(folder, note.whole, /*folders_too=*/false);
        if (!taken_note.valid()) continue;
        const int error = note.absent ? free_again(folder, note.whole, note.name)
                                      : rename_back(folder, note.whole, note.name);
        if (error != 0) return;
    }
    (void)remove_tree(folder, content.whole.c_str(), deepest_tree);
}

/// Some file systems have nothing to synchronize and say so.
bool synchronization_unsupported(int error) noexcept {
    return error == EINVAL || error == ENOTSUP || error == EBADF || error == EROFS;
}

}  // namespace

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

int synchronize(int descriptor) noexcept {
#if defined(__APPLE__)
    if (::fcntl(descriptor, F_FULLFSYNC) == 0)
        return 0;  // fsync alone leaves them in the drive's cache
#endif
    if (without_interruption([&] { return ::fsync(descriptor); }) == 0) return 0;
    return synchronization_unsupported(errno) ? 0 : errno;
}

std::optional<bool> is_empty_folder(int parent, const std::string& name) noexcept {
    const Listing listing = list(parent, name.c_str());
    if (!listing) return std::nullopt;
    errno = 0;
    while (const dirent* const entry = ::readdir(listing.get())) {
        if (names_a_child(*entry)) return false;
    }
    if (errno != 0) return std::nullopt;
    return true;
}

std::string random_key(bool can_be_locked) {
    std::array<unsigned char, key_length> random{};
    if (::getentropy(random.data(), random.size()) != 0) return {};
    std::string key;
    for (const unsigned char byte : random)
        key += alphabet[byte % alphabet.size()];
    if (!can_be_locked) key.front() = first_if_not_locked;
    return key;
}

std::string unfinished_name(const std::string& name, const std::string& key,
                            std::string_view ending, std::size_t longest) {
    const std::size_t added = added_length(ending);
    std::string result(prefix);
    result += cut_name(name, longest > added ? longest - added : 0);
    result += mark;
    result += key;
    result += ending;
    return result;
}

std::size_t longest_name(int folder) noexcept {
    const long longest = ::fpathconf(folder, _PC_NAME_MAX);
    return longest > 0 ? static_cast<std::size_t>(longest) : 255;
}

Locking claim(int descriptor) noexcept {
    if (!try_to_lock(descriptor))
        return errno == EWOULDBLOCK ? Locking::taken : Locking::impossible;
    // Somebody may have locked it before, and removed it.
    struct stat status {};
    const bool removed = ::fstat(descriptor, &status) == 0 && status.st_nlink == 0;
    return removed ? Locking::taken : Locking::locked;
}

void tidy_folder(int folder) noexcept {
    (void)quietly([&] {
        const Leftovers found = leftovers_in(folder);
        for (const Unfinished& content : found.contents)
            undo_publication(folder, content, found.notes);
        for (const Note& note : found.notes) {
            const bool ended =
                std::none_of(found.contents.begin(), found.contents.end(),
                             [&](const Unfinished& content) { return content.key == note.key; });
            if (ended && take_leftover(folder, note.whole, /*folders_too=*/false).valid()) {
                (void)::unlinkat(folder, note.whole.c_str(), 0);
            }
        }
    });
}

void remove_tree(int folder, const std::string& name) noexcept {
    (void)remove_tree(folder, name.c_str(), deepest_tree);
}

void Previous::keep(int folder, const std::string& name, const std::string& key) {
    const std::size_t longest = longest_name(folder);
    // Under a cut name it could not be told whose it is.
    if (name.size() + added_length(old_ending) > longest) return;
    std::string note = unfinished_name(name, key, old_ending, longest);
    Descriptor lock(without_interruption([&] {
        return ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }));
    if (!lock.valid() || !try_to_lock(lock.number())) return;
    if (::linkat(folder, name.c_str(), folder, note.c_str(), 0) != 0) return;
    folder_ = folder;
    name_ = name;
    note_ = std::move(note);
    absent_ = false;
    lock_ = std::move(lock);
}

void Previous::note_absence(int folder, const std::string& name, const std::string& temporary,
                            const std::string& key) {
    const std::size_t longest = longest_name(folder);
    if (name.size() + added_length(free_ending) > longest) return;
    std::string note = unfinished_name(name, key, free_ending, longest);
    if (::linkat(folder, temporary.c_str(), folder, note.c_str(), 0) != 0) return;
    folder_ = folder;
    name_ = name;
    note_ = std::move(note);
    absent_ = true;
}

int Previous::bring_back() noexcept {
    const int error =
        absent_ ? free_again(folder_, note_, name_) : rename_back(folder_, note_, name_);
    if (error == 0) note_.clear();
    return error;
}

void Previous::forget() noexcept {
    if (note_.empty()) return;
    (void)::unlinkat(folder_, note_.c_str(), 0);
    note_.clear();
    lock_ = Descriptor();
}

}  // namespace trlm::adapt
