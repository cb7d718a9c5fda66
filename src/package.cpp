#include "trlm/adapt/package.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "guard.hpp"
#include "json.hpp"
#include "package_format.hpp"
#include "package_rules.hpp"
#include "scan.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"

namespace trlm::adapt {
namespace {

namespace format = package_format;
namespace header = package_format::header;
namespace entry_field = package_format::entry;
using package_format::entry_offset;
using package_rules::all_zero;
using package_rules::checksum_differs;
using package_rules::EntryJudge;
using package_rules::judge_zeros;
using package_rules::label;
using package_rules::not_canonical;
using package_rules::number_text;
using package_rules::read_number;

constexpr std::pair<std::string_view, FileFormat> magics[] = {
    {"SLM1", FileFormat::slm1}, {"ADP1", FileFormat::adp1}, {"ASP1", FileFormat::asp1},
    {"ALR1", FileFormat::alr1}, {"UND1", FileFormat::und1},
};

// Files that people take for adapter packages, by their first bytes.
constexpr std::pair<std::string_view, std::string_view> foreign_files[] = {
    {"SLM1", "an SLM1 model, but an adapter package is expected: were the arguments swapped?"},
    {"UND1",
     "an undo file, but an adapter package is expected; trlm-adapt revert takes undo files"},
    {"GGUF", "a GGUF file, but an adapter package is expected; check which file was given"},
    {"PK\x03\x04",
     "a zip archive, perhaps a checkpoint, but an adapter package is expected; check "
     "which file was given"},
    {"version https://git-lfs",
     "a Git LFS pointer, which stands for the real file; fetch that "
     "with git lfs pull"},
    {"<!DOCTYPE", "a web page, but an adapter package is expected; check the download's address"},
    {"<html", "a web page, but an adapter package is expected; check the download's address"},
};

std::optional<PackageKind> package_kind(std::optional<FileFormat> file_format) noexcept {
    if (file_format == FileFormat::adp1) return PackageKind::dense;
    if (file_format == FileFormat::asp1) return PackageKind::sparse;
    if (file_format == FileFormat::alr1) return PackageKind::low_rank;
    return std::nullopt;
}

bool is_safetensors(Bytes file) noexcept {
    return file.size() > 9 && file[8] == std::byte{'{'} &&
           load<std::uint64_t>(file, 0) <= file.size() - 8;
}

std::string foreign_file_message(Bytes file) {
    for (const auto& [start, what] : foreign_files) {
        if (as_text(file).starts_with(start)) return fmt::format("the file is {}", what);
    }
    if (is_safetensors(file)) {
        return "the file is a safetensors file, but an adapter package is expected; check which "
               "file was given";
    }
    return "the file starts with none of ADP1, ASP1 and ALR1, so it is not an adapter package; "
           "check which file was given";
}

}  // namespace

/// Reads one package. Goes on after a defect with whatever does not depend on it.
class PackageReader {
public:
    PackageReader(Bytes file, ReadDepth depth, const Progress& progress)
        : file_(file), depth_(depth), progress_(progress) {
        package_.bytes_ = file;
    }

    [[nodiscard]] Result<Package> read() {
        if (!judge_start()) return failure(std::move(findings_));
        read_header();
        locate_regions();
        load_directory();
        read_metadata();
        judge_directory();
        if (depth_ == ReadDepth::everything && !judge_bytes()) {
            return failure(std::move(findings_));
        }
        judge_retention();
        if (findings_.has_errors()) return failure(std::move(findings_));
        return std::move(package_);
    }

private:
    // What is known of an entry beside its fields.
    struct EntryState {
        std::optional<std::uint64_t> elements;  // when rank and dims are right
        bool count_right = false;               // ASP1: nothing contradicts the count
        bool readable = false;                  // the payload lies in the file, sections and all
        bool positions_right = false;           // ASP1: looked at and well-formed
        bool non_finite_reported = false;
    };

    // What a scanned section is to its entry, for the words of a finding.
    enum class Part : std::uint8_t { padding, values, positions, factor_a, factor_b };

    void add(Finding finding) { findings_.add(std::move(finding)); }

    [[nodiscard]] std::uint64_t number(const format::Field& field) const noexcept {
        return read_number(file_, field);
    }

    // ---------------------------------------------------------------------------------- start

    // Magic, version and header length: a file that fails here is not read any further.
    bool judge_start() {
        if (file_.size() < format::magic_bytes) return too_short();
        const auto kind = package_kind(detect_format(file_));
        if (!kind) {
            add({.code = FindingCode::bad_magic,
                 .message = foreign_file_message(file_),
                 .offset = 0,
                 .expected = "ADP1, ASP1 or ALR1",
                 .actual = to_hex(slice(file_, 0, format::magic_bytes))});
            return false;
        }
        package_.kind_ = *kind;
        if (file_.size() < format::header_bytes) return too_short();
        if (const auto version = number(header::version); version != format::version) {
            add({.code = FindingCode::unsupported_version,
                 .message = fmt::format("the package has format version {}, but this program reads "
                                        "version {}; use a newer program",
                                        version, format::version),
                 .offset = header::version.offset,
                 .expected = number_text(format::version),
                 .actual = number_text(version)});
            return false;
        }
        if (const auto length = number(header::header_length); length != format::header_bytes) {
            add({.code = FindingCode::bad_header_length,
                 .message = fmt::format("header_length is {}, but every {} header has {} bytes; "
                                        "write the package anew",
                                        length, to_string(*kind), format::header_bytes),
                 .offset = header::header_length.offset,
                 .expected = number_text(format::header_bytes),
                 .actual = number_text(length)});
            return false;
        }
        return true;
    }

    bool too_short() {
        add({.code = FindingCode::truncated,
             .message = fmt::format("the file has {} bytes, but a package's header alone has {}; "
                                    "fetch the file again",
                                    file_.size(), format::header_bytes),
             .offset = file_.size(),
             .expected = fmt::format("at least {}", format::header_bytes),
             .actual = number_text(file_.size())});
        return false;
    }

    // --------------------------------------------------------------------------------- header

    void read_header() {
        package_.checksum_ = number(header::checksum);
        package_.identity_ = {
            .model_flags = load<std::uint32_t>(file_, header::model_flags.offset),
            .tensor_count = load<std::uint32_t>(file_, header::tensor_count.offset),
            .parameter_count = number(header::parameter_count),
            .tensor_layout_checksum = number(header::tensor_layout_checksum),
            .tokenizer_checksum = number(header::tokenizer_checksum),
        };
        judge_length();
        judge_zeros(file_, format::header_zeros, package_.kind_, 0, "", findings_);
        judge_counts();
        if (package_.kind_ == PackageKind::sparse) read_mask_fields();
        if (package_.kind_ == PackageKind::low_rank) read_source_fields();
    }

    void judge_length() {
        const std::uint64_t stated = number(header::file_length);
        length_right_ = stated == file_.size();
        if (length_right_) return;
        const bool shorter = file_.size() < stated;
        add({.code = shorter ? FindingCode::truncated : FindingCode::trailing_bytes,
             .message = fmt::format("the file has {} bytes, but its header states {}; fetch the "
                                    "file again from its source",
                                    file_.size(), stated),
             .offset = shorter ? file_.size() : stated,
             .expected = number_text(stated),
             .actual = number_text(file_.size())});
    }

    void judge_counts() {
        const std::uint64_t tensors = package_.identity_.tensor_count;
        entry_count_ = number(header::entry_count);
        entry_count_right_ = true;
        if (tensors > limits::tensors) above_limit(header::tensor_count, tensors);
        if (entry_count_ > limits::tensors) {
            above_limit(header::entry_count, entry_count_);
            entry_count_right_ = false;
        }
        if (entry_count_ == 0 || entry_count_ > tensors) {
            add({.code = FindingCode::bad_value,
                 .message = fmt::format("entry_count is {}, but must be from 1 to the model's {} "
                                        "tensors; write the package anew",
                                        entry_count_, tensors),
                 .offset = header::entry_count.offset,
                 .expected = fmt::format("1 to {}", tensors),
                 .actual = number_text(entry_count_)});
            entry_count_right_ = false;
        }
    }

    void above_limit(const format::Field& field, std::uint64_t actual) {
        add({.code = FindingCode::limit_exceeded,
             .message = fmt::format("{} is {}, but at most {} tensors are allowed; split it",
                                    field.name, actual, limits::tensors),
             .offset = field.offset,
             .expected = fmt::format("at most {}", limits::tensors),
             .actual = number_text(actual)});
    }

    void read_mask_fields() {
        package_.retention_ = load<float>(file_, header::retention.offset);
        package_.mask_checksum_ = number(header::mask_checksum);
        package_.mask_seed_ = number(header::mask_seed);
        const std::uint64_t method = number(header::mask_method);
        package_.mask_method_ = static_cast<MaskMethod>(method);
        if (method > static_cast<std::uint64_t>(MaskMethod::sign_consensus)) {
            return bad_value(header::mask_method, "0 to 3", method);
        }
        if (package_.mask_method_ != MaskMethod::random_drop && package_.mask_seed_ != 0) {
            bad_value(header::mask_seed, "0", package_.mask_seed_,
                      " because only mask_method 2, random drop, has a seed");
        }
    }

    void read_source_fields() {
        const Bytes hash = slice(file_, header::source_hash.offset, header::source_hash.bytes);
        std::ranges::copy(hash, package_.source_hash_.begin());
        const std::uint64_t kind = number(header::source_kind);
        package_.source_kind_ = static_cast<SourceKind>(kind);
        if (kind > static_cast<std::uint64_t>(SourceKind::other)) {
            return bad_value(header::source_kind, "0 to 3", kind);
        }
        if (package_.source_kind_ == SourceKind::none && !all_zero(hash)) {
            add({.code = FindingCode::bad_value,
                 .message = "source_kind is 0, none, but there is a hash of a source; set the "
                            "kind, or clear the hash",
                 .offset = header::source_hash.offset,
                 .expected = "0",
                 .actual = to_hex(hash)});
        }
    }

    void bad_value(const format::Field& field, std::string expected, std::uint64_t actual,
                   std::string_view why = "") {
        add({.code = FindingCode::bad_value,
             .message = fmt::format("{} is {}, but must be {}{}; write the package anew",
                                    field.name, actual, expected, why),
             .offset = field.offset,
             .expected = std::move(expected),
             .actual = number_text(actual)});
    }

    // -------------------------------------------------------------------------------- regions

    // Where directory, metadata and payloads must lie, as far as the counts tell.
    void locate_regions() {
        const std::uint64_t directory = number(header::directory_offset);
        directory_right_ = directory == format::header_bytes;
        if (!directory_right_) {
            add(not_canonical(header::directory_offset, 0, format::header_bytes, directory));
        }
        metadata_.offset = number(header::metadata_offset);
        metadata_.length = number(header::metadata_length);
        locate_metadata();
        locate_payloads();
    }

    void locate_metadata() {
        if (entry_count_right_) {
            const std::uint64_t expected = metadata_.length > 0 ? entry_offset(entry_count_) : 0;
            metadata_.offset_right = metadata_.offset == expected;
            if (!metadata_.offset_right) {
                add(not_canonical(header::metadata_offset, 0, expected, metadata_.offset));
                metadata_.offset = expected;
            }
        } else {
            metadata_.offset_right = metadata_.offset >= format::header_bytes;
        }
        metadata_.length_right = metadata_.length <= limits::metadata_bytes;
        if (!metadata_.length_right) {
            return bad_metadata_length(fmt::format("at most {}", limits::metadata_bytes));
        }
        metadata_.inside = range_inside(metadata_.offset, metadata_.length, file_.size());
        if (entry_count_right_ && length_right_ && !metadata_.inside) {
            metadata_.length_right = false;
            bad_metadata_length("what the file has room for");
        }
    }

    void bad_metadata_length(std::string_view expected) {
        add({.code = FindingCode::bad_metadata,
             .message = fmt::format("metadata_length is {}, but must be {}; shorten the metadata",
                                    metadata_.length, expected),
             .offset = header::metadata_length.offset,
             .expected = std::string(expected),
             .actual = number_text(metadata_.length)});
    }

    void locate_payloads() {
        payloads_end_ = format::header_bytes;
        if (!entry_count_right_) return;
        payloads_end_ = entry_offset(entry_count_);
        // With an offset but no length, either may be wrong.
        const bool length_known =
            metadata_.length_right && (metadata_.offset_right || metadata_.length > 0);
        if (!length_known) return;
        if (metadata_.length > 0) payloads_end_ = metadata_.offset + metadata_.length;
        const std::uint64_t expected = align64(payloads_end_).value();
        const std::uint64_t actual = number(header::payload_offset);
        if (actual == expected) {
            next_payload_ = expected;
        } else {
            add(not_canonical(header::payload_offset, 0, expected, actual));
        }
    }

    // ------------------------------------------------------------------------------- metadata

    void read_metadata() {
        if (metadata_.length == 0 || !metadata_.offset_right || !metadata_.length_right ||
            !metadata_.inside) {
            return;
        }
        package_.metadata_ = as_text(slice(file_, metadata_.offset, metadata_.length));
        const auto document = parse_json(package_.metadata_, {.max_bytes = limits::metadata_bytes,
                                                              .max_depth = limits::metadata_depth});
        if (!document) {
            for (Finding finding : document.error()) {
                if (finding.code != FindingCode::out_of_memory) {
                    finding.code = FindingCode::bad_metadata;
                    finding.offset = metadata_.offset + finding.offset.value_or(0);
                }
                add(std::move(finding));
            }
            return;
        }
        for (const std::string_view key : {"name", "description", "license", "source"}) {
            const Json* const member = document->find(key);
            if (member == nullptr || member->is_text()) continue;
            bad_metadata(fmt::format("/{}", key), "string", member->type_name());
        }
        read_tensor_names(*document);
    }

    void bad_metadata(std::string pointer, std::string expected, std::string actual) {
        add({.code = FindingCode::bad_metadata,
             .message =
                 fmt::format("this is {}, but must be {}; correct the metadata", actual, expected),
             .offset = metadata_.offset,
             .pointer = std::move(pointer),
             .expected = std::move(expected),
             .actual = std::move(actual)});
    }

    void read_tensor_names(const Json& document) {
        const Json* const list = document.find("tensor_names");
        if (list == nullptr) return;
        if (!list->is_array()) return bad_metadata("/tensor_names", "array", list->type_name());
        const Json::Array& names = list->elements();
        bool right = true;
        if (entry_count_right_ && names.size() != entry_count_) {
            right = false;
            bad_metadata("/tensor_names", fmt::format("an array of {} names", entry_count_),
                         fmt::format("an array of {}", names.size()));
        }
        for (std::size_t i = 0; i < names.size(); ++i) {
            right = judge_tensor_name(names[i], i) && right;
        }
        if (!right || names.size() != package_.entries_.size()) return;
        for (std::size_t i = 0; i < names.size(); ++i) {
            package_.entries_[i].name = names[i].text();
        }
    }

    bool judge_tensor_name(const Json& name, std::size_t i) {
        if (!name.is_text()) {
            bad_metadata(fmt::format("/tensor_names/{}", i), "string", name.type_name());
            return false;
        }
        if (i >= package_.entries_.size()) return true;
        const std::uint64_t hash = tensor_name_hash(name.text());
        const std::uint64_t expected = package_.entries_[i].name_hash;
        if (hash == expected) return true;
        add({.code = FindingCode::bad_metadata,
             .message = "this name is not that of the directory entry in its place, because its "
                        "hash differs; list the names in directory order",
             .offset = metadata_.offset,
             .tensor = tensor_label("", expected),
             .pointer = fmt::format("/tensor_names/{}", i),
             .expected = tensor_label("", expected),
             .actual = tensor_label("", hash)});
        return false;
    }

    // ------------------------------------------------------------------------------ directory

    // The entries that are there, unjudged: the metadata's names are compared with them first, so
    // that findings about them can use the names.
    void load_directory() {
        if (!entry_count_right_ || !directory_right_) return;
        const std::uint64_t room = (file_.size() - format::header_bytes) / format::entry_bytes;
        const auto present = static_cast<std::size_t>(std::min(entry_count_, room));
        package_.entries_.reserve(present);
        for (std::size_t i = 0; i < present; ++i) {
            const Bytes bytes = slice(file_, entry_offset(i), format::entry_bytes);
            PackageEntry& entry = package_.entries_.emplace_back();
            entry.name_hash = read_number(bytes, entry_field::name_hash);
            entry.shape.rank = load<std::uint32_t>(bytes, entry_field::rank.offset);
            entry.shape.dims = load<std::array<std::uint32_t, 4>>(bytes, entry_field::dims.offset);
            entry.payload_offset = read_number(bytes, entry_field::payload_offset);
            entry.payload_length = read_number(bytes, entry_field::payload_length);
            entry.payload_checksum = read_number(bytes, entry_field::payload_checksum);
            if (package_.kind_ == PackageKind::sparse) {
                entry.encoding = load<SparseEncoding>(bytes, entry_field::encoding.offset);
                entry.count = read_number(bytes, entry_field::count);
            } else if (package_.kind_ == PackageKind::low_rank) {
                entry.rank = load<std::uint32_t>(bytes, entry_field::low_rank.offset);
                entry.scale = load<float>(bytes, entry_field::scale.offset);
            }
        }
    }

    void judge_directory() {
        states_.resize(package_.entries_.size());
        if (metadata_.length_right && metadata_.offset_right && next_payload_) {
            add_padding(payloads_end_, 0);
        }
        for (std::size_t i = 0; i < package_.entries_.size(); ++i) {
            judge_order(i);
            judge_entry(i);
        }
        judge_end();
    }

    void judge_entry(std::size_t i) {
        const PackageEntry& entry = package_.entries_[i];
        EntryState& state = states_[i];
        judge_zeros(file_, format::entry_zeros, package_.kind_, entry_offset(i), label(entry),
                    findings_);
        EntryJudge judge(package_.kind_, entry, i, findings_);
        state.elements = judge.judge_shape();
        bool size_known = state.elements.has_value();
        if (package_.kind_ == PackageKind::sparse) {
            const bool encoding_right = judge.judge_encoding();
            state.count_right = judge.judge_count(state.elements);
            size_known = size_known && encoding_right && state.count_right;
        } else if (package_.kind_ == PackageKind::low_rank) {
            size_known = judge.judge_factors(size_known) && size_known;
        }
        const bool length_right = size_known && judge.judge_payload_length();
        // Either may be wrong, the count or the length.
        if (size_known && !length_right) state.count_right = false;
        place_payload(i, length_right);
    }

    void judge_order(std::size_t i) {
        if (i == 0) return;
        const std::uint64_t previous = package_.entries_[i - 1].name_hash;
        const std::uint64_t hash = package_.entries_[i].name_hash;
        if (previous < hash) return;
        const bool same = previous == hash;
        add({.code = FindingCode::directory_not_sorted,
             .message =
                 fmt::format("entry {} {}, but entries must ascend strictly by name_hash; {}", i,
                             same ? "names the same tensor as the one before it"
                                  : "has a smaller name_hash than the one before it",
                             same ? "keep one of the two" : "sort them"),
             .offset = entry_offset(i) + entry_field::name_hash.offset,
             .tensor = label(package_.entries_[i]),
             .expected = fmt::format("above 0x{:016x}", previous),
             .actual = fmt::format("0x{:016x}", hash)});
    }

    // Judges where the payload lies, and adds its sections when it can be read.
    void place_payload(std::size_t i, bool length_right) {
        const PackageEntry& entry = package_.entries_[i];
        const bool offset_right = judge_payload_offset(i);
        next_payload_.reset();
        if (!offset_right) return;
        // Without a known size, the next payload starts at the next possible place at the least.
        const CheckedSize end =
            CheckedSize(entry.payload_offset) + (length_right ? entry.payload_length : 1);
        payloads_end_ = end.value();
        if (!length_right) return;
        next_payload_ = align64(end).value();
        if (!range_inside(entry.payload_offset, entry.payload_length, file_.size())) return;
        states_[i].readable = true;
        add_payload_sections(i);
        if (i + 1 < entry_count_) add_padding(payloads_end_, i);
    }

    // After an entry whose end is not known, any place that could be right is taken, so that one
    // defect is one finding and the payloads after it are still judged.
    bool judge_payload_offset(std::size_t i) {
        const std::uint64_t actual = package_.entries_[i].payload_offset;
        if (next_payload_ == actual) return true;
        const bool possible =
            !next_payload_ && actual % region_alignment == 0 && actual >= payloads_end_;
        if (possible && actual < file_.size()) return true;
        // In a cut file a payload past the end is what `truncated` says.
        if (possible && !length_right_) return false;
        Finding finding =
            not_canonical(entry_field::payload_offset, entry_offset(i),
                          next_payload_.value_or(align64(payloads_end_).value()), actual);
        finding.tensor = label(package_.entries_[i]);
        add(std::move(finding));
        return false;
    }

    // The last payload ends the file, and the whole directory lies before it.
    void judge_end() {
        if (!entry_count_right_ || !directory_right_ || !length_right_) return;
        const bool cut = package_.entries_.size() < entry_count_;
        if (!cut && (!next_payload_ || payloads_end_ == file_.size())) return;
        add(not_canonical(header::file_length, 0, payloads_end_, file_.size()));
    }

    // ---------------------------------------------------------------------------------- bytes

    void add_section(Part part, std::size_t entry, Section section) {
        if (section.length == 0) return;
        section.owner = entry;
        sections_.push_back(section);
        parts_.push_back(part);
    }

    // The zeros from `end` to the next multiple of 64, as far as the file has them.
    void add_padding(std::uint64_t end, std::size_t entry) {
        const std::uint64_t stop = std::min<std::uint64_t>(align64(end).value(), file_.size());
        if (end >= stop) return;
        add_section(Part::padding, entry,
                    {.kind = SectionKind::zeros, .offset = end, .length = stop - end});
    }

    void add_payload_sections(std::size_t i) {
        const PackageEntry& entry = package_.entries_[i];
        const format::PayloadParts parts = format::payload_parts(package_.kind_, entry);
        const std::uint64_t first = parts.first.value();
        const std::uint64_t second_offset = parts.second_offset().value();
        const bool sparse = package_.kind_ == PackageKind::sparse;
        SectionKind first_kind = SectionKind::values;
        if (sparse) {
            first_kind = entry.encoding == SparseEncoding::bitmask ? SectionKind::bitmask
                                                                   : SectionKind::indexes;
        }
        add_section(sparse ? Part::positions : Part::factor_a, i,
                    {.kind = first_kind,
                     .offset = entry.payload_offset,
                     .length = first,
                     .elements = states_[i].elements.value_or(0),
                     .in_payload_hash = true,
                     .in_mask_hash = sparse});
        add_section(Part::padding, i,
                    {.kind = SectionKind::zeros,
                     .offset = entry.payload_offset + first,
                     .length = second_offset - first,
                     .in_payload_hash = true});
        add_section(package_.kind_ == PackageKind::low_rank ? Part::factor_b : Part::values, i,
                    {.kind = SectionKind::values,
                     .offset = entry.payload_offset + second_offset,
                     .length = parts.second.value(),
                     .in_payload_hash = true});
    }

    // False when cancelled.
    bool judge_bytes() {
        const ScanResult scan = scan_file(file_, header::checksum.offset, sections_,
                                          package_.entries_.size(), progress_);
        if (scan.cancelled) {
            findings_ = {};
            add(reading_cancelled());
            return false;
        }
        const std::uint64_t checksum = stored_checksum(scan.file_hash);
        if (length_right_ && checksum != package_.checksum_) {
            add(checksum_differs(FindingCode::checksum_mismatch, "the file",
                                 header::checksum.offset, package_.checksum_, checksum));
        }
        for (std::size_t s = 0; s < sections_.size(); ++s) {
            judge_section(s, scan.outcomes[s]);
        }
        for (std::size_t i = 0; i < package_.entries_.size(); ++i) {
            const PackageEntry& entry = package_.entries_[i];
            const std::uint64_t computed = stored_checksum(scan.payload_hashes[i]);
            if (!states_[i].readable || computed == entry.payload_checksum) continue;
            Finding finding =
                checksum_differs(FindingCode::payload_checksum_mismatch, "the payload",
                                 entry_offset(i) + entry_field::payload_checksum.offset,
                                 entry.payload_checksum, computed);
            finding.tensor = label(entry);
            add(std::move(finding));
        }
        judge_mask(stored_checksum(scan.mask_hash));
        return true;
    }

    // Where the directory and the offsets disagree, there may be sections that it does not name.
    void judge_mask(std::uint64_t computed) {
        const bool known = package_.kind_ == PackageKind::sparse &&
                           !findings_.contains(FindingCode::offset_not_canonical) &&
                           for_all_entries(&EntryState::positions_right);
        if (!known || computed == package_.mask_checksum_) return;
        add(checksum_differs(FindingCode::mask_checksum_mismatch, "the choice of stored elements",
                             header::mask_checksum.offset, package_.mask_checksum_, computed));
    }

    // True when the whole directory is there and `property` holds for every entry.
    [[nodiscard]] bool for_all_entries(bool EntryState::*property) const noexcept {
        return !states_.empty() && states_.size() == entry_count_ &&
               std::ranges::all_of(states_, property);
    }

    void judge_section(std::size_t index, const SectionOutcome& outcome) {
        const Section& section = sections_[index];
        const Part part = parts_[index];
        if (part == Part::padding) {
            if (outcome.defect != SectionDefect::none) {
                add(package_rules::section_finding(file_, section, outcome, ""));
            }
            return;
        }
        EntryState& state = states_[section.owner];
        if (part == Part::positions) {
            const bool counted = judge_popcount(section, outcome);
            state.positions_right = counted && outcome.defect == SectionDefect::none;
        }
        if (outcome.defect == SectionDefect::none) {
            PackageEntry& entry = package_.entries_[section.owner];
            if (part == Part::values || part == Part::factor_a) entry.max_abs = outcome.max_abs;
            if (part == Part::factor_b) entry.max_abs_b = outcome.max_abs;
            return;
        }
        if (outcome.defect == SectionDefect::non_finite) {
            if (std::exchange(state.non_finite_reported, true)) return;
        }
        Finding finding =
            package_rules::section_finding(file_, section, outcome, element_name(part));
        finding.tensor = label(package_.entries_[section.owner]);
        add(std::move(finding));
    }

    bool judge_popcount(const Section& section, const SectionOutcome& outcome) {
        if (section.kind != SectionKind::bitmask) return true;
        const PackageEntry& entry = package_.entries_[section.owner];
        if (outcome.popcount == entry.count) return true;
        states_[section.owner].count_right = false;
        add({.code = FindingCode::count_mismatch,
             .message = fmt::format("the bitmask selects {} elements, but the entry stores {} "
                                    "values; write the package anew",
                                    outcome.popcount, entry.count),
             .offset = section.offset,
             .tensor = label(entry),
             .expected = number_text(entry.count),
             .actual = number_text(outcome.popcount)});
        return false;
    }

    [[nodiscard]] std::string_view element_name(Part part) const noexcept {
        if (part == Part::factor_a) return "element {} of A";
        if (part == Part::factor_b) return "element {} of B";
        return package_.kind_ == PackageKind::sparse ? "stored value {}" : "element {}";
    }

    void judge_retention() {
        if (package_.kind_ != PackageKind::sparse || !for_all_entries(&EntryState::count_right) ||
            !std::ranges::all_of(states_, [](const auto& s) { return s.elements.has_value(); })) {
            return;
        }
        std::uint64_t stored = 0;
        std::uint64_t elements = 0;
        for (std::size_t i = 0; i < states_.size(); ++i) {
            stored += package_.entries_[i].count;
            elements += *states_[i].elements;
        }
        const float expected = format::retention_of(stored, elements);
        const float actual = package_.retention_;
        if (std::bit_cast<std::uint32_t>(actual) == std::bit_cast<std::uint32_t>(expected)) return;
        add({.code = FindingCode::retention_mismatch,
             .message = fmt::format("retention is {}, but {} of {} elements are stored, which is "
                                    "{}; write the package anew",
                                    actual, stored, elements, expected),
             .offset = header::retention.offset,
             .expected = fmt::format("{}", expected),
             .actual = fmt::format("{}", actual)});
    }

    struct Metadata {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
        bool offset_right = false;
        bool length_right = false;
        bool inside = false;
    };

    Bytes file_;
    ReadDepth depth_;
    const Progress& progress_;
    Package package_;
    Findings findings_;

    bool length_right_ = false;  // the file is as long as its header states
    std::uint64_t entry_count_ = 0;
    bool entry_count_right_ = false;
    bool directory_right_ = false;
    Metadata metadata_;

    std::vector<EntryState> states_;             // of the entries that are there
    std::uint64_t payloads_end_ = 0;             // no payload starts before it any more
    std::optional<std::uint64_t> next_payload_;  // where the next one must start, when known
    std::vector<Section> sections_;
    std::vector<Part> parts_;  // of `sections_`
};

Result<Package> read_package(Bytes file, ReadDepth depth, const Progress& progress) {
    return guarded([&]() -> Result<Package> {
        const FpEnvironment environment;
        return PackageReader(file, depth, progress).read();
    });
}

Delta Package::delta(std::size_t index) const noexcept {
    if (index >= entries_.size()) return DenseDelta{};
    return format::delta_of(bytes_, kind_, entries_[index]);
}

std::string_view to_string(PackageKind kind) noexcept {
    switch (kind) {
        case PackageKind::dense:
            return "ADP1";
        case PackageKind::sparse:
            return "ASP1";
        case PackageKind::low_rank:
            return "ALR1";
    }
    return "unknown";
}

std::optional<FileFormat> detect_format(Bytes file) noexcept {
    for (const auto& [magic, file_format] : magics) {
        if (as_text(file).starts_with(magic)) return file_format;
    }
    return std::nullopt;
}

std::string_view to_string(FileFormat format) noexcept {
    for (const auto& [magic, file_format] : magics) {
        if (file_format == format) return magic;
    }
    return "unknown";
}

std::string_view to_string(MaskMethod method) noexcept {
    switch (method) {
        case MaskMethod::unspecified:
            return "unspecified";
        case MaskMethod::magnitude:
            return "magnitude";
        case MaskMethod::random_drop:
            return "random-drop";
        case MaskMethod::sign_consensus:
            return "sign-consensus";
    }
    return "unknown";
}

std::string_view to_string(SourceKind kind) noexcept {
    switch (kind) {
        case SourceKind::none:
            return "none";
        case SourceKind::lora:
            return "lora";
        case SourceKind::svd:
            return "svd";
        case SourceKind::other:
            return "other";
    }
    return "unknown";
}

}  // namespace trlm::adapt
