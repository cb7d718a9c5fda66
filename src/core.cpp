#include "trlm/adapt/core.hpp"

#include <algorithm>
#include <array>
#include <new>

#include "bounds.hpp"
#include "exchange.hpp"
#include "fp_environment.hpp"
#include "package_format.hpp"
#include "quietly.hpp"
#include "section_check.hpp"
#include "trlm/adapt/limits.hpp"
#include "view_rules.hpp"

// A state of its own on the stack, of the size that this header says: nothing is allocated.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace trlm::adapt::core {
namespace {

namespace format = package_format;
namespace header = package_format::header;
namespace field = package_format::entry;

/// Bytes that are hashed and checked while they are in the cache; a multiple of every element.
constexpr std::uint64_t chunk_bytes = 65'536;

constexpr Outcome good{};

constexpr Outcome bad(FindingCode code, std::uint64_t item = Outcome::nowhere,
                      std::uint64_t place = Outcome::nowhere) noexcept {
    return {false, code, item, place, false};
}

/// XXH3-64 of bytes that arrive in pieces.
class Hash {
public:
    Hash() noexcept { XXH3_64bits_reset(&state_); }
    void update(Bytes bytes) noexcept { XXH3_64bits_update(&state_, bytes.data(), bytes.size()); }
    [[nodiscard]] std::uint64_t checksum() const noexcept {
        return stored_checksum(XXH3_64bits_digest(&state_));
    }

private:
    XXH3_state_t state_{};
};

std::uint64_t number(Bytes file, const format::Field& field, std::uint64_t base = 0) noexcept {
    return field.bytes == 4 ? load<std::uint32_t>(file, base + field.offset)
                            : load<std::uint64_t>(file, base + field.offset);
}

bool all_zero(Bytes bytes) noexcept {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{}; });
}

std::optional<PackageKind> kind_of(Bytes file) noexcept {
    const std::string_view magic = as_text(slice(file, 0, format::magic_bytes));
    if (magic == "ADP1") return PackageKind::dense;
    if (magic == "ASP1") return PackageKind::sparse;
    if (magic == "ALR1") return PackageKind::low_rank;
    return std::nullopt;
}

/// The directory's entry, with the fields that its kind has.
PackageEntry raw_entry(Bytes file, PackageKind kind, std::uint32_t index) noexcept {
    const Bytes bytes = slice(file, format::entry_offset(index), format::entry_bytes);
    PackageEntry entry;
    entry.name_hash = number(bytes, field::name_hash);
    entry.shape.rank = load<std::uint32_t>(bytes, field::rank.offset);
    entry.shape.dims = load<std::array<std::uint32_t, 4>>(bytes, field::dims.offset);
    entry.payload_offset = number(bytes, field::payload_offset);
    entry.payload_length = number(bytes, field::payload_length);
    entry.payload_checksum = number(bytes, field::payload_checksum);
    if (kind == PackageKind::sparse) {
        entry.encoding = load<SparseEncoding>(bytes, field::encoding.offset);
        entry.count = number(bytes, field::count);
    } else if (kind == PackageKind::low_rank) {
        entry.rank = load<std::uint32_t>(bytes, field::low_rank.offset);
        entry.scale = load<float>(bytes, field::scale.offset);
    }
    return entry;
}

/// Judges one package, first defect first.
class Opening {
public:
    explicit Opening(Bytes file) noexcept : file_(file), kernels_(kernels::best()) {}

    [[nodiscard]] Outcome judge() noexcept {
        if (const Outcome start = judge_start(); !start) return start;
        if (const Outcome fields = judge_header(); !fields) return fields;
        if (const Outcome regions = judge_regions(); !regions) return regions;
        for (std::uint32_t i = 0; i < entry_count_; ++i) {
            if (const Outcome entry = judge_entry(i); !entry) return entry;
        }
        if (end_ != file_.size()) {
            return bad(FindingCode::offset_not_canonical, Outcome::nowhere,
                       header::file_length.offset);
        }
        return judge_checksums();
    }

    [[nodiscard]] PackageKind kind() const noexcept { return kind_; }
    [[nodiscard]] std::uint32_t entry_count() const noexcept { return entry_count_; }

private:
    [[nodiscard]] Outcome judge_start() noexcept {
        if (file_.size() < format::magic_bytes) return bad(FindingCode::truncated);
        const auto kind = kind_of(file_);
        if (!kind) return bad(FindingCode::bad_magic, Outcome::nowhere, 0);
        kind_ = *kind;
        if (file_.size() < format::header_bytes) return bad(FindingCode::truncated);
        if (number(file_, header::version) != format::version) {
            return at(FindingCode::unsupported_version, header::version);
        }
        if (number(file_, header::header_length) != format::header_bytes) {
            return at(FindingCode::bad_header_length, header::header_length);
        }
        const std::uint64_t length = number(file_, header::file_length);
        if (file_.size() < length) return bad(FindingCode::truncated);
        if (file_.size() > length) return bad(FindingCode::trailing_bytes);
        return good;
    }

    [[nodiscard]] Outcome judge_header() noexcept {
        for (const format::ZeroField& zero : format::header_zeros) {
            if (zero.applies(kind_) && !is_zero(zero.field)) {
                return at(FindingCode::reserved_not_zero, zero.field);
            }
        }
        const std::uint64_t tensors = number(file_, header::tensor_count);
        const std::uint64_t entries = number(file_, header::entry_count);
        if (tensors > limits::tensors) return at(FindingCode::limit_exceeded, header::tensor_count);
        if (entries > limits::tensors) return at(FindingCode::limit_exceeded, header::entry_count);
        if (entries == 0 || entries > tensors)
            return at(FindingCode::bad_value, header::entry_count);
        entry_count_ = static_cast<std::uint32_t>(entries);
        if (kind_ == PackageKind::sparse) {
            const std::uint64_t method = number(file_, header::mask_method);
            if (method > static_cast<std::uint64_t>(MaskMethod::sign_consensus)) {
                return at(FindingCode::bad_value, header::mask_method);
            }
            const bool random = method == static_cast<std::uint64_t>(MaskMethod::random_drop);
            if (!random && number(file_, header::mask_seed) != 0) {
                return at(FindingCode::bad_value, header::mask_seed);
            }
        } else if (kind_ == PackageKind::low_rank) {
            const std::uint64_t source = number(file_, header::source_kind);
            if (source > static_cast<std::uint64_t>(SourceKind::other)) {
                return at(FindingCode::bad_value, header::source_kind);
            }
            if (source == 0 && !is_zero(header::source_hash)) {
                return at(FindingCode::bad_value, header::source_hash);
            }
        }
        return good;
    }

    [[nodiscard]] Outcome judge_regions() noexcept {
        if (number(file_, header::directory_offset) != format::header_bytes) {
            return at(FindingCode::offset_not_canonical, header::directory_offset);
        }
        end_ = format::entry_offset(entry_count_);
        const std::uint64_t metadata = number(file_, header::metadata_length);
        if (number(file_, header::metadata_offset) != (metadata > 0 ? end_ : 0)) {
            return at(FindingCode::offset_not_canonical, header::metadata_offset);
        }
        const bool inside = metadata == 0 || range_inside(end_, metadata, file_.size());
        if (metadata > limits::metadata_bytes || !inside) {
            return at(FindingCode::bad_metadata, header::metadata_length);
        }
        end_ += metadata;
        if (number(file_, header::payload_offset) != align64(end_).value()) {
            return at(FindingCode::offset_not_canonical, header::payload_offset);
        }
        return judge_padding(Outcome::nowhere);
    }

    /// The zeros up to the next multiple of 64.
    [[nodiscard]] Outcome judge_padding(std::uint64_t entry) noexcept {
        const std::uint64_t next = align64(end_).value();
        if (next > file_.size()) return bad(FindingCode::offset_not_canonical, entry, end_);
        if (!all_zero(slice(file_, end_, next - end_))) {
            return bad(FindingCode::padding_not_zero, entry, end_);
        }
        end_ = next;
        return good;
    }

    [[nodiscard]] Outcome judge_entry(std::uint32_t i) noexcept {
        const PackageEntry entry = raw_entry(file_, kind_, i);
        const auto wrong = [&](FindingCode code, const format::Field& where) {
            return bad(code, i, format::entry_offset(i) + where.offset);
        };
        if (i > 0 && entry.name_hash <= last_name_hash_) {
            return wrong(FindingCode::directory_not_sorted, field::name_hash);
        }
        last_name_hash_ = entry.name_hash;
        for (const format::ZeroField& zero : format::entry_zeros) {
            const Bytes bytes =
                slice(file_, format::entry_offset(i) + zero.field.offset, zero.field.bytes);
            if (zero.applies(kind_) && !all_zero(bytes)) {
                return wrong(FindingCode::reserved_not_zero, zero.field);
            }
        }
        if (const Outcome shape = judge_shape(entry, i); !shape) return shape;
        if (const Outcome size = judge_size(entry, i); !size) return size;
        if (i > 0) {
            if (const Outcome padding = judge_padding(i - 1); !padding) return padding;
        }
        if (entry.payload_offset != end_) {
            return wrong(FindingCode::offset_not_canonical, field::payload_offset);
        }
        if (!range_inside(entry.payload_offset, entry.payload_length, file_.size())) {
            return wrong(FindingCode::offset_not_canonical, field::payload_length);
        }
        end_ += entry.payload_length;
        elements_ += entry.shape.elements().value();
        stored_ += entry.count;
        return judge_payload(entry, i);
    }

    [[nodiscard]] Outcome judge_shape(const PackageEntry& entry, std::uint32_t i) const noexcept {
        const auto wrong = [&](FindingCode code, const format::Field& where) {
            return bad(code, i, format::entry_offset(i) + where.offset);
        };
        const Shape& shape = entry.shape;
        if (shape.rank < 1 || shape.rank > limits::tensor_rank) {
            return wrong(FindingCode::bad_rank, field::rank);
        }
        if (kind_ == PackageKind::low_rank && shape.rank != 2) {
            return wrong(FindingCode::bad_low_rank, field::rank);
        }
        for (std::uint32_t d = 0; d < shape.dims.size(); ++d) {
            const std::uint32_t dim = shape.dims[d];
            if (d >= shape.rank ? dim != 1 : dim < 1 || dim > limits::dim) {
                return wrong(FindingCode::bad_dim, field::dims);
            }
        }
        const std::uint64_t most =
            kind_ == PackageKind::sparse ? limits::sparse_elements : limits::elements;
        if (shape.elements().overflowed()) return wrong(FindingCode::size_overflow, field::dims);
        if (!shape.elements().fits(most)) return wrong(FindingCode::limit_exceeded, field::dims);
        return good;
    }

    /// What the entry says that it stores.
    [[nodiscard]] Outcome judge_size(const PackageEntry& entry, std::uint32_t i) const noexcept {
        const auto wrong = [&](FindingCode code, const format::Field& where) {
            return bad(code, i, format::entry_offset(i) + where.offset);
        };
        if (kind_ == PackageKind::sparse) {
            if (entry.encoding != SparseEncoding::index_list &&
                entry.encoding != SparseEncoding::bitmask) {
                return wrong(FindingCode::bad_value, field::encoding);
            }
            if (entry.count < 1 || entry.count > entry.shape.elements().value()) {
                return wrong(FindingCode::bad_value, field::count);
            }
        } else if (kind_ == PackageKind::low_rank) {
            const std::uint64_t most =
                std::min({std::uint64_t{limits::low_rank}, entry.shape.rows(), entry.shape.cols()});
            if (entry.rank < 1 || entry.rank > most) {
                return wrong(FindingCode::bad_low_rank, field::low_rank);
            }
            if (!format::is_finite(entry.scale) || format::is_zero(entry.scale)) {
                return wrong(FindingCode::bad_low_rank, field::scale);
            }
        }
        const CheckedSize bytes = format::payload_parts(kind_, entry).bytes();
        if (bytes.overflowed() || bytes.value() != entry.payload_length) {
            return wrong(FindingCode::length_mismatch, field::payload_length);
        }
        return good;
    }

    [[nodiscard]] Outcome judge_payload(const PackageEntry& entry, std::uint32_t i) noexcept {
        const format::PayloadParts parts = format::payload_parts(kind_, entry);
        const std::uint64_t first = parts.first.value();
        const std::uint64_t second = parts.second_offset().value();
        Hash hash;
        const auto judge = [&](SectionKind kind, std::uint64_t offset, std::uint64_t length) {
            Section section{.kind = kind,
                            .offset = entry.payload_offset + offset,
                            .length = length,
                            .elements = entry.shape.elements().value()};
            return judge_section(section, entry, i, hash);
        };
        const bool sparse = kind_ == PackageKind::sparse;
        const SectionKind positions =
            entry.encoding == SparseEncoding::bitmask ? SectionKind::bitmask : SectionKind::indexes;
        Outcome outcome = judge(sparse ? positions : SectionKind::values, 0, first);
        if (outcome) outcome = judge(SectionKind::zeros, first, second - first);
        if (outcome) outcome = judge(SectionKind::values, second, parts.second.value());
        if (!outcome) return outcome;
        if (hash.checksum() != entry.payload_checksum) {
            return bad(FindingCode::payload_checksum_mismatch, i,
                       format::entry_offset(i) + field::payload_checksum.offset);
        }
        return good;
    }

    [[nodiscard]] Outcome judge_section(const Section& section, const PackageEntry& entry,
                                        std::uint32_t i, Hash& hash) noexcept {
        SectionOutcome found;
        SectionCheck check(section, kernels_, found);
        const bool positions =
            section.kind == SectionKind::bitmask || section.kind == SectionKind::indexes;
        for (std::uint64_t at = 0; at < section.length; at += chunk_bytes) {
            const Bytes chunk =
                slice(file_, section.offset + at, std::min(chunk_bytes, section.length - at));
            check.check(chunk, at);
            hash.update(chunk);
            if (positions) mask_.update(chunk);
        }
        if (found.defect != SectionDefect::none) {
            return bad(code_of(found.defect), i, section.offset);
        }
        if (section.kind == SectionKind::bitmask && found.popcount != entry.count) {
            return bad(FindingCode::count_mismatch, i, section.offset);
        }
        return good;
    }

    [[nodiscard]] static FindingCode code_of(SectionDefect defect) noexcept {
        switch (defect) {
            case SectionDefect::not_zero:
                return FindingCode::padding_not_zero;
            case SectionDefect::not_ascending:
                return FindingCode::index_not_ascending;
            case SectionDefect::out_of_range:
                return FindingCode::index_out_of_range;
            case SectionDefect::bits_past_end:
                return FindingCode::mask_bits_past_end;
            case SectionDefect::bad_scale:  // no package has scales
            case SectionDefect::non_finite:
            case SectionDefect::none:
                break;
        }
        return FindingCode::non_finite;
    }

    [[nodiscard]] Outcome judge_checksums() noexcept {
        constexpr std::array<std::byte, 8> zeros{};
        constexpr std::uint64_t after = header::checksum.offset + zeros.size();
        Hash hash;
        hash.update(slice(file_, 0, header::checksum.offset));
        hash.update(zeros);
        hash.update(slice(file_, after, file_.size() - after));
        if (hash.checksum() != number(file_, header::checksum)) {
            return at(FindingCode::checksum_mismatch, header::checksum);
        }
        if (kind_ != PackageKind::sparse) return good;
        if (mask_.checksum() != number(file_, header::mask_checksum)) {
            return at(FindingCode::mask_checksum_mismatch, header::mask_checksum);
        }
        const FpEnvironment environment;
        if (load<std::uint32_t>(file_, header::retention.offset) !=
            std::bit_cast<std::uint32_t>(format::retention_of(stored_, elements_))) {
            return at(FindingCode::retention_mismatch, header::retention);
        }
        return good;
    }

    [[nodiscard]] bool is_zero(const format::Field& where) const noexcept {
        return all_zero(slice(file_, where.offset, where.bytes));
    }

    [[nodiscard]] static Outcome at(FindingCode code, const format::Field& where) noexcept {
        return bad(code, Outcome::nowhere, where.offset);
    }

    Bytes file_;
    const kernels::Table& kernels_;
    PackageKind kind_ = PackageKind::dense;
    std::uint32_t entry_count_ = 0;
    std::uint64_t end_ = 0;  // of what was judged so far
    std::uint64_t last_name_hash_ = 0;
    std::uint64_t stored_ = 0;
    std::uint64_t elements_ = 0;
    Hash mask_;
};

}  // namespace

Outcome PackageView::open(Bytes file, PackageView& package) noexcept {
    Opening opening(file);
    if (const Outcome outcome = opening.judge(); !outcome) return outcome;
    package.file_ = file;
    package.kind_ = opening.kind();
    package.entry_count_ = opening.entry_count();
    package.checksum_ = number(file, header::checksum);
    package.identity_ = {
        .model_flags = load<std::uint32_t>(file, header::model_flags.offset),
        .tensor_count = load<std::uint32_t>(file, header::tensor_count.offset),
        .parameter_count = number(file, header::parameter_count),
        .tensor_layout_checksum = number(file, header::tensor_layout_checksum),
        .tokenizer_checksum = number(file, header::tokenizer_checksum),
    };
    return good;
}

Entry PackageView::entry(std::uint32_t index) const noexcept {
    const PackageEntry entry = raw_entry(file_, kind_, index);
    return {entry.name_hash, entry.shape, format::delta_of(file_, kind_, entry)};
}

// ---------------------------------------------------------------------------------- application

namespace {

/// Largest magnitudes of what a delta stores: one pass over it.
StoredMagnitudes magnitudes_of(const Delta& delta, const kernels::Table& kernels) noexcept {
    const auto largest = [&](Bytes values) {
        return std::bit_cast<float>(
            kernels.max_magnitude(values.data(), values.size() / sizeof(float)));
    };
    if (const auto* low_rank = std::get_if<LowRankDelta>(&delta)) {
        return {largest(low_rank->a), largest(low_rank->b)};
    }
    if (const auto* sparse = std::get_if<SparseDelta>(&delta)) return {largest(sparse->values), 0};
    return {largest(std::get<DenseDelta>(delta).values), 0};
}

/// Judged by its bits: to a host that flushes subnormals a small one would equal zero.
bool is_usable(float strength) noexcept {
    return format::is_finite(strength) && !format::is_zero(strength);
}

Outcome compare(const Identity& model, const Identity& package, std::size_t member) noexcept {
    if (package.model_flags != model.model_flags) return bad(FindingCode::flags_differ, member);
    if (package.tensor_count != model.tensor_count) {
        return bad(FindingCode::tensor_count_differs, member);
    }
    if (package.parameter_count != model.parameter_count) {
        return bad(FindingCode::parameter_count_differs, member);
    }
    if (package.tensor_layout_checksum != model.tensor_layout_checksum) {
        return bad(FindingCode::layout_differs, member);
    }
    if (package.tokenizer_checksum != model.tokenizer_checksum) {
        return bad(FindingCode::tokenizer_differs, member);
    }
    return good;
}

/// A stack turned into deltas for each tensor. All of its memory is the allocator's.
class Plan {
public:
    explicit Plan(const MemoryModel& model) noexcept : model_(model) {}

    [[nodiscard]] Outcome make(std::span<const Member> stack) noexcept {
        if (const Outcome views = judge_views(); !views) return views;
        if (const Outcome fits = judge_stack(stack); !fits) return fits;
        if (!sort_tensors()) return bad(FindingCode::out_of_memory);
        if (const Outcome known = count_deltas(stack); !known) return known;
        return gather(stack) ? good : bad(FindingCode::out_of_memory);
    }

    [[nodiscard]] std::span<const ExchangeTensor> tensors() const noexcept {
        return {tensors_.data(), tensors_.size()};
    }
    [[nodiscard]] std::uint64_t state() const noexcept { return state_; }

private:
    [[nodiscard]] Outcome judge_views() const noexcept {
        Outcome outcome;
        const bool enough_memory = check_views(model_, [&](const ViewFault& fault) {
            if (!outcome.ok) return;
            outcome = bad(fault.defect == ViewDefect::dtype_unknown ? FindingCode::unsupported_dtype
                                                                    : FindingCode::bad_view,
                          fault.tensor);
        });
        return enough_memory ? outcome : bad(FindingCode::out_of_memory);
    }

    [[nodiscard]] Outcome judge_stack(std::span<const Member> stack) noexcept {
        if (stack.empty()) return bad(FindingCode::usage_error);
        if (stack.size() > limits::stack_members) return bad(FindingCode::limit_exceeded);
        state_ = initial_state(model_.identity);
        for (std::size_t m = 0; m < stack.size(); ++m) {
            if (stack[m].package == nullptr || !is_usable(stack[m].strength)) {
                return bad(FindingCode::usage_error, m);
            }
            if (const Outcome same = compare(model_.identity, stack[m].package->identity(), m);
                !same) {
                return same;
            }
            state_ = next_state(state_, stack[m].package->checksum(), stack[m].strength);
        }
        return good;
    }

    [[nodiscard]] bool sort_tensors() noexcept {
        if (!order_.allocate(model_.allocator, model_.tensors.size()) ||
            !counts_.allocate(model_.allocator, model_.tensors.size())) {
            return false;
        }
        for (std::size_t i = 0; i < order_.size(); ++i) {
            order_[i] = i;
            counts_[i] = 0;
        }
        std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
            return model_.tensors[a].hash() < model_.tensors[b].hash();
        });
        return true;
    }

    [[nodiscard]] std::optional<std::size_t> find(std::uint64_t name_hash) const noexcept {
        const auto* found = std::lower_bound(
            order_.begin(), order_.end(), name_hash,
            [&](std::size_t i, std::uint64_t hash) { return model_.tensors[i].hash() < hash; });
        if (found == order_.end() || model_.tensors[*found].hash() != name_hash) {
            return std::nullopt;
        }
        return *found;
    }

    [[nodiscard]] Outcome count_deltas(std::span<const Member> stack) noexcept {
        for (std::size_t m = 0; m < stack.size(); ++m) {
            for (std::uint32_t e = 0; e < stack[m].package->entry_count(); ++e) {
                const Entry entry = stack[m].package->entry(e);
                const auto tensor = find(entry.name_hash);
                if (!tensor) return bad(FindingCode::tensor_unknown, m, e);
                if (model_.tensors[*tensor].shape != entry.shape) {
                    return bad(FindingCode::tensor_shape_differs, m, e);
                }
                ++counts_[*tensor];
                ++total_;
            }
        }
        return good;
    }

    /// Places the deltas of each tensor one behind the other, in stack order.
    [[nodiscard]] bool gather(std::span<const Member> stack) noexcept {
        std::size_t named = 0;
        for (const std::size_t count : counts_)
            named += count > 0 ? 1 : 0;
        if (!deltas_.allocate(model_.allocator, total_) ||
            !tensors_.allocate(model_.allocator, named)) {
            return false;
        }
        std::size_t next = 0;
        std::size_t first = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            if (counts_[i] == 0) continue;
            tensors_[next].target = model_.tensors[i];
            tensors_[next].target.name_hash = model_.tensors[i].hash();
            tensors_[next].index = i;
            tensors_[next].deltas = {deltas_.data() + first, counts_[i]};
            first += counts_[i];
            counts_[i] = next++;  // from here on: its place
        }
        for (ExchangeTensor& tensor : tensors_)
            tensor.deltas = tensor.deltas.first(0);
        fill(stack);
        for (ExchangeTensor& tensor : tensors_) {
            const auto bound = tensor.target.max_abs;
            tensor.proven_finite = bound && proves_finite(*bound, tensor.deltas);
        }
        return true;
    }

    void fill(std::span<const Member> stack) noexcept {
        for (const Member& member : stack) {
            for (std::uint32_t e = 0; e < member.package->entry_count(); ++e) {
                const Entry entry = member.package->entry(e);
                ExchangeTensor& tensor = tensors_[counts_[*find(entry.name_hash)]];
                const std::size_t filled = tensor.deltas.size();
                const auto place = static_cast<std::size_t>(tensor.deltas.data() - deltas_.data());
                deltas_[place + filled] = bounded_delta(
                    entry.delta, member.strength, magnitudes_of(entry.delta, kernels::best()));
                tensor.deltas = {deltas_.data() + place, filled + 1};
            }
        }
    }

    const MemoryModel& model_;
    Buffer<std::size_t> order_;
    Buffer<std::size_t> counts_;
    std::size_t total_ = 0;
    Buffer<PlannedDelta> deltas_;
    Buffer<ExchangeTensor> tensors_;
    std::uint64_t state_ = 0;
};

Outcome fault_of(const Exchange& exchange) noexcept {
    const Fault& fault = exchange.faults()[0];
    if (fault.job == Fault::no_tensor) return bad(fault.code);
    const Exchange::Job& job = exchange.jobs()[fault.job];
    return {.ok = false,
            .code = fault.code,
            .item = job.planned != nullptr ? job.planned->index : job.before->index,
            .place = fault.code == FindingCode::fused_non_finite ? fault.place : Outcome::nowhere,
            .torn = exchange.is_torn()};
}

/// Everything that can be known before the first byte changes.
Outcome check_before(Exchange& exchange, const ExchangeSettings& settings,
                     bool allow_no_effect) noexcept {
    const bool checked = exchange.prepare(settings) && exchange.verify() && exchange.check(false) &&
                         (allow_no_effect || exchange.look_for_change());
    if (!checked) return fault_of(exchange);
    return allow_no_effect || exchange.changed() ? good : bad(FindingCode::zero_effect);
}

/// Changes the weights while the engine rests.
Outcome change_at_rest(Exchange& exchange, const Quiescence& quiescence) noexcept {
    bool rests = !quiescence.begin;
    if (quiescence.begin && !quietly([&] { rests = quiescence.begin(); })) rests = false;
    if (!rests) return bad(FindingCode::output_failed);
    const bool changed = exchange.change();
    if (quiescence.end) (void)quietly([&] { quiescence.end(); });
    return changed ? good : fault_of(exchange);
}

}  // namespace

struct Application::Held {
    Buffer<HeldTensor> tensors;
};

Application::Application(const MemoryModel& model) noexcept
    : model_(model), base_state_(initial_state(model.identity)), state_(base_state_) {}

Application::~Application() {
    drop(held_);
}

void Application::drop(Held* held) noexcept {
    if (held == nullptr) return;
    held->~Held();
    give_memory(model_.allocator, held, sizeof(Held), alignof(Held));
}

Outcome Application::apply(std::span<const Member> stack, const Options& options) noexcept {
    if (held_ != nullptr && !model_.keep_base) return bad(FindingCode::undo_stale);
    Plan plan(model_);
    if (const Outcome made = plan.make(stack); !made) return made;
    void* room = take_memory(model_.allocator, sizeof(Held), alignof(Held));
    if (room == nullptr) return bad(FindingCode::out_of_memory);
    Held* held = new (room) Held;
    const std::span<HeldTensor> out =
        held_ == nullptr ? std::span<HeldTensor>{}
                         : std::span<HeldTensor>{held_->tensors.data(), held_->tensors.size()};
    Exchange exchange(out, plan.tensors(), model_.access, model_.allocator, options.executor);
    const ExchangeSettings settings{options.rounding, false, model_.keep_base, &kernels::best()};
    Outcome outcome = held->tensors.allocate(model_.allocator, plan.tensors().size())
                          ? check_before(exchange, settings, options.allow_no_effect)
                          : bad(FindingCode::out_of_memory);
    if (outcome) outcome = change_at_rest(exchange, model_.quiescence);
    if (!outcome) {
        drop(held);
        return outcome;
    }
    exchange.take_held({held->tensors.data(), held->tensors.size()});
    drop(held_);
    held_ = held;
    state_ = plan.state();
    return good;
}

Outcome Application::undo(const Executor& executor) noexcept {
    if (held_ == nullptr || !model_.keep_base) return bad(FindingCode::undo_stale);
    const std::span<HeldTensor> out{held_->tensors.data(), held_->tensors.size()};
    Exchange exchange(out, {}, model_.access, model_.allocator, executor);
    if (!exchange.prepare({}) || !exchange.verify()) return fault_of(exchange);
    if (const Outcome changed = change_at_rest(exchange, model_.quiescence); !changed) {
        return changed;
    }
    drop(held_);
    held_ = nullptr;
    state_ = base_state_;
    return good;
}

}  // namespace trlm::adapt::core
