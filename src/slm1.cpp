#include "trlm/adapt/slm1.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "fp_environment.hpp"
#include "guard.hpp"
#include "scan.hpp"
#include "slm1_rules.hpp"
#include "trlm/adapt/checked.hpp"
#include "trlm/adapt/checksum.hpp"
#include "trlm/adapt/limits.hpp"
#include "trlm/adapt/package.hpp"

namespace trlm::adapt {
namespace {

using slm1::ContractShape;
using slm1::ContractTensor;
using slm1::EntryPlace;
using slm1::Field;
using slm1::Header;
using slm1::rule;
namespace entry = slm1::entry;

std::string number_text(std::uint64_t number) {
    return fmt::format("{}", number);
}

bool operator==(const Shape& shape, const ContractShape& contract) noexcept {
    return shape.rank == contract.rank && shape.rows() == contract.rows &&
           shape.cols() == contract.cols;
}

std::string to_string(const ContractShape& shape) {
    return shape.rank == 1 ? fmt::format("[{}]", shape.cols)
                           : fmt::format("[{}, {}]", shape.rows, shape.cols);
}

enum class RegionKind : std::uint8_t { header, tokenizer, directory, payload, scales };

/// A part of the file whose place is known.
struct Region {
    RegionKind kind = RegionKind::header;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::size_t tensor = 0;  ///< of payload and scales

    [[nodiscard]] std::uint64_t end() const noexcept { return offset + length; }
};

}  // namespace

/// Reads one file, from its first bytes on. Each step judges what it can know, and leaves alone
/// what rests on a field that was found wrong.
class ModelReader {
public:
    ModelReader(Bytes file, const ModelReadOptions& options) : file_(file), options_(options) {}

    [[nodiscard]] Result<Model> read() {
        if (!judge_beginning()) return failure(std::move(findings_));
        header_ = Header(file_);
        verdict_ = slm1::judge_fields(header_, findings_);
        judge_checksum_kind();
        judge_reserved();
        read_tokenizer();
        judge_data_offset();
        read_directory();
        judge_regions();
        if (options_.depth == ReadDepth::everything) judge_content();
        if (findings_.has_errors()) return failure(std::move(findings_));
        return finish();
    }

private:
    // ------------------------------------------------------------------------------- the header

    /// Magic, version and header_length: where one is wrong, nothing else can be said.
    bool judge_beginning() {
        if (file_.size() < slm1::magic.size()) return too_short();
        if (as_text(file_.first(slm1::magic.size())) != slm1::magic) {
            findings_.add(wrong_magic());
            return false;
        }
        if (file_.size() < slm1::shortest_header_bytes) return too_short();
        const Header header(file_);
        return slm1::judge_field(header, Field::version, findings_) &&
               slm1::judge_field(header, Field::header_length, findings_, file_.size());
    }

    bool too_short() {
        findings_.add({.code = FindingCode::truncated,
                       .message = fmt::format("the file has {} bytes, but the header of a model "
                                              "alone takes {}; fetch or copy it again",
                                              file_.size(), slm1::shortest_header_bytes),
                       .offset = file_.size(),
                       .expected = fmt::format("at least {} bytes", slm1::shortest_header_bytes),
                       .actual = fmt::format("{} bytes", file_.size())});
        return false;
    }

    [[nodiscard]] Finding wrong_magic() const {
        Finding finding{
            .code = FindingCode::bad_magic, .offset = 0, .expected = std::string(slm1::magic)};
        if (const auto format = detect_format(file_)) {
            finding.actual = to_string(*format);
            finding.message = fmt::format(
                "this is an {} adapter package, but a model ({}) was expected; are the arguments "
                "swapped?",
                finding.actual, slm1::magic);
        } else {
            finding.actual = "0x" + to_hex(file_.first(slm1::magic.size()));
            finding.message = fmt::format(
                "the file begins with the bytes {}, but a model begins with {}; it is some other "
                "kind of file",
                finding.actual, slm1::magic);
        }
        return finding;
    }

    [[nodiscard]] bool has_checksum_kind() const noexcept {
        return header_[Field::header_length] >= slm1::header_bytes;
    }

    void judge_checksum_kind() {
        model_.checksum_ = header_[Field::checksum];
        model_.checksum_verifiable_ =
            has_checksum_kind() && header_.u32(Field::checksum_kind) == slm1::checksum_kind_xxh3_64;
        if (model_.checksum_verifiable_) return;
        const std::string reason =
            has_checksum_kind()
                ? fmt::format("checksum_kind is {}, which this reader does not know",
                              header_[Field::checksum_kind])
                : fmt::format(
                      "the header has {} bytes, so the checksum is one whose constants "
                      "were never published",
                      header_[Field::header_length]);
        findings_.add(
            {.code = FindingCode::checksum_unverifiable,
             .message = fmt::format("{}: accept it explicitly, or convert the model", reason),
             .severity = options_.checksum == ChecksumPolicy::accept_foreign ? Severity::warning
                                                                             : Severity::error,
             .offset = rule(has_checksum_kind() ? Field::checksum_kind : Field::checksum).offset,
             .expected = "checksum_kind 1",
             .actual = has_checksum_kind() ? number_text(header_[Field::checksum_kind]) : "none"});
    }

    void judge_reserved() {
        if (!has_checksum_kind()) return;
        const Bytes reserved = slice(file_, slm1::reserved_offset,
                                     header_[Field::header_length] - slm1::reserved_offset);
        const auto used = std::find_if(reserved.begin(), reserved.end(),
                                       [](std::byte byte) { return byte != std::byte{0}; });
        if (used == reserved.end()) return;
        const std::uint64_t offset =
            slm1::reserved_offset + static_cast<std::uint64_t>(used - reserved.begin());
        findings_.add({.code = FindingCode::reserved_not_zero,
                       .message = fmt::format("byte {} of the header is reserved and must be 0, "
                                              "but is 0x{:02x}",
                                              offset, std::to_integer<unsigned>(*used)),
                       .offset = offset,
                       .expected = "0",
                       .actual = fmt::format("0x{:02x}", std::to_integer<unsigned>(*used))});
    }

    void judge_data_offset() {
        const std::uint64_t offset = header_[Field::tensor_data_offset];
        const EntryPlace place{{}, 0};
        judge_alignment(place, rule(Field::tensor_data_offset).offset, "tensor_data_offset",
                        region_alignment, offset);
        if (offset < file_.size()) return;
        findings_.add(place.finding(
            FindingCode::range_out_of_file, rule(Field::tensor_data_offset).offset,
            fmt::format("tensor_data_offset is {}, but the file ends at {}", offset, file_.size()),
            fmt::format("below {}", file_.size()), number_text(offset)));
    }

    // --------------------------------------------------------------------- ranges and alignment

    /// `field` is the place of the offset in the file, relative to `place`.
    bool judge_alignment(const EntryPlace& place, std::uint64_t field, std::string_view name,
                         std::uint64_t alignment, std::uint64_t offset) {
        if (offset % alignment == 0) return true;
        findings_.add(place.finding(
            FindingCode::misaligned, field,
            fmt::format("{} is {}, but must be a multiple of {}", name, offset, alignment),
            fmt::format("a multiple of {}", alignment), number_text(offset)));
        return false;
    }

    bool judge_range(const EntryPlace& place, std::uint64_t field, std::string_view what,
                     std::uint64_t offset, CheckedSize length) {
        const CheckedSize end = CheckedSize(offset) + length;
        if (end.fits(file_.size())) return true;
        const std::string end_text = end.overflowed() ? "2^64 or more" : number_text(end.value());
        const std::string expected = fmt::format("an end of at most {}", file_.size());
        if (end.overflowed()) {
            findings_.add(place.finding(FindingCode::size_overflow, field,
                                        fmt::format("the offset {} and the length of the {} add "
                                                    "up to 2^64 or more, which no size can hold",
                                                    offset, what),
                                        expected, end_text));
        }
        findings_.add(
            place.finding(FindingCode::range_out_of_file, field,
                          fmt::format("the {} begins at {} and ends at {}, but the file ends at {}",
                                      what, offset, end_text, file_.size()),
                          expected, end_text));
        return false;
    }

    // ---------------------------------------------------------------------------- the tokenizer

    void read_tokenizer() {
        regions_.push_back({RegionKind::header, 0, header_[Field::header_length]});
        const std::uint64_t offset = header_[Field::tokenizer_offset];
        const std::uint64_t length = header_[Field::tokenizer_length];
        if (!judge_range({{}, 0}, rule(Field::tokenizer_offset).offset, "tokenizer section", offset,
                         length)) {
            every_region_known_ = false;
            return;
        }
        regions_.push_back({RegionKind::tokenizer, offset, length});
        model_.tokenizer_section_ = slice(file_, offset, length);
        auto tokenizer = Tokenizer::parse(model_.tokenizer_section_, offset);
        if (!tokenizer) {
            findings_.append(std::move(tokenizer.error()));
            return;
        }
        const std::uint32_t vocab_size = header_.u32(Field::vocab_size);
        if (tokenizer->vocab_size() != vocab_size) {
            findings_.add({.code = FindingCode::tokenizer_malformed,
                           .message = fmt::format("the tokenizer has {} ids, but the header's "
                                                  "vocab_size is {}",
                                                  tokenizer->vocab_size(), vocab_size),
                           .offset = rule(Field::vocab_size).offset,
                           .expected = number_text(tokenizer->vocab_size()),
                           .actual = number_text(vocab_size)});
        }
        model_.tokenizer_ = std::move(*tokenizer);
    }

    // ---------------------------------------------------------------------------- the directory

    void read_directory() {
        const std::uint64_t offset = header_[Field::tensor_directory_offset];
        const EntryPlace place{{}, 0};
        const std::uint64_t field = rule(Field::tensor_directory_offset).offset;
        const CheckedSize length = CheckedSize(header_[Field::tensor_count]) * entry::bytes;
        const bool aligned =
            judge_alignment(place, field, "tensor_directory_offset", region_alignment, offset);
        const bool inside =
            verdict_.tensor_count && judge_range(place, field, "tensor directory", offset, length);
        if (!aligned || !inside) {
            every_region_known_ = false;
            return;
        }
        regions_.push_back({RegionKind::directory, offset, length.value()});
        directory_ = slice(file_, offset, length.value());
        index_by_hash();
        name_tensors();
        for (std::size_t i = 0; i < model_.tensors_.size(); ++i)
            read_entry(i);
        if (verdict_.tensor_names) judge_missing();
    }

    void index_by_hash() {
        const std::size_t count = directory_.size() / entry::bytes;
        model_.tensors_.resize(count);
        model_.by_hash_.reserve(count);
        for (std::size_t i = 0; i < count; ++i) {
            const auto hash = load<std::uint64_t>(directory_, i * entry::bytes + entry::name_hash);
            model_.tensors_[i].name_hash = hash;
            model_.by_hash_.emplace_back(hash, i);
        }
        std::sort(model_.by_hash_.begin(), model_.by_hash_.end());
    }

    /// Finds the entries of the tensors that the model must have. The layer count is as large as a
    /// hostile header says, so that the search ends with the missing tensors that can be reported.
    void name_tensors() {
        contract_.resize(model_.tensors_.size());
        const auto visit = [&](ContractTensor contract) {
            const std::uint64_t hash = tensor_name_hash(contract.name);
            auto found = std::lower_bound(model_.by_hash_.begin(), model_.by_hash_.end(),
                                          std::pair(hash, std::size_t{0}));
            if (found == model_.by_hash_.end() || found->first != hash) {
                missing_.push_back(std::move(contract));
                return missing_.size() <= limits::findings;
            }
            for (; found != model_.by_hash_.end() && found->first == hash; ++found) {
                model_.tensors_[found->second].name = contract.name;
                contract_[found->second] = contract.shape;
            }
            return true;
        };
        every_name_known_ = slm1::visit_contract(header_.shape(), header_.u32(Field::flags), visit);
    }

    void judge_missing() {
        for (const ContractTensor& contract : missing_) {
            findings_.add({.code = FindingCode::missing_tensor,
                           .message = fmt::format("the directory has no such tensor, but a model "
                                                  "of this shape needs it with the dimensions {}",
                                                  to_string(contract.shape)),
                           .offset = header_[Field::tensor_directory_offset],
                           .tensor = contract.name,
                           .expected = to_string(contract.shape),
                           .actual = "none"});
        }
    }

    void read_entry(std::size_t index) {
        ModelTensor& tensor = model_.tensors_[index];
        const std::string label = tensor_label(tensor.name, tensor.name_hash);
        const std::uint64_t start = index * entry::bytes;
        const EntryPlace place{label, header_[Field::tensor_directory_offset] + start};
        const auto u32 = [&](std::uint64_t field) {
            return load<std::uint32_t>(directory_, start + field);
        };
        const auto u64 = [&](std::uint64_t field) {
            return load<std::uint64_t>(directory_, start + field);
        };
        tensor.dtype = Dtype{u32(entry::dtype)};
        tensor.block_size = u32(entry::block_size);
        tensor.payload_offset = u64(entry::byte_offset);
        tensor.payload_length = u64(entry::byte_length);
        tensor.scale_offset = u64(entry::scale_offset);

        if (verdict_.tensor_names) judge_name(place, index);
        if (!is_supported(tensor.dtype)) {
            findings_.add(place.finding(
                FindingCode::unsupported_dtype, entry::dtype,
                fmt::format("the dtype is {}, but this reader knows 1 (f32), 2 (q8_0) and 3 (q4_0)",
                            u32(entry::dtype)),
                "1, 2 or 3", number_text(u32(entry::dtype))));
        }
        const auto dims = load<std::array<std::uint32_t, 4>>(directory_, start + entry::dims);
        const auto shape = slm1::judge_shape(place, u32(entry::rank), dims, findings_);
        if (shape) {
            tensor.shape = *shape;
            judge_contract_shape(place, index);
        }
        const bool payload_known = judge_payload(place, tensor, shape.has_value());
        const bool scales_known = judge_scales(place, tensor, shape.has_value());
        if (payload_known) {
            regions_.push_back(
                {RegionKind::payload, tensor.payload_offset, tensor.payload_length, index});
        }
        if (scales_known && tensor.scale_length > 0) {
            regions_.push_back(
                {RegionKind::scales, tensor.scale_offset, tensor.scale_length, index});
        }
        every_region_known_ = every_region_known_ && payload_known && scales_known;
        if (u32(entry::reserved) != 0) {
            findings_.add(place.finding(
                FindingCode::reserved_not_zero, entry::reserved,
                fmt::format("the reserved field of its directory entry is {}, but must be 0",
                            u32(entry::reserved)),
                "0", number_text(u32(entry::reserved))));
        }
    }

    void judge_name(const EntryPlace& place, std::size_t index) {
        const ModelTensor& tensor = model_.tensors_[index];
        const std::size_t first = std::lower_bound(model_.by_hash_.begin(), model_.by_hash_.end(),
                                                   std::pair(tensor.name_hash, std::size_t{0}))
                                      ->second;
        if (first != index) {
            findings_.add(place.finding(
                FindingCode::duplicate_tensor, entry::name_hash,
                fmt::format("directory entries {} and {} are the same tensor, but a model has each "
                            "once",
                            first, index),
                "one entry", fmt::format("entries {} and {}", first, index)));
        }
        if (tensor.name.empty() && every_name_known_) {
            findings_.add(place.finding(
                FindingCode::unexpected_tensor, entry::name_hash,
                fmt::format(
                    "directory entry {} is a tensor that a model with layer_count {} and {} "
                    "output does not have",
                    index, header_[Field::layer_count],
                    (header_[Field::flags] & model_flag_tied_output) != 0 ? "tied" : "untied"),
                "a tensor of the model", std::string(place.label)));
        }
    }

    void judge_contract_shape(const EntryPlace& place, std::size_t index) {
        const ContractShape& contract = contract_[index];
        const Shape& shape = model_.tensors_[index].shape;
        if (!verdict_.tensor_names || !verdict_.shape || contract.rank == 0) return;
        if (shape == contract) return;
        findings_.add(
            place.finding(FindingCode::shape_mismatch, entry::dims,
                          fmt::format("the dimensions are {}, but the header's numbers demand {}",
                                      to_string(shape), to_string(contract)),
                          to_string(contract), to_string(shape)));
    }

    /// True when the payload's place is known.
    bool judge_payload(const EntryPlace& place, const ModelTensor& tensor, bool shape_known) {
        const bool aligned = judge_alignment(place, entry::byte_offset, "byte_offset",
                                             region_alignment, tensor.payload_offset);
        const bool inside = judge_range(place, entry::byte_offset, "payload", tensor.payload_offset,
                                        tensor.payload_length);
        if (!is_supported(tensor.dtype)) return aligned && inside;
        if (!shape_known) return false;
        const CheckedSize length = payload_bytes(tensor.dtype, tensor.shape);
        if (tensor.payload_length == length.value()) return aligned && inside;
        findings_.add(place.finding(
            FindingCode::length_mismatch, entry::byte_length,
            fmt::format("byte_length is {}, but the {} payload of the shape {} takes {} bytes",
                        tensor.payload_length, to_string(tensor.dtype), to_string(tensor.shape),
                        length.value()),
            number_text(length.value()), number_text(tensor.payload_length)));
        return false;
    }

    /// True when the place of the scales is known, or that there are none.
    bool judge_scales(const EntryPlace& place, ModelTensor& tensor, bool shape_known) {
        if (!is_supported(tensor.dtype)) return true;
        const bool block_sound =
            shape_known &&
            slm1::judge_block_size(place, tensor.dtype, tensor.shape, tensor.block_size, findings_);
        if (tensor.dtype == Dtype::f32) {
            if (tensor.scale_offset == 0) return true;
            findings_.add(place.finding(
                FindingCode::bad_value, entry::scale_offset,
                fmt::format("scale_offset is {}, but an f32 tensor has no scales and says 0",
                            tensor.scale_offset),
                "0", number_text(tensor.scale_offset)));
            return false;
        }
        const bool aligned = judge_alignment(place, entry::scale_offset, "scale_offset",
                                             slm1::scale_alignment, tensor.scale_offset);
        if (!block_sound) return false;
        const CheckedSize length =
            scale_count(tensor.dtype, tensor.shape, tensor.block_size) * CheckedSize(sizeof(float));
        const bool inside =
            judge_range(place, entry::scale_offset, "scales region", tensor.scale_offset, length);
        tensor.scale_length = length.value();
        return aligned && inside;
    }

    // ------------------------------------------------------------------------------ the regions

    [[nodiscard]] std::string label(const Region& region) const {
        const ModelTensor& tensor = model_.tensors_[region.tensor];
        return tensor_label(tensor.name, tensor.name_hash);
    }

    [[nodiscard]] std::string describe(const Region& region) const {
        switch (region.kind) {
            case RegionKind::header:
                return "the header";
            case RegionKind::tokenizer:
                return "the tokenizer section";
            case RegionKind::directory:
                return "the tensor directory";
            case RegionKind::payload:
                return "the payload of " + label(region);
            case RegionKind::scales:
                return "the scales of " + label(region);
        }
        return "a region";
    }

    [[nodiscard]] static bool of_tensor(const Region& region) noexcept {
        return region.kind == RegionKind::payload || region.kind == RegionKind::scales;
    }

    /// Overlaps among the known regions; gaps when all are known. Collects what to look at.
    void judge_regions() {
        std::erase_if(regions_, [](const Region& region) { return region.length == 0; });
        std::stable_sort(regions_.begin(), regions_.end(),
                         [](const Region& a, const Region& b) { return a.offset < b.offset; });
        const Region* furthest = &regions_.front();  // the header: never empty, first at 0
        for (std::size_t i = 1; i < regions_.size(); ++i) {
            const Region& region = regions_[i];
            if (region.offset < furthest->end()) {
                add_overlap(*furthest, region);  // its bytes belong to another: no values there
            } else {
                if (every_region_known_) judge_gap(*furthest, &region);
                add_values(region);
            }
            if (region.end() > furthest->end()) furthest = &region;
        }
        if (every_region_known_) judge_gap(*furthest, nullptr);
    }

    void add_overlap(const Region& earlier, const Region& region) {
        std::string subject = describe(region);
        if (region.kind == RegionKind::payload) subject = "its payload";
        if (region.kind == RegionKind::scales) subject = "its scales region";
        findings_.add({.code = FindingCode::overlap,
                       .message = fmt::format("{} at {} to {} overlaps {} at {} to {}, but regions "
                                              "share no bytes",
                                              subject, region.offset, region.end(),
                                              describe(earlier), earlier.offset, earlier.end()),
                       .offset = region.offset,
                       .tensor = of_tensor(region) ? label(region) : "",
                       .expected = fmt::format("an offset of at least {}", earlier.end()),
                       .actual = number_text(region.offset)});
    }

    /// The bytes between `before` and `after`, or the file's end.
    void judge_gap(const Region& before, const Region* after) {
        const std::uint64_t begin = before.end();
        const std::uint64_t length = (after == nullptr ? file_.size() : after->offset) - begin;
        if (length == 0) return;
        if (length < region_alignment) {
            sections_.push_back({.kind = SectionKind::zeros, .offset = begin, .length = length});
            return;
        }
        const std::string expected = fmt::format("less than {} bytes", region_alignment);
        const std::string actual = fmt::format("{} bytes", length);
        if (after == nullptr) {
            findings_.add({.code = FindingCode::trailing_bytes,
                           .message = fmt::format("{} bytes follow {}, the last region, but at "
                                                  "most {} bytes of padding may",
                                                  length, describe(before), region_alignment - 1),
                           .offset = begin,
                           .expected = expected,
                           .actual = actual});
        } else {
            findings_.add({.code = FindingCode::hole,
                           .message = fmt::format("the {} bytes between {} and {} belong to "
                                                  "nothing, but padding is shorter than {}",
                                                  length, describe(before), describe(*after),
                                                  region_alignment),
                           .offset = begin,
                           .expected = expected,
                           .actual = actual});
        }
    }

    void add_values(const Region& region) {
        if (!of_tensor(region)) return;
        const Dtype dtype = model_.tensors_[region.tensor].dtype;
        if (region.kind == RegionKind::scales) {
            sections_.push_back({.kind = SectionKind::scales,
                                 .offset = region.offset,
                                 .length = region.length,
                                 .owner = region.tensor,
                                 .bound = scale_bound(dtype)});
        } else if (dtype == Dtype::f32) {
            sections_.push_back({.kind = SectionKind::values,
                                 .offset = region.offset,
                                 .length = region.length,
                                 .owner = region.tensor});
        }
    }

    // ------------------------------------------------------------------------------ the content

    /// One pass over the file: checksum, padding, values.
    void judge_content() {
        const std::size_t owners = std::max<std::size_t>(1, model_.tensors_.size());
        const ScanResult scan =
            scan_file(file_, slm1_checksum_offset, sections_, owners, options_.progress);
        if (scan.cancelled) {
            findings_ = {};
            findings_.add(reading_cancelled());
            return;
        }
        Findings structure = std::exchange(findings_, {});
        judge_checksum(stored_checksum(scan.file_hash));  // first: no other may crowd it out
        findings_.append(std::move(structure));
        for (std::size_t i = 0; i < sections_.size(); ++i) {
            if (scan.outcomes[i].defect != SectionDefect::none) {
                add_defect(sections_[i], scan.outcomes[i]);
            } else {
                keep_bound(sections_[i], scan.outcomes[i]);
            }
        }
    }

    /// The largest magnitude that a tensor's values can have.
    void keep_bound(const Section& section, const SectionOutcome& outcome) {
        if (section.kind != SectionKind::values && section.kind != SectionKind::scales) return;
        ModelTensor& tensor = model_.tensors_[section.owner];
        tensor.max_abs = outcome.max_abs * largest_code(tensor.dtype);
    }

    void judge_checksum(std::uint64_t computed) {
        if (!model_.checksum_verifiable_ || computed == model_.checksum_) return;
        findings_.add({.code = FindingCode::checksum_mismatch,
                       .message = fmt::format("the header states the checksum {:016x}, but the "
                                              "file has {:016x}: it was changed after it was "
                                              "written; fetch or copy it again",
                                              model_.checksum_, computed),
                       .offset = slm1_checksum_offset,
                       .expected = format_checksum(model_.checksum_),
                       .actual = format_checksum(computed)});
    }

    void add_defect(const Section& section, const SectionOutcome& outcome) {
        if (section.kind == SectionKind::zeros) {
            const std::uint64_t offset = section.offset + outcome.element;
            const auto byte = load<std::uint8_t>(file_, offset);
            findings_.add({.code = FindingCode::padding_not_zero,
                           .message = fmt::format("byte {} lies in the padding between two regions "
                                                  "or at the end and must be 0, but is 0x{:02x}",
                                                  offset, byte),
                           .offset = offset,
                           .expected = "0",
                           .actual = fmt::format("0x{:02x}", byte)});
            return;
        }
        const bool scales = section.kind == SectionKind::scales;
        const ModelTensor& tensor = model_.tensors_[section.owner];
        const std::uint64_t offset = section.offset + outcome.element * sizeof(float);
        const std::string expected =
            scales ? fmt::format("above 0 and below 2^{}", std::ilogb(section.bound)) : "finite";
        const std::string actual = fmt::format("{}", load<float>(file_, offset));
        findings_.add({.code = scales ? FindingCode::bad_scale : FindingCode::non_finite,
                       .message = fmt::format("{} {} (offset {}) is {}, but must be {}",
                                              scales ? "scale" : "element", outcome.element, offset,
                                              actual, expected),
                       .offset = offset,
                       .tensor = tensor_label(tensor.name, tensor.name_hash),
                       .element = outcome.element,
                       .expected = expected,
                       .actual = actual});
    }

    // ------------------------------------------------------------------------------- the result

    [[nodiscard]] Model finish() {
        std::vector<LayoutEntry> layout;
        layout.reserve(model_.tensors_.size());
        std::uint64_t parameters = 0;  // below 2^56: the limits of tensors and elements
        for (const ModelTensor& tensor : model_.tensors_) {
            layout.push_back({tensor.name_hash, tensor.shape});
            parameters += tensor.shape.elements().value();
        }
        model_.bytes_ = file_;
        model_.shape_ = header_.shape();
        model_.identity_ = {
            .model_flags = header_.u32(Field::flags),
            .tensor_count = header_.u32(Field::tensor_count),
            .parameter_count = parameters,
            .tensor_layout_checksum = tensor_layout_checksum(layout),
            .tokenizer_checksum = checksum_of(model_.tokenizer_section_),
        };
        model_.warnings_ = std::move(findings_);
        return std::move(model_);
    }

    Bytes file_;
    ModelReadOptions options_;
    Findings findings_;
    Model model_;  // filled step by step
    Header header_;
    slm1::HeaderVerdict verdict_;
    Bytes directory_;
    std::vector<ContractShape> contract_;  // by directory entry; rank 0 where there is none
    std::vector<ContractTensor> missing_;
    bool every_name_known_ = false;
    std::vector<Region> regions_;  // those that are known
    bool every_region_known_ = true;
    std::vector<Section> sections_;  // what the pass over the file looks at
};

std::vector<ExpectedTensor> expected_tensors(const ModelShape& shape, std::uint32_t flags) {
    std::vector<ExpectedTensor> tensors;
    const auto dim = [](std::uint64_t size) {
        constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
        return static_cast<std::uint32_t>(std::min(size, most));
    };
    const auto visit = [&](ContractTensor contract) {
        const auto& [rank, rows, cols] = contract.shape;
        Shape expected{.rank = rank};
        if (rank == 2) expected.dims[0] = dim(rows);
        expected.dims[rank - 1] = dim(cols);
        tensors.push_back({std::move(contract.name), expected});
        return tensors.size() <= limits::tensors;
    };
    if (!slm1::visit_contract(shape, flags, visit)) tensors.clear();
    return tensors;
}

std::optional<std::size_t> Model::find_tensor(std::uint64_t name_hash) const noexcept {
    const auto found =
        std::lower_bound(by_hash_.begin(), by_hash_.end(), std::pair(name_hash, std::size_t{0}));
    if (found == by_hash_.end() || found->first != name_hash) return std::nullopt;
    return found->second;
}

TensorView Model::view(std::size_t index) const noexcept {
    const ModelTensor& tensor = tensors_[index];
    return {.name = tensor.name,
            .name_hash = tensor.name_hash,
            .dtype = tensor.dtype,
            .shape = tensor.shape,
            .block_size = tensor.block_size,
            .payload = slice(bytes_, tensor.payload_offset, tensor.payload_length),
            .scales = slice(bytes_, tensor.scale_offset, tensor.scale_length)};
}

Result<Model> read_model(Bytes file, const ModelReadOptions& options) {
    return guarded([&]() -> Result<Model> {
        const FpEnvironment environment;
        return ModelReader(file, options).read();
    });
}

}  // namespace trlm::adapt
