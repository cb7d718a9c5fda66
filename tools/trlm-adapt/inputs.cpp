#include "inputs.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string_view>

#include <fmt/format.h>
#include <sys/stat.h>

#include "progress.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/simd.hpp"

namespace trlm::adapt::cli {
namespace {

constexpr std::size_t most_threads = 1024;

tl::unexpected<Findings> failure_in(const std::string& path, Findings findings) {
    findings.set_file(path);
    return failure(std::move(findings));
}

Finding wrong_format(const std::string& path, FileFormat found, std::string_view expected,
                     std::string message) {
    return {.code = FindingCode::bad_magic,
            .message = std::move(message),
            .file = path,
            .offset = 0,
            .expected = std::string(expected),
            .actual = std::string(to_string(found))};
}

/// What a file of another format than the one that is needed is called.
std::string_view kind_of(FileFormat format) noexcept {
    switch (format) {
        case FileFormat::slm1:
            return "a model";
        case FileFormat::und1:
            return "an undo file";
        case FileFormat::adp1:
        case FileFormat::asp1:
        case FileFormat::alr1:
            break;
    }
    return "an adapter package";
}

/// Number of single-character changes that turn `a` into `b` (Levenshtein).
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

/// How much is mapped at most after so many bytes of a model: no package is larger than itself, and
/// a delta has up to eight times the bytes of the weights that it is for (f32 upon q4_0).
std::uint64_t bytes_seen(std::uint64_t of_model, std::span<const PackageInput> packages) {
    std::uint64_t seen = of_model;
    for (const PackageInput& package : packages) {
        seen += std::min<std::uint64_t>(package.file.bytes().size(), 8 * of_model);
    }
    return seen;
}

/// What a reader tells: shown, and used to keep the memory small. Nothing is cancelled: until work
/// is begun a signal ends the process by itself.
class ReadingProgress {
public:
    ReadingProgress(const MappedFile& file, bool shown) : bar_("reading", shown), pages_({&file}) {}

    bool operator()(std::uint64_t done, std::uint64_t total) {
        (void)bar_.update(done, total);
        pages_.update(done);
        return true;
    }

private:
    ProgressBar bar_;
    PageRelease pages_;
};

}  // namespace

PageRelease::PageRelease(const MappedFile& model, std::span<const PackageInput> packages)
    : files_({&model}) {
    for (const PackageInput& package : packages)
        files_.push_back(&package.file);
    constexpr std::uint64_t most = std::uint64_t{128} << 20;
    constexpr std::uint64_t least = std::uint64_t{1} << 20;
    while (bytes_between_ > least && bytes_seen(bytes_between_, packages) > most)
        bytes_between_ /= 2;
}

void PageRelease::update(std::uint64_t done) {
    if (done < released_at_) released_at_ = 0;  // another pass has begun
    if (done - released_at_ < bytes_between_) return;
    released_at_ = done;
    for (const MappedFile* file : files_)
        file->release();
}

Digest digest_of(const MappedFile& file, const Progress& progress) {
    // Pieces small enough for a bar that moves, large enough to cost nothing.
    constexpr std::size_t piece = std::size_t{4} << 20;
    const Bytes bytes = file.bytes();
    PageRelease pages({&file});
    Sha256 sha;
    for (std::size_t done = 0; done < bytes.size(); done += piece) {
        if (progress) (void)progress(done, bytes.size());
        pages.update(done);
        sha.update(bytes.subspan(done, std::min(piece, bytes.size() - done)));
    }
    file.release();
    return sha.finish();
}

Result<MappedFile> open_input(const std::string& path) {
    watch_input(path);
    return MappedFile::open(path);
}

Result<ModelInput> load_model(const std::string& path, const ModelReadOptions& options,
                              bool progress) {
    Result<MappedFile> file = open_input(path);
    if (!file) return failure(std::move(file).error());
    return read_model_input(path, std::move(*file), options, progress);
}

Result<PackageInput> load_package(const std::string& path, bool progress) {
    Result<MappedFile> file = open_input(path);
    if (!file) return failure(std::move(file).error());
    return read_package_input(path, std::move(*file), ReadDepth::everything, progress);
}

Result<ModelInput> read_model_input(std::string path, MappedFile file, ModelReadOptions options,
                                    bool progress) {
    const std::optional<FileFormat> format = detect_format(file.bytes());
    if (!format) return failure(unknown_format(path, file.bytes()));
    if (*format != FileFormat::slm1) {
        return failure(wrong_format(
            path, *format, "SLM1",
            fmt::format("this is {} ({}), but a model (SLM1) is needed here; the model comes "
                        "first, then the adapters",
                        kind_of(*format), to_string(*format))));
    }
    ReadingProgress reading(file, progress);
    options.progress = std::ref(reading);
    Result<Model> model = read_model(file.bytes(), options);
    file.release();
    if (!model) return failure_in(path, std::move(model).error());
    return ModelInput{std::move(path), std::move(file), std::move(*model)};
}

Result<PackageInput> read_package_input(std::string path, MappedFile file, ReadDepth depth,
                                        bool progress) {
    const std::optional<FileFormat> format = detect_format(file.bytes());
    if (!format) return failure(unknown_format(path, file.bytes()));
    if (*format == FileFormat::slm1 || *format == FileFormat::und1) {
        return failure(wrong_format(
            path, *format, "ADP1, ASP1 or ALR1",
            fmt::format("this is {} ({}), but an adapter package is needed here; the model comes "
                        "first, then the adapters",
                        kind_of(*format), to_string(*format))));
    }
    ReadingProgress reading(file, progress);
    Result<Package> package = read_package(file.bytes(), depth, std::ref(reading));
    file.release();
    if (!package) return failure_in(path, std::move(package).error());
    return PackageInput{std::move(path), std::move(file), std::move(*package)};
}

Result<UndoInput> load_undo(const std::string& path, bool progress) {
    Result<MappedFile> file = open_input(path);
    if (!file) return failure(std::move(file).error());
    return read_undo_input(path, std::move(*file), progress);
}

Result<UndoInput> read_undo_input(std::string path, MappedFile file, bool progress) {
    const std::optional<FileFormat> format = detect_format(file.bytes());
    if (format && *format != FileFormat::und1) {
        return failure(
            wrong_format(path, *format, "UND1",
                         fmt::format("this is {} ({}), but an undo file (UND1) is needed here; "
                                     "apply --undo writes one",
                                     kind_of(*format), to_string(*format))));
    }
    ReadingProgress reading(file, progress);
    Result<Undo> undo = read_undo(file.bytes(), std::ref(reading));
    file.release();
    if (!undo) return failure_in(path, std::move(undo).error());
    return UndoInput{std::move(path), std::move(file), *undo};
}

bool is_folder(const std::string& path) noexcept {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool name_is_taken(const std::string& path) noexcept {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) return true;
    // Of what cannot be looked at it is not known that it is absent.
    return errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG;
}

bool is_regular_or_link(const std::string& path) noexcept {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 &&
           (S_ISREG(status.st_mode) || S_ISLNK(status.st_mode));
}

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string file_name_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

namespace {

/// A file of a folder, as a path of the caller's.
std::string path_in(const std::string& folder, const std::string& path) {
    return folder + (folder.ends_with('/') ? "" : "/") + path;
}

/// The findings with their files as paths of the caller's.
Findings findings_in(const std::string& folder, const Findings& findings) {
    Findings placed;
    for (Finding finding : findings) {
        if (!finding.file.empty()) finding.file = path_in(folder, finding.file);
        placed.add(std::move(finding));
    }
    return placed;
}

Result<StackFiles> stack_of_family(const std::string& folder) {
    Result<Source> source = Source::folder(folder);
    if (!source) return failure(std::move(source.error()));
    Result<ChosenStack> chosen = read_preferred_stack(*source);
    if (!chosen) return failure(findings_in(folder, chosen.error()));
    StackFiles stack{.family = std::move(*chosen), .folder = folder};
    for (const ChosenMember& member : stack.family->members) {
        stack.packages.push_back(path_in(folder, member.member.package.path));
        stack.strengths.push_back(member.strength);
        stack.member_ids.push_back(member.member.id);
    }
    return stack;
}

}  // namespace

Result<StackFiles> stack_of_folder(const std::string& folder) {
    if (name_is_taken(path_in(folder, std::string(family_receipt_name)))) {
        return stack_of_family(folder);
    }
    Result<std::vector<std::string>> packages = list_packages(folder);
    if (!packages) return failure(std::move(packages.error()));
    StackFiles stack{.packages = std::move(*packages)};
    stack.strengths.assign(stack.packages.size(), 1);
    return stack;
}

Result<PackageInput> load_stack_package(const StackFiles& stack, std::size_t index, bool progress) {
    const std::string& path = stack.packages[index];
    if (!stack.family) return load_package(path, progress);
    Result<MappedFile> file = open_input(path);
    if (!file) return failure(std::move(file.error()));
    Findings wrong = check_file(stack.family->members[index].member.package, file->bytes());
    if (wrong.has_errors()) return failure_in(path, std::move(wrong));
    return read_package_input(path, std::move(*file), ReadDepth::everything, progress);
}

Findings check_members(const StackFiles& stack, std::span<const PackageInput> packages) {
    Findings findings;
    for (std::size_t i = 0; stack.family && i < packages.size(); ++i) {
        Findings found =
            findings_in(stack.folder, check_member(stack.family->members[i], packages[i].package));
        found.set_file(packages[i].path);
        findings.append(std::move(found));
    }
    return findings;
}

Findings check_use(const StackFiles& stack, const Digest& base, std::span<const float> strengths) {
    if (!stack.family) return {};
    return findings_in(stack.folder, check_use(*stack.family, base, strengths));
}

Result<std::size_t> parse_threads(const std::string& text) {
    const bool digits =
        !text.empty() && text.size() <= 4 &&
        std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    const unsigned long threads = digits ? std::strtoul(text.c_str(), nullptr, 10) : 0;
    if (digits && threads <= most_threads) return threads;
    return failure(usage_error(fmt::format(
        "--threads {}: expected a number from 0 (one per processor) to {}", text, most_threads)));
}

Result<double> parse_finite(std::string_view option, const std::string& text) {
    constexpr std::string_view characters = "0123456789+-.eE";
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    const bool plain = text.find_first_not_of(characters) == std::string::npos;
    if (plain && !text.empty() && end == text.c_str() + text.size() && std::isfinite(value)) {
        return value;
    }
    return failure(
        usage_error(fmt::format("{} {}: expected a finite decimal number", option, text)));
}

Result<std::uint64_t> parse_whole(std::string_view option, const std::string& text) {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (!text.empty() && parsed.ec == std::errc{} && parsed.ptr == end) return value;
    return failure(usage_error(fmt::format(
        "{} {}: expected a whole number from 0 to 18446744073709551615", option, text)));
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names) {
    constexpr std::size_t longest_compared = 64;
    const std::string_view compared = name.substr(0, longest_compared);
    // A part of a name was probably meant to be the whole.
    constexpr std::size_t shortest_part = 3;
    const auto whole = std::find_if(names.begin(), names.end(), [&](auto candidate) {
        return name.size() >= shortest_part && candidate.find(name) != std::string_view::npos;
    });
    if (whole != names.end()) return *whole;
    return *std::min_element(names.begin(), names.end(), [&](auto a, auto b) {
        return edit_distance(compared, a) < edit_distance(compared, b);
    });
}

Result<std::string> chosen_simd_target() {
    const char* const wanted = std::getenv("TRLM_ADAPT_TARGET");
    const std::string target = wanted == nullptr ? "" : wanted;
    if (check_simd_target(target)) return target;
    return failure(usage_error(fmt::format("TRLM_ADAPT_TARGET is \"{}\"; this machine has {}",
                                           target, fmt::join(simd_targets(), ", "))));
}

}  // namespace trlm::adapt::cli
