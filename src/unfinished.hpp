#pragma once
// What is not finished yet: names that say so, a lock as long as its writer lives, and what becomes
// of it when that one is gone.  docs/cli.md, apply

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "descriptor.hpp"

namespace trlm::adapt {

/// New content on its way to its name: a file or a folder.
inline constexpr std::string_view new_ending = ".tmp";
/// Old content whose name was given to new content, until all that belongs together has its name.
inline constexpr std::string_view old_ending = ".old";
/// New content whose name was free, under a second name, as long.
inline constexpr std::string_view free_ending = ".new";

/// Whether something can be locked for as long as its writer lives.
enum class Locking : std::uint8_t {
    locked,
    taken,       ///< another process takes it for a leftover: another name is needed
    impossible,  ///< the file system has no locks, or none left
};

/// Eight random characters that tell one publication from another; empty when the machine has none
/// to give (errno). What cannot be locked gets such that it is never taken for a leftover.
[[nodiscard]] std::string random_key(bool can_be_locked = true);

/// `.NAME.trlm-KEY` and the ending, NAME cut so that all of it has at most `longest` bytes.
[[nodiscard]] std::string unfinished_name(const std::string& name, const std::string& key,
                                          std::string_view ending, std::size_t longest);

/// Opens a folder so that names in it can be used, and, where it may be read, synchronized; not
/// valid on an error (errno).
[[nodiscard]] Descriptor open_folder(const std::string& folder) noexcept;

/// Brings a file's bytes or a folder's names to the disk; returns the error, or 0. File systems
/// that cannot promise it are no error.
[[nodiscard]] int synchronize(int descriptor) noexcept;

/// Whether a folder has nothing in it; nothing when it cannot be listed (errno).
[[nodiscard]] std::optional<bool> is_empty_folder(int parent, const std::string& name) noexcept;

/// Longest name that the folder's file system takes.
[[nodiscard]] std::size_t longest_name(int folder) noexcept;

/// Locks what was just made, for as long as the descriptor or a copy of it is open.
[[nodiscard]] Locking claim(int descriptor) noexcept;

/// Tidies up after writers that are gone: removes their new content and, where they had not come
/// to the end, gives what they had replaced its name back. Only what has exactly the names above,
/// belongs to this user and is locked by nobody is touched. Failures leave it as it is.
void tidy_folder(int folder) noexcept;

/// Removes a folder and everything in it, without following links.
void remove_tree(int folder, const std::string& name) noexcept;

/// What had a name before new content got it, noted in the folder so that it can be brought back.
class Previous {
public:
    Previous() = default;
    Previous(const Previous&) = delete;
    Previous& operator=(const Previous&) = delete;
    ~Previous() { forget(); }

    /// Gives what is called `name` a second name with the key of the publication. Where that cannot
    /// be, it is not kept.
    void keep(int folder, const std::string& name, const std::string& key);

    /// Notes that nothing is called `name`, which is to be that of the file now called `temporary`.
    void note_absence(int folder, const std::string& name, const std::string& temporary,
                      const std::string& key);

    [[nodiscard]] bool is_kept() const noexcept { return !note_.empty(); }

    /// Makes the name lead to it again; returns the error, or 0.
    [[nodiscard]] int bring_back() noexcept;

    /// Lets it go.
    void forget() noexcept;

private:
    int folder_ = -1;
    std::string name_;
    std::string note_;  // what the second name or the note is called
    bool absent_ = false;
    Descriptor lock_;  // without it another process would take old content for a leftover
};

}  // namespace trlm::adapt
