#pragma once
// From paths and texts of the command line to what the library takes.

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "trlm/adapt/chosen_stack.hpp"
#include "trlm/adapt/digest.hpp"
#include "trlm/adapt/executor.hpp"
#include "trlm/adapt/file.hpp"
#include "trlm/adapt/package.hpp"
#include "trlm/adapt/slm1.hpp"
#include "trlm/adapt/stack.hpp"
#include "trlm/adapt/undo.hpp"

namespace trlm::adapt::cli {

/// A model with the file that holds its bytes.
struct ModelInput {
    std::string path;
    MappedFile file;
    Model model;
};

/// A package with the file that holds its bytes.
struct PackageInput {
    std::string path;
    MappedFile file;
    Package package;
};

/// Opens a file to be read, and watches it: what is written to it meanwhile does not go unnoticed.
[[nodiscard]] Result<MappedFile> open_input(const std::string& path);

/// Opens and reads the model at `path`; every finding names it. `progress` allows a bar.
[[nodiscard]] Result<ModelInput> load_model(const std::string& path,
                                            const ModelReadOptions& options, bool progress);

/// Opens and reads the package at `path`; every finding names it. `progress` allows a bar.
[[nodiscard]] Result<PackageInput> load_package(const std::string& path, bool progress);

/// The same for a file that is open already.
[[nodiscard]] Result<ModelInput> read_model_input(std::string path, MappedFile file,
                                                  ModelReadOptions options, bool progress);
[[nodiscard]] Result<PackageInput> read_package_input(std::string path, MappedFile file,
                                                      ReadDepth depth, bool progress);

/// An undo file with the file that holds its bytes.
struct UndoInput {
    std::string path;
    MappedFile file;
    Undo undo;
};

/// The same for undo files, which are always read whole.
[[nodiscard]] Result<UndoInput> load_undo(const std::string& path, bool progress);
[[nodiscard]] Result<UndoInput> read_undo_input(std::string path, MappedFile file, bool progress);

/// Keeps the memory of mapped files small while work goes through them.
class PageRelease {
public:
    explicit PageRelease(std::vector<const MappedFile*> files) : files_(std::move(files)) {}

    /// A model and the packages that are applied to it.
    PageRelease(const MappedFile& model, std::span<const PackageInput> packages);

    /// Takes what the work's progress says; releases all files now and then.
    void update(std::uint64_t done);

private:
    std::vector<const MappedFile*> files_;
    std::uint64_t bytes_between_ = std::uint64_t{64} << 20;
    std::uint64_t released_at_ = 0;
};

/// SHA-256 of a whole file; `progress` may be empty, and what it returns does not matter.
[[nodiscard]] Digest digest_of(const MappedFile& file, const Progress& progress);

/// True for a folder, also through links.
[[nodiscard]] bool is_folder(const std::string& path) noexcept;

/// True for anything that has this name, a link to nothing included.
[[nodiscard]] bool name_is_taken(const std::string& path) noexcept;

/// True for a regular file or a link, which a new file may replace.
[[nodiscard]] bool is_regular_or_link(const std::string& path) noexcept;

/// The folder of a path: "." where it names none.
[[nodiscard]] std::string folder_of(const std::string& path);

/// A path's last part.
[[nodiscard]] std::string file_name_of(const std::string& path);

/// The package files of a stack, before they are opened.
struct StackFiles {
    std::vector<std::string> packages = {};    ///< paths, in stack order
    std::vector<float> strengths = {};         ///< as packages
    std::vector<std::string> member_ids = {};  ///< as packages, where a family names them
    std::optional<ChosenStack> family = {};    ///< what chose them, where it was a family receipt
    std::string folder = {};                   ///< of the family receipt
};

/// The stack of a folder: the preferred one of its family receipt where it has one, else all of its
/// packages in bytewise name order, each with strength 1.
[[nodiscard]] Result<StackFiles> stack_of_folder(const std::string& folder);

/// Opens and reads package `index` of a stack. Where a family names it, it is to be that file: its
/// size and digest come first.
[[nodiscard]] Result<PackageInput> load_stack_package(const StackFiles& stack, std::size_t index,
                                                      bool progress);

/// Are these the packages that the manifests of the family, if there is one, describe?
[[nodiscard]] Findings check_members(const StackFiles& stack,
                                     std::span<const PackageInput> packages);

/// May the family's stack, if there is one, be applied to this model with these strengths?
[[nodiscard]] Findings check_use(const StackFiles& stack, const Digest& base,
                                 std::span<const float> strengths);

/// Number of threads: decimal digits, 0 for one per processor.
[[nodiscard]] Result<std::size_t> parse_threads(const std::string& text);

/// A finite decimal number and nothing else; `option` is named where it is not.
[[nodiscard]] Result<double> parse_finite(std::string_view option, const std::string& text);

/// A whole number from 0 to 2^64 - 1, likewise.
[[nodiscard]] Result<std::uint64_t> parse_whole(std::string_view option, const std::string& text);

/// The one of `names`, of which there is one at least, that contains `name`, or that takes the
/// fewest changes to become it.
[[nodiscard]] std::string_view nearest_name(std::string_view name,
                                            std::span<const std::string_view> names);

/// The SIMD target that TRLM_ADAPT_TARGET asks for; empty, the best, when it is not set.
[[nodiscard]] Result<std::string> chosen_simd_target();

}  // namespace trlm::adapt::cli
